//! Where the native helpers are: the environment first, then `.tools/`, then the PATH.

use std::env;
use std::path::{Path, PathBuf};

/// Environment variable naming the ONNX Runtime library, also read by `ort` itself.
pub const ORT_LIBRARY_ENV: &str = "ORT_DYLIB_PATH";
/// Environment variable naming the nats-server binary.
pub const NATS_SERVER_ENV: &str = "SHOAL_NATS_SERVER";

/// Environment variable naming an ONNX Runtime library that has OpenVINO.
pub const ORT_OPENVINO_ENV: &str = "SHOAL_ORT_OPENVINO";

const ORT_LIBRARY: &str = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };

/// The ONNX Runtime library, if it can be found.
pub fn onnxruntime() -> Option<PathBuf> {
    from_env(ORT_LIBRARY_ENV).or_else(|| in_tools(&Path::new("onnxruntime").join(ORT_LIBRARY))).or_else(|| {
        let system = ["/usr/local/lib", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
        system.iter().map(|dir| Path::new(dir).join(ORT_LIBRARY)).find(|path| path.exists())
    })
}

/// The ONNX Runtime library that has OpenVINO, if it can be found.
pub fn onnxruntime_openvino() -> Option<PathBuf> {
    from_env(ORT_OPENVINO_ENV).or_else(|| in_tools(&Path::new("onnxruntime-openvino").join(ORT_LIBRARY)))
}

/// The nats-server binary, if it can be found.
pub fn nats_server() -> Option<PathBuf> {
    from_env(NATS_SERVER_ENV).or_else(|| in_tools(Path::new("bin/nats-server"))).or_else(|| on_path("nats-server"))
}

/// The `nats` command-line client, if it can be found.
pub fn nats_cli() -> Option<PathBuf> {
    in_tools(Path::new("bin/nats")).or_else(|| on_path("nats"))
}

/// Prometheus, if it can be found.
pub fn prometheus() -> Option<PathBuf> {
    in_tools(Path::new("bin/prometheus")).or_else(|| on_path("prometheus"))
}

/// Prometheus's own tool for configurations and rules, if it can be found.
pub fn promtool() -> Option<PathBuf> {
    in_tools(Path::new("bin/promtool")).or_else(|| on_path("promtool"))
}

fn from_env(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.exists())
}

/// The nearest folder of native helpers, if there is one.
pub fn tools() -> Option<PathBuf> {
    in_tools(Path::new(""))
}

/// Looks for `.tools/` upwards from the current directory and from the running binary.
fn in_tools(relative: &Path) -> Option<PathBuf> {
    let starts = [env::current_dir().ok(), env::current_exe().ok()];
    starts
        .iter()
        .flatten()
        .flat_map(|start| start.ancestors())
        .map(|dir| dir.join(".tools").join(relative))
        .find(|path| path.exists())
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}
