//! The fastest way to compute a model on this machine that keeps its answers: which ways there are, how fast and
//! how close they are, which is chosen, and the profile in which a worker finds the choice.
//!
//! `shoal tune` drives this. Every trial is a process of its own: a process has one ONNX Runtime library, its
//! memory is that of the sessions measured, and a provider that crashes takes no other trial with it.

mod agreement;
mod choice;
mod combination;
mod profile;
mod trial;

pub use agreement::{Agreement, Bounds, difference};
pub use choice::{Choice, Part, choose};
pub use combination::{Combination, Row, batches, combinations};
pub use profile::{Found, Held, LibraryFile, Looked, Profile, library_wanted, look};
pub use trial::{Outcome, Task, Trial, run};
