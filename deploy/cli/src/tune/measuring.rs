//! The order of the trials: engines, answers, then speed in rounds, so that what disturbs one combination disturbs
//! the others as well.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use shoal_shared::names::ModelName;
use shoal_worker::model::tuning::{Combination, Held, LibraryFile, Outcome, Row, Task, Trial, combinations};
use shoal_worker::model::{Engine, Library};

use super::passing;
use super::process::try_out;

/// Times that a combination in the running is measured; the others once.
const ROUNDS: usize = 3;
/// A combination stays in the running while it is at least so fast as the fastest, under load or for one image.
const IN_THE_RUNNING: f64 = 0.75;

/// A model that is being measured.
pub(super) struct Measuring {
    models_dir: PathBuf,
    model: ModelName,
    threads: usize,
    images: Vec<PathBuf>,
    engines: Vec<Engine>,
    progress: ProgressBar,
}

impl Measuring {
    /// Asks every library that is here which engines it has.
    pub(super) fn begin(
        models_dir: PathBuf,
        model: ModelName,
        threads: usize,
        images: Vec<PathBuf>,
    ) -> anyhow::Result<Self> {
        let progress = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
            progress.set_style(style);
        }
        let mut this = Self { models_dir, model, threads, images, engines: Vec::new(), progress };
        for library in Library::ALL {
            if library == Library::OpenVino && LibraryFile::here(library).is_none() {
                continue;
            }
            match this.try_out(library, Task::Engines) {
                Ok(Outcome::Engines(engines)) => this.engines.extend(engines),
                Ok(_) => bail!("the trial answered another question"),
                Err(error) if library == Library::Standard => return Err(error),
                Err(error) => eprintln!("left out: the library with OpenVINO: {error:#}"),
            }
        }
        Ok(this)
    }

    fn try_out(&self, library: Library, task: Task) -> anyhow::Result<Outcome> {
        let (models_dir, model) = (self.models_dir.clone(), self.model.clone());
        try_out(&Trial { models_dir, model, library, threads: self.threads, task })
    }

    fn say(&self, text: String) {
        self.progress.set_message(text);
        self.progress.tick();
    }

    /// How close each engine is to the standard way, one image at a time. One that fails is left out.
    pub(super) fn agreement(&mut self) -> anyhow::Result<Vec<Held>> {
        let folder = tempfile::tempdir()?;
        let answers = folder.path().join("answers");
        let count = self.images.len();
        self.say(format!("exact answers to {count} images"));
        let reference = Task::Reference { images: self.images.clone(), answers: answers.clone() };
        let told = self.try_out(Library::Standard, reference).context("the exact answers")?;
        ensure!(matches!(told, Outcome::Reference(1..)), "the model gave no answer");
        let mut held = Vec::new();
        for engine in std::mem::take(&mut self.engines) {
            self.say(format!("{engine}: answers to {count} images"));
            let task = Task::Answers { engine, images: self.images.clone(), answers: answers.clone() };
            match self.try_out(engine.library(), task) {
                Ok(Outcome::Answers(agreement)) => {
                    self.engines.push(engine);
                    held.push(Held { engine, agreement });
                }
                Ok(_) => bail!("the trial answered another question"),
                Err(error) => eprintln!("left out: {engine}: {error:#}"),
            }
        }
        Ok(held)
    }

    /// How fast each combination is, in about so many seconds; `several` says whether the model may be loaded more
    /// than once.
    pub(super) fn speed(
        &self,
        seconds: f64,
        several: bool,
        passes: impl Fn(Engine) -> bool,
    ) -> anyhow::Result<Vec<Row>> {
        let all = combinations(&self.engines, self.threads, several);
        let each = seconds / (all.len() * ROUNDS).max(1) as f64;
        let mut rows: Vec<Row> = Vec::new();
        for round in 0..ROUNDS {
            let mut turns: Vec<Combination> = match round {
                0 => all.clone(),
                _ => in_the_running(&rows, &passes),
            };
            // There and back: what grows slower or faster over the time favours nobody.
            if round % 2 == 1 {
                turns.reverse();
            }
            for (number, of) in turns.iter().enumerate() {
                let Combination { engine, sessions, threads } = of;
                let (number, count) = (number + 1, turns.len());
                self.say(format!(
                    "round {} of {ROUNDS}, {number} of {count}: {engine}, {sessions} sessions of {threads} threads",
                    round + 1
                ));
                match self.try_out(engine.library(), Task::Speed { of: *of, seconds: each }) {
                    Ok(Outcome::Speed(row)) => match rows.iter_mut().find(|known| known.of == row.of) {
                        Some(known) => known.merge(&row),
                        None => rows.push(row),
                    },
                    Ok(_) => bail!("the trial answered another question"),
                    Err(error) => eprintln!("left out: {engine}, {sessions} sessions of {threads}: {error:#}"),
                }
            }
        }
        self.progress.finish_and_clear();
        Ok(rows)
    }
}

/// Those that may still be chosen.
fn in_the_running(rows: &[Row], passes: &impl Fn(Engine) -> bool) -> Vec<Combination> {
    let alone = |row: &Row| row.ms.first().copied().unwrap_or(f64::INFINITY);
    let fastest = passing(rows, passes).map(|row| row.best().1).fold(0.0, f64::max);
    let soonest = passing(rows, passes).filter(|row| row.of.sessions == 1).map(alone).fold(f64::INFINITY, f64::min);
    let is_close = |row: &&Row| {
        row.best().1 >= IN_THE_RUNNING * fastest || (row.of.sessions == 1 && IN_THE_RUNNING * alone(row) <= soonest)
    };
    passing(rows, passes).filter(is_close).map(|row| row.of).collect()
}
