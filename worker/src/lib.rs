//! The worker: pulls jobs, decodes, batches, infers, answers; and the fleet that runs workers.
//!
//! | module | owns |
//! | --- | --- |
//! | [`image`] | encoded bytes to the model's input, by the manifest; a crate of its own |
//! | [`model`] | model files, the runtime, one session and what its output means |
//! | [`pipeline`] | a job's way through this process: intake, decode, batch, infer, settle |
//! | [`fleet`] | worker processes: started, watched, restarted, drained |
//! | [`serving`] | the models of one process, within a budget of threads and one of memory |
//! | [`app`] | one worker, assembled |
//!
//! No other crate names `ort`; no crate but [`image`] decodes pixels.

pub mod app;
pub mod config;
pub mod fleet;
pub mod metrics;
pub mod model;
pub mod pipeline;
pub mod serving;

pub use shoal_image as image;
