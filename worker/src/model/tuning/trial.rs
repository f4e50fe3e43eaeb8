//! One trial in a process of its own: what a library has, how close an engine's answers are, or how fast a
//! combination is. What to do comes in as data, what was found goes out as data.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use shoal_shared::names::ModelName;
use shoal_shared::sniff::ImageLimits;

use super::agreement::Agreement;
use super::combination::{Combination, Row, batches};
use crate::image::Preprocessor;
use crate::model::crew::build_side_by_side;
use crate::model::curve::run_all;
use crate::model::engine::{Engine, Library};
use crate::model::machine::Machine;
use crate::model::postprocess::probabilities;
use crate::model::{Device, Model, ModelSession, ModelStore, Runtime, Threads};
use crate::serving::CpuBudget;

/// Fewest times that a batch is run.
const FEWEST_RUNS: usize = 3;

/// What to try.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trial {
    /// Folder with models.
    pub models_dir: PathBuf,
    /// The model.
    pub model: ModelName,
    /// The library to load.
    pub library: Library,
    /// Threads for all sessions together.
    pub threads: usize,
    /// What to find out.
    pub task: Task,
}

/// What to find out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Task {
    /// Which engines the library has here.
    Engines,
    /// The answers of the standard way, one image at a time; written to `answers`.
    Reference {
        /// Files of images.
        images: Vec<PathBuf>,
        /// Where probabilities go: 32-bit floats, an image after the other.
        answers: PathBuf,
    },
    /// How close an engine's answers are to those.
    Answers {
        /// The engine.
        engine: Engine,
        /// The same images.
        images: Vec<PathBuf>,
        /// What [`Task::Reference`] wrote.
        answers: PathBuf,
    },
    /// How fast a combination is.
    Speed {
        /// The combination.
        of: Combination,
        /// Time for all batches together.
        seconds: f64,
    },
}

