//! The last stage: store the prediction, answer, acknowledge. The answer follows the prediction on the same
//! connection without waiting for the broker's word on it; the acknowledgement waits for both. What fails
//! before it is repeated; repeating it stores and answers the same.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use shoal_nats::attempts::{Attempts, Record};
use shoal_nats::cache::{SharedCache, Write};
use shoal_nats::dead::{Epitaph, dead_outcome};
use shoal_nats::uploads::Uploads;
use shoal_nats::{Bus, BusError};
use shoal_shared::answer::Answer;
use shoal_shared::codec;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::NodeId;
use shoal_shared::prediction::{Outcome, Prediction, Served};
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::process::spans::{Part, Work};
use tokio::sync::mpsc;

use super::{Finished, Held, Shared, Verdict, micros_since};

/// Settles jobs.
pub struct Settler {
    /// What every stage shares.
    pub shared: Shared,
    /// The bus.
    pub bus: Bus,
    /// The shared cache.
    pub cache: SharedCache,
    /// The large uploads.
    pub uploads: Uploads,
    /// This worker.
    pub worker: NodeId,
    /// Where failed attempts are written down.
    pub attempts: Attempts,
    /// Attempts after which a job that keeps failing is given up.
    pub max_attempts: u32,
}

impl Settler {
    /// Settles until every earlier stage has ended and everything is settled. Jobs are settled
    /// side by side: each waits for its own acknowledgements only.
    pub async fn run(self, mut finished: mpsc::UnboundedReceiver<Vec<Finished>>) {
        let (settling, settler) = (Shutdown::new(), Arc::new(self));
        while let Some(jobs) = finished.recv().await {
            for job in jobs {
                let settler = settler.clone();
                // Kilobytes, which a task would move several times on its way to the scheduler.
                settling.spawn(Box::pin(async move { settler.settle(job).await }));
            }
        }
        settling.order();
        settling.finished().await;
    }

    async fn settle(&self, Finished { mut held, verdict, batch }: Finished) {
        let mut writing = None;
        let result = match verdict {
            Verdict::Retry(reason) | Verdict::Returned(reason) if held.delivery.wishes.once => {
                Err(Failure::new(FailureCode::Internal, reason))
            }
            // Seldom, and large: not part of every job's task.
            Verdict::Retry(reason) => return Box::pin(self.retry(held, reason)).await,
            Verdict::Returned(reason) => return self.give_back(held, &reason).await,
            Verdict::Exhausted { reason, attempts, worker } => {
                return Box::pin(self.bury(held, Epitaph { reason, attempts: attempts.into(), worker })).await;
            }
            Verdict::Cancelled => {
                self.shared.metrics.job_done(FailureCode::Cancelled.as_str(), &held.timings);
                return self.close(held).await;
            }
            Verdict::Failed(failure) => Err(failure),
            Verdict::Cached(prediction) => Ok(prediction),
            Verdict::Predicted(prediction) => {
                let begun = Instant::now();
                writing = self.store(&held, &prediction).await;
                held.timings.store = micros_since(begun);
                Ok(prediction)
            }
        };
        let kind = result.as_ref().map_or_else(|failure| failure.code.as_str(), |_| "prediction");
        let outcome = Outcome { job: held.delivery.id.clone(), result, served: self.served(&held, batch) };
        if let Err(error) = self.answer(&held, &outcome).await {
            return self.give_back(held, &format!("the outcome could not be stored: {error}")).await;
        }
        self.shared.metrics.job_done(kind, &held.timings);
        self.tell(&held, kind);
        if let Some(writing) = writing
            && let Err(error) = writing.stored().await
        {
            self.not_cached(&error);
            // What kept the prediction from the broker may have kept the answer, too.
            if let Err(error) = self.answer(&held, &outcome).await {
                return self.give_back(held, &format!("the outcome could not be stored: {error}")).await;
            }
        }
        self.close(held).await;
    }

