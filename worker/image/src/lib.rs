//! From encoded bytes, or a tensor, to the model's input. Pure functions of (bytes, manifest); no I/O.

mod decode;
mod helpers;
mod jpeg;
mod means;
mod npy;
mod picture;
mod prepare;
mod resize;
mod row;

pub use decode::{Pixels, decode};
pub use helpers::{Helpers, Idle};
pub use prepare::Preprocessor;
pub use row::{Normaliser, Row};
