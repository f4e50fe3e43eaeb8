//! ONNX Runtime: loading a library, its telemetry off, and building sessions.

use std::path::{Path, PathBuf};

use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider as _};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use serde::{Deserialize, Serialize};
use shoal_shared::locate;
use thiserror::Error;

use super::embedded::DIGITS;
use super::engine::{Engine, Library, Numbers, Provider};
use super::machine::Machine;
use super::{openvino, tensorrt};

/// Why the runtime cannot be used.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// The library is nowhere to be found.
    #[error("ONNX Runtime was not found: run `make setup`, or set {} to libonnxruntime.so", locate::ORT_LIBRARY_ENV)]
    NoLibrary,
    /// The library with OpenVINO is nowhere to be found.
    #[error(
        "an ONNX Runtime with OpenVINO was not found: `deploy/setup.sh --fast` fetches it, or set {} to its \
         libonnxruntime.so",
        locate::ORT_OPENVINO_ENV
    )]
    NoOpenVino,
    /// The library is there and cannot be loaded.
    #[error("ONNX Runtime at {path} cannot be loaded: {reason}")]
    Load {
        /// The library.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A device was asked for that is not there.
    #[error("device `{0}` was asked for and is not available: {1}")]
    Device(&'static str, String),
    /// The runtime refused the model.
    #[error("ONNX Runtime refuses the model: {0}")]
    Model(String),
}

/// Where sessions run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// CUDA when the library and a device are there, the CPU otherwise.
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA; an error when it is not there.
    Cuda,
    /// TensorRT; an error when it is not there.
    TensorRt,
}

impl Device {
    /// Whether an engine runs there.
    pub fn runs(self, engine: Engine) -> bool {
        match self {
            Device::Auto => true,
            Device::Cpu => engine.is_on_cpu(),
            Device::Cuda => engine.provider == Provider::Cuda,
            Device::TensorRt => engine.provider == Provider::TensorRt,
        }
    }

    /// What a session computes with there unless something else was chosen.
    fn engine(self) -> Engine {
        match self {
            Device::Auto | Device::Cpu => Engine::CPU,
            Device::Cuda => Engine::new(Provider::Cuda, Numbers::File),
            Device::TensorRt => Engine::new(Provider::TensorRt, Numbers::File),
        }
    }
}

/// Threads of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    /// Threads that share one operator.
    pub intra: usize,
    /// Runs at the same time, each with so many threads.
    pub runs: usize,
    /// Whether threads spin between the operators of a run: right only when nobody else wants the
    /// cores meanwhile. After the run they sleep in any case.
    pub spin: bool,
}

impl Threads {
    /// For one run at a time.
    pub const fn new(intra: usize, spin: bool) -> Self {
        Self { intra, runs: 1, spin }
    }

    /// The thread that runs, and no other.
    pub const ONE: Self = Self::new(1, false);
}

/// The loaded library. One a process.
pub struct Runtime {
    environment: Environment,
    device: Device,
    library: Library,
    path: PathBuf,
    engines: Option<PathBuf>,
}

impl Runtime {
    /// Loads the standard library with telemetry off.
    pub fn load(device: Device) -> Result<Self, RuntimeError> {
        Self::load_library(device, Library::Standard)
    }

    /// Loads a library with telemetry off.
    pub fn load_library(device: Device, library: Library) -> Result<Self, RuntimeError> {
        let path = find_library(library).ok_or(match library {
            Library::Standard => RuntimeError::NoLibrary,
            Library::OpenVino => RuntimeError::NoOpenVino,
        })?;
        let failed = |reason: String| RuntimeError::Load { path: path.clone(), reason };
        let builder = ort::init_from(&path).map_err(|error| failed(error.to_string()))?;
        let environment =
            builder.with_name("shoal").with_telemetry(false).build().map_err(|error| failed(error.to_string()))?;
        let mut runtime = Self { environment, device: Device::Cpu, library, path, engines: None };
        runtime.device = runtime.choose(device)?;
        tracing::info!(library = %runtime.path.display(), device = ?runtime.device, "ONNX Runtime loaded, telemetry off");
        Ok(runtime)
    }

    /// Engines that are built for a device, which may take minutes, are kept below `home`.
    pub fn keep_engines_in(mut self, home: PathBuf) -> Self {
        self.engines = Some(home);
        self
    }

