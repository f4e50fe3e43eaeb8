//! A fleet in virtual time: seeded arrivals, a queue, workers that start, work, drain and die, the
//! host's cores, and a supervisor that carries out what the policy decides once a second. Steps of
//! 10 ms; service is followed exactly within a step.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod oracle;
pub mod outcome;
mod workers;

use std::collections::VecDeque;
use std::time::Duration;

use shoal_scaling::{Action, Cpu, Decision, Heartbeat, Queue, Scaler, Settings, Signals};

use outcome::Outcome;
use workers::{Workers, after};

/// One step, seconds.
const STEP: f64 = 0.01;
/// Steps between looks of the policy.
const LOOK: u64 = 100;
/// What a dead worker held is delivered again after this, seconds.
const ACK_WAIT: f64 = 2.0;

/// What is simulated.
#[derive(Clone)]
pub struct World {
    pub name: &'static str,
    pub settings: Settings,
    /// Jobs a second at a second.
    pub arrivals: fn(f64) -> f64,
    pub seconds: f64,
    /// Mean work of a job: seconds of a worker of speed 1.
    pub service: f64,
    /// Whether the work of a job is exponential or constant.
    pub exponential: bool,
    /// Speeds of workers in the order of their start, over and over.
    pub speeds: &'static [f64],
    /// From order to ready, seconds.
    pub startup: f64,
    /// Work of so many workers that the host can do at once.
    pub cores: f64,
    /// Whether that are cores: then starting takes one too, and the policy sees them. Or else it is
    /// something like the bandwidth of the memory, which shows in no signal.
    pub cores_seen: bool,
    /// A worker dies about this often, seconds.
    pub a_death_every: f64,
    /// What is done to the signals on their way.
    pub distort: fn(&mut Signals),
    pub seed: u64,
}

impl World {
    /// A plain fleet with 0.1 s a job that starts a worker within a second.
    pub fn plain(name: &'static str, arrivals: fn(f64) -> f64, seconds: f64) -> Self {
        Self {
            name,
            settings: Settings { max: 20, ..Settings::default() },
            arrivals,
            seconds,
            service: 0.1,
            exponential: true,
            speeds: &[1.0],
            startup: 1.0,
            cores: f64::INFINITY,
            cores_seen: false,
            a_death_every: f64::INFINITY,
            distort: |_| {},
            seed: 1,
        }
    }

    /// Seconds of the mean worker per job.
    pub fn seconds_per_job(&self) -> f64 {
        self.service * self.speeds.len() as f64 / self.speeds.iter().sum::<f64>()
    }
}

/// Everything that moves.
pub struct Fleet<'a> {
    world: &'a World,
    random: fastrand::Rng,
    now: f64,
    waiting: VecDeque<f64>,
    /// Held by workers that died: when they are delivered again, and when they came.
    lost: VecDeque<(f64, f64)>,
    workers: Workers,
    next_arrival: f64,
    next_death: f64,
    published: u64,
    settled: u64,
    busy_cores: f64,
    outcome: Outcome,
}

/// Lets the policy run the fleet from as many workers as the oracle has at the start.
pub fn run(world: &World) -> Outcome {
    let mut scaler = Scaler::new(world.settings.clone());
    let mut fleet = Fleet::new(world);
    for step in 0..(world.seconds / STEP) as u64 {
        fleet.now = step as f64 * STEP;
        let first_job = fleet.arrive() && fleet.workers.is_none();
        if step % LOOK == 0 {
            fleet.outcome.oracle += oracle::paid(world, fleet.now) * LOOK as f64 * STEP;
        }
        if step % LOOK == 0 || first_job {
            fleet.look(&mut scaler);
        }
        fleet.live();
        fleet.work();
    }
    fleet.outcome
}

