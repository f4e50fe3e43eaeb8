//! Building a graph. Convolutions, sums and pools are written once; the precision decides whether
//! they come out as plain operators or between quantize/dequantize pairs.
//!
//! Activation ranges come from the weights' own statistics: with He initialisation the second
//! moment of activations is known layer by layer, so no calibration run is needed.

use crate::Precision;
use crate::onnx::*;
use crate::random::Random;

/// A value in the graph: its name, channels, and root mean square as predicted.
#[derive(Clone)]
pub(crate) struct Value {
    name: String,
    pub(crate) channels: usize,
    rms: f32,
}

/// Parameters of a convolution.
#[derive(Clone, Copy)]
pub(crate) struct Conv {
    pub(crate) out: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Multiplied with the He standard deviation.
    pub(crate) gain: f32,
    pub(crate) relu: bool,
}

/// Constants of a convolution or dense layer.
struct Weights {
    values: Vec<f32>,
    bias: Vec<f32>,
    shape: Vec<i64>,
    /// Scales of the 8-bit weights, one for each block of rows.
    groups: usize,
}

/// Half-width of an activation's range in root mean squares: what lies beyond saturates.
const RANGE: f32 = 5.0;

pub(crate) struct Graph {
    precision: Precision,
    random: Random,
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
    scales: std::collections::HashMap<String, f32>,
}

impl Graph {
    pub(crate) fn new(seed: u64, precision: Precision) -> Self {
        let (nodes, weights) = (Vec::new(), Vec::new());
        Self { precision, random: Random::new(seed), nodes, weights, scales: Default::default() }
    }

    /// The image, normalised: about unit variance.
    pub(crate) fn input(&mut self, name: &str, channels: usize) -> Value {
        let value = Value { name: name.into(), channels, rms: 1.0 };
        self.quantized(value, false)
    }

    /// A convolution with its batch normalisation folded into weights and bias.
    pub(crate) fn conv(&mut self, input: &Value, conv: Conv) -> Value {
        let fan_in = input.channels * conv.kernel * conv.kernel;
        let deviation = conv.gain * (2.0 / fan_in as f32).sqrt();
        let values: Vec<f32> = (0..conv.out * fan_in).map(|_| self.random.normal() * deviation).collect();
        let bias: Vec<f32> = (0..conv.out).map(|_| self.random.normal() * 0.05).collect();
        let kernel = conv.kernel as i64;
        let shape = vec![conv.out as i64, input.channels as i64, kernel, kernel];
        let name = format!("conv{}", self.nodes.len());
        let inputs = self.with_weights(&name, input, &Weights { values, bias, shape, groups: conv.out });
        let pad = kernel / 2;
        let attributes = vec![
            ints("kernel_shape", &[kernel, kernel]),
            ints("strides", &[conv.stride as i64; 2]),
            ints("pads", &[pad; 4]),
        ];
        self.node(&name, "Conv", inputs, attributes);
        // He: half of a symmetric distribution survives the ReLU, so gain 1 keeps the moment.
        let before = input.rms * conv.gain * 2f32.sqrt();
        let value = Value { name, channels: conv.out, rms: before };
        if conv.relu { self.relu(value) } else { self.quantized(value, false) }
    }

    /// The sum of a block's branch and its shortcut, rectified.
    pub(crate) fn add_relu(&mut self, branch: &Value, shortcut: &Value) -> Value {
        let name = format!("add{}", self.nodes.len());
        self.node(&name, "Add", vec![branch.name.clone(), shortcut.name.clone()], vec![]);
        let rms = (branch.rms.powi(2) + shortcut.rms.powi(2)).sqrt();
        let sum = Value { name, channels: branch.channels, rms };
        let rectified = format!("relu{}", self.nodes.len());
        self.node(&rectified, "Relu", vec![sum.name.clone()], vec![]);
        // The shortcut is positive already: most of the sum survives.
        self.quantized(Value { name: rectified, ..sum }, true)
    }

    fn relu(&mut self, value: Value) -> Value {
        let name = format!("relu{}", self.nodes.len());
        self.node(&name, "Relu", vec![value.name], vec![]);
        self.quantized(Value { name, rms: value.rms / 2f32.sqrt(), ..value }, true)
    }

