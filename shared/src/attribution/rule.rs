//! The rule: which part's saturation explains the delay.
//!
//! By the utilisation law, a resource is in use for the busy seconds that it spends in a second, and
//! nothing can be worked off faster than its busiest resource allows. By Little's law, what is saturated
//! has a queue in front of it, and the queue is the delay. So the saturated resource is named; when none
//! is, the delay can only be the way through the broker, or there is none to explain.

use serde::{Deserialize, Serialize};

use super::situation::{Resource, Situation};

/// Utilisation from which a resource counts as saturated. At 0.85 the mean wait in front of a single
/// server with random arrivals is already 5.7 times its service time (M/M/1: ρ / (1 − ρ)).
pub const SATURATED: f64 = 0.85;
/// The same for cores, which many threads share: those that wait are the scheduler's.
pub const CPU_SATURATED: f64 = 0.9;
/// Below this, sessions and decode threads are waiting for work: what waits in the stream waits for the
/// broker.
const AT_LEISURE: f64 = 0.7;
/// Share of a prediction's time that makes the broker the explanation.
const BROKER_SHARE: f64 = 0.5;
/// A healthy broker needs less than a millisecond; below this it is no explanation of anything.
const BROKER_LEAST: f64 = 0.005;
/// Session threads for each core beyond which they are in each other's way.
const OVERSUBSCRIBED: f64 = 1.25;
/// Part of the cores that others may use before they are the explanation.
const OTHERS: f64 = 0.5;
/// Less than this a second is no load.
const IDLE: f64 = 0.1;

/// The part whose saturation explains the delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bottleneck {
    /// Nothing is saturated.
    None,
    /// The gateway's runtime.
    Gateway,
    /// The broker.
    Broker,
    /// Decode threads.
    Decode,
    /// Sessions, on hosts whose cores are used up by them.
    Inference,
    /// Too few workers: sessions are saturated and cores are free, or there is no worker at all.
    Workers,
    /// The cores: more threads than cores, or somebody else.
    Cpu,
}

impl Bottleneck {
    /// Every name.
    pub const ALL: [Bottleneck; 7] = [
        Bottleneck::None,
        Bottleneck::Gateway,
        Bottleneck::Broker,
        Bottleneck::Decode,
        Bottleneck::Inference,
        Bottleneck::Workers,
        Bottleneck::Cpu,
    ];

    /// Word in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Bottleneck::None => "none",
            Bottleneck::Gateway => "gateway",
            Bottleneck::Broker => "broker",
            Bottleneck::Decode => "decode",
            Bottleneck::Inference => "inference",
            Bottleneck::Workers => "workers",
            Bottleneck::Cpu => "cpu",
        }
    }
}

impl Situation {
    /// Whether there is nothing to explain.
    pub fn is_idle(&self) -> bool {
        self.answered < IDLE && self.inferred < IDLE && self.refused < IDLE && self.waiting == 0
    }

    /// Utilisation of a resource, 0 to 1. The broker's is the share of a computed prediction's time
    /// that is spent with it.
    pub fn saturation(&self, resource: Resource) -> f64 {
        match resource {
            Resource::Gateway => self.gateway.ratio(),
            Resource::Decode => self.decode.ratio(),
            Resource::Inference => self.inference.ratio(),
            Resource::Cpu => self.fullest().cpu.ratio(),
            Resource::Broker => {
                let (time, total) = (self.broker_time(), self.stages.total());
                if time >= BROKER_LEAST && total > 0.0 { (time / total).min(1.0) } else { 0.0 }
            }
        }
    }

    /// Seconds that a computed prediction spends with the broker. Time in the stream counts while
    /// workers wait for work.
    pub fn broker_time(&self) -> f64 {
        let at_leisure = self.decode.ratio() < AT_LEISURE && self.inference.ratio() < AT_LEISURE;
        let queue = if at_leisure { self.stages.get("queue") } else { 0.0 };
        self.stages.get("publish") + self.stages.get("store") + self.stages.get("reply") + queue
    }

