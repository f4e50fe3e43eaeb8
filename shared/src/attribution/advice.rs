//! What would help, and by how much.
//!
//! The gain of more of one resource is bounded by what it grows by, by the free cores (every prediction
//! costs the CPU what it costs), and by whatever would be saturated next: by the utilisation law a
//! resource at utilisation U carries 1/U of what it carries now.

use serde::{Deserialize, Serialize};

use super::rule::Bottleneck;
use super::situation::{Resource, Situation};

/// Speed of ResNet-50 in int8 over fp32 on processors with instructions for it, as `make bench` has
/// measured it on the same cores (docs/benchmark.md: 116.8 and 44.8 images a second).
pub const INT8_GAIN: f64 = 2.6;

/// Something that could be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// What, in words.
    pub what: String,
    /// Factor on the throughput; 1 when it would not help, absent when it is not known.
    pub gain: Option<f64>,
}

impl Advice {
    fn new(what: impl Into<String>, gain: f64) -> Self {
        Self { what: what.into(), gain: Some((gain * 100.0).round() / 100.0) }
    }

    fn unknown(what: impl Into<String>) -> Self {
        Self { what: what.into(), gain: None }
    }
}

impl Situation {
    /// The most that the throughput can grow when everything but `resource` stays as it is.
    fn room_beside(&self, resource: Resource) -> f64 {
        let others = [Resource::Gateway, Resource::Decode, Resource::Inference, Resource::Cpu];
        let room = |other: &Resource| 1.0 / self.saturation(*other).max(1e-3);
        others.iter().filter(|other| **other != resource).map(room).fold(f64::INFINITY, f64::min).max(1.0)
    }

    /// One worker more: decode threads come with it.
    fn another_worker(&self) -> f64 {
        let workers = self.workers.max(1) as f64;
        let grown = (workers + 1.0) / workers;
        let cores = 1.0 / self.saturation(Resource::Cpu).max(1e-3);
        let gateway = 1.0 / self.saturation(Resource::Gateway).max(1e-3);
        grown.min(cores).min(gateway).max(1.0)
    }

    /// A quantised model: the sessions' part of the cores shrinks, the rest stays (Amdahl's law).
    fn int8(&self) -> f64 {
        let host = self.fullest();
        let threads: f64 = self.hosts.iter().map(|host| host.session_threads).sum();
        let computing = self.inference.ratio() * threads.min(host.cpu.capacity);
        let part = if host.cpu.busy > 0.0 { (computing / host.cpu.busy).min(1.0) } else { 1.0 };
        1.0 / (1.0 - part + part / INT8_GAIN)
    }

    /// What could be done about a bottleneck, the best first.
    pub(super) fn advice(&self, bottleneck: Bottleneck) -> Vec<Advice> {
        let host = self.fullest();
        let cores = format!("CPU {:.2} of {:.0} cores", host.cpu.busy, host.cpu.capacity);
        let mut advice = Vec::new();
        match bottleneck {
            Bottleneck::None => {}
            Bottleneck::Workers if self.workers == 0 => advice.push(Advice::unknown("start a worker")),
            Bottleneck::Workers => {
                advice.push(Advice::new(format!("another worker: {cores}"), self.another_worker()));
            }
            Bottleneck::Inference => {
                if self.int8_would_help {
                    advice.push(Advice::new("an int8 model", self.int8()));
                }
                advice.push(Advice::new(format!("another worker will not help on this host: {cores}"), 1.0));
                advice.push(Advice::unknown("workers on another host, each as much again as this one"));
            }
            Bottleneck::Decode => {
                let threads = self.decode.capacity;
                let per_worker = threads / self.workers.max(1) as f64;
                let grown = ((per_worker + 1.0) / per_worker.max(1.0)).min(self.room_beside(Resource::Decode));
                if self.is_cpu_saturated() {
                    advice.push(Advice::new(format!("more decode threads will not help: {cores}"), 1.0));
                    advice.push(Advice::unknown("uploads that are nearer to the size that the model takes"));
                } else {
                    let next = per_worker + 1.0;
                    advice.push(Advice::new(format!("worker.decode_threads = {next:.0}: {cores}"), grown));
                }
            }
            Bottleneck::Gateway => {
                if self.is_cpu_saturated() {
                    advice.push(Advice::unknown("a gateway on another host"));
                    advice.push(Advice::new(format!("another gateway will not help on this host: {cores}"), 1.0));
                } else {
                    let threads = self.gateway.capacity.max(1.0);
                    let gain = ((threads + 1.0) / threads).min(self.room_beside(Resource::Gateway));
                    advice.push(Advice::new(format!("another gateway, or more gateway.threads: {cores}"), gain));
                }
            }
            Bottleneck::Cpu => {
                if self.is_oversubscribed() {
                    let fewer = "fewer workers, or fewer threads each (worker.threads): their sum should be the cores";
                    advice.push(Advice::unknown(fewer));
                }
                advice.push(Advice::new(format!("another worker will not help: {cores}"), 1.0));
                if self.others() > 0.2 * host.cpu.capacity {
                    let others = self.others();
                    advice.push(Advice::unknown(format!("move what else runs there: it keeps {others:.1} cores busy")));
                }
            }
            Bottleneck::Broker => {
                advice.push(Advice::unknown("look at NATS: its network, its disk, its CPU"));
                advice.push(Advice::new("another worker will not help", 1.0));
            }
        }
        advice
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::examples::{decode_bound, inference_bound, too_few_workers};
    use super::*;

    fn gain(situation: &Situation) -> f64 {
        situation.advice(situation.bottleneck())[0].gain.unwrap()
    }

    #[test]
    fn another_worker_is_worth_the_cores_that_are_free() {
        assert_eq!(gain(&too_few_workers()), 1.92);
        let mut tight = too_few_workers();
        tight.hosts[0].cpu.busy = 1.6;
        assert_eq!(gain(&tight), 1.25);
    }

    #[test]
    fn int8_shrinks_the_sessions_part_only() {
        let situation = Situation { int8_would_help: true, ..inference_bound() };
        let gain = gain(&situation);
        assert!((2.4..2.6).contains(&gain), "{gain}");
        // Not offered for a model that is one already.
        assert_eq!(inference_bound().advice(Bottleneck::Inference)[0].gain, Some(1.0));
    }

    #[test]
    fn another_decode_thread_doubles_one() {
        let gain = gain(&decode_bound());
        assert!((1.9..=2.0).contains(&gain), "{gain}");
    }
}
