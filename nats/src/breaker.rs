//! A broker that takes requests and answers none: a full disk, a hung process, a lost leader. Once
//! seen, further requests are refused at once, except for one now and then that finds out whether
//! it answers again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::connect::{Bus, BusError, REQUEST_TIMEOUT};

/// A request without an answer for this long makes the broker silent.
const SILENCE: Duration = Duration::from_secs(1);
/// Pause between two that find out.
const BETWEEN_PROBES: Duration = Duration::from_secs(2);

/// Whether the broker answers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Breaker(Arc<State>);

#[derive(Debug, Default)]
struct State {
    silent: AtomicBool,
    /// When the latest probe began.
    probed: Mutex<Option<Instant>>,
}

/// The right to ask; what became of it decides for those that follow.
pub(crate) struct Attempt {
    breaker: Breaker,
    begun: Instant,
    is_probe: bool,
    answered: bool,
}

impl Breaker {
    /// Whether the broker took the latest requests and answered none.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.silent.load(Ordering::Relaxed)
    }

    /// `None`: the broker is silent, and somebody is already finding out whether it still is.
    pub(crate) fn attempt(&self) -> Option<Attempt> {
        let begun = Instant::now();
        let is_probe = self.0.silent.load(Ordering::Relaxed);
        if is_probe {
            let mut probed = self.0.probed.lock();
            if probed.is_some_and(|probed| begun < probed + BETWEEN_PROBES) {
                return None;
            }
            *probed = Some(begun);
        }
        Some(Attempt { breaker: self.clone(), begun, is_probe, answered: false })
    }
}

impl Attempt {
    /// How long to wait for an answer.
    pub(crate) fn patience(&self, usual: Duration) -> Duration {
        if self.is_probe { SILENCE } else { usual }
    }

    /// The broker answered, whatever it said.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let state = &self.breaker.0;
        if self.answered {
            state.silent.store(false, Ordering::Relaxed);
        } else if self.begun.elapsed() >= SILENCE && !state.silent.swap(true, Ordering::Relaxed) {
            tracing::warn!("NATS takes requests and does not answer: refusing until it does");
        }
    }
}

impl Bus {
    /// A request to the broker: refused at once while it answers nobody.
    pub(crate) async fn ask<T>(&self, request: impl Future<Output = Result<T, BusError>>) -> Result<T, BusError> {
        let attempt = self.breaker.attempt().ok_or(BusError::Silent)?;
        let answer = tokio::time::timeout(attempt.patience(REQUEST_TIMEOUT), request).await;
        let answer = answer.unwrap_or(Err(BusError::Silent));
        // What fails soon was refused; what fails late was not answered, unless there is nobody to answer.
        if answer.is_ok() || attempt.begun.elapsed() < SILENCE || !self.is_up() {
            attempt.answered();
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unanswered(breaker: &Breaker) {
        let mut attempt = breaker.attempt().unwrap();
        attempt.begun = Instant::now().checked_sub(SILENCE).unwrap();
    }

    #[test]
    fn a_silent_broker_is_asked_now_and_then_until_it_answers() {
        let breaker = Breaker::default();
        let (first, second) = (breaker.attempt().unwrap(), breaker.attempt().unwrap());
        first.answered();
        // Given up early, by a client that hung up: says nothing.
        drop(second);
        assert!(breaker.attempt().is_some() && breaker.attempt().is_some());
        unanswered(&breaker);
        drop(breaker.attempt().unwrap());
        assert!(breaker.attempt().is_none());
        *breaker.0.probed.lock() = Instant::now().checked_sub(BETWEEN_PROBES);
        let probe = breaker.attempt().unwrap();
        probe.answered();
        assert!(breaker.attempt().is_some() && breaker.attempt().is_some());
    }
}