impl Task {
    /// What it computes with.
    fn engine(&self) -> Engine {
        match self {
            Task::Engines | Task::Reference { .. } => Engine::CPU,
            Task::Answers { engine, .. } => *engine,
            Task::Speed { of, .. } => of.engine,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Outcome {
    /// Engines, the preferred first.
    Engines(Vec<Engine>),
    /// Classes in each answer.
    Reference(usize),
    /// How close.
    Answers(Agreement),
    /// How fast.
    Speed(Row),
}

/// Tries it.
pub fn run(trial: &Trial) -> anyhow::Result<Outcome> {
    let device = if trial.library == Library::OpenVino { Device::Cpu } else { Device::Auto };
    let store = ModelStore::open(&trial.models_dir);
    let runtime = Runtime::load_library(device, trial.library)?.keep_engines_in(store.optimised_folder());
    if matches!(trial.task, Task::Engines) {
        return Ok(Outcome::Engines(runtime.engines(&Machine::this(trial.threads))));
    }
    let mut model = store.load(&trial.model)?;
    model.optimise(&runtime, &store.optimised_folder(), trial.task.engine());
    let subject = Subject { runtime, model, threads: trial.threads };
    match &trial.task {
        Task::Engines => anyhow::bail!("engines were told before"),
        Task::Reference { images, answers } => subject.write_reference(images, answers).map(Outcome::Reference),
        Task::Answers { engine, images, answers } => subject.compare(*engine, images, answers).map(Outcome::Answers),
        Task::Speed { of, seconds } => subject.time(*of, *seconds).map(Outcome::Speed),
    }
}

/// A model in a runtime.
struct Subject {
    runtime: Runtime,
    model: Model,
    threads: usize,
}

impl Subject {
    fn sessions(&self, of: Combination) -> anyhow::Result<Vec<ModelSession>> {
        let threads = Threads::new(of.threads, of.sessions == 1 && of.threads > 1);
        build_side_by_side(&self.runtime, &self.model, (threads, of.engine), of.sessions)
    }

    fn one(&self, engine: Engine) -> anyhow::Result<ModelSession> {
        let mut sessions = self.sessions(Combination { engine, sessions: 1, threads: self.threads })?;
        sessions.pop().context("no session was built")
    }

    /// Answers images in batches of these sizes in turn, and gives each image's probabilities to `take`.
    fn answer(
        &self,
        session: &mut ModelSession,
        images: &[PathBuf],
        sizes: &[usize],
        mut take: impl FnMut(&[f32]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (manifest, input) = (&self.model.manifest, session.input().clone());
        let mut preprocessor = Preprocessor::new(&manifest.input, input.layout, input.size, ImageLimits::default());
        let (mut values, mut row, mut rest) = (Vec::new(), vec![0.0; input.row_len()], images);
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                return Ok(());
            }
            let (batch, others) = rest.split_at((*size).min(rest.len()));
            rest = others;
            values.clear();
            for path in batch {
                let bytes = fs::read(path).with_context(|| path.display().to_string())?;
                let prepared = preprocessor.prepare(&bytes, &mut row);
                prepared.map_err(|failure| anyhow::anyhow!("{}: {failure}", path.display()))?;
                values.extend_from_slice(&row);
            }
            let scores = session.run(&mut values, batch.len()).map_err(anyhow::Error::msg)?;
            for scores in scores.chunks_exact(scores.len() / batch.len()) {
                take(&probabilities(manifest, scores))?;
            }
        }
        Ok(())
    }

    fn write_reference(&self, images: &[PathBuf], answers: &Path) -> anyhow::Result<usize> {
        let (mut bytes, mut classes) = (Vec::new(), 0);
        let mut session = self.one(Engine::CPU)?;
        self.answer(&mut session, images, &[1], |probabilities| {
            ensure!(probabilities.iter().all(|one| one.is_finite()), "the model's output is not finite");
            classes = probabilities.len();
            bytes.extend(probabilities.iter().flat_map(|one| one.to_le_bytes()));
            Ok(())
        })?;
        fs::write(answers, bytes).with_context(|| answers.display().to_string())?;
        Ok(classes)
    }

    /// In batches of every size that is measured: a provider may take another way for each.
    fn compare(&self, engine: Engine, images: &[PathBuf], answers: &Path) -> anyhow::Result<Agreement> {
        let bytes = fs::read(answers).with_context(|| answers.display().to_string())?;
        let exact: Vec<f32> = bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        let mut session = self.one(engine)?;
        let sizes = batches(engine, self.model.manifest.batch.max, session.input().fixed_batch);
        let (mut agreement, mut exact) = (Agreement::default(), exact.chunks_exact(exact.len() / images.len().max(1)));
        self.answer(&mut session, images, &sizes, |other| {
            agreement.add(exact.next().unwrap_or_default(), other);
            Ok(())
        })?;
        Ok(agreement)
    }

    /// The median of each batch's runs.
    fn time(mut self, of: Combination, seconds: f64) -> anyhow::Result<Row> {
        let begun = Instant::now();
        let mut sessions = self.sessions(of)?;
        self.model.forget_weights();
        let fixed = sessions.first().context("no session was built")?.input().fixed_batch;
        let sizes = batches(of.engine, self.model.manifest.batch.max, fixed);
        let budget = CpuBudget::new(self.threads);
        for size in &sizes {
            run_all(&mut sessions, *size, &budget)?;
        }
        let ready_s = begun.elapsed().as_secs_f64();
        let each = Duration::from_secs_f64(seconds / sizes.len() as f64);
        let mut ms = Vec::new();
        for size in &sizes {
            let (mut took, until) = (Vec::new(), Instant::now() + each);
            while took.len() < FEWEST_RUNS || Instant::now() < until {
                took.push(run_all(&mut sessions, *size, &budget)?);
            }
            took.sort();
            ms.push(took[took.len() / 2].as_secs_f64() * 1e3);
        }
        Ok(Row { of, batches: sizes, ms, memory: memory(), ready_s })
    }
}

/// Memory of this process, bytes. What several sessions map is counted once, if the kernel says it.
fn memory() -> u64 {
    let read = |file: &str, key: &str| {
        let text = fs::read_to_string(file).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(key))?.trim().strip_suffix(" kB")?.trim();
        value.parse::<u64>().ok()
    };
    read("/proc/self/smaps_rollup", "Pss:").or_else(|| read("/proc/self/status", "VmRSS:")).unwrap_or(0) * 1024
}
