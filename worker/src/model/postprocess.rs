//! From raw scores to ranked classes.

use shoal_shared::manifest::{Activation, Manifest};
use shoal_shared::prediction::{Class, MAX_TOP_K};

use super::loaded::Model;

/// The most probable classes of one row of raw scores. An error when the scores are no numbers.
pub fn rank(model: &Model, scores: &[f32]) -> Result<Vec<Class>, String> {
    if scores.is_empty() || scores.iter().any(|score| !score.is_finite()) {
        return Err("the model's output is not finite".into());
    }
    let probabilities = probabilities(&model.manifest, scores);
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    let descending = |a: &usize, b: &usize| probabilities[*b].total_cmp(&probabilities[*a]).then(a.cmp(b));
    let count = MAX_TOP_K.min(order.len());
    if count < order.len() {
        order.select_nth_unstable_by(count - 1, descending);
        order.truncate(count);
    }
    order.sort_unstable_by(descending);
    Ok(order
        .into_iter()
        .map(|index| Class { label: model.label(index), index: index as u32, score: probabilities[index] })
        .collect())
}

/// The probabilities of one row of raw scores, by class.
pub(super) fn probabilities(manifest: &Manifest, scores: &[f32]) -> Vec<f32> {
    match manifest.output.activation {
        Activation::None => scores.to_vec(),
        Activation::Softmax => softmax(scores),
    }
}

/// exp(x - max) / sum: the usual guard against overflow.
fn softmax(scores: &[f32]) -> Vec<f32> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = scores.iter().map(|score| (score - max).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(activation: &str) -> Model {
        let text = format!("name = \"m\"\nfile = \"m.onnx\"\n[output]\nactivation = \"{activation}\"\n");
        Model::new(Manifest::parse(&text).unwrap(), vec!["zero".into()], Vec::new())
    }

    #[test]
    fn the_best_come_first_and_ties_keep_their_order() {
        let scores: Vec<f32> = (0..100).map(|i| if i == 70 { 5.0 } else { 0.1 }).collect();
        let top = rank(&model("none"), &scores).unwrap();
        assert_eq!(top.len(), MAX_TOP_K);
        assert_eq!(top.iter().take(3).map(|class| class.index).collect::<Vec<_>>(), [70, 0, 1]);
        assert_eq!((top[0].label.as_str(), top[1].label.as_str()), ("class 70", "zero"));
    }

    #[test]
    fn softmax_survives_large_logits_and_sums_to_one() {
        let top = rank(&model("softmax"), &[1000.0, 999.0, -1000.0]).unwrap();
        assert!((top.iter().map(|class| class.score).sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((top[0].score - 0.731).abs() < 1e-3);
    }

    #[test]
    fn not_a_number_is_an_error() {
        assert!(rank(&model("softmax"), &[f32::NAN, 1.0]).is_err());
        assert!(rank(&model("none"), &[]).is_err());
    }
}
