//! What holds for every decision, whatever the signals.

use std::time::Duration;

use shoal_scaling::{Action, Cause, Cpu, Heartbeat, Queue, Scaler, Settings, Signals};

fn second(second: u64) -> Duration {
    Duration::from_secs(second)
}

/// A fleet of `ready` workers of 0.1 s an image, busy or idle, with `published` jobs so far.
fn fleet(at: u64, ready: usize, published: u64, pending: u64) -> Signals {
    let heartbeat = Heartbeat { age: Duration::ZERO, busy: 0.5, seconds_per_image: 0.1 };
    Signals {
        at: second(at),
        queue: Some(Queue { pending, published, settled: published - pending, ..Queue::default() }),
        ready,
        heartbeats: vec![heartbeat; ready],
        ..Signals::default()
    }
}

fn odd(random: &mut fastrand::Rng) -> f64 {
    [f64::NAN, -1.0, 0.0, 1e-300, 0.1, 0.99, 1e300, f64::INFINITY][random.usize(0..8)]
}

fn anything(random: &mut fastrand::Rng, at: u64) -> Signals {
    let count = |random: &mut fastrand::Rng| [0, 1, 7, 5000, u64::MAX][random.usize(0..5)];
    let queue = Queue {
        pending: count(random),
        ack_pending: count(random),
        oldest: Some(second(random.u64(0..100))),
        published: count(random),
        settled: count(random),
    };
    let heartbeats = (0..random.usize(0..5)).map(|_| Heartbeat {
        age: second(random.u64(0..20)),
        busy: odd(random),
        seconds_per_image: odd(random),
    });
    Signals {
        heartbeats: heartbeats.collect(),
        at: second(at),
        queue: random.bool().then_some(queue),
        ready: random.usize(0..6),
        starting: (0..random.usize(0..4)).map(|_| second(random.u64(0..5000))).collect(),
        draining: random.usize(0..3),
        started_in: (0..random.usize(0..2)).map(|_| second(random.u64(0..5000))).collect(),
        batch_fill: random.bool().then(|| odd(random)),
        cpu: random.bool().then(|| Cpu { cores: odd(random), busy: odd(random) }),
        threads: random.usize(0..4),
    }
}

#[test]
fn whatever_comes_in_the_fleet_stays_within_its_bounds_and_steps() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..200 {
        let min = random.usize(0..3);
        let settings = Settings { min, max: min + random.usize(1..10), ..Settings::default() };
        let mut scaler = Scaler::new(settings.clone());
        let mut before = None;
        for at in 0..500 {
            let at = if random.u8(0..50) == 0 { random.u64(0..1000) } else { at };
            let decision = scaler.decide(&anything(&mut random, at));
            assert!(!decision.reason.is_empty());
            let known = before.replace(decision.to);
            let inside = (settings.min..=settings.max).contains(&decision.to);
            assert!(inside, "{decision:?}");
            if let Some(before) = known {
                assert_eq!(decision.from, before);
                assert!(decision.to <= 2 * before + 1, "{decision:?}");
                let one_down = decision.to + 1 >= before || decision.to == 0 || decision.cause == Cause::NoGain;
                assert!(one_down, "{decision:?}");
            }
        }
    }
}

#[test]
fn an_operator_wins_until_auto() {
    let mut scaler = Scaler::new(Settings { min: 1, max: 8, ..Settings::default() });
    assert!(scaler.fix(9).unwrap_err().contains("max is 8"));
    scaler.decide(&fleet(0, 2, 0, 0));
    scaler.fix(6).unwrap();
    let blind = Signals { queue: None, ..fleet(1, 2, 0, 0) };
    assert_eq!(scaler.decide(&blind).action, Action::Up { to: 6 });
    assert_eq!(scaler.decide(&fleet(2, 6, 10_000, 10_000)).to, 6);
    scaler.fix(0).unwrap();
    assert_eq!(scaler.decide(&fleet(3, 6, 10_000, 10_000)).action, Action::Down { to: 0 });
    scaler.auto();
    assert_eq!(scaler.decide(&fleet(4, 0, 10_000, 10_000)).action, Action::Up { to: 1 });
}

#[test]
fn the_same_state_is_one_event() {
    let mut scaler = Scaler::new(Settings::default());
    let news = (0..1000).filter(|at| scaler.decide(&fleet(*at, 2, 10 * at, 0)).changed).count();
    // Enough or not yet stable, then one fewer, then enough.
    assert!(news <= 4, "{news}");
}

#[test]
fn missing_data_never_stops_a_fleet() {
    let mut scaler = Scaler::new(Settings { min: 0, ..Settings::default() });
    scaler.decide(&fleet(0, 3, 100, 0));
    for at in 1..2000 {
        let blind = Signals { queue: None, ..fleet(at, 3, 100, 0) };
        assert_eq!(scaler.decide(&blind).to, 3);
    }
    for at in 2000..4000 {
        let unheard = Signals { heartbeats: Vec::new(), ..fleet(at, 3, 100, 0) };
        assert_eq!(scaler.decide(&unheard).to, 3);
    }
}

#[test]
fn a_worker_is_not_ordered_twice() {
    let mut scaler = Scaler::new(Settings { assumed_startup: second(30), ..Settings::default() });
    scaler.decide(&fleet(0, 1, 0, 0));
    // Fifteen a second ask for two workers; one is coming.
    let mut counts = Vec::new();
    for at in 1..30 {
        let published = 15 * at;
        let starting = if counts.is_empty() { vec![] } else { vec![second(1)] };
        counts.push(scaler.decide(&Signals { starting, ..fleet(at, 1, published, 5 * at) }).to);
    }
    assert!(counts.iter().all(|count| *count <= 3), "{counts:?}");
}

#[test]
fn threads_share_the_cores() {
    let mut scaler = Scaler::new(Settings::default());
    let cpu = Some(Cpu { cores: 8.0, busy: 2.0 });
    assert_eq!(scaler.decide(&Signals { cpu, ..fleet(0, 3, 0, 0) }).threads, 2);
}