    pub(crate) fn max_pool(&mut self, input: &Value) -> Value {
        let name = format!("pool{}", self.nodes.len());
        let attributes = vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), ints("pads", &[1; 4])];
        self.node(&name, "MaxPool", vec![input.name.clone()], attributes);
        // The scale must not change across a pool for it to stay in 8 bits.
        self.quantized(Value { name, ..input.clone() }, true)
    }

    pub(crate) fn global_average(&mut self, input: &Value) -> Value {
        let name = format!("average{}", self.nodes.len());
        self.node(&name, "GlobalAveragePool", vec![input.name.clone()], vec![]);
        let pooled = self.quantized(Value { name, ..input.clone() }, true);
        let flat = format!("flat{}", self.nodes.len());
        self.node(&flat, "Flatten", vec![pooled.name], vec![int("axis", 1)]);
        self.quantized(Value { name: flat, ..input.clone() }, true)
    }

    /// The classifier; its output is named `output`.
    pub(crate) fn dense(&mut self, input: &Value, out: usize, output: &str) {
        let deviation = (1.0 / input.channels as f32).sqrt() * 3.0 / input.rms;
        let values: Vec<f32> = (0..out * input.channels).map(|_| self.random.normal() * deviation).collect();
        let bias = vec![0.0; out];
        let shape = vec![out as i64, input.channels as i64];
        let inputs = self.with_weights("dense", input, &Weights { values, bias, shape, groups: 1 });
        self.node(output, "Gemm", inputs, vec![int("transB", 1)]);
    }

    /// Names of (input, weight, bias), the latter two added as constants.
    fn with_weights(&mut self, name: &str, input: &Value, weights: &Weights) -> Vec<String> {
        let Weights { values, bias, shape, groups } = weights;
        let (weight, offset) = (format!("{name}.weight"), format!("{name}.bias"));
        match self.precision {
            Precision::Fp32 => {
                self.constant(&weight, FLOAT, shape.clone(), floats(values));
                self.constant(&offset, FLOAT, vec![bias.len() as i64], floats(bias));
            }
            Precision::Int8 => {
                let block = values.len() / groups;
                let scales: Vec<f32> = values.chunks(block).map(|row| max_abs(row) / 127.0).collect();
                let bytes = values.chunks(block).zip(&scales).flat_map(|(row, scale)| {
                    row.iter().map(move |value| (value / scale).round().clamp(-127.0, 127.0) as i8 as u8)
                });
                self.constant(&format!("{weight}.q"), INT8, shape.clone(), bytes.collect());
                self.dequantize(&format!("{weight}.q"), &weight, &scales, INT8);
                let input_scale = self.scales.get(&input.name).copied().unwrap_or(1.0);
                let bias_scales: Vec<f32> = scales.iter().map(|scale| scale * input_scale).collect();
                let per_group = bias.len() / groups;
                let whole =
                    bias.iter().enumerate().map(|(i, value)| (value / bias_scales[i / per_group]).round() as i32);
                let bytes = whole.flat_map(i32::to_le_bytes).collect();
                self.constant(&format!("{offset}.q"), INT32, vec![bias.len() as i64], bytes);
                self.dequantize(&format!("{offset}.q"), &offset, &bias_scales, INT32);
            }
        }
        vec![input.name.clone(), weight, offset]
    }

    /// In 8 bits: the value through a quantize/dequantize pair; otherwise itself.
    fn quantized(&mut self, value: Value, positive: bool) -> Value {
        if self.precision == Precision::Fp32 {
            return value;
        }
        let span = if positive { RANGE } else { 2.0 * RANGE };
        let (scale, zero) = (span * value.rms / 255.0, if positive { 0u8 } else { 128 });
        let (quantized, back) = (format!("{}.u8", value.name), format!("{}.dq", value.name));
        let (scale_name, zero_name) = (format!("{quantized}.scale"), format!("{quantized}.zero"));
        self.constant(&scale_name, FLOAT, vec![], floats(&[scale]));
        self.constant(&zero_name, UINT8, vec![], vec![zero]);
        self.node(&quantized, "QuantizeLinear", vec![value.name, scale_name.clone(), zero_name.clone()], vec![]);
        self.node(&back, "DequantizeLinear", vec![quantized, scale_name, zero_name], vec![]);
        self.scales.insert(back.clone(), scale);
        Value { name: back, ..value }
    }

    fn dequantize(&mut self, from: &str, to: &str, scales: &[f32], element: i32) {
        let (scale_name, zero_name) = (format!("{from}.scale"), format!("{from}.zero"));
        let shape = if scales.len() == 1 { vec![] } else { vec![scales.len() as i64] };
        let width = if element == INT32 { 4 } else { 1 };
        self.constant(&scale_name, FLOAT, shape.clone(), floats(scales));
        self.constant(&zero_name, element, shape, vec![0; scales.len() * width]);
        let inputs = vec![from.to_owned(), scale_name, zero_name];
        self.node(to, "DequantizeLinear", inputs, vec![int("axis", 0)]);
    }

    fn constant(&mut self, name: &str, data_type: i32, dims: Vec<i64>, raw_data: Vec<u8>) {
        self.weights.push(TensorProto { dims, data_type, name: name.to_owned(), raw_data });
    }

    fn node(&mut self, output: &str, op_type: &str, input: Vec<String>, attribute: Vec<AttributeProto>) {
        let name = format!("{op_type}_{}", self.nodes.len());
        self.nodes.push(NodeProto { input, output: vec![output.to_owned()], name, op_type: op_type.into(), attribute });
    }

    /// The finished model.
    pub(crate) fn finish(self, name: &str, input: (&str, &[i64]), output: (&str, &[i64])) -> ModelProto {
        ModelProto {
            ir_version: 8,
            producer_name: "shoal".into(),
            doc_string: "Seeded random weights: real cost, meaningless labels.".into(),
            graph: Some(GraphProto {
                node: self.nodes,
                name: name.into(),
                initializer: self.weights,
                input: vec![batched(input.0, input.1)],
                output: vec![batched(output.0, output.1)],
            }),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
        }
    }
}

fn batched(name: &str, shape: &[i64]) -> ValueInfoProto {
    let axis = |value| DimensionProto { value: Some(value) };
    let mut dim = vec![axis(Dimension::Param("N".into()))];
    dim.extend(shape.iter().map(|&length| axis(Dimension::Value(length))));
    let tensor = TensorTypeProto { elem_type: FLOAT, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: value, ints: vec![], kind: INT }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), i: 0, ints: values.to_vec(), kind: INTS }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn max_abs(values: &[f32]) -> f32 {
    values.iter().fold(f32::MIN_POSITIVE, |max, value| max.max(value.abs()))
}
