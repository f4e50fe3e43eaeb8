//! The verdict in words and numbers: what `GET /api/bottleneck`, `shoal why` and `shoal top` show.

use serde::{Deserialize, Serialize};

use super::advice::Advice;
use super::rule::Bottleneck;
use super::situation::{Resource, Situation, Use};

/// Mean milliseconds of one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageMs {
    /// Its name.
    pub stage: String,
    /// Mean over the computed predictions of the window.
    pub ms: f64,
}

/// Utilisation of one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saturation {
    /// Which.
    pub resource: Resource,
    /// 0 to 1.
    pub ratio: f64,
}

/// What is the bottleneck, why, and what would help.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Its name.
    pub name: Bottleneck,
    /// The verdict and the best advice, in words.
    pub sentence: String,
    /// What could be done, the best first.
    pub advice: Vec<Advice>,
    /// Utilisation of every resource.
    pub saturation: Vec<Saturation>,
    /// Requests a second that could come on top before something is saturated; unknown without workers.
    pub headroom: Option<f64>,
    /// Mean times of a computed prediction.
    pub stages: Vec<StageMs>,
    /// The numbers it was made from.
    pub situation: Situation,
}

/// Names the bottleneck, and says what would help.
pub fn attribute(situation: Situation) -> Report {
    let name = situation.bottleneck();
    let advice = situation.advice(name);
    let ratio = |resource| Saturation { resource, ratio: round(situation.saturation(resource), 3) };
    Report {
        name,
        sentence: sentence(&situation, name, &advice),
        saturation: Resource::ALL.into_iter().map(ratio).collect(),
        headroom: headroom(&situation).map(|rate| round(rate, 1)),
        stages: situation
            .stages
            .iter()
            .map(|(stage, s)| StageMs { stage: stage.into(), ms: round(s * 1e3, 3) })
            .collect(),
        advice,
        situation,
    }
}

/// CPU that a request takes beside its model, over gateway, broker and worker, seconds (`docs/performance.md`).
const PATH: f64 = 150e-6;

/// Processes that nobody asks use some of a resource too; below this part of it, that may be most of what they use.
const HARDLY: f64 = 0.05;

/// Whether what is used says little of what requests cost.
fn is_hardly_used(situation: &Situation) -> bool {
    let busiest = [&situation.gateway, &situation.decode, &situation.inference].map(Use::ratio);
    let host = situation.fullest();
    (situation.inferred < 0.5 && situation.answered < 0.5)
        || (busiest.into_iter().all(|ratio| ratio < HARDLY) && host.own < HARDLY * host.cpu.capacity)
}

/// By the utilisation law, X / U is what a resource carries at most. While hardly anything runs, what the workers
/// have measured themselves, as far as others leave their threads cores, and no more than the free ones carry.
fn headroom(situation: &Situation) -> Option<f64> {
    if situation.workers == 0 {
        return None;
    }
    if is_hardly_used(situation) {
        if situation.hosts.is_empty() {
            return Some(situation.speed);
        }
        let free: f64 = situation.hosts.iter().map(|host| (host.cpu.capacity - host.cpu.busy).max(0.0)).sum();
        let wanted: f64 = situation.hosts.iter().map(|host| host.session_threads.min(host.cpu.capacity)).sum();
        let share = if free < wanted { free / wanted } else { 1.0 };
        return Some((situation.speed * share).min(free / PATH));
    }
    let carried = [
        (Resource::Gateway, situation.answered),
        (Resource::Decode, situation.inferred),
        (Resource::Inference, situation.inferred),
        (Resource::Cpu, situation.answered.max(situation.inferred)),
    ];
    let room = |(resource, rate): (Resource, f64)| {
        let ratio = situation.saturation(resource);
        (rate > 0.0 && ratio > 0.001).then(|| rate / ratio - rate)
    };
    carried.into_iter().filter_map(room).min_by(f64::total_cmp)
}

fn sentence(situation: &Situation, name: Bottleneck, advice: &[Advice]) -> String {
    let mut text = verdict(situation, name);
    // The two that matter most: what helps, and that another worker would not.
    for Advice { what, gain } in advice.iter().take(2) {
        text.push_str("; ");
        text.push_str(what);
        match gain {
            Some(gain) if *gain > 1.0 => text.push_str(&format!(", about {gain:.1} × the throughput")),
            _ => {}
        }
    }
    text.push('.');
    text
}

