//! ResNet-50 v1.5 (He et al., 2015; the stride sits on the 3x3 convolution, as in torchvision):
//! 25.5 million parameters, 4.1 billion multiply-adds for a 224x224 image.

use crate::Precision;
use crate::graph::{Conv, Graph, Value};
use crate::onnx::ModelProto;

/// Blocks and inner width of each stage.
const STAGES: [(usize, usize); 4] = [(3, 64), (4, 128), (6, 256), (3, 512)];
/// Outer width over inner width.
const EXPANSION: usize = 4;
/// Gain of a block's last convolution. Larger tells images apart better, and amplifies rounding more:
/// at 0.35 a small change of the image grows about tenfold on its way to the logits.
const BRANCH_GAIN: f64 = 0.35;

/// The network with random weights: `data` `[N,3,224,224]` in, `logits` `[N,1000]` out.
pub fn resnet50(seed: u64, precision: Precision) -> ModelProto {
    let mut graph = Graph::new(seed, precision);
    let image = graph.input("data", 3);
    let stem = graph.conv(&image, Conv { out: 64, kernel: 7, stride: 2, gain: 1.0, relu: true });
    let mut value = graph.max_pool(&stem);
    for (stage, (blocks, width)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            value = bottleneck(&mut graph, &value, width, stride);
        }
    }
    let features = graph.global_average(&value);
    graph.dense(&features, 1000, "logits");
    graph.finish("resnet50", ("data", &[3, 224, 224]), ("logits", &[1000]))
}

fn bottleneck(graph: &mut Graph, input: &Value, width: usize, stride: usize) -> Value {
    let out = width * EXPANSION;
    let shortcut = if input.channels == out {
        input.clone()
    } else {
        graph.conv(input, Conv { out, kernel: 1, stride, gain: 1.0, relu: false })
    };
    let narrow = graph.conv(input, Conv { out: width, kernel: 1, stride: 1, gain: 1.0, relu: true });
    let middle = graph.conv(&narrow, Conv { out: width, kernel: 3, stride, gain: 1.0, relu: true });
    let wide = graph.conv(&middle, Conv { out, kernel: 1, stride: 1, gain: BRANCH_GAIN, relu: false });
    graph.add_relu(&wide, &shortcut)
}
