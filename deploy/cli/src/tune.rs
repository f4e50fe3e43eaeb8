//! `shoal tune`: every way to compute a model on this machine, measured and held against the exact answers; the
//! fastest that passes becomes the model's profile.

mod images;
mod measuring;
mod process;
mod table;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use shoal_shared::manifest::{Exactness, Manifest};
use shoal_shared::names::ModelName;
use shoal_shared::process::{VERSION, available_cores, host};
use shoal_worker::model::tuning::{Bounds, Choice, Held, LibraryFile, Profile, Row, choose};
use shoal_worker::model::{Engine, LARGEST_COPIED, Library, MANIFEST, Machine, Model, ModelStore};

use measuring::Measuring;
pub use process::{Worked, work};

/// `shoal tune`
#[derive(clap::Args)]
pub struct Options {
    /// The model
    model: ModelName,
    /// Folder with images of the kind that it will see: answers are compared on them
    #[arg(long)]
    images: PathBuf,
    /// How close answers must be. Where it pays, `fast` is written into the model's manifest, and its cached answers
    /// are not those of `exact` [default: as the manifest says]
    #[arg(long, value_parser = promise)]
    precision: Option<Exactness>,
    /// With `fast`: part of the images whose first class must stay the same [default: 0.995]
    #[arg(long, value_parser = part, allow_negative_numbers = true)]
    agreement: Option<f64>,
    /// With `fast`: how far any class's probability may move [default: 0.05]
    #[arg(long, value_parser = part, allow_negative_numbers = true)]
    difference: Option<f64>,
    /// Time to measure speed in, seconds; building the sessions comes on top
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Threads of the worker that it is for [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
    /// Load the model once, for an idle worker and under load: less memory, fewer images a second
    #[arg(long)]
    one_session: bool,
    /// Folder with models
    #[arg(long, default_value = ".shoal/models")]
    models_dir: PathBuf,
    /// Measure and print, and write nothing
    #[arg(long)]
    dry_run: bool,
}

fn promise(text: &str) -> Result<Exactness, String> {
    match text {
        "exact" => Ok(Exactness::Exact),
        "fast" => Ok(Exactness::Fast),
        _ => Err("must be exact or fast".into()),
    }
}

fn part(text: &str) -> Result<f64, String> {
    let part = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| "must be a number from 0 to 1".into())
}

/// How close answers must be.
fn bounds(options: &Options, promise: Exactness) -> anyhow::Result<Bounds> {
    let usual = Bounds::of(promise);
    let is_other = options.agreement.is_some() || options.difference.is_some();
    ensure!(!(promise.is_exact() && is_other), "exact answers have no bounds of their own: --precision fast has");
    Ok(Bounds {
        agreement: options.agreement.unwrap_or(usual.agreement),
        difference: options.difference.map_or(usual.difference, |difference| difference as f32),
    })
}

/// Part of the cores that others may use while something is measured.
const BUSY: f64 = 0.1;

/// Part of the cores that others use, over half a second in which this process sleeps.
fn busy_elsewhere() -> Option<f64> {
    let (before, begun) = (host::cpu_times()?.used, Instant::now());
    std::thread::sleep(Duration::from_millis(500));
    Some((host::cpu_times()?.used - before) / begun.elapsed().as_secs_f64() / available_cores() as f64)
}

