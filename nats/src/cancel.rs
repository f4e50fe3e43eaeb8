//! Jobs that nobody waits for any more. One still in the stream is removed there; one already in a
//! worker's hands is skipped there, unless it has started.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use parking_lot::Mutex;
use shoal_shared::names::{JobId, ModelName};
use tokio::task::AbortHandle;

use crate::connect::{Bus, BusError};
use crate::subjects;

/// Cancellations remembered; far more than a worker holds jobs.
const REMEMBERED: usize = 4096;

impl Bus {
    /// Nobody waits for this job any more, wherever it is.
    pub async fn cancel_job(&self, model: &ModelName, job: &JobId, sequence: Option<u64>) {
        if let Some(sequence) = sequence {
            self.remove_job(sequence).await;
        }
        let _ = self.send(subjects::cancel(model), job.as_str().as_bytes().to_vec()).await;
    }
}

/// A worker's memory of cancelled jobs. Cheap to clone; with the last one, the listening ends.
#[derive(Clone, Default)]
pub struct Cancelled(Arc<Memory>);

#[derive(Default)]
struct Memory {
    jobs: Mutex<VecDeque<JobId>>,
    listening: Mutex<Option<AbortHandle>>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(listening) = self.listening.lock().take() {
            listening.abort();
        }
    }
}

impl Cancelled {
    /// Starts listening for a model's cancellations.
    pub async fn listen(bus: &Bus, model: &ModelName) -> Result<Self, BusError> {
        let subscribed = bus.client.subscribe(subjects::cancel(model)).await;
        let mut messages = subscribed.map_err(|error| BusError::request("subscribing for cancellations", error))?;
        let cancelled = Self::default();
        let memory = Arc::downgrade(&cancelled.0);
        let listening = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let text = std::str::from_utf8(&message.payload).unwrap_or_default();
                if let (Ok(job), Some(memory)) = (text.parse(), memory.upgrade()) {
                    Self(memory).remember(job);
                }
            }
        });
        *cancelled.0.listening.lock() = Some(listening.abort_handle());
        Ok(cancelled)
    }

    fn remember(&self, job: JobId) {
        let mut jobs = self.0.jobs.lock();
        if jobs.len() == REMEMBERED {
            jobs.pop_front();
        }
        jobs.push_back(job);
    }

    /// Whether the job was cancelled; asked once for a job, it is forgotten.
    pub fn take(&self, job: &JobId) -> bool {
        let mut jobs = self.0.jobs.lock();
        let found = jobs.iter().position(|cancelled| cancelled == job);
        found.is_some_and(|at| jobs.remove(at).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancellation_counts_once_and_the_memory_is_bounded() {
        let cancelled = Cancelled::default();
        let job = JobId::mint();
        cancelled.remember(job.clone());
        assert!(cancelled.take(&job));
        assert!(!cancelled.take(&job));
        (0..2 * REMEMBERED).for_each(|_| cancelled.remember(JobId::mint()));
        assert_eq!(cancelled.0.jobs.lock().len(), REMEMBERED);
    }
}
