//! When requests are due: pure functions of the phases, the time, and drawn numbers.

use std::time::Duration;

use crate::scenario::{Load, Phase, Spacing};

/// Users that there are to be at a time after the start.
pub fn users_at(phases: &[Phase], at: Duration) -> usize {
    let (mut users, mut begun) = (0.0f64, 0.0);
    let at = at.as_secs_f64();
    for phase in phases {
        let length = phase.duration.as_secs_f64();
        let Load::Users(wanted, spawn) = phase.load() else { return 0 };
        let wanted = wanted as f64;
        let inside = (at - begun).clamp(0.0, length);
        // The first of a second's users comes at its beginning.
        let moved = if spawn.is_finite() { spawn * inside + 1.0 } else { f64::INFINITY };
        users = if wanted >= users { (users + moved).min(wanted) } else { (users - moved).max(wanted) };
        begun += length;
        if at < begun {
            break;
        }
    }
    users as usize
}

/// The times at which requests are due, one after the other, as arrivals of a process whose rate
/// follows the phases.
///
/// Arrivals at a rate that changes are those of rate 1 on a clock that runs at the rate (time change
/// of a Poisson process: Çinlar, Introduction to Stochastic Processes, 1975, 4.7).
pub struct Arrivals {
    phases: Vec<(f64, f64, f64)>,
    spacing: Spacing,
    /// Arrivals expected until now.
    clock: f64,
}

impl Arrivals {
    /// Of phases with rates; each agent has its `share` of them.
    pub fn new(phases: &[Phase], spacing: Spacing, share: f64) -> Self {
        let of = |phase: &Phase| match phase.load() {
            Load::Rate(from, to) => (phase.duration.as_secs_f64(), from * share, to * share),
            Load::Users(..) => (phase.duration.as_secs_f64(), 0.0, 0.0),
        };
        Self { phases: phases.iter().map(of).collect(), spacing, clock: 0.0 }
    }

    /// The next one, from the start; `even` is a number drawn evenly from 0 to 1. `None` at the end.
    pub fn next(&mut self, even: f64) -> Option<Duration> {
        self.clock += match self.spacing {
            Spacing::Poisson => -(1.0 - even).max(f64::MIN_POSITIVE).ln(),
            Spacing::Constant if self.clock == 0.0 => 0.5,
            Spacing::Constant => 1.0,
        };
        self.at(self.clock).map(Duration::from_secs_f64)
    }

    /// When so many arrivals are expected.
    fn at(&self, mut expected: f64) -> Option<f64> {
        let mut begun = 0.0;
        for &(length, from, to) in &self.phases {
            let within = (from + to) / 2.0 * length;
            if expected < within {
                let slope = (to - from) / length;
                // from·t + slope·t²/2 = expected, in the form that holds for slope 0 too.
                let root = (from * from + 2.0 * slope * expected).max(0.0).sqrt();
                return Some(begun + 2.0 * expected / (from + root));
            }
            expected -= within;
            begun += length;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn users_come_and_go_at_the_spawn_rate() {
        let up = Phase { spawn: Some(10.0), ..Phase::with_users(100, seconds(20)) };
        let down = Phase { spawn: Some(50.0), ..Phase::with_users(0, seconds(10)) };
        let phases = [up, Phase::with_users(120, seconds(10)), down];
        let at = |ms| users_at(&phases, Duration::from_millis(ms));
        assert_eq!([at(0), at(1000), at(5000), at(15_000), at(20_000), at(29_000)], [1, 11, 51, 100, 120, 120]);
        assert_eq!([at(31_000), at(33_000)], [69, 0]);
    }

    #[test]
    fn constant_arrivals_are_as_many_as_the_rate_says() {
        let ramp = Phase { to: Some(30.0), ..Phase::at_rate(10.0, seconds(10)) };
        let mut arrivals = Arrivals::new(&[ramp, Phase::at_rate(5.0, seconds(2))], Spacing::Constant, 1.0);
        let times: Vec<f64> = std::iter::from_fn(|| arrivals.next(0.0)).map(|at| at.as_secs_f64()).collect();
        assert_eq!(times.len(), 210);
        assert_eq!(times.iter().filter(|at| **at < 5.0).count(), 75, "half way the rate is 20");
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]) && times[209] < 12.0);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut arrivals = Arrivals::new(&[Phase::at_rate(100.0, seconds(1000))], Spacing::Poisson, 0.5);
        let mut counts = vec![0f64; 1000];
        while let Some(at) = arrivals.next(rng.f64()) {
            counts[at.as_secs() as usize] += 1.0;
        }
        let mean = counts.iter().sum::<f64>() / 1000.0;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 1000.0;
        assert!((49.0..51.0).contains(&mean), "{mean}");
        assert!((0.85..1.15).contains(&(variance / mean)), "index of dispersion {}", variance / mean);
    }
}
