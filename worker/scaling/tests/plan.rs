//! `shoal plan` against a simulated queue of workers that take what waits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::collections::VecDeque;

use shoal_scaling::{Ask, BatchCurve, Plan, Saturates, plan};

const JOBS: usize = 200_000;

/// 50th and 95th percentile of the delay with Poisson arrivals at `workers` that take up to a full
/// batch at once, ms.
fn simulate(ask: &Ask, workers: usize) -> (f64, f64) {
    let mut random = fastrand::Rng::with_seed(3);
    let mut after = move || -(1.0 - random.f64()).ln();
    let mut now = 0.0;
    let mut arrivals: VecDeque<f64> = VecDeque::new();
    for _ in 0..JOBS {
        now += after() * 1000.0 / ask.rate;
        arrivals.push_back(now);
    }
    let mut free = vec![0.0f64; workers];
    let mut delays = Vec::with_capacity(JOBS);
    while let Some(first) = arrivals.front().copied() {
        let worker = free.iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap();
        let start = worker.max(first);
        let taken = arrivals.iter().take(ask.curve.full()).take_while(|at| **at <= start).count();
        let spread = if ask.service_cv2 > 0.0 { after() } else { 1.0 };
        *worker = start + ask.curve.ms(taken as f64) * spread;
        delays.extend(arrivals.drain(..taken).map(|at| *worker - at));
    }
    delays.sort_by(f64::total_cmp);
    (delays[JOBS / 2], delays[JOBS * 19 / 20])
}

fn ask(rate: f64, curve: &[(usize, f64)]) -> Ask {
    Ask {
        rate,
        p95_goal_ms: 100.0,
        curve: BatchCurve::new(curve.to_vec()).unwrap(),
        cores: 1000.0,
        cores_per_worker: 1.0,
        most_workers: 100,
        decode_ms: 0.0,
        overhead_ms: 0.0,
        arrivals_cv2: 1.0,
        service_cv2: 0.0,
    }
}

/// The estimate for just so many workers.
fn with(workers: usize, ask: &Ask) -> Plan {
    plan(&Ask { most_workers: workers, p95_goal_ms: 0.0, ..ask.clone() })
}

/// Least and greatest ratio of estimate to simulation, at p50 and p95, up to 85 % utilisation.
fn ratios(curve: &[(usize, f64)]) -> [(f64, f64); 2] {
    let mut ratios = [(f64::INFINITY, 0.0f64); 2];
    for workers in [1, 2, 4, 10] {
        for utilisation in [0.2, 0.4, 0.6, 0.75, 0.85] {
            let full = curve.last().unwrap();
            let rate = utilisation * workers as f64 * full.0 as f64 * 1000.0 / full.1;
            let ask = ask(rate, curve);
            let (estimate, (p50, p95)) = (with(workers, &ask), simulate(&ask, workers));
            for (bounds, ratio) in ratios.iter_mut().zip([estimate.p50_ms / p50, estimate.p95_ms / p95]) {
                *bounds = (bounds.0.min(ratio), bounds.1.max(ratio));
            }
        }
    }
    println!("{curve:?}: p50 {:.2} to {:.2}, p95 {:.2} to {:.2}", ratios[0].0, ratios[0].1, ratios[1].0, ratios[1].1);
    ratios
}

#[test]
fn without_batches_the_estimate_is_within_twelve_percent() {
    for (least, most) in ratios(&[(1, 10.0)]) {
        assert!(least > 0.88 && most < 1.12, "{least} {most}");
    }
}

#[test]
fn with_batches_p95_is_within_thirty_percent_and_p50_is_no_guide() {
    for curve in [[(1, 10.0), (8, 30.0)], [(1, 10.0), (8, 60.0)], [(1, 10.0), (32, 100.0)]] {
        let [(low, high), (least, most)] = ratios(&curve);
        assert!(least > 0.8 && most < 1.3, "p95 {least} {most}");
        assert!(low > 0.8 && high < 2.4, "p50 {low} {high}");
    }
}

#[test]
fn the_fewest_workers_that_meet_the_goal() {
    let ask = Ask { p95_goal_ms: 40.0, ..ask(300.0, &[(1, 10.0)]) };
    let plan = plan(&ask);
    assert!(plan.met && plan.p95_ms <= 40.0 && plan.workers == 4, "{plan:?}");
    assert!(with(3, &ask).p95_ms > 40.0);
    assert!(simulate(&ask, 4).1 <= 40.0 * 1.12);
    assert!(plan.trustworthy && (plan.utilisation - 0.75).abs() < 1e-9);
    assert!(!with(3, &ask).trustworthy);
}

#[test]
fn what_gives_out_first_is_named() {
    let base = Ask { cores: 4.0, most_workers: 100, ..ask(10.0, &[(1, 10.0), (8, 40.0)]) };
    let of = |ask: Ask| (plan(&ask).saturates, plan(&ask).capacity.round() as u64);
    assert_eq!(of(base.clone()), (Saturates::Workers, 800));
    assert_eq!(of(Ask { decode_ms: 3.0, ..base.clone() }), (Saturates::Cores, 500));
    assert_eq!(of(Ask { decode_ms: 11.0, ..base.clone() }), (Saturates::Decode, 250));
    assert_eq!(of(Ask { most_workers: 2, ..base.clone() }), (Saturates::Workers, 400));
    let impossible = plan(&Ask { rate: 5000.0, ..base });
    assert!(!impossible.met && !impossible.trustworthy && impossible.p95_ms.is_infinite());
}
