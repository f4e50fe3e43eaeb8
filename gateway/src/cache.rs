//! The memory tier: predictions by key, bounded by bytes, in front of the shared cache.

use std::sync::Arc;
use std::time::Instant;

use moka::sync::Cache;
use shoal_shared::digest::{CacheKey, ImageKey, ImageMd5, ImageSha256};
use shoal_shared::failure::Failure;
use shoal_shared::prediction::Prediction;
use shoal_shared::sniff::{ImageFormat, format_of};

use crate::config::CacheConfig;

/// A prediction as kept in memory.
#[derive(Debug)]
pub struct Entry {
    /// The full ranked prediction: any `top_k` is answered from it.
    pub prediction: Prediction,
    /// SHA-256 of the image, where known.
    pub sha256: Option<ImageSha256>,
    /// MD5 of the image, computed once, where known.
    pub md5: Option<ImageMd5>,
    /// The image's format.
    pub format: Option<ImageFormat>,
    /// When it came into memory.
    pub since: Instant,
}

/// What an entry takes beside its classes, moka's own bookkeeping included: measured, as the memory of a gateway that
/// keeps a hundred thousand. Labels and names are shared among all of them.
const ENTRY_OVERHEAD: usize = 560;

impl Entry {
    /// For a prediction of an image, with its key and its MD5.
    pub fn of(prediction: Prediction, key: &ImageKey, md5: ImageMd5, image: &[u8]) -> Self {
        let (sha256, format) = (key.sha256(image), format_of(image));
        Self { prediction, sha256: Some(sha256), md5: Some(md5), format, since: Instant::now() }
    }

    fn weight(&self) -> u32 {
        (ENTRY_OVERHEAD + size_of_val(self.prediction.top.as_slice())) as u32
    }
}

/// The memory tier. Cheap to clone.
#[derive(Clone)]
pub struct MemoryCache {
    entries: Cache<CacheKey, Arc<Entry>>,
    refusals: Cache<CacheKey, Failure>,
    remembers_refusals: bool,
}

/// Refusals remembered at once.
const MAX_REFUSALS: u64 = 10_000;

impl MemoryCache {
    /// Empty, within the configured bounds. Moka admits by TinyLFU: one pass of unique images does
    /// not wash out what is asked for often.
    pub fn new(config: &CacheConfig, evicted: impl Fn() + Send + Sync + 'static) -> Self {
        let entries = Cache::builder()
            .max_capacity(config.max_bytes)
            .weigher(|_, entry: &Arc<Entry>| entry.weight())
            .time_to_live(config.ttl)
            .time_to_idle(config.idle)
            .support_invalidation_closures()
            .eviction_listener(move |_, _, cause| {
                if cause.was_evicted() {
                    evicted();
                }
            })
            .build();
        let refusals = Cache::builder().max_capacity(MAX_REFUSALS).time_to_live(config.negative_ttl).build();
        Self { entries, refusals, remembers_refusals: !config.negative_ttl.is_zero() }
    }

    /// The prediction under `key`.
    pub fn get(&self, key: &CacheKey) -> Option<Arc<Entry>> {
        self.entries.get(key)
    }

    /// Keeps a prediction.
    pub fn put(&self, key: CacheKey, entry: Arc<Entry>) {
        self.entries.insert(key, entry);
    }

    /// A remembered refusal: the bytes were no image a moment ago, and still are none.
    pub fn refusal(&self, key: &CacheKey) -> Option<Failure> {
        if self.remembers_refusals { self.refusals.get(key) } else { None }
    }

    /// How it ended when this was asked before.
    pub fn known(&self, key: &CacheKey) -> Option<Result<Arc<Entry>, Failure>> {
        self.get(key).map(Ok).or_else(|| self.refusal(key).map(Err))
    }

    /// Remembers that these bytes are refused. Only the image's own fault is remembered.
    pub fn refuse(&self, key: CacheKey, failure: &Failure) {
        if self.remembers_refusals && failure.code.is_clients_fault() {
            self.refusals.insert(key, failure.clone());
        }
    }

    /// Predictions kept, and their bytes by weight. What was put a moment ago counts: moka is behind with that unless asked.
    pub fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }

    /// Forgets the predictions of one model digest, or everything.
    pub fn forget(&self, model: Option<&str>) {
        match model {
            Some(model) => {
                let model = model.to_owned();
                // Fails only on a cache built without invalidation closures.
                let _ = self.entries.invalidate_entries_if(move |key, _| key.model.as_str() == model);
            }
            None => self.entries.invalidate_all(),
        }
        self.refusals.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use shoal_shared::digest::{DigestKind, ModelDigest};
    use shoal_shared::names::ModelName;

    use super::*;

    #[test]
    fn what_was_put_counts_at_once() {
        let memory = MemoryCache::new(&CacheConfig::default(), || ());
        assert_eq!(memory.size(), (0, 0));
        let image = ImageKey::of(DigestKind::Sha256, b"picture");
        let model = ModelDigest::default();
        let key = CacheKey { model: model.clone(), image };
        let named: ModelName = "digits".parse().unwrap();
        let prediction = Prediction { model: named, digest: model, top: Vec::new(), infer_us: 1, computed_at: 0 };
        memory.put(key, Arc::new(Entry::of(prediction, &image, image.md5(b"picture"), b"picture")));
        let (entries, bytes) = memory.size();
        assert!(entries == 1 && bytes > 0, "{entries} entries, {bytes} bytes");
    }
}
