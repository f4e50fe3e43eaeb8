//! Both models over the images kept back: how often they agree, how far apart they are, and how fast.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use shoal_worker::model::tuning::{Agreement, difference};
use shoal_worker::model::{Model, ModelSession, Runtime, Threads, probabilities};

/// Fewer images than this say little.
const TELLING: usize = 100;
/// Agreement below which the model is called poor.
const POOR: f64 = 0.9;
/// Rows of one run while the speed is measured.
const BATCH: usize = 8;
/// Runs of each model that are measured, and the time after which no further one begins.
const MEASURED_RUNS: usize = 15;
const MEASURED_FOR: Duration = Duration::from_secs(10);

/// How a quantised model compares with the one it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Images that were compared.
    pub images: usize,
    /// Those of the same most probable class.
    pub same_class: usize,
    /// Largest difference of any class's probability in an image, its mean over the images.
    pub mean_difference: f32,
    /// The largest of these.
    pub max_difference: f32,
    /// Milliseconds for an image before and after: medians of alternating runs.
    pub image_ms: (f64, f64),
    /// Median of how many times as fast the second of two neighbouring runs was.
    pub speedup: f64,
    /// Images in a run, and threads.
    pub run: (usize, usize),
}

impl Comparison {
    /// Part of the images that kept their class.
    pub fn agreement(&self) -> f64 {
        self.same_class as f64 / self.images.max(1) as f64
    }
}

/// Runs both over the rows.
pub(super) fn compare(
    runtime: &Runtime,
    before: &Model,
    after: &Model,
    rows: &[Vec<f32>],
) -> anyhow::Result<Comparison> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let session = |model: &Model| -> anyhow::Result<ModelSession> {
        // Nobody else wants the cores meanwhile.
        let session = runtime.session(&model.onnx, Threads::new(threads, threads > 1))?;
        Ok(ModelSession::new(session, runtime.engine(), &model.manifest, model.labels.len())?)
    };
    let (mut float, mut small) = (session(before)?, session(after)?);
    let (mut agreement, mut differences) = (Agreement::default(), 0.0);
    for row in rows {
        let (exact, other) = (scores(&mut float, before, row)?, scores(&mut small, after, row)?);
        agreement.add(&exact, &other);
        differences += difference(&exact, &other);
    }
    let batch = float.input().fixed_batch.unwrap_or(BATCH.min(before.manifest.batch.max));
    let values: Vec<f32> = rows.iter().cycle().take(batch).flatten().copied().collect();
    let times = alternate(&mut float, &mut small, &values, batch)?;
    let ms = |times: Vec<f64>| median(times) * 1e3 / batch as f64;
    Ok(Comparison {
        images: rows.len(),
        same_class: agreement.agreed,
        mean_difference: differences / rows.len().max(1) as f32,
        max_difference: agreement.difference,
        image_ms: (
            ms(times.iter().map(|(before, _)| *before).collect()),
            ms(times.iter().map(|(_, after)| *after).collect()),
        ),
        speedup: median(times.iter().map(|(before, after)| before / after).collect()),
        run: (batch, threads),
    })
}

fn scores(session: &mut ModelSession, model: &Model, row: &[f32]) -> anyhow::Result<Vec<f32>> {
    let bad = |reason: String| anyhow!("`{}` does not run: {reason}", model.manifest.name);
    let scores = session.run(&mut row.to_vec(), 1).map_err(bad)?;
    if scores.iter().any(|score| !score.is_finite()) {
        return Err(bad("its output is not finite".into()));
    }
    Ok(probabilities(&model.manifest, &scores))
}

/// Seconds of runs, in turn: what else the machine does meets both.
fn alternate(
    before: &mut ModelSession,
    after: &mut ModelSession,
    values: &[f32],
    batch: usize,
) -> anyhow::Result<Vec<(f64, f64)>> {
    let time = |session: &mut ModelSession| {
        let mut values = values.to_vec();
        let begun = Instant::now();
        let ran = session.run(&mut values, batch);
        ran.map(|_| begun.elapsed().as_secs_f64()).map_err(|error| anyhow!(error))
    };
    // The first run of a batch this size allocates.
    time(before)?;
    time(after)?;
    let begun = Instant::now();
    let mut times = Vec::new();
    while times.is_empty() || (times.len() < MEASURED_RUNS && begun.elapsed() < MEASURED_FOR) {
        times.push((time(before)?, time(after)?));
    }
    Ok(times)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = self.image_ms;
        let (batch, threads) = self.run;
        writeln!(f, "same class as before: {} of {} images kept back", self.same_class, self.images)?;
        writeln!(
            f,
            "probabilities differ by {:.3} on average and {:.3} at most, in the class where they differ most",
            self.mean_difference, self.max_difference
        )?;
        writeln!(
            f,
            "speed: {:.2} times ({before:.2} ms an image before, {after:.2} ms after; runs of {batch} in turn, threads: {threads})",
            self.speedup
        )?;
        if self.images < TELLING {
            writeln!(f, "{} images say little: a few hundred tell one model from another", self.images)?;
        }
        if self.agreement() < POOR {
            writeln!(f, "that is poor: try another --method, --keep first, --keep last, or more images")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(images: usize, same_class: usize) -> String {
        let numbers = Comparison {
            images,
            same_class,
            mean_difference: 0.01,
            max_difference: 0.1,
            image_ms: (6.0, 2.0),
            speedup: 3.0,
            run: (8, 2),
        };
        numbers.to_string()
    }

    #[test]
    fn few_images_and_poor_agreement_are_said() {
        assert!(comparison(40, 40).contains("40 images say little") && !comparison(40, 40).contains("poor"));
        let poor = comparison(200, 170);
        assert!(poor.contains("170 of 200") && poor.contains("that is poor") && !poor.contains("say little"));
    }
}
