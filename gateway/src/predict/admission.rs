//! The bound at the door: predictions and bytes in flight. Refusing is immediate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shoal_shared::failure::{Failure, FailureCode};

use crate::metrics::GatewayMetrics;

/// Counts what is in flight.
#[derive(Clone)]
pub struct Admission(Arc<State>);

struct State {
    jobs: AtomicUsize,
    bytes: AtomicUsize,
    max_jobs: usize,
    max_bytes: usize,
    metrics: Arc<GatewayMetrics>,
}

/// A place inside; given back when dropped.
pub struct Admitted {
    admission: Admission,
    bytes: usize,
}

impl Admission {
    /// Nobody inside yet.
    pub fn new(max_jobs: usize, max_bytes: usize, metrics: Arc<GatewayMetrics>) -> Self {
        Self(Arc::new(State { jobs: AtomicUsize::new(0), bytes: AtomicUsize::new(0), max_jobs, max_bytes, metrics }))
    }

    /// Lets an upload in, or refuses it with the bound that it would break.
    pub fn admit(&self, bytes: usize) -> Result<Admitted, Failure> {
        let state = &self.0;
        // Counted first and checked after: concurrent arrivals can refuse one too many, never
        // admit one too many.
        let jobs = state.jobs.fetch_add(1, Ordering::Relaxed) + 1;
        let held = state.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        state.metrics.in_flight.inc();
        state.metrics.in_flight_bytes.add(bytes as i64);
        let admitted = Admitted { admission: self.clone(), bytes };
        if jobs > state.max_jobs {
            return Err(overloaded(format!(
                "{} predictions are in flight, as many as this gateway holds",
                state.max_jobs
            )));
        }
        if held > state.max_bytes {
            return Err(overloaded(format!(
                "{} bytes of uploads are in flight, as many as this gateway holds",
                state.max_bytes
            )));
        }
        Ok(admitted)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let state = &self.admission.0;
        state.jobs.fetch_sub(1, Ordering::Relaxed);
        state.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        state.metrics.in_flight.dec();
        state.metrics.in_flight_bytes.sub(self.bytes as i64);
    }
}

fn overloaded(message: String) -> Failure {
    Failure::new(FailureCode::Overloaded, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(max_jobs: usize, max_bytes: usize) -> Admission {
        let metrics = GatewayMetrics::register(&prometheus::Registry::new()).unwrap();
        Admission::new(max_jobs, max_bytes, Arc::new(metrics))
    }

    #[test]
    fn both_bounds_hold_and_places_come_back() {
        let admission = admission(2, 100);
        let first = admission.admit(60).unwrap();
        assert_eq!(admission.admit(50).err().unwrap().code, FailureCode::Overloaded);
        let second = admission.admit(40).unwrap();
        assert!(admission.admit(0).is_err());
        drop((first, second));
        assert!(admission.admit(100).is_ok());
        assert_eq!(admission.0.metrics.in_flight.get(), 0);
        assert_eq!(admission.0.metrics.in_flight_bytes.get(), 0);
    }
}