    /// Where sessions run.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Which library is in use.
    pub fn library(&self) -> Library {
        self.library
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What sessions compute with unless something else was chosen.
    pub fn engine(&self) -> Engine {
        self.device.engine()
    }

    /// Every way of computing that this library has on this machine. Where the processor has no instructions for
    /// numbers of 16 bits, OpenVINO would compute with 32 all the same.
    pub fn engines(&self, machine: &Machine) -> Vec<Engine> {
        let (bf16, f16) = (["avx512_bf16", "amx_bf16", "bf16"], ["avx512_fp16", "amx_fp16", "asimdhp"]);
        let has = |any: [&str; 3]| any.iter().any(|feature| machine.has(feature));
        if self.library == Library::OpenVino {
            let all = [(Numbers::F32, true), (Numbers::Bf16, has(bf16)), (Numbers::F16, has(f16))];
            return all
                .into_iter()
                .filter(|(_, here)| *here)
                .map(|(numbers, _)| Engine::new(Provider::OpenVino, numbers))
                .collect();
        }
        let mut engines = vec![Engine::CPU];
        if self.works(Device::Cuda).is_ok() {
            engines.push(Engine::new(Provider::Cuda, Numbers::File));
        }
        if self.works(Device::TensorRt).is_ok() {
            engines.extend([Numbers::File, Numbers::F16].map(|numbers| Engine::new(Provider::TensorRt, numbers)));
        }
        engines
    }

    /// Builds a session from an ONNX file in memory, for the device of this process.
    pub fn session(&self, onnx: &[u8], threads: Threads) -> Result<Session, RuntimeError> {
        self.session_with(onnx, threads, self.engine())
    }

    /// Builds a session that computes in a certain way.
    pub fn session_with(&self, onnx: &[u8], threads: Threads, engine: Engine) -> Result<Session, RuntimeError> {
        self.build(onnx, threads, engine).map_err(|error| RuntimeError::Model(error.to_string()))
    }

    /// How every session is built, whatever computes in it.
    pub(super) fn builder(&self, threads: Threads) -> Result<SessionBuilder, Box<dyn std::error::Error>> {
        let builder = Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads.intra)?
            .with_intra_op_spinning(threads.spin)?
            .with_config_entry("session.force_spinning_stop", "1")?
            // Memory planned for each size of batch: no faster, and twice the memory.
            .with_memory_pattern(false)?;
        Ok(builder)
    }

    fn build(&self, onnx: &[u8], threads: Threads, engine: Engine) -> Result<Session, Box<dyn std::error::Error>> {
        let home = self.engines.as_deref().filter(|_| engine.provider == Provider::TensorRt);
        let engines = home.and_then(|home| tensorrt::engines_folder(home, onnx));
        Ok(self.builder_for(threads, engine, engines.as_deref())?.commit_from_memory(onnx)?)
    }

    /// How a session is built that computes in a certain way; `engines` is where TensorRT keeps its own.
    pub(super) fn builder_for(
        &self,
        threads: Threads,
        engine: Engine,
        engines: Option<&Path>,
    ) -> Result<SessionBuilder, Box<dyn std::error::Error>> {
        let builder = self.builder(threads)?;
        // A provider that is not there is an error: a session that quietly computes in another way than was
        // chosen and measured would be worse.
        let cuda = || ep::CUDA::default().build().error_on_failure();
        Ok(match engine.provider {
            Provider::Cpu => builder,
            Provider::OpenVino => {
                let provider = openvino::provider(engine.numbers, threads);
                builder.with_execution_providers([provider.build().error_on_failure()])?
            }
            Provider::Cuda => builder.with_execution_providers([cuda()])?,
            Provider::TensorRt => {
                let tensorrt = tensorrt::provider(engine.numbers, engines);
                builder.with_execution_providers([tensorrt.build().error_on_failure(), cuda()])?
            }
        })
    }

    /// Whether a device can be used, tried out with the embedded model: a library may know a device whose driver
    /// is missing.
    fn works(&self, device: Device) -> Result<(), String> {
        let (compiled, wheel) = match device {
            Device::Auto | Device::Cpu => return Ok(()),
            Device::Cuda => (ep::CUDA::is_available(), "CUDA"),
            Device::TensorRt => (ep::TensorRT::is_available(), "TensorRT"),
        };
        if !compiled.unwrap_or(false) {
            return Err(format!(
                "{} was built without {wheel}: set {} to the library of the onnxruntime-gpu wheel \
                 (deploy/tools/onnxruntime-gpu.txt)",
                self.path.display(),
                locate::ORT_LIBRARY_ENV
            ));
        }
        let needs = if device == Device::TensorRt { ", cuDNN and TensorRT" } else { " and cuDNN" };
        self.build(DIGITS.onnx, Threads::ONE, device.engine()).map(drop).map_err(|error| {
            format!(
                "the library has {wheel}, and a session cannot be built ({error}): is there a GPU with its driver, \
                     and are CUDA{needs} installed in the versions that it was built for?"
            )
        })
    }

    fn choose(&self, wanted: Device) -> Result<Device, RuntimeError> {
        let asked = |device, name| self.works(device).map(|()| device).map_err(|why| RuntimeError::Device(name, why));
        match wanted {
            Device::Cpu => Ok(Device::Cpu),
            Device::Cuda => asked(Device::Cuda, "cuda"),
            Device::TensorRt => asked(Device::TensorRt, "tensorrt"),
            Device::Auto => match self.works(Device::Cuda) {
                Ok(()) => Ok(Device::Cuda),
                Err(why) => {
                    // Worth a word only where somebody has gone to the trouble of a library with CUDA.
                    if ep::CUDA::is_available().unwrap_or(false) {
                        tracing::warn!(why, "sessions run on the CPU");
                    }
                    Ok(Device::Cpu)
                }
            },
        }
    }
}

/// Where a library is, if it is there.
pub fn find_library(library: Library) -> Option<PathBuf> {
    match library {
        Library::Standard => locate::onnxruntime(),
        Library::OpenVino => locate::onnxruntime_openvino(),
    }
}
