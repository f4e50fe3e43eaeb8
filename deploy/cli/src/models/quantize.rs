//! `shoal models quantize`: a model of 8 bits, made from one in floating point and images like those it
//! will see. Images are prepared by the code that workers prepare them with; ONNX Runtime's own tooling
//! does the rest, and Shoal then runs both models over images that the tooling has not seen.

mod compare;
mod images;
mod python;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use shoal_shared::manifest::Manifest;
use shoal_shared::names::ModelName;
use shoal_shared::sniff::ImageLimits;
use shoal_worker::image::Preprocessor;
use shoal_worker::model::{Device, Model, ModelSession, ModelStore, Precision, Runtime, Threads};

pub use compare::Comparison;
use images::Prepared;
pub use python::is_ready;
use python::{Job, Made};

/// What the new model's manifest says of its source, before the name.
const SOURCE: &str = "shoal models quantize ";

/// What is quantised, and how.
#[derive(clap::Args)]
pub struct Quantize {
    /// The model, in floating point
    pub model: ModelName,
    /// Folder with images like those that it will see, a few hundred; folders in it count
    #[arg(long, value_name = "DIR")]
    pub calibrate: PathBuf,
    /// Name of the new model; default: MODEL-int8
    #[arg(long)]
    pub name: Option<ModelName>,
    /// Part of the images that is kept back, to compare both models over
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = images::share)]
    pub holdout: f64,
    /// How the range of an activation is found
    #[arg(long, value_enum, default_value_t = Method::Minmax)]
    pub method: Method,
    /// Leave a node in floating point: its name, `first` or `last`; may be repeated
    #[arg(long, value_name = "NODE")]
    pub keep: Vec<String>,
}

/// How the range of an activation is found from what was seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// All of it
    Minmax,
    /// The cut that loses least of the distribution
    Entropy,
    /// All but one value in a hundred thousand
    Percentile,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Method::Minmax => "minmax",
            Method::Entropy => "entropy",
            Method::Percentile => "percentile",
        }
    }
}

/// Quantises, adds the new model to the store, and says how it compares.
pub fn run(wanted: &Quantize, store: &ModelStore) -> anyhow::Result<()> {
    let done = quantize(&Runtime::load(Device::Cpu)?, wanted, store)?;
    print!("{done}");
    Ok(())
}

/// A model that was quantised, and how it compares.
pub struct Quantised {
    /// Its name in the store.
    pub name: ModelName,
    /// Where it is.
    pub folder: PathBuf,
    /// Images that it was calibrated with.
    pub calibrated: usize,
    /// Bytes of the ONNX file before and after.
    pub bytes: (usize, usize),
    /// Both models over the images kept back.
    pub comparison: Comparison,
}

/// Quantises and adds the new model to the store. It has run by then: a model that cannot is not added.
pub fn quantize(runtime: &Runtime, wanted: &Quantize, store: &ModelStore) -> anyhow::Result<Quantised> {
    let before = store.load(&wanted.model)?;
    ensure!(
        before.precision == Precision::Float,
        "`{}` has 8 bits already: quantise the model it came from",
        wanted.model
    );
    let name = new_name(wanted, store)?;
    let session = runtime.session(&before.onnx, Threads::ONE)?;
    let session = ModelSession::new(session, runtime.engine(), &before.manifest, before.labels.len())?;
    let input = session.input();
    let preprocessor = Preprocessor::new(&before.manifest.input, input.layout, input.size, ImageLimits::default());
    let prepared = images::prepare(&wanted.calibrate, preprocessor, wanted.holdout)?;

    let packages = python::packages(&store.folder(&wanted.model))?;
    let folder = tempfile::tempdir().context("a folder for the tooling's files")?;
    eprintln!("calibrating with {} images ({})", prepared.calibration.len(), wanted.method.as_str());
    let job = Job {
        folder: folder.path(),
        onnx: &before.onnx,
        rows: &prepared.calibration,
        shape: input.shape(prepared.calibration.len()),
        batch: input.fixed_batch.unwrap_or(1),
        method: wanted.method.as_str(),
        keep: &wanted.keep,
    };
    let made = job.run(&packages)?;
    let (calibrated, bytes) = (prepared.calibration.len(), (before.onnx.len(), made.onnx.len()));
    let after = assemble(&before, &name, wanted, &prepared, made);
    drop(session);
    eprintln!("comparing both over {} others", prepared.holdout.len());
    let comparison = compare::compare(runtime, &before, &after, &prepared.holdout)?;
    let labels = after.labels.join("\n");
    let mut files: Vec<(&str, &[u8])> = vec![("model.onnx", &after.onnx)];
    if !after.labels.is_empty() {
        files.push(("labels.txt", labels.as_bytes()));
    }
    let folder = store.add(&after.manifest, &files)?;
    Ok(Quantised { name, folder, calibrated, bytes, comparison })
}

/// The name asked for, or the model's with `-int8`. What is there under it is replaced only if this
/// command has made it.
fn new_name(wanted: &Quantize, store: &ModelStore) -> anyhow::Result<ModelName> {
    let name = match &wanted.name {
        Some(name) => name.clone(),
        None => format!("{}-int8", wanted.model).parse().context("choose another --name")?,
    };
    if store.contains(&name) {
        let made_here = store.manifest(&name)?.source.starts_with(SOURCE);
        ensure!(
            made_here,
            "there is a model `{name}` already, and it was not made by this command: choose another --name"
        );
    }
    Ok(name)
}

fn assemble(before: &Model, name: &ModelName, wanted: &Quantize, prepared: &Prepared, made: Made) -> Model {
    let kept = match made.kept.as_slice() {
        [] => String::new(),
        kept => format!(", but for {} in floating point", kept.join(", ")),
    };
    let made_of = format!(
        "Made of `{}` (digest {}) with {} images: static QDQ, uint8 activations ({}), int8 weights per channel{kept}; \
         onnxruntime {}, onnx {}.",
        wanted.model,
        before.digest,
        prepared.calibration.len(),
        wanted.method.as_str(),
        made.onnxruntime_version,
        made.onnx_version,
    );
    let described = [before.manifest.description.as_str(), &made_of].join(" ");
    let manifest = Manifest {
        name: name.clone(),
        title: format!("{} int8", before.manifest.title).trim_start().to_owned(),
        description: described.trim_start().to_owned(),
        source: format!("{SOURCE}{}", wanted.model),
        file: "model.onnx".into(),
        labels: (!before.labels.is_empty()).then(|| "labels.txt".into()),
        ..before.manifest.clone()
    };
    Model::new(manifest, before.labels.clone(), made.onnx)
}

impl std::fmt::Display for Quantised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (before, after) = (self.bytes.0 as f64, self.bytes.1 as f64);
        writeln!(
            f,
            "{}: {:.1} MB instead of {:.1} ({:.2} of it), calibrated with {} images, in {}",
            self.name,
            after / 1e6,
            before / 1e6,
            after / before,
            self.calibrated,
            self.folder.display()
        )?;
        write!(f, "{}", self.comparison)?;
        writeln!(f, "serve it: shoal up --model {}", self.name)
    }
}
