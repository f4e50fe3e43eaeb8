//! From encoded bytes to the model's input. Pure functions of (bytes, manifest); no I/O.

mod decode;
mod jpeg;
mod prepare;
mod resize;

pub use decode::{Pixels, decode};
pub use prepare::Preprocessor;
