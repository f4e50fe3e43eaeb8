//! The findings in words: what was carried, what was saturated first, whether scaling helped, and
//! whether the figures are the target's at all.

use std::collections::BTreeMap;

use crate::report::{Generator, PhaseReport, Report};
use crate::watch::Sample;

/// A core is used up from here on: the rest goes to interrupts and to whoever else runs.
const FULL_CORE: f64 = 0.93;
/// Share of arrivals that may be missing before the figures are the generator's.
const SHORTFALL: f64 = 0.001;
/// Lateness of the generator's timers that matters, as a share of p95,
const LAG: f64 = 0.25;
/// and in milliseconds: on a busy machine some is always there.
const LEAST_LAG_MS: f64 = 10.0;
/// A phase holds while no more than this is refused or fails,
const HELD_UNANSWERED: f64 = 0.01;
/// and at least this much of what was due is answered.
const HELD_ANSWERED: f64 = 0.95;

/// Seconds until the target's own window is of this run.
const SETTLED: f64 = 3.0;
/// Samples in a row that make a bottleneck.
const LASTING: usize = 3;

/// Why the figures are the generator's limit, if they are.
pub fn generators_limit(generator: &Generator, report: &Report) -> Option<String> {
    let due = report.total.requests + generator.shortfall;
    if generator.shortfall as f64 > SHORTFALL * due as f64 {
        return Some(format!(
            "{} of {due} requests that were due could not be sent: no room under max_outstanding ({}), or no local port",
            generator.shortfall, report.scenario.arrivals.max_outstanding
        ));
    }
    if generator.busiest > FULL_CORE {
        return Some(format!("it used {:.2} of its one core", generator.busiest));
    }
    None
}

/// What the generator's own lateness may have added, where that matters. A machine whose cores are
/// used up by a local target makes its generator late too: a caution, not a limit.
pub fn lateness(report: &Report) -> Option<String> {
    let p95 = report.total.latency.as_ref()?.p95_ms;
    let lag = report.generator.lag_p99_ms;
    (lag > (LAG * p95).max(LEAST_LAG_MS)).then(|| {
        format!("the generator's own timers were up to {lag:.0} ms late (99th percentile) beside a p95 of {p95:.0} ms")
    })
}

/// The findings, the most important first.
pub fn verdict(report: &Report) -> Vec<String> {
    let mut findings = vec![headline(report)];
    if let Some(limit) = &report.generator.limit {
        findings.push(format!("The generator was the limit, not the target: {limit}."));
    }
    if let Some(late) = lateness(report) {
        findings.push(format!("Latencies are partly the generator's: {late}; it waited for a core."));
    }
    if let Some(wrong) = report.total.kinds.get("wrong answer") {
        findings.push(format!("{wrong} answers did not belong to the image that was sent."));
    }
    findings.extend(lost_agents(&report.generator));
    findings.extend(capacity(report));
    findings.extend(hidden_by_closed_loop(report));
    findings.extend(saturated_first(report));
    findings.extend(scaling(report));
    findings
}

fn headline(report: &Report) -> String {
    let total = &report.total;
    let percent = |count: u64| 100.0 * count as f64 / (total.requests as f64).max(1.0);
    let latency = total.latency.as_ref().map_or_else(
        || "no answer".to_owned(),
        |stats| format!("median {}, p95 {}, p99 {}", ms(stats.p50_ms), ms(stats.p95_ms), ms(stats.p99_ms)),
    );
    format!(
        "{:.1} answers/s over {:.0} s; {latency}; {:.2} % failed, {:.2} % refused of {} requests.",
        total.rps,
        report.seconds,
        percent(total.failed),
        percent(total.refused),
        total.requests
    )
}

fn lost_agents(generator: &Generator) -> Vec<String> {
    let lost = generator.agents.iter().filter_map(|agent| {
        let at = agent.lost_at?;
        Some(format!("Agent {} was lost after {at:.0} s: its part of the load is missing from then on.", agent.name))
    });
    lost.collect()
}

fn capacity(report: &Report) -> Option<String> {
    if report.generator.limit.is_some() || report.total.answered == 0 {
        return None;
    }
    if report.scenario.is_open() { open_capacity(&report.phases) } else { closed_capacity(report) }
}

fn open_capacity(phases: &[PhaseReport]) -> Option<String> {
    let rate = |phase: &PhaseReport| phase.due_per_second.unwrap_or(0.0);
    let held = phases.iter().filter(|phase| holds(phase)).max_by(|a, b| rate(a).total_cmp(&rate(b)));
    let broken = phases.iter().find(|phase| !holds(phase) && phase.to - phase.from > 0.5);
    match (held, broken) {
        (Some(held), None) => {
            Some(format!("Every rate was held, up to {:.1}/s: the capacity is higher than was asked.", rate(held)))
        }
        (held, Some(broken)) => {
            let before = held.map_or("No rate was held.".into(), |held| format!("{:.1}/s were held.", rate(held)));
            Some(format!(
                "{before} At {:.1}/s ({}) {:.1}/s were answered, {:.1} % failed or were refused, and the rest waited.",
                rate(broken),
                broken.name,
                broken.total.rps,
                100.0 * unanswered(broken)
            ))
        }
        (None, None) => None,
    }
}

