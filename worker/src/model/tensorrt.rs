//! TensorRT's options, and where the engines lie that it takes minutes to build.

use std::path::{Path, PathBuf};

use ort::ep;
use sha2::{Digest as _, Sha256};

use super::engine::Numbers;
use super::optimised;

/// The provider. With a folder it builds an engine once and reads it from there at later starts.
pub(super) fn provider(numbers: Numbers, engines: Option<&Path>) -> ep::TensorRT {
    let provider = ep::TensorRT::default().with_fp16(numbers == Numbers::F16);
    let Some(folder) = engines.map(Path::display) else { return provider };
    provider
        .with_engine_cache(true)
        .with_engine_cache_path(folder.to_string())
        .with_timing_cache(true)
        .with_timing_cache_path(folder.to_string())
}

/// The folder of a model's engines below `home`, made if need be; `None` where nothing can be written.
pub(super) fn engines_folder(home: &Path, onnx: &[u8]) -> Option<PathBuf> {
    let folder = engines_of(home, onnx);
    match optimised::begin_use(home, &folder) {
        Ok(()) => Some(folder),
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "TensorRT's engines are not kept: each start builds them");
            None
        }
    }
}

/// TensorRT tells the graphs in a folder apart by their names and not by their weights, so every file has a folder of
/// its own.
fn engines_of(home: &Path, onnx: &[u8]) -> PathBuf {
    home.join(format!("tensorrt-{}", hex::encode(&Sha256::digest(onnx)[..16])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_with_other_weights_has_other_engines() {
        let home = Path::new("home");
        let (one, other) = (engines_of(home, b"a graph, weights 1"), engines_of(home, b"a graph, weights 2"));
        assert!(one != other && one.starts_with(home));
    }

    #[test]
    fn where_nothing_can_be_written_nothing_is_kept() {
        let home = tempfile::tempdir().unwrap();
        assert!(engines_folder(home.path(), b"a graph").unwrap().is_dir());
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(engines_folder(&file, b"a graph"), None);
    }
}
