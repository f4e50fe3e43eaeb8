//! Writes a synthetic ResNet-50: `write OUT [--int8] [--seed N]`.
use shoal_synth::{Precision, resnet50};
fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let precision = if args.iter().any(|a| a == "--int8") { Precision::Int8 } else { Precision::Fp32 };
    let seed = args.iter().position(|a| a == "--seed").and_then(|i| args.get(i + 1)?.parse().ok()).unwrap_or(1);
    std::fs::write(&args[0], resnet50(seed, precision).encode())
}
