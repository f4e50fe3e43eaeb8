//! How long a job takes in a queue whose workers take what waits, up to a full batch.
//!
//! With `λ` jobs a ms, `c` workers and batches of `b` that take `t(b)` ms:
//!
//! - **Batch size.** While a batch runs, a worker's share of the arrivals comes in: `b = λ t(b) / c`, a
//!   fixed point, at most `B`. The effective service time per image is `t(b) / b`.
//! - **The batch a job is in** is larger than the mean, as large batches hold more jobs. Workers take
//!   every `t(b) / c`; with one worker that is regular, with many it is as irregular as a Poisson
//!   process, squared variation `v = (c - 1) / c`. Jobs taken are Poisson given that time, so a job's
//!   own batch has mean `1 + b (1 + v)` and variance `b + 2 (b v)²` (Poisson for `v = 0`, the sum of
//!   two exponentials for `v = 1`).
//! - **The wait for a worker** is the rest of that time: even over `t(b) / c` for one worker,
//!   exponential for many.
//! - **What does not fit in a batch** waits longer: Allen-Cunneen for full batches, `λ / B` a ms with
//!   squared variation `Ca² / B` (the sum of `B` independent times), each `t(B)`.
//! - Only the part `C(c, λ t(1))` of jobs finds no idle worker (Erlang C); the others take `t(1)`.
//!
//! The two waits are added as independent ones, root of the sum of squares. With `B = 1` all that is
//! left is Allen-Cunneen. Up to 85 % utilisation both percentiles are within 12 % of simulation
//! without batching; with it the 95th is within -20 to +30 % and the median up to 2.3 times too high
//! where about half of the jobs find an idle worker (`tests/plan.rs`).

use super::erlang::{GeneralQueue, erlang_c};

/// Measured batch sizes and what each takes, in ms; straight lines in between.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchCurve {
    points: Vec<(usize, f64)>,
}

impl BatchCurve {
    /// From batch size and milliseconds, in any order. Needs the time of one image alone.
    pub fn new(mut points: Vec<(usize, f64)>) -> Result<Self, String> {
        points.sort_by_key(|(batch, _)| *batch);
        if points.first().is_none_or(|(batch, _)| *batch != 1) {
            return Err("batch curve: the time of one image alone is missing".to_owned());
        }
        match points.iter().find(|(_, ms)| !(ms.is_finite() && *ms > 0.0)) {
            Some((batch, ms)) => Err(format!("batch curve: {ms} ms for a batch of {batch}: must be over 0")),
            None => Ok(Self { points }),
        }
    }

    /// The largest measured batch.
    pub fn full(&self) -> usize {
        self.points.last().map_or(1, |(batch, _)| *batch)
    }

    /// What a batch takes, in ms; as for the nearest measured size outside of those.
    pub fn ms(&self, batch: f64) -> f64 {
        let after = self.points.partition_point(|(size, _)| (*size as f64) < batch).min(self.points.len() - 1);
        let (large, slow) = self.points[after];
        let (small, quick) = self.points[after.saturating_sub(1)];
        if large == small {
            return slow;
        }
        let part = (batch - small as f64) / (large - small) as f64;
        quick + (slow - quick) * part.clamp(0.0, 1.0)
    }
}

/// A queue whose workers take what waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batching<'a> {
    pub(super) curve: &'a BatchCurve,
    pub(super) workers: usize,
    /// Jobs a ms.
    pub(super) per_ms: f64,
    pub(super) arrivals_cv2: f64,
    pub(super) service_cv2: f64,
}

impl Batching<'_> {
    /// Images that come in for a worker during a batch: under 1, workers are idle in between.
    pub(super) fn size(&self) -> f64 {
        let full = self.curve.full() as f64;
        // Rises from nothing to the least fixed point.
        (0..64).fold(0.0, |size, _| (self.per_ms * self.curve.ms(size) / self.workers as f64).min(full))
    }

    /// What the part `quantile` of jobs stays under, ms; `None` when the queue grows without end.
    pub(super) fn delay(&self, quantile: f64) -> Option<f64> {
        let full = self.curve.full() as f64;
        let overflow = GeneralQueue {
            servers: self.workers,
            arrivals: self.per_ms / full,
            service: self.curve.ms(full),
            arrivals_cv2: self.arrivals_cv2 / full,
            service_cv2: self.service_cv2,
        };
        let overflow = overflow.wait()?.quantile(quantile);
        let chance = erlang_c(self.workers, self.per_ms * self.curve.ms(1.0));
        // Which quantile that is among those who find no idle worker.
        let among = 1.0 - (1.0 - quantile) / chance;
        if among <= 0.0 || full <= 1.0 {
            return Some(self.curve.ms(1.0) + overflow);
        }
        let size = self.size();
        let irregular = (self.workers - 1) as f64 / self.workers as f64;
        let spread = (size + 2.0 * (size * irregular).powi(2)).sqrt();
        let batch = 1.0 + size * (1.0 + irregular) + normal(among) * spread;
        let interval = self.curve.ms(size) / self.workers as f64;
        let rest = interval * (among * (1.0 - irregular) - (1.0 - among).ln() * irregular);
        Some(self.curve.ms(batch) + rest.hypot(overflow))
    }
}

/// Quantiles of the standard normal distribution, within 0.01 from 0.01 to 0.99 (Tukey's lambda
/// distribution with λ = 0.14).
fn normal(quantile: f64) -> f64 {
    4.91 * (quantile.powf(0.14) - (1.0 - quantile).powf(0.14))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_straight_between_its_points() {
        let curve = BatchCurve::new(vec![(8, 30.0), (1, 10.0), (4, 16.0)]).unwrap();
        assert_eq!(
            [0.5, 1.0, 2.5, 4.0, 6.0, 8.0, 20.0].map(|b| curve.ms(b)),
            [10.0, 10.0, 13.0, 16.0, 23.0, 30.0, 30.0]
        );
        assert!(BatchCurve::new(vec![(2, 10.0)]).is_err());
        assert!(BatchCurve::new(vec![(1, f64::NAN)]).is_err());
    }

    #[test]
    fn the_normal_quantile_is_close() {
        assert!((normal(0.95) - 1.645).abs() < 0.01);
        assert_eq!(normal(0.5), 0.0);
    }
}
