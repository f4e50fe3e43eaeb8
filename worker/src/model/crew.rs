//! The sessions of one worker: a wide one and narrow ones, as its profile says or tried out before the first job.

use std::time::{Duration, Instant};

use super::engine::Engine;
use super::tuning::{Choice, Part};
use super::{Device, Model, ModelSession, Runtime, Threads};
use crate::pipeline::Shape;
use crate::serving::CpuBudget;

/// A narrow session must be at least this fast in relation to the wide one to be worth its memory.
const WORTH_IT: f64 = 0.97;
/// Models beyond this size are loaded once only: every session holds the weights.
pub const LARGEST_COPIED: usize = 256 << 20;

/// Every session, and how they divide the work.
pub struct Crew {
    /// A thread for each core.
    pub wide: ModelSession,
    /// Those that run side by side.
    pub narrow: Vec<ModelSession>,
    /// Threads of each of them.
    pub narrow_threads: usize,
    /// How they compute, in words.
    pub engines: String,
    /// Who takes what.
    pub shape: Shape,
    /// Milliseconds for an image at full speed.
    pub image_ms: f32,
}

/// What a crew is made for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Threads of the wide session.
    pub threads: usize,
    /// Most images in one run; 0: as the manifest says.
    pub max_batch: usize,
}

/// What a warm-up has measured: it need not be measured again when the same model is loaded once more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Who takes what.
    pub shape: Shape,
    /// Milliseconds for an image at full speed.
    pub image_ms: f32,
}

/// Time of a run, by its number of images.
pub(super) type Curve = Vec<(usize, Duration)>;

impl Crew {
    /// What was measured.
    pub fn measured(&self) -> Measured {
        Measured { shape: self.shape, image_ms: self.image_ms }
    }

    /// Builds the sessions that were chosen for this machine, and warms them up. No measuring: what they do was
    /// measured when they were chosen.
    pub fn chosen(
        runtime: &Runtime,
        model: &Model,
        wanted: Wanted,
        budget: &CpuBudget,
        choice: &Choice,
    ) -> anyhow::Result<Self> {
        let bound = |batch: usize| if wanted.max_batch == 0 { batch } else { batch.min(wanted.max_batch) };
        let spin = |part: &Part| part.of.sessions == 1 && choice.narrow.is_some();
        let build = |part: &Part| {
            let threads = Threads { intra: part.of.threads, spin: spin(part) };
            build_side_by_side(runtime, model, (threads, part.of.engine), part.of.sessions)
        };
        let (mut wide, mut narrow) = std::thread::scope(|scope| {
            let narrow = scope.spawn(|| choice.narrow.as_ref().map_or(Ok(Vec::new()), build));
            let wide = build(&choice.wide);
            let narrow = narrow.join().map_err(|_| anyhow::anyhow!("building a session panicked"))?;
            anyhow::Ok((wide?, narrow?))
        })?;
        let shape = Shape {
            narrow: narrow.len(),
            wide_rows: choice.wide_rows,
            wide_batch: bound(choice.wide.batch),
            narrow_batch: choice.narrow.map_or(0, |part| bound(part.batch)),
        };
        // One image, so that memory is there, and as many as there may be, so that there is enough.
        for (sessions, most) in [(&mut wide, shape.wide_batch), (&mut narrow, shape.narrow_batch)] {
            if !sessions.is_empty() {
                run_all(sessions, 1, budget)?;
                run_all(sessions, most, budget)?;
            }
        }
        let Some(wide) = wide.pop() else { anyhow::bail!("no wide session was chosen") };
        let narrow_threads = choice.narrow.map_or(1, |part| part.of.threads);
        let engines = match choice.narrow.filter(|part| part.of.engine != choice.wide.of.engine) {
            Some(part) => format!("{} for one image, {} under load", choice.wide.of.engine, part.of.engine),
            None => choice.wide.of.engine.to_string(),
        };
        Ok(Self { wide, narrow, narrow_threads, engines, shape, image_ms: choice.image_ms })
    }

    /// Builds sessions that were measured before, and warms them up.
    pub fn reassemble(
        runtime: &Runtime,
        model: &Model,
        wanted: Wanted,
        budget: &CpuBudget,
        known: Measured,
    ) -> anyhow::Result<Self> {
        let shape = known.shape;
        let spin = shape.narrow > 0;
        let mut wide = session(runtime, model, Threads { intra: wanted.threads, spin })?;
        run_all(std::slice::from_mut(&mut wide), shape.wide_batch, budget)?;
        let one = Threads { intra: 1, spin: false };
        let mut narrow = build_side_by_side(runtime, model, (one, runtime.engine()), shape.narrow)?;
        if !narrow.is_empty() {
            run_all(&mut narrow, shape.narrow_batch, budget)?;
        }
        Ok(Self::usual(runtime, wide, narrow, known))
    }

