//! Synthetic models: the true graph of a known network with seeded random weights, written as ONNX
//! without Python. Real cost, meaningless labels; for measurements.
//!
//! | module | owns |
//! | --- | --- |
//! | `onnx` | the subset of the ONNX schema that is written |
//! | `graph` | building a graph, in fp32 or as 8-bit quantize/dequantize pairs |
//! | `moments` | predicted means and deviations of activations |
//! | `random` | the seeded numbers |
//! | `resnet50` | the architecture, written once for both precisions |

mod graph;
mod moments;
mod onnx;
mod random;
mod resnet50;

pub use onnx::ModelProto;
pub use resnet50::resnet50;

/// Number format of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point.
    Fp32,
    /// 8-bit weights, symmetric and per channel, and 8-bit activations, as ONNX Runtime's static
    /// quantizer lays them out.
    Int8,
}
