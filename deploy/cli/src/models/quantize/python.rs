//! ONNX Runtime's quantisation tooling, which is Python: its packages in a folder of their own, pinned,
//! fetched when they are not there, and one run of the script that this binary carries.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use shoal_shared::{locate, npy};

const SCRIPT: &str = include_str!("quantize.py");
const REQUIREMENTS: &str = include_str!("../../../../tools/python-quantize.txt");
/// Name of the folder of packages.
const FOLDER: &str = "python-quantize";
const PYTHON: &str = "python3";
/// Lines of the tooling's own words that an error quotes.
const QUOTED_LINES: usize = 15;

/// Tells whether the pinned versions are in a folder, and can be loaded by this Python.
const CHECK: &str = "
import importlib.metadata, sys
sys.path.insert(0, sys.argv[1])
found = {d.metadata['Name'].lower().replace('-', '_'): d.version for d in importlib.metadata.distributions(path=[sys.argv[1]])}
missing = [pin for pin in sys.argv[2:] if found.get(pin.split('==')[0]) != pin.split('==')[1]]
if missing: sys.exit('missing: ' + ', '.join(missing))
import numpy, onnx, onnxruntime
";

/// The folder with the packages, fetched with pip if need be: in `.tools/`, or beside the models where
/// there is none.
pub(super) fn packages(model: &Path) -> anyhow::Result<PathBuf> {
    let has_python = python().arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_python {
        bail!(
            "python3 is missing: the quantisation tooling needs it (Debian, Ubuntu: apt install python3 python3-pip)"
        );
    }
    let beside = || model.parent().unwrap_or(Path::new(".")).join(".tools");
    let folder = locate::tools().unwrap_or_else(beside).join(FOLDER);
    if is_complete(&folder) {
        return Ok(folder);
    }
    install(&folder)?;
    match is_complete(&folder) {
        true => Ok(folder),
        false => {
            bail!("pip has filled {} and python3 cannot load what is there: remove it and try again", folder.display())
        }
    }
}

/// Whether the packages are where the command would look for them.
pub fn is_ready() -> bool {
    locate::tools().is_some_and(|tools| is_complete(&tools.join(FOLDER)))
}

fn is_complete(folder: &Path) -> bool {
    let pins = REQUIREMENTS.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let checked = python().args(["-c", CHECK]).arg(folder).args(pins).output();
    checked.is_ok_and(|output| output.status.success())
}

/// Into a folder beside it first: whoever looks meanwhile finds all or nothing.
fn install(folder: &Path) -> anyhow::Result<()> {
    let pip = Command::new(PYTHON).args(["-m", "pip", "--version"]).output();
    if !pip.is_ok_and(|output| output.status.success()) {
        bail!(
            "python3 has no pip: install it (Debian, Ubuntu: apt install python3-pip; elsewhere: python3 -m ensurepip)"
        );
    }
    let partial = folder.with_extension(format!("partial-{}", std::process::id()));
    fs::create_dir_all(&partial).with_context(|| partial.display().to_string())?;
    let list = partial.join("requirements.txt");
    fs::write(&list, REQUIREMENTS).with_context(|| list.display().to_string())?;
    eprintln!("fetching the quantisation tooling into {} (once, 250 MB)", folder.display());
    let output = Command::new(PYTHON)
        .args(["-m", "pip", "install", "--quiet", "--retries", "5", "--no-deps", "--no-warn-script-location"])
        .arg("--target")
        .arg(&partial)
        .arg("--requirement")
        .arg(&list)
        // pip may be told to refuse anything outside a virtual environment; this is none.
        .envs([("PIP_REQUIRE_VIRTUALENV", "0"), ("PIP_DISABLE_PIP_VERSION_CHECK", "1")])
        .stdin(Stdio::null())
        .output()
        .context("python3 -m pip install")?;
    if !output.status.success() {
        let _ = fs::remove_dir_all(&partial);
        bail!(
            "pip could not fetch the quantisation tooling:\n{}",
            last_lines(&String::from_utf8_lossy(&output.stderr))
        );
    }
    // Another command may have been faster; an incomplete one makes room.
    let _ = fs::remove_dir_all(folder);
    fs::rename(&partial, folder).with_context(|| folder.display().to_string())
}