/// Measures, prints what was measured, writes the profile.
pub fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.seconds > 0.0 && options.seconds.is_finite(), "--seconds must be more than 0");
    let threads = options.threads.unwrap_or_else(available_cores).max(1);
    let store = ModelStore::open(&options.models_dir);
    let model = store.load(&options.model)?;
    let is_here = store.folder(&options.model).join(MANIFEST).exists();
    let promise = options.precision.unwrap_or(model.manifest.precision);
    if promise != model.manifest.precision && !is_here {
        bail!(
            "{} is carried by the binary and has no manifest to write `precision` into: add a copy under another name \
             with `shoal models add`",
            options.model
        );
    }
    let bounds = bounds(options, promise)?;
    let images = images::of(&options.images, &model)?;
    let machine = Machine::this(threads);
    println!("{}, precision {}, on {}", options.model, promise.as_str(), machine.in_words());
    println!(
        "Close enough: the same first class for at least {:.1} % of the images, every probability within {}.",
        100.0 * bounds.agreement,
        bounds.difference
    );
    if let Some(needed) = bounds.images_to_tell().filter(|needed| *needed > images.len()) {
        println!(
            "Beware: {} images are few to be sure of {:.1} %: for that, {needed} have to be tried, and none of them may differ.",
            images.len(),
            100.0 * bounds.agreement
        );
    }
    if LibraryFile::here(Library::OpenVino).is_none() {
        println!("OpenVINO is not here and not tried: `deploy/setup.sh --fast` fetches it (Linux x86_64).");
    }
    if let Some(busy) = busy_elsewhere().filter(|busy| *busy > BUSY) {
        println!(
            "Beware: other programs use {:.0} % of the cores now. What is measured beside them may be the wrong choice: stop a \
             fleet that runs here, and try again.",
            100.0 * busy
        );
    }
    let mut measuring = Measuring::begin(options.models_dir.clone(), model.manifest.name.clone(), threads, images)?;
    let agreement = measuring.agreement()?;
    let is_close = |held: &Held| held.objection(promise, &bounds).is_none();
    let passes = |engine: Engine| agreement.iter().any(|held| held.engine == engine && is_close(held));
    let several = !options.one_session && model.onnx.len() <= LARGEST_COPIED;
    let rows = measuring.speed(options.seconds, several, passes)?;
    print!("{}", table::in_words(&rows, &agreement, (promise, &bounds)));
    let choice = choose(&rows, passes).context("no way to compute this model passes, not even the standard one")?;
    print!("{}", table::chosen(&choice, &rows));
    if options.dry_run {
        return Ok(());
    }
    let library = LibraryFile::here(choice.library()).context("the library that was measured is gone")?;
    // Nothing is promised away that nothing is gained by.
    let is_exact_enough = model.manifest.precision.is_exact() && is_exact(&choice, &agreement);
    let (promise, bounds) = if is_exact_enough { (Exactness::Exact, Bounds::EXACT) } else { (promise, bounds) };
    if is_exact_enough && !options.precision.is_none_or(|precision| precision.is_exact()) {
        println!("what was chosen is exact: the manifest stays as it is");
    }
    let model = keep_promise(&store, model, promise)?;
    let profile = Profile {
        written: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        release: VERSION.into(),
        model: options.model.clone(),
        digest: model.digest,
        precision: promise,
        bounds,
        machine,
        library,
        choice,
        agreement,
        measured: rows,
    };
    let path = profile.write(&store.folder(&options.model)).map_err(anyhow::Error::msg)?;
    println!("written to {}; workers use it from their next start", path.display());
    Ok(())
}

/// Whether what was chosen would have been chosen with a promise of exact answers.
fn is_exact(choice: &Choice, agreement: &[Held]) -> bool {
    let parts = std::iter::once(&choice.wide).chain(&choice.narrow);
    let mut held = parts.map(|part| agreement.iter().find(|held| held.engine == part.of.engine));
    held.all(|held| held.is_some_and(|held| held.objection(Exactness::Exact, &Bounds::EXACT).is_none()))
}

/// The model with the promise in its manifest, and so in its digest.
fn keep_promise(store: &ModelStore, model: Model, precision: Exactness) -> anyhow::Result<Model> {
    if model.manifest.precision == precision {
        return Ok(model);
    }
    let manifest = Manifest { precision, ..model.manifest };
    store.rewrite(&manifest)?;
    println!(
        "precision = \"{}\" is in the manifest now: the model has another digest, and cached answers are not mixed",
        precision.as_str()
    );
    Ok(store.load(&manifest.name)?)
}

/// Rows whose engine passes.
fn passing<'a>(rows: &'a [Row], passes: &'a impl Fn(Engine) -> bool) -> impl Iterator<Item = &'a Row> {
    rows.iter().filter(|row| passes(row.of.engine))
}
