//! How close answers are to those of the file computed as it is written, and how close they must be.

use serde::{Deserialize, Serialize};
use shoal_shared::manifest::Exactness;

/// How close answers must be to be used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Part of the images whose first class is the same, at least.
    pub agreement: f64,
    /// Largest difference of any class's probability, at most.
    pub difference: f32,
}

impl Bounds {
    /// For [`Exactness::Exact`]: what another order of sums makes.
    pub const EXACT: Bounds = Bounds { agreement: 1.0, difference: 1e-3 };
    /// For [`Exactness::Fast`].
    pub const FAST: Bounds = Bounds { agreement: 0.995, difference: 0.05 };

    /// Those of a promise.
    pub fn of(promise: Exactness) -> Self {
        match promise {
            Exactness::Exact => Self::EXACT,
            Exactness::Fast => Self::FAST,
        }
    }

    /// Images of which not one may answer otherwise, to know with a confidence of 95 % that the rate of agreement
    /// is within the bound: by the rule of three, 3 / (1 - rate). Of a rate of 1 no number tells.
    pub fn images_to_tell(&self) -> Option<usize> {
        (self.agreement < 1.0).then(|| (3.0 / (1.0 - self.agreement)).ceil() as usize)
    }
}

/// How close answers were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Images held against each other.
    pub images: usize,
    /// Those with the same first class.
    pub agreed: usize,
    /// Largest difference of any class's probability.
    pub difference: f32,
}

impl Agreement {
    /// Takes one image's probabilities, exact and other.
    pub fn add(&mut self, exact: &[f32], other: &[f32]) {
        self.images += 1;
        self.agreed += usize::from(first(exact) == first(other));
        self.difference = self.difference.max(difference(exact, other));
    }

    /// Part of the images with the same first class.
    pub fn rate(&self) -> f64 {
        self.agreed as f64 / self.images.max(1) as f64
    }

    /// Why it is not close enough, if it is not.
    pub fn objection(&self, bounds: &Bounds) -> Option<String> {
        if self.images == 0 {
            return Some("it was held against nothing".into());
        }
        if self.rate() < bounds.agreement {
            return Some(format!("{} of {} agree", self.agreed, self.images));
        }
        (self.difference > bounds.difference).then(|| format!("off by {:.3}", self.difference))
    }
}

/// Largest difference of any class's probability in one image. What is no number is as far off as can be.
pub fn difference(exact: &[f32], other: &[f32]) -> f32 {
    if exact.len() != other.len() {
        return f32::INFINITY;
    }
    let differences = exact.iter().zip(other).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |most: f32, one| if one.is_nan() { f32::INFINITY } else { most.max(one) })
}

fn first(probabilities: &[f32]) -> Option<usize> {
    (0..probabilities.len()).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]).then(b.cmp(a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_on_both_sides() {
        let mut close = Agreement::default();
        for _ in 0..199 {
            close.add(&[0.6, 0.4], &[0.58, 0.42]);
        }
        assert_eq!(close.objection(&Bounds::FAST), None);
        assert_eq!(close.objection(&Bounds::EXACT).unwrap(), "off by 0.020");
        // One of two hundred is exactly the bound, one more too many.
        close.add(&[0.51, 0.49], &[0.49, 0.51]);
        assert_eq!((close.objection(&Bounds::FAST), close.rate()), (None, 0.995));
        close.add(&[0.51, 0.49], &[0.49, 0.51]);
        assert_eq!(close.objection(&Bounds::FAST).unwrap(), "199 of 201 agree");
    }

    #[test]
    fn nonsense_never_passes() {
        for other in [[f32::NAN, 0.1].as_slice(), &[0.6], &[]] {
            let mut wild = Agreement::default();
            wild.add(&[0.6, 0.4], other);
            assert!(wild.objection(&Bounds::FAST).is_some(), "{other:?}");
        }
        assert!(Agreement::default().objection(&Bounds::FAST).is_some());
    }

    #[test]
    fn few_images_tell_little() {
        assert_eq!(Bounds::FAST.images_to_tell(), Some(600));
        assert_eq!(Bounds::EXACT.images_to_tell(), None);
    }
}
