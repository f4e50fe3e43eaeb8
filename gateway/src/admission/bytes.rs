//! Memory held by uploads, counted from the first byte: a thousand slow uploads count like a
//! thousand fast ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;
use shoal_shared::failure::{Failure, FailureCode};

/// Bytes held at the moment. Cheap to clone.
pub type Held = Arc<AtomicUsize>;

/// The bytes of one upload; given back when dropped.
pub struct Charge {
    held: Held,
    most: usize,
    gauge: IntGauge,
    bytes: usize,
}

impl Charge {
    pub(super) fn new(held: Held, most: usize, gauge: IntGauge) -> Self {
        Self { held, most, gauge, bytes: 0 }
    }

    #[cfg(test)]
    pub(crate) fn unbounded() -> Self {
        Self::new(Held::default(), usize::MAX, IntGauge::new("unused", "unused").unwrap())
    }

    /// Some more arrived. What is refused is not counted: the same may be tried again.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        // Counted first and checked after: concurrent arrivals can refuse one too many, never
        // admit one too many.
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held > self.most {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
            let message = format!("{} bytes of uploads are in flight, as many as this gateway holds", self.most);
            return Err(Failure::new(FailureCode::Overloaded, message));
        }
        self.bytes += bytes;
        self.gauge.add(bytes as i64);
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.gauge.sub(self.bytes as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_over_all_uploads_and_bytes_come_back() {
        let held = Held::default();
        let gauge = IntGauge::new("g", "g").unwrap();
        let charge = || Charge::new(held.clone(), 100, gauge.clone());
        let (mut first, mut second) = (charge(), charge());
        first.grow(60).unwrap();
        assert_eq!(second.grow(50).unwrap_err().code, FailureCode::Overloaded);
        drop(second);
        assert_eq!(gauge.get(), 60);
        first.grow(40).unwrap();
        drop(first);
        assert_eq!((held.load(Ordering::Relaxed), gauge.get()), (0, 0));
    }
}
