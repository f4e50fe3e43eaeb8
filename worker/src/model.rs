//! Model files, the runtime that executes them, and what their output means.

mod crew;
mod embedded;
mod loaded;
mod postprocess;
mod runtime;
mod session;
mod store;
mod telemetry;

pub(crate) use crew::LARGEST_COPIED;
pub use crew::{Crew, Measured, Wanted, measure};
pub use embedded::{DIGITS, default_model};
pub use loaded::{Model, Precision};
pub use postprocess::{probabilities, rank};
pub use runtime::{Device, Runtime, RuntimeError, Threads};
pub use session::{BadModel, ModelSession};
pub use store::{MANIFEST, ModelStore, StoreError};
pub use telemetry::forbid_telemetry;