impl<'a> Fleet<'a> {
    fn new(world: &'a World) -> Self {
        let mut random = fastrand::Rng::with_seed(world.seed);
        let mut workers = Workers::new(world.speeds, world.service);
        workers.ready_at_once(oracle::needed(world, 0.0));
        let next_death = world.a_death_every * after(&mut random);
        let next_arrival = after(&mut random);
        Self {
            world,
            now: 0.0,
            waiting: VecDeque::new(),
            lost: VecDeque::new(),
            workers,
            next_arrival,
            next_death,
            published: 0,
            settled: 0,
            busy_cores: 0.0,
            outcome: Outcome::default(),
            random,
        }
    }

    /// A Poisson process whose rate follows the world: time runs faster as the rate is higher.
    fn arrive(&mut self) -> bool {
        let before = self.published;
        self.next_arrival -= (self.world.arrivals)(self.now) * STEP;
        while self.next_arrival <= 0.0 {
            self.next_arrival += after(&mut self.random);
            self.waiting.push_back(self.now);
            self.published += 1;
        }
        self.published > before
    }

    /// Workers become ready, and one may die.
    fn live(&mut self) {
        self.workers.become_ready(self.now);
        while self.lost.front().is_some_and(|(at, _)| *at <= self.now) {
            let (_, came) = self.lost.pop_front().unwrap();
            self.waiting.push_front(came);
        }
        if self.now >= self.next_death {
            self.next_death = self.now + self.world.a_death_every * after(&mut self.random);
            if let Some(held) = self.workers.one_dies(&mut self.random) {
                self.lost.extend(held.map(|came| (self.now + ACK_WAIT, came)));
            }
        }
    }

    fn work(&mut self) {
        let active = self.workers.active(self.waiting.len());
        let starting = if self.world.cores_seen { self.workers.starting.len() } else { 0 };
        let speed = (self.world.cores / (active + starting) as f64).min(1.0);
        self.busy_cores += ((active + starting) as f64).min(self.world.cores) / LOOK as f64;
        let (now, exponential, service) = (self.now, self.world.exponential, self.world.service);
        for worker in &mut self.workers.running {
            let mut time = STEP;
            while time > 1e-9 {
                if !worker.take(&mut self.waiting, now + STEP - time, &mut self.outcome.waits, || {
                    service * if exponential { after(&mut self.random) } else { 1.0 }
                }) {
                    break;
                }
                let (used, done) = worker.work(time, speed);
                time -= used;
                self.settled += u64::from(done);
            }
        }
        self.workers.gone();
        self.outcome.cost += self.workers.count() as f64 * STEP;
    }

    fn look(&mut self, scaler: &mut Scaler) {
        let decision = scaler.decide(&self.signals());
        self.outcome.note(self.now, self.waiting.front().map_or(0.0, |came| self.now - came), &decision);
        self.carry_out(&decision);
        self.outcome.decisions.extend(
            (decision.changed || !matches!(decision.action, Action::Hold | Action::Refuse)).then_some(decision),
        );
    }

    fn signals(&mut self) -> Signals {
        let seconds = Duration::from_secs_f64;
        let cores = self.world.cores;
        let heartbeats = self.workers.heartbeats(self.now).collect::<Vec<Heartbeat>>();
        let mut signals = Signals {
            at: seconds(self.now),
            queue: Some(Queue {
                pending: self.waiting.len() as u64,
                ack_pending: self.workers.held() + self.lost.len() as u64,
                oldest: self.waiting.front().map(|came| seconds((self.now - came).max(0.0))),
                published: self.published,
                settled: self.settled,
            }),
            ready: heartbeats.len(),
            starting: self.workers.starting.iter().map(|starting| seconds(starting.since)).collect(),
            draining: self.workers.running.iter().filter(|worker| worker.draining).count(),
            heartbeats,
            started_in: self.workers.started_in.drain(..).map(seconds).collect(),
            batch_fill: None,
            cpu: self.world.cores_seen.then_some(Cpu { cores, busy: self.busy_cores.min(cores) }),
            threads: 1,
        };
        self.busy_cores = 0.0;
        (self.world.distort)(&mut signals);
        signals
    }

    fn carry_out(&mut self, decision: &Decision) {
        self.workers.write_off(decision.written_off);
        self.workers.adjust(decision.to, self.now, self.world.startup);
    }
}
