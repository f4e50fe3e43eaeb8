//! How far a counter moved, when it may be read from the wrong node or start over.

/// A counter that should only rise.
#[derive(Debug, Default)]
pub(super) struct Counter {
    last: Option<u64>,
    highest: u64,
}

impl Counter {
    /// How much it rose since the last reading. A fall is a restart or another node's older number:
    /// nothing is known of that step, and it counts as none. When the number is back above what was
    /// seen before the fall, only what lies above is new: the two nodes must not be added up.
    pub(super) fn advance(&mut self, value: u64) -> u64 {
        let last = self.last.replace(value);
        let above = value.saturating_sub(self.highest);
        let Some(last) = last else {
            self.highest = value;
            return 0;
        };
        self.highest = self.highest.max(value);
        if above > 0 { above } else { value.saturating_sub(last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(values: &[u64]) -> Vec<u64> {
        let mut counter = Counter::default();
        values.iter().map(|value| counter.advance(*value)).collect()
    }

    #[test]
    fn a_rise_counts_and_the_first_reading_does_not() {
        assert_eq!(steps(&[1000, 1010, 1010, 1030]), [0, 10, 0, 20]);
    }

    #[test]
    fn a_restart_loses_one_step() {
        assert_eq!(steps(&[1000, 0, 5, 20]), [0, 0, 5, 15]);
    }

    #[test]
    fn an_older_number_in_between_adds_nothing() {
        assert_eq!(steps(&[1000, 400, 1010, 1020]), [0, 0, 10, 10]);
    }
}