    /// For whoever looks for this request in logs and traces.
    fn tell(&self, held: &Held, outcome: &str) {
        let (trace, timings) = (&held.delivery.trace, &held.timings);
        tracing::debug!(
            request.id = trace.request_id(), job.id = %held.delivery.id, outcome, ?timings, "job settled"
        );
        if !trace.sampled || !self.shared.spans.is_on() {
            return;
        }
        let took = held.delivery.received.elapsed();
        let part = |(name, us): (&'static str, u32)| Part { name, took: Duration::from_micros(us.into()) };
        let stages = [
            ("fetch", timings.fetch),
            ("decode", timings.decode),
            ("batch_wait", timings.batch_wait),
            ("infer", timings.infer),
            ("store", timings.store),
        ];
        let attributes = vec![
            ("model", held.delivery.model.to_string()),
            ("job.id", held.delivery.id.to_string()),
            ("outcome", outcome.to_owned()),
            ("worker", self.worker.to_string()),
        ];
        let work = Work {
            name: "job",
            is_job: true,
            began: SystemTime::now() - took,
            took,
            attributes,
            error: (outcome != "prediction").then(|| outcome.to_owned()),
            parts: stages.into_iter().filter(|(_, us)| *us > 0).map(part).collect(),
        };
        self.shared.spans.record(trace, work);
    }

    async fn store(&self, held: &Held, prediction: &Prediction) -> Option<Write> {
        if held.delivery.wishes.no_store {
            return None;
        }
        let sent = self.cache.put(held.key.as_ref()?, prediction).await;
        sent.inspect_err(|error| self.not_cached(error)).ok()
    }

    /// A cache that cannot be written costs a future inference, not this answer.
    fn not_cached(&self, error: &BusError) {
        self.shared.metrics.cache_write_failures.inc();
        tracing::warn!(%error, "prediction not cached");
    }

    /// Gateways wait on an inbox; everybody else finds the outcome in the results stream, and on
    /// the subject they named.
    async fn answer(&self, held: &Held, outcome: &Outcome) -> Result<(), BusError> {
        let wishes = &held.delivery.wishes;
        if wishes.bincode
            && let Some(reply) = &wishes.reply
        {
            let encoded = codec::encode(outcome).or_else(|error| {
                let failure = Failure::new(FailureCode::Internal, format!("the answer cannot be encoded: {error}"));
                codec::encode(&Outcome { result: Err(failure), ..outcome.clone() })
            });
            return self.bus.send(reply.clone(), encoded.unwrap_or_default()).await;
        }
        let (model, version) = &self.shared.named;
        let json = Answer::of(outcome, wishes.top_k).named(model, version.as_ref()).to_json();
        self.bus.store_result(&held.delivery.id, json.clone()).await?;
        if let Some(reply) = &wishes.reply {
            self.bus.send(reply.clone(), json).await?;
        }
        Ok(())
    }

    fn served(&self, held: &Held, batch: u16) -> Served {
        Served {
            worker: self.worker.to_string(),
            batch,
            attempt: held.delivery.attempt.min(u64::from(u16::MAX)) as u16,
            timings: held.timings,
        }
    }

    /// The attempt is written down before the job goes back, or cannot be buried yet: whoever has it next knows.
    async fn retry(&self, mut held: Held, reason: String) {
        // This one counts, even when the job cannot be buried yet.
        held.earlier = None;
        let worker = self.worker.to_string();
        let attempts = held.attempts.max(1);
        let record = Record { attempts, worker: worker.clone(), reason: Some(reason.clone()) };
        if let Err(error) = self.attempts.write(held.delivery.sequence, &record).await {
            tracing::warn!(job.id = %held.delivery.id, %error, "the failed attempt could not be written down");
        }
        if attempts >= self.max_attempts {
            return self.bury(held, Epitaph { reason, attempts: attempts.into(), worker }).await;
        }
        tracing::warn!(job.id = %held.delivery.id, attempts, reason, "the job will be tried again");
        self.shared.metrics.retries.inc();
        held.delivery.nak(backoff(attempts.into())).await;
    }

    /// Not attempted, or with an outcome that nobody could be told: no attempt is counted. The pause grows with the
    /// deliveries all the same.
    async fn give_back(&self, held: Held, reason: &str) {
        tracing::warn!(job.id = %held.delivery.id, reason, "the job is given back");
        if let Some(earlier) = &held.earlier
            && let Err(error) = self.attempts.write(held.delivery.sequence, earlier).await
        {
            tracing::warn!(job.id = %held.delivery.id, %error, "an attempt that was none stays written down");
        }
        let pause = backoff(held.delivery.attempt);
        held.delivery.nak(pause).await;
    }

    /// The letter is written once, however often a job comes back because its publisher could not be told.
    async fn bury(&self, mut held: Held, epitaph: Epitaph) {
        let has_image = match self.bus.bury(&held.delivery, &held.image, &epitaph).await {
            Ok(has_image) => has_image,
            Err(error) => {
                return self.give_back(held, &format!("the dead letter could not be written: {error}")).await;
            }
        };
        let (attempts, reason) = (epitaph.attempts, epitaph.reason.as_str());
        tracing::error!(job.id = %held.delivery.id, attempts, reason, "the job is given up");
        let outcome = dead_outcome(held.delivery.id.clone(), &epitaph);
        if let Err(error) = self.answer(&held, &outcome).await {
            return self.give_back(held, &format!("the publisher of a dead job could not be told: {error}")).await;
        }
        self.shared.metrics.job_done(FailureCode::DeadLettered.as_str(), &held.timings);
        if !has_image {
            held.delivery.object = None;
        }
        self.close(held).await;
    }

    async fn close(&self, held: Held) {
        let (object, sequence, attempt) = (held.delivery.object.clone(), held.delivery.sequence, held.delivery.attempt);
        held.delivery.ack().await;
        // Afterwards: a worker that dies in between must not make the job look untried.
        if attempt > 1 {
            self.attempts.forget(sequence).await;
        }
        if let Some(object) = object {
            self.uploads.remove(&object).await;
        }
    }
}

/// Delay before another attempt: doubling from a quarter of a second up to ten.
fn backoff(attempt: u64) -> Duration {
    Duration::from_millis(250 << attempt.saturating_sub(1).min(6)).min(Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        let delays: Vec<u128> = (0..9).map(|attempt| backoff(attempt).as_millis()).collect();
        assert_eq!(delays, [250, 250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    }
}
