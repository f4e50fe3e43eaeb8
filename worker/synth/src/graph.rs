//! Building a graph. Convolutions, sums and pools are written once; the precision decides whether
//! they come out as plain operators or between quantize/dequantize pairs.
//!
//! Weights are scaled by the predicted statistics of their input, as batch normalisation would:
//! activations keep their scale through all layers, and their 8-bit ranges are known without a
//! calibration run.

use crate::Precision;
use crate::moments::Moments;
use crate::onnx::*;
use crate::random::Random;

/// A value in the graph: its name, channels and predicted statistics.
#[derive(Clone)]
pub(crate) struct Value {
    name: String,
    pub(crate) channels: usize,
    moments: Moments,
    /// The largest value that 8 bits can tell apart.
    limit: f64,
    rectified: bool,
}

impl Value {
    fn centred(name: String, channels: usize, deviation: f64) -> Self {
        Self { name, channels, moments: Moments::centred(deviation), limit: REACH * deviation, rectified: false }
    }
}

/// Parameters of a convolution.
#[derive(Clone, Copy)]
pub(crate) struct Conv {
    pub(crate) out: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Standard deviation of its output, before any ReLU.
    pub(crate) gain: f64,
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

/// Reach of an activation's 8-bit range, in standard deviations: what lies beyond saturates.
const REACH: f64 = 8.0;
/// Deviation left by averaging over the last 7x7 places: what an image's places have in common.
const AVERAGED: f64 = 0.8;
/// Deviation of the logits.
const LOGITS: f64 = 2.0;

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
        self.quantized(Value::centred(name.into(), channels, 1.0))
    }

    /// A convolution with its batch normalisation folded into weights and bias.
    pub(crate) fn conv(&mut self, input: &Value, conv: Conv) -> Value {
        let fan_in = input.channels * conv.kernel * conv.kernel;
        let values = self.filters(input, conv.out, fan_in, conv.gain);
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
        let value = Value::centred(name, conv.out, conv.gain);
        if conv.relu { self.relu(value) } else { self.quantized(value) }
    }

    /// The sum of a block's branch and its shortcut, rectified.
    pub(crate) fn add_relu(&mut self, branch: &Value, shortcut: &Value) -> Value {
        let name = format!("add{}", self.nodes.len());
        self.node(&name, "Add", vec![branch.name.clone(), shortcut.name.clone()], vec![]);
        let moments = branch.moments.plus(shortcut.moments);
        self.relu(Value { name, channels: branch.channels, moments, limit: 0.0, rectified: false })
    }

    fn relu(&mut self, value: Value) -> Value {
        let name = format!("relu{}", self.nodes.len());
        self.node(&name, "Relu", vec![value.name], vec![]);
        let Moments { mean, deviation } = value.moments;
        let (moments, limit) = (value.moments.rectified(), mean + REACH * deviation);
        self.quantized(Value { name, moments, limit, rectified: true, ..value })
    }

    pub(crate) fn max_pool(&mut self, input: &Value) -> Value {
        let name = format!("pool{}", self.nodes.len());
        let attributes = vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), ints("pads", &[1; 4])];
        self.node(&name, "MaxPool", vec![input.name.clone()], attributes);
        // The scale must not change across a pool for it to stay in 8 bits.
        self.quantized(Value { name, ..input.clone() })
    }

    pub(crate) fn global_average(&mut self, input: &Value) -> Value {
        let name = format!("average{}", self.nodes.len());
        self.node(&name, "GlobalAveragePool", vec![input.name.clone()], vec![]);
        let Moments { mean, deviation } = input.moments;
        let moments = Moments { mean, deviation: deviation * AVERAGED };
        let limit = mean + REACH * moments.deviation;
        let pooled = self.quantized(Value { name, moments, limit, ..input.clone() });
        let name = format!("flat{}", self.nodes.len());
        self.node(&name, "Flatten", vec![pooled.name.clone()], vec![int("axis", 1)]);
        self.quantized(Value { name, ..pooled })
    }

    /// The classifier; its output is named `output`.
    pub(crate) fn dense(&mut self, input: &Value, out: usize, output: &str) {
        let values = self.filters(input, out, input.channels, LOGITS);
        let bias = vec![0.0; out];
        let shape = vec![out as i64, input.channels as i64];
        let inputs = self.with_weights("dense", input, &Weights { values, bias, shape, groups: out });
        self.node(output, "Gemm", inputs, vec![int("transB", 1)]);
    }

    /// Random rows of weights, for outputs of deviation `gain`. On a rectified input each row sums to
    /// zero: a positive mean common to all channels would otherwise swamp, layer by layer, what tells
    /// one image from another. (Scaled weight standardization of Brock et al., 2021.)
    fn filters(&mut self, input: &Value, rows: usize, fan_in: usize, gain: f64) -> Vec<f32> {
        let deviation = (gain / input.moments.deviation / (fan_in as f64).sqrt()) as f32;
        let mut values: Vec<f32> = (0..rows * fan_in).map(|_| self.random.normal() * deviation).collect();
        if input.rectified {
            for row in values.chunks_mut(fan_in) {
                let mean = row.iter().sum::<f32>() / fan_in as f32;
                row.iter_mut().for_each(|value| *value -= mean);
            }
        }
        values
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
    fn quantized(&mut self, value: Value) -> Value {
        if self.precision == Precision::Fp32 {
            return value;
        }
        let (span, zero) = if value.rectified { (value.limit, 0u8) } else { (2.0 * value.limit, 128) };
        let scale = (span / 255.0) as f32;
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