    /// Without a profile: as the device of this process computes, narrow sessions with a thread each.
    fn usual(runtime: &Runtime, wide: ModelSession, narrow: Vec<ModelSession>, known: Measured) -> Self {
        let Measured { shape, image_ms } = known;
        Self { wide, narrow, narrow_threads: 1, engines: runtime.engine().to_string(), shape, image_ms }
    }

    /// Builds and measures the sessions. Also the warm-up: the first job pays for neither allocation
    /// nor kernel selection. Runs take their threads from `budget`: what is measured is not disturbed by
    /// models that are served meanwhile, and does not disturb them for longer than a batch.
    pub fn assemble(runtime: &Runtime, model: &Model, wanted: Wanted, budget: &CpuBudget) -> anyhow::Result<Self> {
        let several = wanted.threads > 1 && runtime.device() == Device::Cpu && model.onnx.len() <= LARGEST_COPIED;
        // Threads that spin between operators are right for the one session that has all the cores,
        // as long as it runs.
        let mut wide = session(runtime, model, Threads { intra: wanted.threads, spin: several })?;
        let limit = if wanted.max_batch == 0 { model.manifest.batch.max } else { wanted.max_batch };
        let fixed = wide.input().fixed_batch;
        let most = limit.min(fixed.unwrap_or(limit)).max(1);
        let wide_curve = curve(std::slice::from_mut(&mut wide), most, fixed, budget)?;
        let alone = Shape { narrow: 0, wide_rows: 0, wide_batch: most, narrow_batch: 0 };
        let (wide_best, wide_speed) = best(&wide_curve, 1);
        log_curve(model, "wide", 1, wanted.threads, &wide_curve);
        if !several {
            let known = Measured { shape: alone, image_ms: per_image_ms(wide_speed) };
            return Ok(Self::usual(runtime, wide, Vec::new(), known));
        }
        let one = Threads { intra: 1, spin: false };
        let mut narrow = build_side_by_side(runtime, model, (one, runtime.engine()), wanted.threads)?;
        let narrow_curve = curve(&mut narrow, most.min(NARROW_BATCH), fixed, budget)?;
        log_curve(model, "narrow", narrow.len(), 1, &narrow_curve);
        let (narrow_batch, narrow_speed) = best(&narrow_curve, narrow.len());
        if narrow_speed < wide_speed * WORTH_IT {
            tracing::debug!(wide_best, "narrow sessions are not worth their memory");
            // Under load it runs beside everything else then.
            wide = session(runtime, model, Threads { intra: wanted.threads, spin: false })?;
            run_all(std::slice::from_mut(&mut wide), most, budget)?;
            let known = Measured { shape: alone, image_ms: per_image_ms(wide_speed) };
            return Ok(Self::usual(runtime, wide, Vec::new(), known));
        }
        let wide_rows = crossover(&wide_curve, &narrow_curve, narrow.len());
        let shape = Shape { narrow: narrow.len(), wide_rows, wide_batch: most, narrow_batch };
        let known = Measured { shape, image_ms: per_image_ms(wide_speed.max(narrow_speed)) };
        Ok(Self::usual(runtime, wide, narrow, known))
    }
}

/// Times of one session with so many threads, by batch.
pub fn measure(runtime: &Runtime, model: &Model, threads: usize) -> anyhow::Result<Vec<(usize, Duration)>> {
    let mut one = session(runtime, model, Threads { intra: threads.max(1), spin: false })?;
    let (most, fixed) = (model.manifest.batch.max, one.input().fixed_batch);
    let most = most.min(fixed.unwrap_or(most)).max(1);
    curve(std::slice::from_mut(&mut one), most, fixed, &CpuBudget::new(threads))
}

/// Narrow sessions gain nothing from larger batches, and the queue's latency from smaller ones.
const NARROW_BATCH: usize = 8;

fn session(runtime: &Runtime, model: &Model, threads: Threads) -> anyhow::Result<ModelSession> {
    session_with(runtime, model, (threads, runtime.engine()))
}

fn session_with(runtime: &Runtime, model: &Model, how: (Threads, Engine)) -> anyhow::Result<ModelSession> {
    let session = runtime.session_with(&model.onnx, how.0, how.1)?;
    Ok(ModelSession::new(session, &model.manifest, model.labels.len())?)
}

