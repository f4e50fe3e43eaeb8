//! A model with its weights in a file beside the graph, as ONNX Runtime has optimised it for this kind of machine or as
//! OpenVINO wants it. Sessions map that file: all of them, in every worker of the host, share its pages, and none
//! optimises again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use sha2::{Digest as _, Sha256};

use super::tuning::LibraryFile;
use super::{Engine, Machine, Measured, Model, Precision, Provider, Runtime, RuntimeError, Threads, Wanted};

/// Models below this size take no memory worth sharing, bytes.
const SMALLEST: usize = 1 << 20;
/// Weights below this size stay in the graph, bytes.
const SMALLEST_WEIGHTS: &str = "1024";
/// Models that are kept, the last used ones.
const MOST: usize = 16;
/// How long one is kept that nobody uses.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long an unfinished one may take.
const UNFINISHED: Duration = Duration::from_secs(3600);
/// How long measurements are good for.
const MEASURED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// Of the way in which they are made.
const VERSION: u32 = 1;

const GRAPH: &str = "graph.onnx";
const WEIGHTS: &str = "weights.bin";
/// Holds the sizes of the other two; its time is that of the last use.
const SEAL: &str = "sizes";

/// What is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Operators fused, weights rearranged: for ONNX Runtime's own kernels.
    Computed,
    /// As the file says: OpenVINO does all that itself, and would copy weights that lie in memory.
    Written,
}

impl Form {
    fn of(engine: Engine) -> Option<Self> {
        match engine.provider {
            Provider::Cpu => Some(Form::Computed),
            Provider::OpenVino => Some(Form::Written),
            Provider::Cuda | Provider::TensorRt => None,
        }
    }
}

/// A folder with a model in one of these forms that is whole.
#[derive(Debug, Clone)]
pub struct Optimised {
    folder: PathBuf,
    form: Form,
}

impl Model {
    /// Finds or makes the form that an engine wants below `home`. Nothing depends on it: where it cannot be had,
    /// sessions are built from the model's file, each with weights of its own.
    pub fn optimise(&mut self, runtime: &Runtime, home: &Path, engine: Engine) {
        let Some(form) = Form::of(engine).filter(|_| self.onnx.len() >= SMALLEST) else { return };
        if self.optimised.as_ref().is_some_and(|known| known.form == form) {
            return;
        }
        match Optimised::of(self, runtime, home, form) {
            Ok(optimised) => self.optimised = Some(optimised),
            Err(error) => {
                let (name, home) = (&self.manifest.name, home.display());
                tracing::warn!(model.name = %name, %error, %home, "weights not shared: every session has its own");
            }
        }
    }

    /// Whether another session takes next to no memory. Kernels for integers keep a rearranged copy in each.
    pub fn shares_weights(&self) -> bool {
        self.optimised.is_some() && self.precision == Precision::Float
    }
}

impl Optimised {
    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn of(model: &Model, runtime: &Runtime, home: &Path, form: Form) -> Result<Self, RuntimeError> {
        let folder = home.join(key(model, runtime, form));
        if is_whole(&folder) {
            // Only to know what has not been used for long.
            let _ = File::open(folder.join(SEAL)).and_then(|seal| seal.set_modified(SystemTime::now()));
            return Ok(Self { folder, form });
        }
        let partial = folder.with_extension(format!("partial-{}", std::process::id()));
        let made = make(model, runtime, &partial, form).and_then(|()| {
            let _ = fs::remove_dir_all(&folder);
            let renamed = fs::rename(&partial, &folder);
            // Another worker of this host may have been faster.
            if is_whole(&folder) { Ok(()) } else { renamed.map_err(Into::into) }
        });
        if made.is_err() || partial.exists() {
            let _ = fs::remove_dir_all(&partial);
        }
        made.map_err(|error| RuntimeError::Model(error.to_string()))?;
        forget_unused(home, &folder);
        Ok(Self { folder, form })
    }

    /// What the sessions of such a worker were measured to do, on this kind of machine and not long ago: a worker that
    /// starts under load, as those that are added do, would measure the load.
    pub fn measured(&self, by: Wanted) -> Option<Measured> {
        let path = self.folder.join(measured_file(by));
        let age = fs::metadata(&path).and_then(|file| file.modified()).ok()?.elapsed().ok()?;
        let text = fs::read_to_string(&path).ok().filter(|_| age < MEASURED_FOR)?;
        toml::from_str(&text).ok()
    }

