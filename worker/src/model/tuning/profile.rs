//! A model's profile for one kind of machine: the sessions that `shoal tune` chose there, and what it chose from.
//! A worker that finds one for its machine, its model and its library builds these sessions and measures nothing.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shoal_shared::digest::ModelDigest;
use shoal_shared::manifest::Exactness;
use shoal_shared::names::ModelName;

use super::agreement::{Agreement, Bounds};
use super::choice::Choice;
use super::combination::Row;
use crate::model::engine::{Engine, Library, Numbers};
use crate::model::machine::Machine;
use crate::model::{Device, find_library};

/// Largest profile that is read, bytes.
const LARGEST: u64 = 1 << 20;

/// A library file, told from others without loading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibraryFile {
    /// Which of them it is.
    pub kind: Library,
    /// Name of the file that links lead to; it carries the version.
    pub file: String,
    /// Its size.
    pub bytes: u64,
}

impl LibraryFile {
    /// The one that is found here.
    pub fn here(kind: Library) -> Option<Self> {
        let path = find_library(kind)?.canonicalize().ok()?;
        let (file, bytes) = (path.file_name()?.to_string_lossy().into_owned(), fs::metadata(&path).ok()?.len());
        Some(Self { kind, file, bytes })
    }
}

/// An engine and how close its answers were.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// How it computes.
    #[serde(flatten)]
    pub engine: Engine,
    /// Against the standard way, one image at a time.
    #[serde(flatten)]
    pub agreement: Agreement,
}

impl Held {
    /// Why it may not be used for a promise, if it may not. Fewer bits are never exact, however few images show it.
    pub fn objection(&self, promise: Exactness, bounds: &Bounds) -> Option<String> {
        let is_short = matches!(self.engine.numbers, Numbers::Bf16 | Numbers::F16);
        if promise.is_exact() && is_short {
            return Some("16 bits are not exact".into());
        }
        self.agreement.objection(bounds)
    }
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// When it was measured.
    pub written: String,
    /// Release that measured it.
    pub release: String,
    /// The model's name.
    pub model: ModelName,
    /// Its digest: another file, manifest or precision has another.
    pub digest: ModelDigest,
    /// What its manifest promised.
    pub precision: Exactness,
    /// How close answers had to be.
    pub bounds: Bounds,
    /// Where it was measured.
    pub machine: Machine,
    /// With which library it is to be used.
    pub library: LibraryFile,
    /// What was chosen.
    pub choice: Choice,
    /// How close each way of computing was.
    pub agreement: Vec<Held>,
    /// How fast each combination was.
    pub measured: Vec<Row>,
}

/// What a look for a profile found.
#[derive(Debug)]
pub enum Found {
    /// One that fits, and where it is.
    Fits(Box<Profile>, PathBuf),
    /// One that does not, and why in a sentence.
    Unusable(String),
    /// None.
    Nothing,
}

/// For whom a profile is looked for.
pub struct Looked<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// The model.
    pub digest: &'a ModelDigest,
    /// Where sessions run.
    pub device: Device,
    /// The library that is loaded.
    pub library: Option<LibraryFile>,
}

impl Profile {
    /// Where the profile of a model in `folder` is, for a machine.
    pub fn path(folder: &Path, machine: &Machine) -> PathBuf {
        folder.join(format!("profile-{}.toml", machine.digest()))
    }

    /// Reads one.
    pub fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let bytes = fs::metadata(path).map_err(|error| failed(&error))?.len();
        if bytes > LARGEST {
            return Err(failed(&format!("{bytes} bytes are no profile")));
        }
        let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
        toml::from_str(&text).map_err(|error| failed(&error))
    }

    /// Writes it beside the model; under another name first, so that a reader never sees half of it.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, String> {
        let path = Self::path(folder, &self.machine);
        let partial = path.with_extension("partial");
        let text = toml::to_string(self).map_err(|error| error.to_string())?;
        let written = fs::create_dir_all(folder)
            .and_then(|()| {
                fs::write(&partial, format!("# Written by `shoal tune`. Remove it to measure at start.\n{text}"))
            })
            .and_then(|()| fs::rename(&partial, &path));
        written.map(|()| path.clone()).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Why it cannot be used, if it cannot.
    pub fn objection(&self, by: &Looked<'_>) -> Option<String> {
        if self.digest != *by.digest {
            return Some("the model's file, manifest or precision has changed since".into());
        }
        if self.machine != *by.machine {
            return Some(format!("it was measured on another machine ({})", self.machine.in_words()));
        }
        let parts = std::iter::once(self.choice.wide).chain(self.choice.narrow);
        if let Some(part) = parts.clone().find(|part| !by.device.runs(part.of.engine)) {
            return Some(format!("it wants {}, and worker.device is another", part.of.engine));
        }
        if parts.clone().any(|part| part.of.sessions == 0 || part.of.threads == 0 || part.batch == 0) {
            return Some("it names no sessions".into());
        }
        if parts.clone().any(|part| part.of.sessions * part.of.threads > self.machine.threads) {
            return Some("it wants more threads than there are".into());
        }
        match &by.library {
            Some(loaded) if *loaded == self.library => None,
            loaded => {
                let loaded = loaded.as_ref().map_or("none", |loaded| loaded.file.as_str());
                Some(format!(
                    "it was measured with {} ({:?}), and {loaded} is loaded",
                    self.library.file, self.library.kind
                ))
            }
        }
    }
}

