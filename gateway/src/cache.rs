//! The memory tier: predictions by key, bounded by bytes, in front of the shared cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use moka::sync::Cache;
use prometheus::IntCounter;
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
    /// Counts it when it has to leave.
    pub kept: Kept,
}

/// Whether an entry is in memory, and who counts those that had to leave. (Moka would tell a listener, but take a lock
/// for every key.)
#[derive(Debug, Default)]
pub struct Kept {
    evictions: Option<IntCounter>,
    forgotten: AtomicBool,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let (Some(evictions), false) = (&self.evictions, *self.forgotten.get_mut()) {
            evictions.inc();
        }
    }
}

/// What an entry takes beside its classes, moka's own bookkeeping included: measured, as the memory of a gateway that
/// keeps a hundred thousand. Labels and names are shared among all of them.
const ENTRY_OVERHEAD: usize = 560;

impl Entry {
    /// For a prediction of an image, with its key and its MD5.
    pub fn of(prediction: Prediction, key: &ImageKey, md5: ImageMd5, image: &[u8]) -> Self {
        let (sha256, format) = (key.sha256(image), format_of(image));
        Self { prediction, sha256: Some(sha256), md5: Some(md5), format, since: Instant::now(), kept: Kept::default() }
    }

    fn weight(&self) -> u32 {
        (ENTRY_OVERHEAD + size_of_val(self.prediction.top.as_slice())) as u32
    }
}

/// The memory tier. Cheap to clone.
#[derive(Clone)]
pub struct MemoryCache {
    entries: Cache<CacheKey, Arc<Entry>, RandomState>,
    refusals: Cache<CacheKey, Failure, RandomState>,
    remembers_refusals: bool,
    ttl: Duration,
    evictions: IntCounter,
}

/// Refusals remembered at once.
const MAX_REFUSALS: u64 = 10_000;

impl MemoryCache {
    /// Empty, within the configured bounds; counts what leaves for want of room or by age. Moka admits by TinyLFU: one
    /// pass of unique images does not wash out what is asked for often.
    pub fn new(config: &CacheConfig, evictions: IntCounter) -> Self {
        // Moka's own time to live would keep every entry in a second list.
        let entries = Cache::builder()
            .max_capacity(config.max_bytes)
            .weigher(|_, entry: &Arc<Entry>| entry.weight())
            .time_to_idle(config.idle.min(config.ttl))
            .build_with_hasher(RandomState::default());
        let refusals = Cache::builder()
            .max_capacity(MAX_REFUSALS)
            .time_to_live(config.negative_ttl)
            .build_with_hasher(RandomState::default());
        Self { entries, refusals, remembers_refusals: !config.negative_ttl.is_zero(), ttl: config.ttl, evictions }
    }

    /// The prediction under `key`.
    pub fn get(&self, key: &CacheKey) -> Option<Arc<Entry>> {
        let entry = self.entries.get(key)?;
        if entry.since.elapsed() < self.ttl {
            return Some(entry);
        }
        self.entries.invalidate(key);
        None
    }

    /// Keeps a prediction.
    pub fn put(&self, key: CacheKey, entry: Entry) -> Arc<Entry> {
        let kept = Kept { evictions: Some(self.evictions.clone()), forgotten: AtomicBool::new(false) };
        let entry = Arc::new(Entry { kept, ..entry });
        self.entries.insert(key, entry.clone());
        entry
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
        let of_model = |key: &CacheKey| model.is_none_or(|model| key.model.as_str() == model);
        for (key, entry) in self.entries.iter().filter(|(key, _)| of_model(key)) {
            entry.kept.forgotten.store(true, Ordering::Relaxed);
            self.entries.invalidate(&*key);
        }
        self.refusals.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use shoal_shared::digest::{DigestKind, ModelDigest};
    use shoal_shared::names::ModelName;

    use super::*;

    fn memory(config: &CacheConfig) -> MemoryCache {
        MemoryCache::new(config, IntCounter::new("evictions", "evictions").unwrap())
    }

    fn entry(model: &str, image: &[u8]) -> (CacheKey, Entry) {
        let model: ModelDigest = serde_json::from_value(model.into()).unwrap();
        let key = CacheKey { model: model.clone(), image: ImageKey::of(DigestKind::Sha256, image) };
        let named: ModelName = "digits".parse().unwrap();
        let prediction = Prediction { model: named, digest: model, top: Vec::new(), infer_us: 1, computed_at: 0 };
        let entry = Entry::of(prediction, &key.image, key.image.md5(image), image);
        (key, entry)
    }

    fn put(memory: &MemoryCache, (key, entry): (CacheKey, Entry)) -> CacheKey {
        memory.put(key.clone(), entry);
        key
    }

    #[test]
    fn what_was_put_counts_at_once() {
        let memory = memory(&CacheConfig::default());
        assert_eq!(memory.size(), (0, 0));
        put(&memory, entry("a", b"picture"));
        let (entries, bytes) = memory.size();
        assert!(entries == 1 && bytes > 0, "{entries} entries, {bytes} bytes");
    }

    const PUT: u64 = 10_000;

    #[test]
    fn what_leaves_for_want_of_room_is_counted() {
        let memory = memory(&CacheConfig { max_bytes: 10 * ENTRY_OVERHEAD as u64, ..CacheConfig::default() });
        for number in 0..PUT {
            put(&memory, entry("a", &number.to_le_bytes()));
        }
        let ((entries, _), evictions) = (memory.size(), memory.evictions.get());
        assert!((1..=10).contains(&entries), "{entries}");
        // Moka drops what it has evicted a little later.
        assert!((PUT / 2..=PUT - entries).contains(&evictions), "{evictions}");
    }

    #[test]
    fn what_was_never_kept_or_is_forgotten_is_not_evicted() {
        let memory = memory(&CacheConfig::default());
        drop(entry("a", b"picture"));
        for number in 0..PUT {
            put(&memory, entry("a", &number.to_le_bytes()));
        }
        memory.forget(None);
        assert_eq!(memory.size(), (0, 0));
        // What Moka drops later goes with it at the latest.
        let evictions = memory.evictions.clone();
        drop(memory);
        assert_eq!(evictions.get(), 0);
    }

    #[test]
    fn an_entry_lives_no_longer_than_it_may_however_often_it_is_asked_for() {
        let memory = memory(&CacheConfig { ttl: Duration::from_millis(50), ..CacheConfig::default() });
        let (key, entry) = entry("a", b"picture");
        let since = memory.put(key.clone(), entry).since;
        while memory.get(&key).is_some() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(since.elapsed() >= Duration::from_millis(50));
        assert_eq!(memory.size().0, 0);
    }

    #[test]
    fn one_model_is_forgotten_or_all() {
        let memory = memory(&CacheConfig::default());
        let [a, b] = ["a", "b"].map(|model| put(&memory, entry(model, b"picture")));
        memory.forget(Some("a"));
        assert!(memory.get(&a).is_none() && memory.get(&b).is_some());
        memory.forget(None);
        assert!(memory.get(&b).is_none());
    }
}