fn holds(phase: &PhaseReport) -> bool {
    let due = phase.due.unwrap_or(0.0);
    unanswered(phase) <= HELD_UNANSWERED && phase.total.answered as f64 >= HELD_ANSWERED * due - 3.0
}

fn unanswered(phase: &PhaseReport) -> f64 {
    (phase.total.failed + phase.total.refused) as f64 / (phase.total.requests as f64).max(1.0)
}

/// With think time, users ask at most N / (pause + latency) times a second, and by Little's law they
/// do: a target that answers at once shows the users' rate, not its own.
fn closed_capacity(report: &Report) -> Option<String> {
    let manners = &report.scenario.users;
    let pause = match manners.pace {
        Some(pace) => pace.as_secs_f64(),
        None => (manners.wait.least + manners.wait.most).as_secs_f64() / 2.0,
    };
    let latency = report.total.latency.as_ref()?.mean_ms / 1e3;
    let most = most_users(report);
    if pause > 0.0 && latency < 0.2 * pause {
        return Some(format!(
            "{most} users who pause {pause:.1} s ask about {:.1} times a second at most: this is the users' rate, \
             and the target's capacity is higher.",
            most as f64 / if manners.pace.is_some() { pause } else { pause + latency }
        ));
    }
    let best = best_stretch(report)?;
    Some(format!("The users waited for the target: its capacity for this mix is about {best:.1} answers/s."))
}

/// Users that there were: a run that ended early did not have all that its scenario asks for.
fn most_users(report: &Report) -> u64 {
    report.series.iter().map(|second| second.users).max().unwrap_or(0)
}

/// Answers a second in the best ten seconds, or in all when there were fewer.
fn best_stretch(report: &Report) -> Option<f64> {
    let answered: Vec<u64> = report.series.iter().map(|second| second.answered).collect();
    let width = answered.len().min(10);
    if width == 0 {
        return None;
    }
    answered.windows(width).map(|window| window.iter().sum::<u64>() as f64 / width as f64).max_by(f64::total_cmp)
}

fn hidden_by_closed_loop(report: &Report) -> Option<String> {
    let (latency, service) = (report.total.latency.as_ref()?, report.total.service.as_ref()?);
    (latency.p99_ms > 1.5 * service.p99_ms + 5.0).then(|| {
        format!(
            "Counted from the time of sending, p99 would look like {}; from the time at which requests were due it is \
             {}: waiting that a closed loop hides.",
            ms(service.p99_ms),
            ms(latency.p99_ms)
        )
    })
}

fn saturated_first(report: &Report) -> Option<String> {
    let names = report.watched.iter().filter(|sample| sample.bottleneck.is_some());
    names.clone().next()?;
    // What the target says at the start is of the time before, and one sample alone is chance.
    let samples: Vec<_> = names.filter(|sample| sample.at >= SETTLED).collect();
    let name = |sample: &Sample| sample.bottleneck.clone();
    let lasts = |window: &&[&Sample]| {
        name(window[0]).as_deref() != Some("none") && window.iter().all(|sample| name(sample) == name(window[0]))
    };
    let first = samples.windows(LASTING).find(lasts).map(|window| window[0]);
    Some(match first {
        None => "By the target's own account nothing was saturated.".into(),
        Some(first) => {
            let name = first.bottleneck.as_deref().unwrap_or_default();
            let sentence = first.sentence.as_deref().unwrap_or_default();
            format!(
                "Saturated first, after {:.0} s, by the target's own account: {name}: {sentence}",
                first.at.max(0.0)
            )
        }
    })
}

/// Answers a second at each number of workers that lasted.
fn scaling(report: &Report) -> Option<String> {
    let mut stretches: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for second in &report.series {
        let middle = f64::from(second.at) + 0.5;
        let nearest = report.watched.iter().filter(|sample| sample.workers.is_some());
        let nearest = nearest.min_by(|a, b| (a.at - middle).abs().total_cmp(&(b.at - middle).abs()))?;
        let entry = stretches.entry(nearest.workers.unwrap_or_default()).or_default();
        *entry = (entry.0 + 1, entry.1 + second.answered);
    }
    stretches.retain(|_, (seconds, _)| *seconds >= 5);
    let rate = |(seconds, answered): (u64, u64)| answered as f64 / seconds as f64;
    let (&fewest, &few) = stretches.first_key_value()?;
    let (&most, &many) = stretches.last_key_value()?;
    if fewest == most {
        return None;
    }
    let (few, many) = (rate(few), rate(many));
    let helped = if many > 1.1 * few { "it helped, as far as the load was the same" } else { "it did not help" };
    Some(format!("With {fewest} workers {few:.1}/s were answered, with {most} {many:.1}/s: {helped}."))
}

fn ms(value: f64) -> String {
    if value < 10.0 { format!("{value:.1} ms") } else { format!("{value:.0} ms") }
}