    /// Whether the cores of the fullest host are used up.
    pub fn is_cpu_saturated(&self) -> bool {
        self.fullest().cpu.ratio() >= CPU_SATURATED
    }

    /// Whether sessions have more threads than there are cores.
    pub fn is_oversubscribed(&self) -> bool {
        let host = self.fullest();
        host.session_threads > host.cpu.capacity * OVERSUBSCRIBED
    }

    /// Cores of the fullest host that neither workers nor this gateway use.
    pub fn others(&self) -> f64 {
        let host = self.fullest();
        (host.cpu.busy - host.own).max(0.0)
    }

    fn is_crowded_out(&self) -> bool {
        self.others() > self.fullest().cpu.capacity * OTHERS
    }

    /// The part whose saturation explains the delay.
    pub fn bottleneck(&self) -> Bottleneck {
        if self.workers == 0 && (self.waiting > 0 || self.refused >= IDLE) {
            return Bottleneck::Workers;
        }
        if self.is_idle() {
            return Bottleneck::None;
        }
        // The last of equals counts: what is further down the path holds up what is before it.
        let candidates = [Resource::Gateway, Resource::Decode, Resource::Inference];
        let busiest = candidates.into_iter().max_by(|a, b| self.saturation(*a).total_cmp(&self.saturation(*b)));
        let saturated = busiest.filter(|busiest| self.saturation(*busiest) >= SATURATED);
        match saturated {
            Some(Resource::Gateway) => Bottleneck::Gateway,
            Some(Resource::Inference | Resource::Decode)
                if self.is_cpu_saturated() && (self.is_oversubscribed() || self.is_crowded_out()) =>
            {
                Bottleneck::Cpu
            }
            Some(Resource::Decode) => Bottleneck::Decode,
            Some(_) if !self.is_cpu_saturated() => Bottleneck::Workers,
            Some(_) => Bottleneck::Inference,
            None if self.is_cpu_saturated() => Bottleneck::Cpu,
            None if self.saturation(Resource::Broker) >= BROKER_SHARE => Bottleneck::Broker,
            None => Bottleneck::None,
        }
    }
}

#[cfg(test)]
pub(super) mod examples {
    use super::super::situation::{HostUse, Situation, StageTimes, Use};

    /// Two cores, one worker with two threads, ResNet-50 at its limit.
    pub(in super::super) fn inference_bound() -> Situation {
        let mut stages = StageTimes::default();
        for (stage, seconds) in [("receive", 0.001), ("queue", 1.2), ("decode", 0.002), ("infer", 0.15)] {
            stages.set(stage, seconds);
        }
        Situation {
            answered: 45.0,
            computed: 45.0,
            inferred: 45.0,
            stages,
            gateway: Use { busy: 0.05, capacity: 2.0 },
            decode: Use { busy: 0.2, capacity: 2.0 },
            inference: Use { busy: 0.98, capacity: 1.0 },
            workers: 1,
            hosts: vec![HostUse {
                host: "here".into(),
                cpu: Use { busy: 1.98, capacity: 2.0 },
                own: 1.9,
                session_threads: 2.0,
            }],
            waiting: 60,
            wait: 1.3,
            speed: 50.0,
            ..Situation::default()
        }
    }

    /// The same worker with one thread: a core is free.
    pub(in super::super) fn too_few_workers() -> Situation {
        let mut situation = inference_bound();
        situation.hosts[0] =
            HostUse { host: "here".into(), cpu: Use { busy: 1.04, capacity: 2.0 }, own: 1.0, session_threads: 1.0 };
        situation.answered = 25.0;
        situation.inferred = 25.0;
        situation.decode = Use { busy: 0.05, capacity: 1.0 };
        situation
    }

