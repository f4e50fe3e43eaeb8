//! The sessions of one worker: a wide one and narrow ones, as its profile says or tried out before the first job.

use std::slice::from_mut;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::curve::{best, crossover, curve, likely_best, log_curve, per_image_ms, run_all, settle};
use super::engine::Engine;
use super::tuning::{Choice, Part};
use super::{Device, Model, ModelSession, Runtime, Staging, Threads};
use crate::pipeline::Shape;
use crate::serving::CpuBudget;

/// So fast narrow sessions must be in relation to the wide one to be worth their memory. While they are measured nobody else
/// wants the cores, and threads that wait for each other cost nothing; under load, beside decoding, it is the other way round.
pub(super) const WORTH_HAVING: f64 = 0.67;
/// Models beyond this size have one session only, unless sessions share the weights.
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Milliseconds for an image at full speed.
    pub image_ms: f32,
    /// Who takes what.
    pub shape: Shape,
}

impl Crew {
    /// Sessions that have what they make of the weights for themselves.
    pub fn copies(&self) -> usize {
        1 + self.narrow.chunk_by(ModelSession::is_beside).count()
    }

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
            let threads = Threads::new(part.of.threads, spin(part));
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
        for (sessions, most) in [(&mut wide, shape.wide_usual()), (&mut narrow, shape.narrow_batch)] {
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
        let mut wide = session(runtime, model, Threads::new(wanted.threads, spin))?;
        settle(from_mut(&mut wide), shape.wide_usual(), budget)?;
        let mut narrow = build_side_by_side(runtime, model, (Threads::ONE, runtime.engine()), shape.narrow)?;
        settle(&mut narrow, shape.narrow_batch, budget)?;
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
        let is_affordable = model.onnx.len() <= LARGEST_COPIED || model.shares_weights();
        let several = wanted.threads > 1 && runtime.device() == Device::Cpu && is_affordable;
        // Threads that spin between operators are right for the one session that has all the cores,
        // as long as it runs.
        let mut wide = session(runtime, model, Threads::new(wanted.threads, several))?;
        let limit = if wanted.max_batch == 0 { model.manifest.batch.max } else { wanted.max_batch };
        let fixed = wide.input().fixed_batch;
        let most = limit.min(fixed.unwrap_or(limit)).max(1);
        let wide_curve = curve(from_mut(&mut wide), most, fixed, budget)?;
        let (wide_batch, wide_speed) = match runtime.device() {
            Device::Cpu => likely_best(&wide_curve, 1),
            // What a GPU gains from large batches, it gains from the largest.
            _ => (most, best(&wide_curve, 1).1),
        };
        let alone = Shape { narrow: 0, wide_rows: 0, wide_batch, narrow_batch: 0 };
        log_curve(model, "wide", 1, wanted.threads, &wide_curve);
        if !several {
            settle(from_mut(&mut wide), wide_batch, budget)?;
            let known = Measured { shape: alone, image_ms: per_image_ms(wide_speed) };
            return Ok(Self::usual(runtime, wide, Vec::new(), known));
        }
        let mut narrow = build_side_by_side(runtime, model, (Threads::ONE, runtime.engine()), wanted.threads)?;
        let narrow_curve = curve(&mut narrow, most.min(NARROW_BATCH), fixed, budget)?;
        log_curve(model, "narrow", narrow.len(), 1, &narrow_curve);
        let (narrow_batch, narrow_speed) = likely_best(&narrow_curve, narrow.len());
        if narrow_speed < wide_speed * WORTH_HAVING {
            tracing::debug!(wide_batch, "narrow sessions are not worth their memory");
            // Under load it runs beside everything else then.
            wide = session(runtime, model, Threads::new(wanted.threads, false))?;
            settle(from_mut(&mut wide), wide_batch, budget)?;
            let known = Measured { shape: alone, image_ms: per_image_ms(wide_speed) };
            return Ok(Self::usual(runtime, wide, Vec::new(), known));
        }
        let wide_rows = crossover(&wide_curve, &narrow_curve, narrow.len());
        let shape = Shape { narrow: narrow.len(), wide_rows, wide_batch, narrow_batch };
        settle(from_mut(&mut wide), shape.wide_usual(), budget)?;
        settle(&mut narrow, narrow_batch, budget)?;
        let known = Measured { shape, image_ms: per_image_ms(wide_speed.max(narrow_speed)) };
        Ok(Self::usual(runtime, wide, narrow, known))
    }
}

/// Times of one session with so many threads, by batch.
pub fn measure(runtime: &Runtime, model: &Model, threads: usize) -> anyhow::Result<Vec<(usize, Duration)>> {
    let mut one = session(runtime, model, Threads::new(threads.max(1), false))?;
    let (most, fixed) = (model.manifest.batch.max, one.input().fixed_batch);
    let most = most.min(fixed.unwrap_or(most)).max(1);
    curve(from_mut(&mut one), most, fixed, &CpuBudget::new(threads))
}

/// Narrow sessions gain nothing from larger batches, and the queue's latency from smaller ones.
const NARROW_BATCH: usize = 8;

fn session(runtime: &Runtime, model: &Model, threads: Threads) -> anyhow::Result<ModelSession> {
    session_with(runtime, model, (threads, runtime.engine()))
}

fn session_with(runtime: &Runtime, model: &Model, how: (Threads, Engine)) -> anyhow::Result<ModelSession> {
    let mapped = model.optimised.as_ref().filter(|optimised| optimised.is_for(how.1));
    let session = match mapped.map(|optimised| optimised.session(runtime, how.0, how.1)) {
        Some(Ok(session)) => session,
        Some(Err(error)) => {
            tracing::warn!(model.name = %model.manifest.name, %error, "weights not shared: the file is read instead");
            runtime.session_with(&model.onnx, how.0, how.1)?
        }
        None => runtime.session_with(&model.onnx, how.0, how.1)?,
    };
    let mut session = ModelSession::new(session, how.1, &model.manifest, model.labels.len())?;
    if !how.1.is_on_cpu()
        && let Err(error) = session.stage_in(Staging::Pinned)
    {
        tracing::warn!(model.name = %model.manifest.name, error, "no pinned memory: input is copied once more");
    }
    Ok(session)
}

/// Sessions that run at the same time: one that all of them share, where each run can have threads of its own in it.
pub(super) fn build_side_by_side(
    runtime: &Runtime,
    model: &Model,
    how: (Threads, Engine),
    count: usize,
) -> anyhow::Result<Vec<ModelSession>> {
    let (threads, engine) = how;
    if count > 1 && engine.gives_each_run(threads.intra) {
        let first = session_with(runtime, model, (Threads { runs: count, ..threads }, engine))?;
        let others: Option<Vec<_>> = (1..count).map(|_| first.beside()).collect();
        let mut all = others.with_context(|| format!("a session with {engine} runs for one thread at a time"))?;
        all.push(first);
        return Ok(all);
    }
    // Loading takes a core for most of a second; several load in the time of one.
    std::thread::scope(|scope| {
        let building: Vec<_> = (0..count).map(|_| scope.spawn(|| session_with(runtime, model, how))).collect();
        let joined = building.into_iter().map(|thread| thread.join());
        joined.map(|built| built.map_err(|_| anyhow::anyhow!("building a session panicked"))?).collect()
    })
}
