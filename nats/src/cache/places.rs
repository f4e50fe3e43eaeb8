//! Where predictions are in the stream, in eight bytes each: a table of fixed size in which the latest displace the
//! oldest, as they do in the stream.

/// Places in one row: what one look reads, a line of the processor's cache.
const ROW: usize = 8;

/// The sequence of a prediction by the fingerprint of its key. What is found may be another key's, short of chance, or
/// gone: whoever reads it holds it against the key.
pub(super) struct Places {
    /// Half of the fingerprint and half of the sequence; zero where there is none.
    rows: Vec<[u64; ROW]>,
    /// The latest sequence that was ever added.
    newest: u64,
}

impl Places {
    /// For so many predictions. The memory is taken as it is used.
    pub(super) fn new(most: usize) -> Self {
        Self { rows: vec![[0; ROW]; most.div_ceil(ROW).max(1)], newest: 0 }
    }

    /// The latest sequence that was ever added; 0 for none.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// The stream has come so far.
    pub(super) fn reach(&mut self, sequence: u64) {
        self.newest = self.newest.max(sequence);
    }

    /// A prediction is there.
    pub(super) fn add(&mut self, fingerprint: u64, sequence: u64) {
        self.reach(sequence);
        let (newest, tag) = (self.newest, tag(fingerprint));
        let row = self.row(fingerprint);
        let since = |place: u64| if place == 0 { 0 } else { whole(place, newest) };
        let known = row.iter().position(|place| *place != 0 && place >> 32 == tag);
        let oldest = || (0..ROW).min_by_key(|at| since(row[*at])).unwrap_or_default();
        let at = known.unwrap_or_else(oldest);
        if since(row[at]) < sequence {
            row[at] = (tag << 32) | u64::from(sequence as u32);
        }
    }

    /// What was thought to be there is not.
    pub(super) fn remove(&mut self, fingerprint: u64) {
        let tag = tag(fingerprint);
        let stale = self.row(fingerprint).iter_mut().find(|place| **place >> 32 == tag);
        if let Some(place) = stale {
            *place = 0;
        }
    }

    /// Where the prediction may be.
    pub(super) fn find(&self, fingerprint: u64) -> Option<u64> {
        let row = &self.rows[self.at(fingerprint)];
        let place = row.iter().find(|place| **place != 0 && **place >> 32 == tag(fingerprint))?;
        Some(whole(*place, self.newest))
    }

    /// Forgets all: sequences begin anew.
    pub(super) fn clear(&mut self) {
        self.rows.fill([0; ROW]);
        self.newest = 0;
    }

    fn row(&mut self, fingerprint: u64) -> &mut [u64; ROW] {
        let at = self.at(fingerprint);
        &mut self.rows[at]
    }

    fn at(&self, fingerprint: u64) -> usize {
        (((fingerprint >> 32) * self.rows.len() as u64) >> 32) as usize
    }
}

/// The half of a fingerprint that does not choose the row.
fn tag(fingerprint: u64) -> u64 {
    fingerprint & u64::from(u32::MAX)
}

/// A sequence by its lower half: none is older than four thousand million others.
fn whole(place: u64, newest: u64) -> u64 {
    newest.wrapping_sub(u64::from((newest as u32).wrapping_sub(place as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> u64 {
        let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn what_was_added_is_found_where_it_is_and_nothing_else() {
        let mut places = Places::new(20_000);
        (1..=10_000).for_each(|n| places.add(hash(n), 7 * n));
        let found = (1..=10_000).filter(|&n| places.find(hash(n)) == Some(7 * n)).count();
        assert!(found > 9_900, "{found}");
        assert_eq!((10_001..110_000).filter(|&n| places.find(hash(n)).is_some()).count(), 0);
        assert_eq!(places.newest(), 70_000);
    }

    #[test]
    fn the_latest_stay_however_many_come_and_the_later_of_two_counts() {
        let mut places = Places::new(1000);
        (1..=12_345).for_each(|n| places.add(hash(n), n));
        let late = (12_000..=12_345).filter(|&n| places.find(hash(n)) == Some(n)).count();
        assert!(late > 330, "{late}");
        assert!((1..=10_000).all(|n| places.find(hash(n)).is_none()));
        places.add(hash(12_345), 13_000);
        places.add(hash(12_345), 12_999);
        assert_eq!(places.find(hash(12_345)), Some(13_000));
        places.remove(hash(12_345));
        assert_eq!(places.find(hash(12_345)), None);
        // Older than all that are in its row.
        (20_000..30_000).for_each(|n| places.add(hash(n), n));
        places.add(hash(1), 13_001);
        assert_eq!(places.find(hash(1)), None);
        places.clear();
        assert_eq!((places.find(hash(12_345)), places.newest()), (None, 0));
    }

    #[test]
    fn sequences_may_be_longer_than_what_is_kept_of_them() {
        let mut places = Places::new(1000);
        let begin = u64::from(u32::MAX) - 50;
        (0..100).for_each(|n| places.add(hash(n), begin + n));
        assert!((0..100).all(|n| places.find(hash(n)) == Some(begin + n)));
    }
}