    /// Large photographs, a small model, one decode thread.
    pub(in super::super) fn decode_bound() -> Situation {
        Situation {
            decode: Use { busy: 0.97, capacity: 1.0 },
            inference: Use { busy: 0.03, capacity: 1.0 },
            ..too_few_workers()
        }
    }

    /// Nothing is busy, and every message takes 20 ms.
    pub(in super::super) fn slow_broker() -> Situation {
        let mut situation = too_few_workers();
        situation.inference.busy = 0.1;
        situation.stages = StageTimes::default();
        for (stage, seconds) in [("publish", 0.04), ("queue", 0.02), ("infer", 0.01), ("store", 0.04)] {
            situation.stages.set(stage, seconds);
        }
        situation
    }
}

#[cfg(test)]
mod tests {
    use super::super::situation::{HostUse, Situation, StageTimes, Use};
    use super::examples::{decode_bound, inference_bound, slow_broker, too_few_workers};
    use super::*;

    #[test]
    fn six_situations_and_none_are_told_apart() {
        assert_eq!(inference_bound().bottleneck(), Bottleneck::Inference);
        assert_eq!(too_few_workers().bottleneck(), Bottleneck::Workers);
        assert_eq!(decode_bound().bottleneck(), Bottleneck::Decode);
        assert_eq!(slow_broker().bottleneck(), Bottleneck::Broker);

        let mut oversubscribed = inference_bound();
        oversubscribed.hosts[0].session_threads = 4.0;
        oversubscribed.inference = Use { busy: 3.9, capacity: 4.0 };
        assert_eq!(oversubscribed.bottleneck(), Bottleneck::Cpu);

        let gateway = Situation {
            gateway: Use { busy: 0.99, capacity: 1.0 },
            inference: Use { busy: 0.0, capacity: 1.0 },
            computed: 0.0,
            ..too_few_workers()
        };
        assert_eq!(gateway.bottleneck(), Bottleneck::Gateway);

        assert_eq!(Situation { workers: 1, ..Situation::default() }.bottleneck(), Bottleneck::None);
        let mut busy_enough = inference_bound();
        busy_enough.inference.busy = 0.5;
        busy_enough.hosts[0].cpu.busy = 1.1;
        busy_enough.stages.set("queue", 0.002);
        assert_eq!(busy_enough.bottleneck(), Bottleneck::None);
    }

    #[test]
    fn no_worker_is_a_lack_of_workers_only_when_somebody_waits() {
        let nobody = Situation { workers: 0, ..Situation::default() };
        assert_eq!(nobody.bottleneck(), Bottleneck::None);
        assert_eq!(Situation { waiting: 1, ..nobody.clone() }.bottleneck(), Bottleneck::Workers);
        assert_eq!(Situation { refused: 5.0, ..nobody }.bottleneck(), Bottleneck::Workers);
    }

    #[test]
    fn somebody_else_on_the_cores_is_named_cpu() {
        let mut crowded = inference_bound();
        crowded.hosts[0].own = 0.7;
        assert_eq!(crowded.bottleneck(), Bottleneck::Cpu);
        crowded.inference.busy = 0.5;
        assert_eq!(crowded.bottleneck(), Bottleneck::Cpu);
    }

    #[test]
    fn a_quick_broker_is_never_blamed() {
        let mut quick = slow_broker();
        quick.stages = StageTimes::default();
        quick.stages.set("publish", 0.0008);
        quick.stages.set("infer", 0.0002);
        assert_eq!(quick.bottleneck(), Bottleneck::None);
    }

    #[test]
    fn the_fullest_host_counts() {
        let mut situation = too_few_workers();
        let full = HostUse { cpu: Use { busy: 3.9, capacity: 4.0 }, own: 3.9, session_threads: 4.0, host: "b".into() };
        situation.hosts.push(full);
        assert_eq!(situation.bottleneck(), Bottleneck::Inference);
    }
}
