//! The filter for pictures that a decoder has made small: each of their pixels is the mean of a square of the original's.
//!
//! A bilinear filter that takes such a mean for the brightness at the middle of its square blurs twice. So the smoothest
//! curve that has these means is looked for, a spline of parabolas, and the bilinear filter is laid over that. Of all
//! weights for the means these come closest to what the original's own pixels would give, for brightness that wanders as
//! it does in photographs. What that is worth: `docs/decoding.md`.

use fast_image_resize::{Filter, FilterType};

/// Pixels of a picture for one of the target, in eighths. With fewer the means do not say enough; with more, what they
/// hide cannot be seen.
const EIGHTHS: std::ops::Range<usize> = 10..32;

/// How much further it reaches than a bilinear filter, in pixels of the picture. What lies beyond weighs less than a
/// thousandth.
pub(super) const REACH: f64 = 2.5;

/// By their eighths.
const KERNELS: [fn(f64) -> f64; EIGHTHS.end - EIGHTHS.start] = [
    weight::<10>,
    weight::<11>,
    weight::<12>,
    weight::<13>,
    weight::<14>,
    weight::<15>,
    weight::<16>,
    weight::<17>,
    weight::<18>,
    weight::<19>,
    weight::<20>,
    weight::<21>,
    weight::<22>,
    weight::<23>,
    weight::<24>,
    weight::<25>,
    weight::<26>,
    weight::<27>,
    weight::<28>,
    weight::<29>,
    weight::<30>,
    weight::<31>,
];

/// The filter from means to a target, each pixel of which is `scale` of theirs wide.
pub(super) fn filter(scale: f64) -> FilterType {
    let eighths = (scale * 8.0).round() as usize;
    let Some(kernel) = eighths.checked_sub(EIGHTHS.start).and_then(|at| KERNELS.get(at)) else {
        return FilterType::Bilinear;
    };
    let support = 1.0 + REACH / scale;
    Filter::new("means", *kernel, support).map_or(FilterType::Bilinear, FilterType::Custom)
}

/// What turns means into the spline's coefficients: the first terms of the inverse of (1 4 1) / 6, which turns its
/// coefficients into means.
const TO_SPLINE: [f64; 7] =
    [-1.0 / 216.0, 1.0 / 18.0, -25.0 / 72.0, 43.0 / 27.0, -25.0 / 72.0, 1.0 / 18.0, -1.0 / 216.0];
/// A parabolic B-spline is a third difference of truncated powers.
const THIRD_DIFFERENCE: [f64; 4] = [1.0, -3.0, 3.0, -1.0];
/// Both, one after the other: weights of truncated powers that begin at -4.5, -3.5 and so on.
const POWERS: [f64; 10] = {
    let mut powers = [0.0; 10];
    let mut at = 0;
    while at < TO_SPLINE.len() * THIRD_DIFFERENCE.len() {
        let (one, other) = (at / THIRD_DIFFERENCE.len(), at % THIRD_DIFFERENCE.len());
        powers[one + other] += TO_SPLINE[one] * THIRD_DIFFERENCE[other];
        at += 1;
    }
    powers
};

/// Weight of a mean as far from the middle of the target's pixel as `at` says, in pixels of the target.
fn weight<const EIGHTHS: usize>(at: f64) -> f64 {
    let scale = EIGHTHS as f64 / 8.0;
    let at = at * scale;
    // A triangle is the second difference of what is integrated twice.
    integrated_twice(at + scale) - 2.0 * integrated_twice(at) + integrated_twice(at - scale)
}

/// The spline that one mean among noughts makes, integrated twice.
fn integrated_twice(at: f64) -> f64 {
    let power = |begins: f64| (at - begins).max(0.0).powi(4) / 24.0;
    POWERS.iter().enumerate().map(|(index, weight)| weight * power(index as f64 - 4.5)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the means at ..., -1, 0, 1, ... give for a target pixel around `middle`.
    fn seen<const EIGHTHS: usize>(middle: f64, mean: impl Fn(f64) -> f64) -> f64 {
        let weights = (-8..=8).map(f64::from).map(|x| (weight::<EIGHTHS>((x - middle) * 8.0 / EIGHTHS as f64), x));
        let (sum, total) =
            weights.fold((0.0, 0.0), |(sum, total), (weight, x)| (sum + weight * mean(x), total + weight));
        sum / total
    }

    #[test]
    fn a_parabola_is_seen_as_its_own_pixels_would_show_it() {
        for middle in [0.0, 0.3, 0.5] {
            // The mean of x² around x is larger by a twelfth than at x, and a triangle adds a sixth of its width squared.
            let found = seen::<12>(middle, |x| x * x + 1.0 / 12.0);
            let expected = middle * middle + 1.5 * 1.5 / 6.0;
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
            assert!((seen::<12>(middle, |x| 3.0 * x + 1.0) - 3.0 * middle - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn means_too_large_or_too_small_for_it_are_taken_as_they_are() {
        assert_eq!(filter(1.0), FilterType::Bilinear);
        assert_ne!(filter(1.34), FilterType::Bilinear);
        assert_ne!(filter(3.9), FilterType::Bilinear);
        assert_eq!(filter(5.9), FilterType::Bilinear);
    }
}
