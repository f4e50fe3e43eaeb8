//! Places kept for those who were told to come back. Pure: time comes from outside.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use shoal_shared::digest::CacheKey;

use super::queue::Knock;
use super::tenants::Tenant;

/// A promise is kept from this long before its time: `Retry-After` has whole seconds only.
const EARLY: Duration = Duration::from_millis(50);
/// A kept place is free again this long after its time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Promises remembered at most, over all tenants; later ones are times without a place.
const MOST: usize = 10_000;
/// Nobody is told to come back later than this.
const LONGEST: Duration = Duration::from_secs(600);

/// What was promised to one tenant.
#[derive(Default)]
struct Book {
    kept: HashMap<CacheKey, Instant>,
    /// The next time that is not promised yet.
    next: Option<Instant>,
}

/// Every promise that may still be redeemed.
#[derive(Default)]
pub(super) struct Promises {
    books: HashMap<Tenant, Book>,
    total: usize,
    swept: Option<Instant>,
}

impl Promises {
    /// Promises a place in `earliest` or, when others of the same tenant were promised it, later:
    /// `rate` places a second. Whoever asks again before its time hears the same time.
    pub(super) fn make(&mut self, knock: &Knock<'_>, earliest: Duration, rate: f64, now: Instant) -> Duration {
        self.sweep(now);
        let book = self.books.entry(knock.tenant.clone()).or_default();
        if let Some(due) = book.kept.get(knock.key) {
            return due.saturating_duration_since(now);
        }
        let due = book.next.map_or(now + earliest, |next| next.max(now + earliest)).min(now + LONGEST);
        book.next = Some(due + Duration::from_secs_f64(1.0 / rate));
        if self.total < MOST {
            book.kept.insert(knock.key.clone(), due);
            self.total += 1;
        }
        due.saturating_duration_since(now)
    }

    /// Whether a place was promised for now; it can be taken once.
    pub(super) fn redeem(&mut self, knock: &Knock<'_>, now: Instant) -> bool {
        let Some(book) = self.books.get_mut(knock.tenant) else { return false };
        let due = book.kept.get(knock.key).is_some_and(|&due| due <= now + EARLY);
        if due {
            book.kept.remove(knock.key);
            self.total -= 1;
        }
        due
    }

    /// Forgets, once a second, what nobody came back for.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now < swept + Duration::from_secs(1)) {
            return;
        }
        self.swept = Some(now);
        for book in self.books.values_mut() {
            book.kept.retain(|_, due| now < *due + PATIENCE);
        }
        self.books.retain(|_, book| !book.kept.is_empty() || book.next.is_some_and(|next| next > now));
        self.total = self.books.values().map(|book| book.kept.len()).sum();
    }
}
