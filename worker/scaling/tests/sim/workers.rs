//! Simulated workers: one job at a time, first come, first served.

use std::collections::VecDeque;
use std::time::Duration;

use shoal_scaling::Heartbeat;

/// Weight of the newest job in a worker's own measurement of its time per image.
const SMOOTHING: f64 = 0.05;

/// Time to the next event of a Poisson process of rate 1.
pub fn after(random: &mut fastrand::Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}

pub struct Starting {
    pub since: f64,
    ready_at: f64,
    speed: f64,
}

pub struct Worker {
    speed: f64,
    /// When the job came, what is left of its work, and the time spent on it.
    job: Option<(f64, f64, f64)>,
    seconds_per_image: f64,
    busy: f64,
    heard_at: f64,
    pub draining: bool,
}

pub struct Workers {
    pub running: Vec<Worker>,
    pub starting: Vec<Starting>,
    pub started_in: Vec<f64>,
    speeds: &'static [f64],
    service: f64,
    born: usize,
}

impl Worker {
    /// Whether there is work: the job in hand, or the next.
    pub fn take(
        &mut self,
        waiting: &mut VecDeque<f64>,
        now: f64,
        waits: &mut Vec<(f64, f64)>,
        work: impl FnOnce() -> f64,
    ) -> bool {
        if self.job.is_none() && !self.draining {
            self.job = waiting.pop_front().map(|came| {
                waits.push((came, (now - came).max(0.0)));
                (came, work(), 0.0)
            });
        }
        self.job.is_some()
    }

    /// Works for at most `time`; returns what of it was used and whether the job is done.
    pub fn work(&mut self, time: f64, share: f64) -> (f64, bool) {
        let Some((came, left, spent)) = self.job else { return (time, false) };
        let speed = self.speed * share;
        let used = (left / speed).min(time);
        self.busy += used;
        let done = used * speed >= left - 1e-12;
        self.job = (!done).then_some((came, left - used * speed, spent + used));
        if done {
            self.seconds_per_image += SMOOTHING * (spent + used - self.seconds_per_image);
        }
        (used, done)
    }
}

impl Workers {
    pub fn new(speeds: &'static [f64], service: f64) -> Self {
        Self { running: Vec::new(), starting: Vec::new(), started_in: Vec::new(), speeds, service, born: 0 }
    }

    fn next_speed(&mut self) -> f64 {
        self.born += 1;
        self.speeds[(self.born - 1) % self.speeds.len()]
    }

    fn join(&mut self, speed: f64, now: f64) {
        let seconds_per_image = self.service / speed;
        self.running.push(Worker { speed, job: None, seconds_per_image, busy: 0.0, heard_at: now, draining: false });
    }

    pub fn ready_at_once(&mut self, count: usize) {
        for _ in 0..count {
            let speed = self.next_speed();
            self.join(speed, 0.0);
        }
    }

    pub fn become_ready(&mut self, now: f64) {
        let (ready, starting) = self.starting.drain(..).partition(|starting: &Starting| starting.ready_at <= now);
        self.starting = starting;
        for Starting { since, speed, .. } in ready {
            self.started_in.push(now - since);
            self.join(speed, now);
        }
    }

    /// Some worker dies; returns what it held.
    pub fn one_dies(&mut self, random: &mut fastrand::Rng) -> Option<Option<f64>> {
        if self.running.is_empty() {
            return None;
        }
        let worker = self.running.swap_remove(random.usize(0..self.running.len()));
        Some(worker.job.map(|(came, ..)| came))
    }

    pub fn write_off(&mut self, count: usize) {
        self.starting.drain(..count.min(self.starting.len()));
    }

    /// Starts or drains until `to` are there or coming; what is not ready goes first, then the slowest.
    pub fn adjust(&mut self, to: usize, now: f64, startup: f64) {
        let staying = |workers: &Self| workers.running.iter().filter(|worker| !worker.draining).count();
        while staying(self) + self.starting.len() < to {
            let speed = self.next_speed();
            self.starting.push(Starting { since: now, ready_at: now + startup, speed });
        }
        while staying(self) + self.starting.len() > to {
            if self.starting.pop().is_none() {
                let staying = self.running.iter_mut().filter(|worker| !worker.draining);
                let slowest = staying.max_by(|a, b| a.seconds_per_image.total_cmp(&b.seconds_per_image));
                slowest.unwrap().draining = true;
            }
        }
    }

    pub fn gone(&mut self) {
        self.running.retain(|worker| !worker.draining || worker.job.is_some());
    }

    pub fn heartbeats(&mut self, now: f64) -> impl Iterator<Item = Heartbeat> {
        self.running.iter_mut().filter(|worker| !worker.draining).map(move |worker| {
            let busy = worker.busy / (now - worker.heard_at).max(0.01);
            (worker.busy, worker.heard_at) = (0.0, now);
            Heartbeat { age: Duration::ZERO, busy, seconds_per_image: worker.seconds_per_image }
        })
    }

    /// Workers that will have work in the coming step.
    pub fn active(&self, waiting: usize) -> usize {
        let working = self.running.iter().filter(|worker| worker.job.is_some()).count();
        let idle = self.running.iter().filter(|worker| worker.job.is_none() && !worker.draining).count();
        working + idle.min(waiting)
    }

    pub fn held(&self) -> u64 {
        self.running.iter().filter(|worker| worker.job.is_some()).count() as u64
    }

    pub fn count(&self) -> usize {
        self.running.len() + self.starting.len()
    }

    pub fn is_none(&self) -> bool {
        self.count() == 0
    }
}
