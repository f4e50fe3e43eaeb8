//! How many workers a load asks for.
//!
//! With arrivals `λ` (jobs a second), service time `s` (seconds per image and worker) and target
//! utilisation `ρ`, arrivals alone ask for `λ s / ρ` workers: `λ s` that work (Little's law) and
//! headroom for chance.
//!
//! A backlog asks for more. A worker ordered now is ready after the start-up time `T`; until then
//! the workers that are there or coming give `capacity` worker-seconds, and what is left of the work
//! then is `R = max(0, B s + λ s T - capacity)`. That has to be done within `H = max(target delay,
//! T/2, s)`: a worker that is not used for at least half the time that its start takes is not worth
//! it, and a job is not divided among workers. (Simulated: with `T` instead of `T/2` recovery from a
//! step takes 7 s longer where a start takes 30 s, with `T/3` 3 s less and 3 % more workers.) So
//!
//! `wanted = λ s + max(λ s (1/ρ - 1), R / H)`
//!
//! The headroom drains too, which is why the larger of the two counts and not the sum.

/// A load, all finite and not negative.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Jobs a second.
    pub arrivals: f64,
    /// Seconds of one worker per image.
    pub service: f64,
    /// Jobs that wait.
    pub backlog: f64,
    /// Seconds from order to ready.
    pub startup: f64,
    /// Worker-seconds that workers ready or coming give within `startup`.
    pub capacity: f64,
}

impl Load {
    /// Workers wanted, not rounded. Rises with arrivals, service time and backlog.
    pub fn wanted(&self, target_utilisation: f64, target_delay: f64) -> f64 {
        let working = self.arrivals * self.service;
        let headroom = working * (1.0 / target_utilisation - 1.0);
        let left = (self.backlog * self.service + working * self.startup - self.capacity).max(0.0);
        let within = target_delay.max(self.startup / 2.0).max(self.service);
        working + headroom.max(left / within)
    }
}

/// A whole number of workers for what is wanted. Any load at all is worth one worker; above that a
/// fraction counts unless it is within `tolerance`, relative. Not a number counts as nothing.
pub fn whole_workers(wanted: f64, tolerance: f64) -> usize {
    match wanted > 0.0 {
        // The cast saturates.
        true => ((wanted * (1.0 - tolerance)).ceil() as usize).max(1),
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(arrivals: f64) -> Load {
        Load { arrivals, service: 0.1, startup: 1.0, capacity: 100.0, ..Load::default() }
    }

    #[test]
    fn arrivals_ask_for_their_work_over_the_utilisation() {
        assert!((steady(30.0).wanted(0.75, 2.0) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_little_load_is_one_worker() {
        assert_eq!(whole_workers(steady(2.25).wanted(0.75, 2.0), 0.05), 1);
        assert_eq!(whole_workers(1e-12, 0.05), 1);
        assert_eq!(whole_workers(0.0, 0.05), 0);
        assert_eq!(whole_workers(f64::NAN, 0.05), 0);
        assert_eq!(whole_workers(4.15, 0.05), 4);
        assert_eq!(whole_workers(4.25, 0.05), 5);
    }

    #[test]
    fn a_backlog_drains_within_the_target_delay() {
        // 200 jobs of 0.1 s within 2 s: ten workers.
        let load = Load { arrivals: 0.0, service: 0.1, backlog: 200.0, ..Load::default() };
        assert!((load.wanted(0.75, 2.0) - 10.0).abs() < 1e-9);
        // What those who are there do in the meantime needs no new worker.
        assert_eq!(Load { startup: 1.0, capacity: 20.0, ..load }.wanted(0.75, 2.0), 0.0);
    }

    #[test]
    fn no_more_workers_than_jobs() {
        let load = Load { service: 60.0, backlog: 3.0, ..Load::default() };
        assert!((load.wanted(0.75, 2.0) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn more_load_never_asks_for_less() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let load = Load {
                arrivals: random.f64() * 100.0,
                service: random.f64() * 5.0,
                backlog: random.f64() * 1000.0,
                startup: random.f64() * 40.0,
                capacity: random.f64() * 400.0,
            };
            let more = random.f64() * 10.0;
            let wanted = |load: Load| load.wanted(0.75, 2.0) + 1e-9;
            assert!(wanted(Load { arrivals: load.arrivals + more, ..load }) >= wanted(load) - 1e-9);
            assert!(wanted(Load { service: load.service + more, ..load }) >= wanted(load) - 1e-9, "{load:?}");
            assert!(wanted(Load { backlog: load.backlog + more, ..load }) >= wanted(load) - 1e-9);
            assert!(whole_workers(wanted(load), 0.05) <= whole_workers(wanted(load) + more, 0.05));
        }
    }
}
