//! The chance to wait, and for how long: Erlang's C formula and the Allen-Cunneen approximation.

/// The probability that a job must wait in M/M/c, with `servers` c and `offered` load a = λ/μ:
///
/// `C(c, a) = (a^c / c!) (c / (c - a)) / (Σ_{k<c} a^k / k! + (a^c / c!) (c / (c - a)))`
///
/// (Erlang 1917), computed through the blocking probability B, whose recursion neither overflows
/// nor cancels: `B(0) = 1`, `B(k) = a B(k-1) / (k + a B(k-1))`, `C = B(c) / (1 - ρ (1 - B(c)))` with
/// `ρ = a/c`. 1 from `a >= c` on: everyone waits.
pub fn erlang_c(servers: usize, offered: f64) -> f64 {
    let utilisation = offered / servers as f64;
    if servers == 0 || utilisation >= 1.0 {
        return 1.0;
    }
    let blocked = (1..=servers).fold(1.0, |blocked, k| offered * blocked / (k as f64 + offered * blocked));
    blocked / (1.0 - utilisation * (1.0 - blocked))
}

/// The waiting time of a queue, as a distribution: nothing with probability `1 - chance`, or else
/// exponential with mean `mean_if_any`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wait {
    pub(super) chance: f64,
    pub(super) mean_if_any: f64,
}

/// A queue with general arrivals and services; times in any one unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct GeneralQueue {
    pub(super) servers: usize,
    /// Arrivals per unit of time.
    pub(super) arrivals: f64,
    /// Mean service time.
    pub(super) service: f64,
    /// Squared coefficient of variation of the times between arrivals: 1 for Poisson.
    pub(super) arrivals_cv2: f64,
    /// The same of the service times: 0 when constant, 1 when exponential.
    pub(super) service_cv2: f64,
}

impl GeneralQueue {
    /// Allen-Cunneen: `Wq = C(c, a) / (c μ - λ) x (Ca² + Cs²) / 2` (A. O. Allen, Probability,
    /// Statistics, and Queueing Theory, 2nd ed., Academic Press 1990). Exact for M/M/c and, in the
    /// mean, for M/G/1. The wait of those who wait is taken as exponential, as it is in M/M/c and in
    /// any such queue under heavy load. `None` when the queue grows without end.
    pub(super) fn wait(&self) -> Option<Wait> {
        let offered = self.arrivals * self.service;
        let free = self.servers as f64 - offered;
        (free > 0.0 && self.service > 0.0).then(|| Wait {
            chance: erlang_c(self.servers, offered),
            mean_if_any: self.service / free * (self.arrivals_cv2 + self.service_cv2) / 2.0,
        })
    }
}

impl Wait {
    /// The wait that the part `quantile` of jobs stays under.
    pub(super) fn quantile(&self, quantile: f64) -> f64 {
        (self.mean_if_any * (self.chance / (1.0 - quantile)).ln()).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let near =
            |c, a, known: f64| assert!((erlang_c(c, a) - known).abs() < 5e-5, "C({c}, {a}) = {}", erlang_c(c, a));
        near(1, 0.7, 0.7);
        near(2, 1.0, 1.0 / 3.0);
        near(3, 2.0, 4.0 / 9.0);
        near(10, 8.0, 0.4092);
        near(4, 4.0, 1.0);
        assert!(erlang_c(1000, 950.0).is_finite());
    }

    #[test]
    fn one_server_is_pollaczek_and_khinchine() {
        let queue = GeneralQueue { servers: 1, arrivals: 0.8, service: 1.0, arrivals_cv2: 1.0, service_cv2: 0.0 };
        // M/D/1: ρ s / (2 (1 - ρ)).
        assert!(
            ({
                let wait = queue.wait().unwrap();
                wait.chance * wait.mean_if_any
            } - 2.0)
                .abs()
                < 1e-9
        );
        assert_eq!(GeneralQueue { arrivals: 1.0, ..queue }.wait(), None);
    }

    #[test]
    fn half_wait_less_than_the_median_if_all_wait() {
        let wait = Wait { chance: 1.0, mean_if_any: 2.0 };
        assert!((wait.quantile(0.5) - 2.0 * 2f64.ln()).abs() < 1e-9);
        assert_eq!(Wait { chance: 0.3, ..wait }.quantile(0.5), 0.0);
    }
}