fn verdict(situation: &Situation, name: Bottleneck) -> String {
    let percent = |resource| format!("{:.0} %", 100.0 * situation.saturation(resource));
    let workers = match situation.workers {
        1 => "1 worker".to_owned(),
        several => format!("{several} workers"),
    };
    let host = situation.fullest();
    match name {
        Bottleneck::None if situation.is_idle() => format!("idle: {workers} ready, nothing waits"),
        Bottleneck::None => {
            let candidates = [Resource::Gateway, Resource::Decode, Resource::Inference, Resource::Cpu];
            let by_use = |a: &Resource, b: &Resource| situation.saturation(*a).total_cmp(&situation.saturation(*b));
            let busiest = candidates.into_iter().max_by(by_use).unwrap_or(Resource::Cpu);
            format!("nothing is saturated: the busiest is {} ({} busy)", busiest.as_str(), percent(busiest))
        }
        Bottleneck::Workers if situation.workers == 0 => {
            format!("no worker is there, and {} jobs wait", situation.waiting)
        }
        Bottleneck::Workers => {
            format!("too few workers: {workers}, {} busy, and cores are free", percent(Resource::Inference))
        }
        Bottleneck::Inference => {
            let threads: f64 = situation.hosts.iter().map(|host| host.session_threads).sum();
            let busy = percent(Resource::Inference);
            format!("inference is saturated ({busy} busy: {workers}, {threads:.0} session threads)")
        }
        Bottleneck::Decode => {
            let threads = situation.decode.capacity;
            format!("decoding is saturated ({} busy, {threads:.0} decode threads)", percent(Resource::Decode))
        }
        Bottleneck::Gateway => {
            let threads = situation.gateway.capacity;
            format!("the gateway is saturated ({} busy, {threads:.0} threads)", percent(Resource::Gateway))
        }
        Bottleneck::Cpu if situation.is_oversubscribed() => {
            let (threads, cores) = (host.session_threads, host.cpu.capacity);
            format!("the cores are oversubscribed: {threads:.0} session threads on {cores:.0} cores ({workers})")
        }
        Bottleneck::Cpu => {
            let (busy, cores) = (host.cpu.busy, host.cpu.capacity);
            format!("the cores are used up ({busy:.2} of {cores:.0}), {:.2} of them by others", situation.others())
        }
        Bottleneck::Broker => {
            let ms = 1e3 * situation.broker_time();
            let share = percent(Resource::Broker);
            format!("the broker is slow: a prediction spends {ms:.0} ms of its time with it ({share})")
        }
    }
}

fn round(value: f64, places: i32) -> f64 {
    let factor = 10f64.powi(places);
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::super::rule::examples::{decode_bound, inference_bound, slow_broker, too_few_workers};
    use super::*;

    #[test]
    fn verdicts_are_sentences_with_numbers() {
        let said = |situation| attribute(situation).sentence;
        let int8 = Situation { int8_would_help: true, ..inference_bound() };
        assert_eq!(
            said(int8),
            "inference is saturated (98 % busy: 1 worker, 2 session threads); an int8 model, about 2.6 × the \
             throughput; another worker will not help on this host: CPU 1.98 of 2 cores."
        );
        assert_eq!(
            said(too_few_workers()),
            "too few workers: 1 worker, 98 % busy, and cores are free; another worker: CPU 1.04 of 2 cores, about \
             1.9 × the throughput."
        );
        assert!(said(decode_bound()).starts_with("decoding is saturated (97 % busy, 1 decode threads)"));
        assert!(said(slow_broker()).starts_with("the broker is slow: a prediction spends 100 ms"));
        let idle = Situation { workers: 2, ..Situation::default() };
        assert_eq!(said(idle), "idle: 2 workers ready, nothing waits.");
    }

    #[test]
    fn headroom_is_what_the_busiest_resource_leaves() {
        let mut half = inference_bound();
        half.inference = Use { busy: 0.5, capacity: 1.0 };
        half.hosts[0].cpu.busy = 0.8;
        assert_eq!(attribute(half).headroom, Some(45.0));
        let idle = |speed, busy| {
            let mut hosts = inference_bound().hosts;
            hosts[0].cpu.busy = busy;
            attribute(Situation { workers: 1, speed, hosts, ..Situation::default() }).headroom
        };
        assert_eq!(idle(50.0, 0.0), Some(50.0));
        // A tiny model's sessions are not what limits it.
        assert_eq!(idle(500_000.0, 0.0), Some(13_333.3));
        // Two threads, and others have three quarters of the cores.
        assert_eq!(idle(50.0, 1.5), Some(12.5));
        assert_eq!(attribute(Situation::default()).headroom, None);
    }

    #[test]
    fn a_few_requests_do_not_pay_for_what_a_fleet_uses_without_any() {
        let mut few = Situation { answered: 2.0, inferred: 2.0, speed: 50.0, ..inference_bound() };
        few.inference.busy = 0.04 * few.inference.capacity;
        (few.gateway.busy, few.decode.busy) = (0.03 * few.gateway.capacity, 0.0);
        (few.hosts[0].cpu.busy, few.hosts[0].own) = (0.3, 0.06);
        // Two session threads, and a core and seven tenths are free for them.
        assert_eq!(attribute(few.clone()).headroom, Some(42.5));
        // From here on they are believed.
        few.inference.busy = 0.05 * few.inference.capacity;
        assert!(attribute(few).headroom.is_some_and(|room| room < 20.0));
    }
}
