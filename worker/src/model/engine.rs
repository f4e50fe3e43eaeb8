//! How a session computes: by which provider, and with which numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What executes a model's operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// ONNX Runtime's own kernels for CPUs.
    Cpu,
    /// OpenVINO, on the CPU.
    OpenVino,
    /// CUDA.
    Cuda,
    /// TensorRT, and CUDA for what it does not take.
    TensorRt,
}

/// The numbers inside a session; what goes in and comes out is as the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// As the file says.
    File,
    /// 32 bits where the file has 32.
    F32,
    /// bfloat16: the range of 32 bits, 8 bits of precision.
    Bf16,
    /// IEEE half: 11 bits of precision.
    F16,
}

/// A provider and its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Engine {
    /// What executes the operators.
    pub provider: Provider,
    /// With which numbers.
    pub numbers: Numbers,
}

/// An ONNX Runtime library; a process has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Library {
    /// The one that is always there; with CUDA when it is that of the `onnxruntime-gpu` wheel.
    Standard,
    /// The one with OpenVINO.
    OpenVino,
}

impl Library {
    /// Both.
    pub const ALL: [Library; 2] = [Library::Standard, Library::OpenVino];
}

impl Engine {
    /// What a session computes with unless something else was chosen; every other one is held against it.
    pub const CPU: Engine = Engine::new(Provider::Cpu, Numbers::File);

    /// From its parts.
    pub const fn new(provider: Provider, numbers: Numbers) -> Self {
        Self { provider, numbers }
    }

    /// The library that it needs.
    pub fn library(self) -> Library {
        match self.provider {
            Provider::OpenVino => Library::OpenVino,
            Provider::Cpu | Provider::Cuda | Provider::TensorRt => Library::Standard,
        }
    }

    /// Whether it computes on the CPU's cores, so that several sessions side by side make sense.
    pub fn is_on_cpu(self) -> bool {
        matches!(self.provider, Provider::Cpu | Provider::OpenVino)
    }

    /// Whether runs of one session at the same time have so many threads each. ONNX Runtime has one pool for all runs, and
    /// a thread for each that runs.
    pub fn gives_each_run(self, threads: usize) -> bool {
        match self.provider {
            Provider::Cpu => threads == 1,
            Provider::OpenVino => true,
            Provider::Cuda | Provider::TensorRt => false,
        }
    }
}

impl Provider {
    /// Word in tables and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::Cpu => "cpu",
            Provider::OpenVino => "openvino",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
        }
    }
}

impl Numbers {
    /// Word in tables and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Numbers::File => "file",
            Numbers::F32 => "f32",
            Numbers::Bf16 => "bf16",
            Numbers::F16 => "f16",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.numbers {
            Numbers::File => f.write_str(self.provider.as_str()),
            numbers => write!(f, "{} {}", self.provider.as_str(), numbers.as_str()),
        }
    }
}
