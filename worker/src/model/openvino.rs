//! OpenVINO's options.

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider as _};

use super::Threads;
use super::engine::Numbers;

/// The provider on the CPU, with as many threads. Its options are JSON text: those it has by name cannot say
/// which numbers to compute with.
pub(super) fn provider(numbers: Numbers, threads: Threads) -> ep::OpenVINO {
    ep::OpenVINO::default().with_device_type("CPU").with_arbitrary_config("load_config", options(numbers, threads))
}

fn options(numbers: Numbers, threads: Threads) -> serde_json::Value {
    let hint = match numbers {
        Numbers::File | Numbers::F32 => "f32",
        Numbers::Bf16 => "bf16",
        Numbers::F16 => "f16",
    };
    // Several sessions would all pin their threads to the same first cores. And it does not read how many threads
    // ONNX Runtime was given.
    serde_json::json!({ "CPU": {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": (threads.intra * threads.runs).to_string(),
        "NUM_STREAMS": threads.runs.to_string(),
        "ENABLE_CPU_PINNING": "NO",
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_json_text_with_everything_a_string() {
        let options = options(Numbers::Bf16, Threads { intra: 3, runs: 2, spin: false });
        assert_eq!(options["CPU"]["INFERENCE_NUM_THREADS"], "6");
        assert_eq!(options["CPU"]["NUM_STREAMS"], "2");
        assert_eq!(options["CPU"]["INFERENCE_PRECISION_HINT"], "bf16");
    }
}
