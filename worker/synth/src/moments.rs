//! Means and deviations of activations, predicted layer by layer as if they were normally
//! distributed: what a calibration run would measure, without running anything.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Mean and standard deviation of a value over images, channels and places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    pub(crate) mean: f64,
    pub(crate) deviation: f64,
}

impl Moments {
    pub(crate) fn centred(deviation: f64) -> Self {
        Self { mean: 0.0, deviation }
    }

    /// Of the sum with an independent value.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { mean: self.mean + other.mean, deviation: self.deviation.hypot(other.deviation) }
    }

    /// After a ReLU: the first two moments of a rectified normal distribution.
    pub(crate) fn rectified(self) -> Self {
        let Self { mean, deviation } = self;
        let at = mean / deviation;
        let (below, density) = (normal_cdf(at), (-at * at / 2.0).exp() / (2.0 * PI).sqrt());
        let first = mean * below + deviation * density;
        let second = (mean * mean + deviation * deviation) * below + mean * deviation * density;
        Self { mean: first, deviation: (second - first * first).sqrt() }
    }
}

/// Share of a standard normal distribution below `x`, within 1.5e-7: Abramowitz and Stegun, 7.1.26.
fn normal_cdf(x: f64) -> f64 {
    const TERMS: [f64; 5] = [0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429];
    let z = x.abs() * FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.3275911 * z);
    let tail = TERMS.iter().rev().fold(0.0, |sum, term| (sum + term) * t) * (-z * z).exp() / 2.0;
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn half_of_a_centred_second_moment_survives_a_relu() {
        let rectified = Moments::centred(2.0).rectified();
        assert!(close(rectified.mean, 2.0 / (2.0 * PI).sqrt()), "{rectified:?}");
        assert!(close(rectified.mean.powi(2) + rectified.deviation.powi(2), 2.0), "{rectified:?}");
    }

    #[test]
    fn what_is_far_above_zero_passes_a_relu_unchanged() {
        let rectified = Moments { mean: 9.0, deviation: 1.0 }.rectified();
        assert!(close(rectified.mean, 9.0) && close(rectified.deviation, 1.0), "{rectified:?}");
    }
}