/// Loading takes a core for most of a second; several load in the time of one.
pub(super) fn build_side_by_side(
    runtime: &Runtime,
    model: &Model,
    how: (Threads, Engine),
    count: usize,
) -> anyhow::Result<Vec<ModelSession>> {
    std::thread::scope(|scope| {
        let building: Vec<_> = (0..count).map(|_| scope.spawn(|| session_with(runtime, model, how))).collect();
        let joined = building.into_iter().map(|thread| thread.join());
        joined.map(|built| built.map_err(|_| anyhow::anyhow!("building a session panicked"))?).collect()
    })
}

/// Times of 1, 2, 4 … `most` images a session, all sessions at the same time.
fn curve(
    sessions: &mut [ModelSession],
    most: usize,
    fixed: Option<usize>,
    budget: &CpuBudget,
) -> anyhow::Result<Curve> {
    let doubling = std::iter::successors(Some(1), |rows| Some(rows * 2)).take_while(|rows| *rows < most);
    // A model with a fixed batch takes as long for one image as for all.
    let sizes: Vec<usize> = if fixed.is_some() { vec![most] } else { doubling.chain([most]).collect() };
    run_all(sessions, 1, budget)?;
    let mut time = |rows| Ok((rows, run_all(sessions, rows, budget)?.min(run_all(sessions, rows, budget)?)));
    sizes.into_iter().map(&mut time).collect()
}

pub(super) fn run_all(sessions: &mut [ModelSession], rows: usize, budget: &CpuBudget) -> anyhow::Result<Duration> {
    let _all = budget.lease(budget.threads());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let run = |session: &mut ModelSession| {
            let mut values = vec![0.0; rows * session.input().row_len()];
            session.run(&mut values, rows).map(drop)
        };
        let running: Vec<_> = sessions.iter_mut().map(|session| scope.spawn(move || run(session))).collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(ran) => ran.map_err(|error| anyhow::anyhow!("warm-up: {error}")),
            Err(_) => Err(anyhow::anyhow!("warm-up: the session panicked")),
        })
    })?;
    Ok(begun.elapsed())
}

/// The batch with most images a second, and that number, for so many sessions.
pub(super) fn best(curve: &Curve, sessions: usize) -> (usize, f64) {
    let speeds = curve.iter().map(|&(rows, took)| (rows, (rows * sessions) as f64 / took.as_secs_f64().max(1e-9)));
    // A larger batch must be worth the longer wait.
    speeds.fold((1, 0.0), |best, next| if next.1 > best.1 * 1.01 { next } else { best })
}

/// Images up to which the wide session has answered before the narrow ones would have.
pub(super) fn crossover(wide: &Curve, narrow: &Curve, sessions: usize) -> usize {
    let narrow_time = |rows: usize| {
        let share = rows.div_ceil(sessions);
        narrow.iter().find(|(size, _)| *size >= share).map(|(_, took)| *took)
    };
    let quicker = wide.iter().take_while(|(rows, took)| narrow_time(*rows).is_none_or(|narrow| *took <= narrow));
    quicker.last().map_or(0, |(rows, _)| *rows)
}

pub(super) fn per_image_ms(speed: f64) -> f32 {
    (1e3 / speed.max(1e-9)) as f32
}

fn log_curve(model: &Model, kind: &str, sessions: usize, threads: usize, curve: &Curve) {
    let text: Vec<String> =
        curve.iter().map(|(rows, took)| format!("{rows}: {:.2}", took.as_secs_f64() * 1e3)).collect();
    tracing::info!(
        model.name = %model.manifest.name, kind, sessions, threads, batch_ms = text.join(", "),
        "sessions measured"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve_of(ms: &[(usize, u64)]) -> Curve {
        ms.iter().map(|&(rows, ms)| (rows, Duration::from_millis(ms))).collect()
    }

    #[test]
    fn the_wide_session_has_what_it_answers_sooner() {
        let wide = curve_of(&[(1, 10), (2, 20), (4, 40), (8, 80)]);
        // Two at a time: one image each in 18 ms, so that from two on they are quicker.
        let narrow = curve_of(&[(1, 18), (2, 34), (4, 66)]);
        assert_eq!(crossover(&wide, &narrow, 2), 1);
        // Wide scales perfectly, narrow badly: wide is quicker for all.
        assert_eq!(crossover(&wide, &curve_of(&[(1, 40), (2, 80), (4, 160)]), 2), 8);
    }

    #[test]
    fn a_larger_batch_must_be_worth_it() {
        assert_eq!(best(&curve_of(&[(1, 10), (2, 19), (4, 38), (8, 76)]), 1).0, 2);
        assert_eq!(best(&curve_of(&[(1, 10), (8, 81)]), 2), (1, 200.0));
    }
}