/// Without the person's own packages: what is pinned is what runs.
fn python() -> Command {
    let mut command = Command::new(PYTHON);
    // The library of these wheels calls home unless it is told not to.
    command.arg("-I").env("ORT_DISABLE_TELEMETRY", "1").stdin(Stdio::null());
    command
}

/// One run of the tooling.
pub(super) struct Job<'a> {
    /// For its files.
    pub(super) folder: &'a Path,
    /// The model.
    pub(super) onnx: &'a [u8],
    /// Rows of its input, prepared.
    pub(super) rows: &'a [Vec<f32>],
    /// Shape of all of them together.
    pub(super) shape: Vec<i64>,
    /// Rows of one run.
    pub(super) batch: usize,
    /// How ranges are found.
    pub(super) method: &'a str,
    /// Nodes that stay in floating point.
    pub(super) keep: &'a [String],
}

/// What the tooling has made.
pub(super) struct Made {
    /// The quantised model.
    pub(super) onnx: Vec<u8>,
    /// Nodes that stayed in floating point because they were asked to.
    pub(super) kept: Vec<String>,
    /// Version of the tooling.
    pub(super) onnxruntime_version: String,
    /// Version of what it reads and writes models with.
    pub(super) onnx_version: String,
}

#[derive(Serialize)]
struct Orders<'a> {
    model: &'a Path,
    quantised: &'a Path,
    rows: &'a Path,
    report: &'a Path,
    method: &'a str,
    keep: &'a [String],
    batch: usize,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Report {
    Refused { error: String },
    Done { versions: Versions, kept: Vec<String> },
}

#[derive(Deserialize)]
struct Versions {
    onnxruntime: String,
    onnx: String,
}

impl Job<'_> {
    /// Runs the script; an error quotes the end of what it said.
    pub(super) fn run(&self, packages: &Path) -> anyhow::Result<Made> {
        let at = |name: &str| self.folder.join(name);
        let (model, quantised, rows, report) =
            (at("model.onnx"), at("quantised.onnx"), at("rows.npy"), at("report.json"));
        fs::write(&model, self.onnx).with_context(|| model.display().to_string())?;
        self.write_rows(&rows).with_context(|| rows.display().to_string())?;
        let orders = Orders {
            model: &model,
            quantised: &quantised,
            rows: &rows,
            report: &report,
            method: self.method,
            keep: self.keep,
            batch: self.batch,
        };
        let (script, job) = (at("quantize.py"), at("job.json"));
        fs::write(&script, SCRIPT).with_context(|| script.display().to_string())?;
        fs::write(&job, serde_json::to_vec(&orders)?).with_context(|| job.display().to_string())?;
        let output = python().arg(&script).arg(packages).arg(&job).output().context("python3 quantize.py")?;
        if !output.status.success() {
            bail!("the quantisation tooling failed:\n{}", last_lines(&String::from_utf8_lossy(&output.stderr)));
        }
        match serde_json::from_slice(&fs::read(&report).context("the tooling's report")?)? {
            Report::Refused { error } => bail!("{error}"),
            Report::Done { versions, kept } => Ok(Made {
                onnx: fs::read(&quantised).context("the quantised model")?,
                kept,
                onnxruntime_version: versions.onnxruntime,
                onnx_version: versions.onnx,
            }),
        }
    }

    fn write_rows(&self, path: &Path) -> std::io::Result<()> {
        let shape: Vec<usize> = self.shape.iter().map(|&axis| axis as usize).collect();
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&npy::header_for(&shape))?;
        for value in self.rows.iter().flatten() {
            file.write_all(&value.to_le_bytes())?;
        }
        file.flush()
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
}
