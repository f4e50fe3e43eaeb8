//! A shadow is asked after the client has its answer, on the bulk lane, a few images at a time. What it says
//! is compared with the answer given, and thrown away.

use std::time::Instant;

use shoal_shared::names::Lane;
use shoal_shared::prediction::Class;

use super::versions::Errand;
use super::{Answered, Ask, Predictor};
use crate::admission::Tenant;
use crate::metrics::Shadowed;
use crate::models::choice::Candidate;

impl Predictor {
    /// Asks in the background. Under load, images are left out and counted.
    pub(super) fn ask_shadow(&self, ask: Ask, shadow: Candidate, answered: &Answered) {
        let metrics = self.0.metrics.clone();
        let Ok(place) = self.0.shadows.clone().try_acquire_owned() else {
            return metrics.rollout.shadowed(&shadow.served, Shadowed::Dropped);
        };
        let (predictor, given) = (self.clone(), answered.entry.clone());
        let ask = Ask { lane: Lane::Bulk, tenant: Tenant::named("shoal-shadow"), ..ask };
        tokio::spawn(async move {
            let _place = place;
            let asked = Instant::now();
            let errand = Errand { asked, until: asked + predictor.0.config.timeout, once: true };
            let outcome = match predictor.answer_by(&ask, &shadow, errand).await {
                Ok(said) => {
                    let (given, said) = (&given.prediction.top, &said.entry.prediction.top);
                    let agrees = given.first().map(|class| class.index) == said.first().map(|class| class.index);
                    Shadowed::Compared { agrees, difference: difference(given, said) }
                }
                Err(refusal) if refusal.failure.code.http_status() == 429 => Shadowed::Dropped,
                Err(_) => Shadowed::Failed,
            };
            metrics.rollout.shadowed(&shadow.served, outcome);
        });
    }
}

/// Mean absolute difference of probabilities over every class that either lists; one that is not listed
/// counts as 0.
fn difference(one: &[Class], other: &[Class]) -> f64 {
    let score =
        |of: &[Class], index: u32| of.iter().find(|class| class.index == index).map_or(0.0, |class| class.score);
    let only_other = other.iter().filter(|class| one.iter().all(|known| known.index != class.index));
    let differences: Vec<f64> = one
        .iter()
        .chain(only_other)
        .map(|class| f64::from((score(one, class.index) - score(other, class.index)).abs()))
        .collect();
    differences.iter().sum::<f64>() / differences.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(scores: &[(u32, f32)]) -> Vec<Class> {
        scores.iter().map(|&(index, score)| Class { label: index.to_string().into(), index, score }).collect()
    }

    #[test]
    fn classes_that_only_one_lists_count_as_nothing_in_the_other() {
        let one = classes(&[(1, 0.75), (2, 0.25)]);
        assert_eq!(difference(&one, &one), 0.0);
        assert_eq!(difference(&one, &classes(&[(1, 0.5), (3, 0.5)])), (0.25 + 0.25 + 0.5) / 3.0);
        assert_eq!(difference(&[], &[]), 0.0);
    }
}
