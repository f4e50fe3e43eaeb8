//! ONNX Runtime: loading the library, its telemetry off, and building sessions.

use std::path::PathBuf;

use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider as _};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use serde::{Deserialize, Serialize};
use shoal_shared::locate;
use thiserror::Error;

/// Why the runtime cannot be used.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// The library is nowhere to be found.
    #[error("ONNX Runtime was not found: run `make setup`, or set {} to libonnxruntime.so", locate::ORT_LIBRARY_ENV)]
    NoLibrary,
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
}

/// Threads of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    /// Threads that share one operator.
    pub intra: usize,
    /// Whether threads spin between the operators of a run: right only when nobody else wants the
    /// cores meanwhile. After the run they sleep in any case.
    pub spin: bool,
}

/// The loaded library. One a process.
pub struct Runtime {
    environment: Environment,
    device: Device,
    path: PathBuf,
}

impl Runtime {
    /// Loads the library with telemetry off.
    pub fn load(device: Device) -> Result<Self, RuntimeError> {
        let path = locate::onnxruntime().ok_or(RuntimeError::NoLibrary)?;
        let failed = |reason: String| RuntimeError::Load { path: path.clone(), reason };
        let builder = ort::init_from(&path).map_err(|error| failed(error.to_string()))?;
        let environment =
            builder.with_name("shoal").with_telemetry(false).build().map_err(|error| failed(error.to_string()))?;
        let device = choose(device)?;
        tracing::info!(library = %path.display(), ?device, "ONNX Runtime loaded, telemetry off");
        Ok(Self { environment, device, path })
    }

    /// Where sessions run.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The library in use.
    pub fn library(&self) -> &PathBuf {
        &self.path
    }

    /// Builds a session from an ONNX file in memory.
    pub fn session(&self, onnx: &[u8], threads: Threads) -> Result<Session, RuntimeError> {
        self.build(onnx, threads).map_err(|error| RuntimeError::Model(error.to_string()))
    }

    fn build(&self, onnx: &[u8], threads: Threads) -> Result<Session, Box<dyn std::error::Error>> {
        let mut builder = Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads.intra)?
            .with_intra_op_spinning(threads.spin)?
            .with_config_entry("session.force_spinning_stop", "1")?;
        if self.device == Device::Cuda {
            builder = builder.with_execution_providers([ep::CUDA::default().build().error_on_failure()])?;
        }
        Ok(builder.commit_from_memory(onnx)?)
    }
}

fn choose(wanted: Device) -> Result<Device, RuntimeError> {
    let cuda = || ep::CUDA::is_available().unwrap_or(false);
    match wanted {
        Device::Cpu => Ok(Device::Cpu),
        Device::Auto => Ok(if cuda() { Device::Cuda } else { Device::Cpu }),
        Device::Cuda if cuda() => Ok(Device::Cuda),
        Device::Cuda => Err(RuntimeError::Device(
            "cuda",
            "this ONNX Runtime library was built without it (use the one from the onnxruntime-gpu wheel)".into(),
        )),
    }
}