/// Looks for a profile in several folders, one after the other.
pub fn look(folders: &[PathBuf], by: &Looked<'_>) -> Found {
    let mut found = Found::Nothing;
    for path in folders.iter().map(|folder| Profile::path(folder, by.machine)).filter(|path| path.exists()) {
        let objection = match Profile::read(&path) {
            Ok(profile) => match profile.objection(by) {
                None => return Found::Fits(Box::new(profile), path),
                Some(why) => format!("{}: {why}", path.display()),
            },
            Err(error) => error,
        };
        found = Found::Unusable(objection);
    }
    found
}

/// The library that profiles in these folders want: a process has one, and takes the other one only where a
/// profile for this machine wants it and it is there.
pub fn library_wanted(folders: &[PathBuf], machine: &Machine, device: Device) -> Library {
    let there = LibraryFile::here(Library::OpenVino);
    let wants = |folder: &PathBuf| {
        let profile = Profile::read(&Profile::path(folder, machine)).ok()?;
        (profile.machine == *machine && device.runs(profile.choice.wide.of.engine)).then_some(profile.library)
    };
    let is_wanted = |wanted: LibraryFile| wanted.kind == Library::OpenVino && there.as_ref() == Some(&wanted);
    if folders.iter().filter_map(wants).any(is_wanted) { Library::OpenVino } else { Library::Standard }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine::Provider;
    use crate::model::tuning::{Combination, Part};

    fn profile() -> Profile {
        let engine = Engine::new(Provider::OpenVino, Numbers::Bf16);
        let part = |sessions, threads| Part { of: Combination { engine, sessions, threads }, batch: 4 };
        let row = |sessions, threads| Row {
            of: Combination { engine, sessions, threads },
            batches: vec![1, 2],
            ms: vec![10.0, 19.5],
            memory: 1 << 20,
            ready_s: 1.0,
        };
        Profile {
            written: "2026-11-28T12:00:00Z".into(),
            release: "0.1.0".into(),
            model: "m".parse().unwrap(),
            digest: ModelDigest::default(),
            precision: Exactness::Fast,
            bounds: Bounds::FAST,
            machine: Machine::this(2),
            library: LibraryFile { kind: Library::OpenVino, file: "libonnxruntime.so.1".into(), bytes: 7 },
            choice: Choice { wide_rows: 1, image_ms: 8.5, wide: part(1, 2), narrow: Some(part(2, 1)) },
            agreement: vec![Held { engine, agreement: Agreement { images: 3, agreed: 3, difference: 0.01 } }],
            measured: vec![row(1, 2), row(2, 1)],
        }
    }

    fn looked<'a>(machine: &'a Machine, digest: &'a ModelDigest) -> Looked<'a> {
        Looked { machine, digest, device: Device::Cpu, library: Some(profile().library) }
    }

    #[test]
    fn what_is_written_is_found_again_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (machine, digest) = (Machine::this(2), ModelDigest::default());
        let elsewhere = folder.path().join("elsewhere");
        let folders = [elsewhere, folder.path().to_owned()];
        assert!(matches!(look(&folders, &looked(&machine, &digest)), Found::Nothing));
        let path = profile().write(folder.path()).unwrap();
        let Found::Fits(found, at) = look(&folders, &looked(&machine, &digest)) else { panic!("not found") };
        assert_eq!((*found, at), (profile(), path));
    }

    #[test]
    fn a_profile_of_something_else_is_left_alone_and_the_reason_said() {
        let (here, more) = (Machine::this(2), Machine::this(4));
        let (same, other) = (ModelDigest::default(), serde_json::from_str("\"abc\"").unwrap());
        let why = |by: &Looked<'_>| profile().objection(by).unwrap();
        assert_eq!(profile().objection(&looked(&here, &same)), None);
        assert!(why(&looked(&here, &other)).contains("changed"));
        assert!(why(&looked(&more, &same)).contains("another machine"));
        assert!(why(&Looked { device: Device::Cuda, ..looked(&here, &same) }).contains("openvino bf16"));
        let standard = LibraryFile { kind: Library::Standard, file: "libonnxruntime.so.2".into(), bytes: 7 };
        assert!(why(&Looked { library: Some(standard), ..looked(&here, &same) }).contains("libonnxruntime.so.2"));
    }

    #[test]
    fn few_bits_are_never_exact() {
        let held = |numbers, difference| Held {
            engine: Engine::new(Provider::OpenVino, numbers),
            agreement: Agreement { images: 2, agreed: 2, difference },
        };
        let why = |numbers, difference, promise| held(numbers, difference).objection(promise, &Bounds::of(promise));
        assert!(why(Numbers::F16, 0.0, Exactness::Exact).unwrap().contains("16 bits"));
        assert_eq!(why(Numbers::F16, 0.01, Exactness::Fast), None);
        assert_eq!(why(Numbers::F32, 1e-6, Exactness::Exact), None);
        assert!(why(Numbers::F32, 0.01, Exactness::Exact).is_some());
    }

    #[test]
    fn a_damaged_profile_is_said_to_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let (machine, digest) = (Machine::this(2), ModelDigest::default());
        fs::write(Profile::path(folder.path(), &machine), "choice = 3").unwrap();
        let folders = [folder.path().to_owned()];
        assert!(matches!(look(&folders, &looked(&machine, &digest)), Found::Unusable(_)));
        assert_eq!(library_wanted(&folders, &machine, Device::Auto), Library::Standard);
    }
}
