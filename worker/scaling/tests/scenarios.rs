//! The policy against simulated loads. `cargo test --test scenarios -- --nocapture` prints the table.

mod sim;

use std::f64::consts::TAU;

use shoal_scaling::{Action, Cause, Settings, Signals};
use sim::outcome::Outcome;
use sim::{World, run};

/// Target delay and stabilisation window of the default settings, seconds.
const DELAY: f64 = 2.0;
const WINDOW: f64 = 60.0;

fn step(second: f64) -> f64 {
    if second < 120.0 { 10.0 } else { 40.0 }
}

fn ramp(second: f64) -> f64 {
    let up = 5.0 + second * 55.0 / 300.0;
    let down = 60.0 - (second - 600.0) * 55.0 / 300.0;
    up.min(60.0).min(down.max(5.0))
}

/// `pending` that grows by fifty a second, whatever happens.
fn stale_follower(signals: &mut Signals) {
    if let Some(queue) = &mut signals.queue {
        queue.pending += signals.at.as_secs() * 50;
    }
}

/// No heartbeat for 100 s, later no answer of the broker for 60 s.
fn silence(signals: &mut Signals) {
    match signals.at.as_secs() {
        300..400 => signals.heartbeats.clear(),
        500..560 => signals.queue = None,
        _ => {}
    }
}

/// A scenario, how many turns within the stabilisation window it may take, and for how long the
/// oldest job may be over the target delay in one go, seconds.
fn scenarios() -> Vec<(World, usize, f64)> {
    let plain = World::plain;
    vec![
        (plain("steady", |_| 30.0, 900.0), 1, 0.0),
        (plain("step up", step, 900.0), 1, 2.0),
        (plain("step down", |t| if t < 300.0 { 40.0 } else { 10.0 }, 900.0), 1, 0.0),
        (plain("ramp", ramp, 1200.0), 2, 0.0),
        (plain("spike", |t| if (200.0..220.0).contains(&t) { 60.0 } else { 10.0 }, 900.0), 1, 2.0),
        (plain("diurnal", |t| 40.0 * (1.0 - 0.8 * (t * TAU / 1800.0).cos()), 3600.0), 2, 1.0),
        (plain("on-off 90 s", |t| if t % 180.0 < 90.0 { 40.0 } else { 4.0 }, 1800.0), 2, 2.0),
        (plain("on-off 30 s", |t| if t % 60.0 < 30.0 { 40.0 } else { 4.0 }, 1800.0), 2, 0.0),
        (World { startup: 30.0, ..plain("slow start", step, 900.0) }, 1, 55.0),
        (World { speeds: &[1.0, 0.5], ..plain("unequal", step, 900.0) }, 2, 2.0),
        (World { a_death_every: 5.0, ..plain("crash loop", |_| 30.0, 900.0) }, 2, 3.0),
        (World { distort: stale_follower, ..plain("lying, little load", |_| 5.0, 900.0) }, 1, 0.0),
        (World { distort: stale_follower, ..plain("lying, loaded", |_| 30.0, 900.0) }, 1, 0.0),
        (World { distort: silence, ..plain("lost signals", |_| 30.0, 900.0) }, 1, 0.0),
    ]
}