    /// Writes down what was measured; nothing depends on it.
    pub fn remember(&self, by: Wanted, measured: Measured) {
        let (path, text) = (self.folder.join(measured_file(by)), toml::to_string(&measured).unwrap_or_default());
        let partial = path.with_extension(format!("partial-{}", std::process::id()));
        if let Err(error) = fs::write(&partial, text).and_then(|()| fs::rename(&partial, &path)) {
            tracing::debug!(%error, path = %path.display(), "what was measured is not kept");
        }
    }

    /// Whether an engine computes from this form.
    pub fn is_for(&self, engine: Engine) -> bool {
        Form::of(engine) == Some(self.form)
    }

    /// Builds a session that maps the weights.
    pub fn session(&self, runtime: &Runtime, threads: Threads, engine: Engine) -> Result<Session, RuntimeError> {
        let build = || -> Result<Session, Box<dyn std::error::Error>> {
            let builder = runtime.builder_for(threads, engine, None)?;
            // All that there is to optimise has been, or is OpenVINO's business.
            Ok(builder
                .with_optimization_level(GraphOptimizationLevel::Disable)?
                .commit_from_file(self.folder.join(GRAPH))?)
        };
        build().map_err(|error| RuntimeError::Model(error.to_string()))
    }
}

fn measured_file(by: Wanted) -> String {
    format!("measured-{}-{}.toml", by.threads, by.max_batch)
}

/// Whatever the optimised form depends on.
fn key(model: &Model, runtime: &Runtime, form: Form) -> String {
    let library = LibraryFile::here(runtime.library()).map(|library| (library.file, library.bytes));
    // The number of threads makes no difference.
    let text = format!("{VERSION}\n{form:?}\n{}\n{}\n{library:?}", model.digest, Machine::this(0).digest());
    hex::encode(&Sha256::digest(text)[..16])
}

fn make(model: &Model, runtime: &Runtime, folder: &Path, form: Form) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(folder)?;
    let (level, rearranged) = match form {
        Form::Computed => (GraphOptimizationLevel::All, "1"),
        Form::Written => (GraphOptimizationLevel::Disable, "0"),
    };
    let session = runtime
        .builder(Threads::ONE)?
        .with_optimization_level(level)?
        // It warns of what is meant here: a file for this kind of machine only.
        .with_log_level(LogLevel::Error)?
        .with_optimized_model_path(folder.join(GRAPH))?
        .with_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS)?
        .with_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", SMALLEST_WEIGHTS)?
        // Weights that kernels rearrange are written down as they are computed with.
        .with_config_entry("session.save_external_prepacked_constant_initializers", rearranged)?
        .commit_from_memory(&model.onnx)?;
    drop(session);
    // After a power cut a file is whole, or not there.
    for file in [GRAPH, WEIGHTS] {
        File::open(folder.join(file))?.sync_all()?;
    }
    fs::write(folder.join(SEAL), sizes(folder)?)?;
    Ok(())
}

fn sizes(folder: &Path) -> std::io::Result<String> {
    let size = |file| fs::metadata(folder.join(file)).map(|file| file.len());
    Ok(format!("{} {}\n", size(GRAPH)?, size(WEIGHTS)?))
}

fn is_whole(folder: &Path) -> bool {
    let seal = fs::read_to_string(folder.join(SEAL));
    matches!((seal, sizes(folder)), (Ok(seal), Ok(sizes)) if seal == sizes)
}

/// Begins to use a folder below `home` in which something else keeps what it made of a model.
pub(super) fn begin_use(home: &Path, folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(SEAL), "")?;
    forget_unused(home, folder);
    Ok(())
}

/// Removes what has not been used for long, but for `used`. Sessions that map it keep what they have.
fn forget_unused(home: &Path, used: &Path) {
    let Ok(entries) = fs::read_dir(home) else { return };
    let age = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok()?.elapsed().ok();
    let (mut kept, mut old) = (Vec::new(), Vec::new());
    for folder in entries.flatten().map(|entry| entry.path()).filter(|folder| folder != used) {
        match age(&folder.join(SEAL)) {
            Some(age) if folder.extension().is_none() && age < UNUSED => kept.push((age, folder)),
            Some(_) => old.push(folder),
            None if age(&folder).is_some_and(|age| age > UNFINISHED) => old.push(folder),
            None => {}
        }
    }
    kept.sort();
    let beyond = kept.into_iter().skip(MOST - 1).map(|(_, folder)| folder);
    for folder in old.into_iter().chain(beyond) {
        let _ = fs::remove_dir_all(folder);
    }
}
