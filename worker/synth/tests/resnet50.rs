//! The written file, read back.

use std::collections::HashSet;

use prost::Message;
use shoal_synth::{ModelProto, Precision, resnet50};

#[test]
fn the_graph_is_resnet50() {
    let graph = resnet50(1, Precision::Fp32).graph.unwrap();
    let count = |op: &str| graph.node.iter().filter(|node| node.op_type == op).count();
    assert_eq!((count("Conv"), count("Add"), count("Gemm")), (53, 16, 1));
    let parameters: i64 = graph.initializer.iter().map(|tensor| tensor.dims.iter().product::<i64>()).sum();
    // torchvision counts 25,557,032 with two values a channel for batch normalisation; folded, one
    // bias a channel remains, 26,560 fewer.
    assert_eq!(parameters, 25_557_032 - 26_560);
}

#[test]
fn every_input_is_defined_before_it_is_used() {
    for precision in [Precision::Fp32, Precision::Int8] {
        let model = ModelProto::decode(resnet50(1, precision).encode().as_slice()).unwrap();
        let graph = model.graph.unwrap();
        let mut defined: HashSet<&str> = graph.input.iter().map(|value| value.name.as_str()).collect();
        for tensor in &graph.initializer {
            assert!(defined.insert(&tensor.name), "{} twice", tensor.name);
        }
        for node in &graph.node {
            for input in &node.input {
                assert!(defined.contains(input.as_str()), "{} of {}", input, node.name);
            }
            assert!(defined.insert(&node.output[0]), "{} twice", node.output[0]);
        }
        assert!(defined.contains("logits"));
    }
}

#[test]
fn a_seed_decides_everything() {
    let bytes = |seed| resnet50(seed, Precision::Int8).encode();
    assert!(bytes(1) == bytes(1));
    assert!(bytes(1) != bytes(2));
}

/// Else every image would get nearly the same logits, and a test could not tell whose answer it got.
#[test]
fn filters_on_rectified_inputs_sum_to_zero() {
    let graph = resnet50(1, Precision::Fp32).graph.unwrap();
    let mut filters = graph.initializer.iter().filter(|tensor| tensor.dims.len() > 1);
    let stem = filters.next().unwrap();
    assert_eq!(stem.dims, [64, 3, 7, 7]);
    for tensor in filters {
        let values: Vec<f32> =
            tensor.raw_data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        for row in values.chunks(values.len() / tensor.dims[0] as usize) {
            let (sum, size) = row.iter().fold((0.0, 0.0), |(sum, size), value| (sum + value, size + value.abs()));
            assert!(sum.abs() < 1e-3 * size, "{}: {sum} of {size}", tensor.name);
        }
    }
}