#[test]
fn no_flapping_soon_recovered_and_hardly_dearer_than_foresight() {
    println!("scenario             cost/oracle   turns  down  moves  late s   p50 s   p95 s   p99 s  most");
    let mut broken = Vec::new();
    for (world, turns, late) in scenarios() {
        for exponential in [false, true] {
            let runs: Vec<Outcome> = (1..=3).map(|seed| run(&World { seed, exponential, ..world.clone() })).collect();
            let worst = |of: &dyn Fn(&Outcome) -> f64| runs.iter().map(of).fold(0.0, f64::max);
            let least = runs.iter().map(Outcome::ratio).fold(f64::INFINITY, f64::min);
            let (ratio, slowest) = (worst(&Outcome::ratio), worst(&|run| run.late(DELAY)));
            let all = worst(&|run| run.turns_within(WINDOW).0 as f64) as usize;
            let down = worst(&|run| run.turns_within(WINDOW).1 as f64) as usize;
            let waits = [0.5, 0.95, 0.99].map(|part| worst(&|run| run.wait(part)));
            let name = format!("{}, {}", world.name, if exponential { "exp" } else { "const" });
            println!(
                "{name:<24}{least:.2}-{ratio:.2}  {all:>5} {down:>5} {:>6} {slowest:>7.0}  {:>6.2}  {:>6.2}  {:>6.2} {:>5}",
                worst(&|run| run.moves() as f64),
                waits[0],
                waits[1],
                waits[2],
                worst(&|run| run.ordered(0.0).1 as f64),
            );
            if ratio > 1.15 || all > turns || down > 1 || slowest > late {
                broken.push(name);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn lost_signals_change_nothing_while_they_last() {
    let outcome = run(&World { distort: silence, ..World::plain("lost signals", |_| 30.0, 900.0) });
    let during = |from, to| outcome.decisions.iter().filter(move |it| (from..to).contains(&it.at.as_secs()));
    for (from, to, cause) in [(300, 400, Cause::HeartbeatsLost), (500, 560, Cause::BrokerSilent)] {
        let events: Vec<_> = during(from, to).map(|decision| (decision.action, decision.cause)).collect();
        assert_eq!(events, [(Action::Hold, cause)]);
    }
}

#[test]
fn a_backlog_that_idle_workers_do_not_see_starts_none() {
    let mut world = World::plain("lie", |t| if t < 60.0 { 5.0 } else { 0.0 }, 600.0);
    world.distort = stale_follower;
    world.settings.min = 0;
    let outcome = run(&world);
    assert_eq!(outcome.ordered(0.0), (1, 1));
    let said = outcome.decisions.iter().find(|decision| decision.cause == Cause::Unmoved).unwrap();
    assert!(said.reason.starts_with("backlog does not move though workers are idle: "), "{}", said.reason);
}

#[test]
fn used_up_cores_refuse() {
    let load = |t: f64| if t < 60.0 { 10.0 } else { 60.0 };
    let outcome = run(&World { cores: 4.0, cores_seen: true, ..World::plain("four cores", load, 600.0) });
    assert!(outcome.ordered(0.0).1 <= 4);
    let refused = outcome.decisions.iter().find(|decision| decision.action == Action::Refuse).unwrap();
    assert!(refused.reason.contains("expected gain 0 %"), "{}", refused.reason);
}

#[test]
fn workers_without_gain_are_undone_and_not_tried_again() {
    let load = |t: f64| if t < 60.0 { 20.0 } else { 90.0 };
    let outcome = run(&World { cores: 3.0, startup: 5.0, ..World::plain("narrow bus", load, 640.0) });
    let undone = |decision: &&shoal_scaling::Decision| {
        decision.cause == Cause::NoGain && matches!(decision.action, Action::Down { .. })
    };
    let moves: Vec<_> =
        outcome.decisions.iter().filter(|it| it.to != it.from).map(|it| (it.at.as_secs(), it.to, it.cause)).collect();
    assert_eq!(outcome.decisions.iter().filter(undone).count(), 1, "{moves:?}");
    let after = outcome.decisions.iter().find(undone).unwrap();
    assert!(after.to >= 3, "{moves:?}");
    assert_eq!(outcome.ordered(after.at.as_secs_f64()).1, after.to, "{moves:?}");
}

#[test]
fn a_stopped_fleet_wakes_for_the_first_job() {
    let load = |t: f64| if t < 60.0 || (600.0..660.0).contains(&t) { 10.0 } else { 0.0 };
    let settings = Settings { min: 0, ..Settings::default() };
    let outcome = run(&World { settings, ..World::plain("sleep", load, 700.0) });
    let moves = outcome.decisions.iter().filter(|decision| decision.to != decision.from);
    let moves: Vec<_> = moves.map(|decision| (decision.at.as_secs(), decision.to, decision.cause)).collect();
    let slept = moves.iter().position(|(_, to, _)| *to == 0).unwrap();
    assert!((358..=362).contains(&moves[slept].0) && moves[slept].2 == Cause::Idle, "{moves:?}");
    assert!((600..=601).contains(&moves[slept + 1].0) && moves[slept + 1].2 == Cause::Wake, "{moves:?}");
    assert_eq!(outcome.late(DELAY), 0.0);
}

#[test]
fn a_start_that_takes_much_longer_than_before_is_waited_for() {
    let world = World { startup: 100.0, ..World::plain("cold cache", step, 900.0) };
    let outcome = run(&world);
    assert!(outcome.looks.last().unwrap().1 < DELAY, "{:?}", outcome.looks.last());
}

#[test]
fn workers_that_never_come_do_not_pile_up() {
    let outcome = run(&World { startup: 1e4, ..World::plain("never", step, 900.0) });
    assert!(outcome.ordered(0.0).1 <= 20);
    assert!(outcome.cost <= 20.0 * 900.0);
}
