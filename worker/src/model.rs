//! Model files, the runtime that executes them, and what their output means.

mod concurrent;
mod crew;
mod curve;
mod embedded;
mod engine;
mod environment;
mod feed;
mod loaded;
mod machine;
mod openvino;
mod optimised;
mod postprocess;
mod runtime;
mod session;
mod store;
mod tensorrt;

pub mod tuning;

pub use crew::{Crew, LARGEST_COPIED, Measured, Wanted, measure};
pub use embedded::{DIGITS, default_model};
pub use engine::{Engine, Library, Numbers, Provider};
pub use environment::prepare_environment;
pub use feed::Staging;
pub use loaded::{Model, Precision};
pub use machine::Machine;
pub use optimised::Optimised;
pub use postprocess::{probabilities, rank};
pub use runtime::{Device, Runtime, RuntimeError, Threads, find_library};
pub use session::{BadModel, ModelSession};
pub use store::{MANIFEST, ModelStore, StoreError};
