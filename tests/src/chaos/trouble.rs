//! A seeded schedule of kills and pauses. What is killed comes back at once; what is paused goes on.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use rustix::process::Signal;

use crate::bus::Streams;
use crate::eventually;
use crate::fleet::Fleet;

/// What happens to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// SIGKILL, and another one starts.
    KillWorker,
    /// SIGSTOP for longer or shorter than `ack_wait`.
    PauseWorker,
    /// SIGTERM, and another one starts.
    DrainWorker,
    /// SIGKILL, and it starts again at the same address.
    KillGateway,
    /// SIGTERM, and it starts again at the same address.
    DrainGateway,
    /// SIGKILL, and it starts again on the same store; of a cluster, mostly the jobs' leader.
    KillNats,
    /// SIGSTOP for a moment.
    PauseNats,
}

impl Trouble {
    /// A cluster is there to lose servers: one trouble of three is theirs.
    fn next(rng: &mut Rng, cluster: bool) -> Self {
        match rng.u8(0..if cluster { 20 } else { 14 }) {
            0..5 => Self::KillWorker,
            5..7 => Self::PauseWorker,
            7 => Self::DrainWorker,
            8..11 => Self::KillGateway,
            11 => Self::DrainGateway,
            13 => Self::PauseNats,
            _ => Self::KillNats,
        }
    }

    fn is_kill(self) -> bool {
        matches!(self, Self::KillWorker | Self::KillGateway | Self::KillNats)
    }
}

/// What has happened.
#[derive(Default)]
pub struct Troubles(BTreeMap<Trouble, u32>);

impl Troubles {
    /// SIGKILLs so far.
    pub fn kills(&self) -> u32 {
        self.0.iter().filter(|(trouble, _)| trouble.is_kill()).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kills:", self.kills())?;
        self.0.iter().try_for_each(|(trouble, count)| write!(f, " {trouble:?} {count}"))
    }
}

/// Who makes trouble for a fleet.
pub struct Troublemaker {
    rng: Rng,
    /// Workers from here on are the ones that may be killed.
    first_worker: usize,
    troubles: Troubles,
}

impl Troublemaker {
    /// Everything follows `seed`. Processes before `first_worker` are left alone.
    pub fn new(seed: u64, first_worker: usize) -> Self {
        Self { rng: Rng::with_seed(seed), first_worker, troubles: Troubles::default() }
    }

    /// What has happened.
    pub fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    /// A pause, and the next trouble.
    pub fn strike(&mut self, fleet: &mut Fleet) {
        std::thread::sleep(Duration::from_millis(self.rng.u64(100..900)));
        let trouble = Trouble::next(&mut self.rng, fleet.nats.size() > 1);
        *self.troubles.0.entry(trouble).or_default() += 1;
        let worker = self.rng.usize(self.first_worker..fleet.workers.len());
        let gateway = self.rng.usize(0..fleet.gateways.len());
        self.make(trouble, worker, gateway, fleet);
    }

    fn make(&mut self, trouble: Trouble, worker: usize, gateway: usize, fleet: &mut Fleet) {
        match trouble {
            Trouble::KillWorker => {
                fleet.workers.remove(worker).kill();
                fleet.add_worker();
            }
            Trouble::DrainWorker => {
                let mut leaving = fleet.workers.remove(worker);
                leaving.signal(Signal::TERM);
                fleet.add_worker();
                leaving.wait();
            }
            Trouble::PauseWorker => {
                fleet.workers[worker].signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(self.rng.u64(200..2500)));
                fleet.workers[worker].signal(Signal::CONT);
            }
            Trouble::KillGateway => fleet.restart_gateway(gateway),
            Trouble::DrainGateway => {
                fleet.gateways[gateway].0.signal(Signal::TERM);
                fleet.gateways[gateway].0.wait();
                fleet.restart_gateway(gateway);
            }
            Trouble::KillNats => {
                wait_until_whole(fleet);
                let node = self.nats_node(fleet);
                fleet.nats.kill_node(node);
                std::thread::sleep(Duration::from_millis(self.rng.u64(0..1500)));
                fleet.nats.restart_node(node);
            }
            Trouble::PauseNats => {
                let node = self.nats_node(fleet);
                fleet.nats.signal_node(node, Signal::STOP);
                std::thread::sleep(Duration::from_millis(self.rng.u64(100..1500)));
                fleet.nats.signal_node(node, Signal::CONT);
            }
        }
    }

    fn nats_node(&mut self, fleet: &Fleet) -> usize {
        let random = self.rng.usize(0..fleet.nats.size());
        if self.rng.u8(0..4) == 0 { random } else { leader(fleet).unwrap_or(random) }
    }
}

/// The server that leads the stream of jobs; they are called n1, n2, n3.
pub fn leader(fleet: &Fleet) -> Option<usize> {
    if fleet.nats.size() == 1 {
        return Some(0);
    }
    let name = Streams::connect(&fleet.nats.url()).leader("JOBS")?;
    Some(name.strip_prefix('n')?.parse::<usize>().ok()? - 1)
}

/// Three copies bear the loss of one server at a time: the next is killed when every stream that
/// holds what was accepted has all of its copies again.
pub fn wait_until_whole(fleet: &Fleet) {
    if fleet.nats.size() == 1 {
        return;
    }
    let streams = Streams::connect(&fleet.nats.url());
    for stream in ["JOBS", "RESULTS", "DEAD", "KV_shoal_jobs", "KV_shoal_attempts"] {
        eventually("every copy has caught up", || streams.is_whole(stream));
    }
}
