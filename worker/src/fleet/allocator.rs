//! What the workers' allocator is told, through their environment: to give back what it does not use.

use crate::config::WorkerConfig;
use crate::model::ModelStore;

/// With a file from this size on, a model takes milliseconds an image, and memory given back too soon costs
/// nothing that could be noticed.
const LARGE: u64 = 8 << 20;

/// Names and values, but for those that are set already. Pages of 2 MiB keep many megabytes resident for a few
/// buffers; what is free goes back after a fifth of a second where images are few, and not so soon that the buffers
/// of large photographs are given back and asked for again between one and the next.
pub(super) fn options(config: &WorkerConfig) -> Vec<(&'static str, &'static str)> {
    let store = ModelStore::open(&config.models_dir);
    let largest = config.served_models().iter().map(|model| store.bytes(model)).max().unwrap_or_default();
    let mut options = vec![("MIMALLOC_ALLOW_THP", "0")];
    options.extend((largest >= LARGE).then_some(("MIMALLOC_PURGE_DELAY", "200")));
    options.retain(|(name, _)| std::env::var_os(name).is_none());
    options
}
