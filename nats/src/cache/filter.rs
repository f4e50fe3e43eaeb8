//! Which keys may be in the bucket, in two bytes each.

/// Bits set for each key; with [`BITS_PER_KEY`] one absent key in four hundred looks present.
const HASHES: u32 = 4;
/// Room for each key.
const BITS_PER_KEY: usize = 16;

/// Two generations of a Bloom filter: when the younger one is full the older one goes, so what was added
/// within the last `keys` additions is always found.
pub(super) struct Filter {
    young: Vec<u64>,
    old: Vec<u64>,
    added: usize,
    keys: usize,
}

impl Filter {
    /// For a bucket that holds at most so many keys.
    pub(super) fn new(keys: usize) -> Self {
        let words = (keys.max(64) * BITS_PER_KEY).next_power_of_two() / 64;
        Self { young: vec![0; words], old: vec![0; words], added: 0, keys: keys.max(64) }
    }

    /// Adds a key by its fingerprint, of which every bit is as good as chance.
    pub(super) fn add(&mut self, hash: u64) {
        if self.added == self.keys {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.fill(0);
            self.added = 0;
        }
        self.added += 1;
        let words = self.young.len();
        places(hash, words).for_each(|(word, bit)| self.young[word] |= bit);
    }

    /// Whether a key may have been added; `false` is certain.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let words = self.young.len();
        let is_in = |bits: &[u64]| places(hash, words).all(|(word, bit)| bits[word] & bit != 0);
        is_in(&self.young) || is_in(&self.old)
    }
}

/// Words and bits of a hash, in a filter of a power of two of words.
fn places(hash: u64, words: usize) -> impl Iterator<Item = (usize, u64)> {
    // Double hashing: two halves of one hash make as many places as are wanted.
    let (first, step) = (hash, (hash >> 32) | 1);
    (0..u64::from(HASHES)).map(move |n| {
        let place = first.wrapping_add(n.wrapping_mul(step)) as usize & (words * 64 - 1);
        (place / 64, 1 << (place % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> u64 {
        let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn what_was_added_lately_is_found_and_little_else() {
        let mut filter = Filter::new(10_000);
        (0..10_000).for_each(|n| filter.add(hash(n)));
        assert!((0..10_000).all(|n| filter.may_hold(hash(n))));
        let wrong = (10_000..110_000).filter(|&n| filter.may_hold(hash(n))).count();
        assert!(wrong < 500, "{wrong} of 100,000");
    }

    #[test]
    fn the_last_ones_stay_however_many_come() {
        let mut filter = Filter::new(1000);
        (0..12_345).for_each(|n| filter.add(hash(n)));
        assert!((11_345..12_345).all(|n| filter.may_hold(hash(n))));
        let old = (0..10_000).filter(|&n| filter.may_hold(hash(n))).count();
        assert!(old < 100, "{old} of 10,000");
    }
}
