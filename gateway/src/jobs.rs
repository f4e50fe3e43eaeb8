//! Asynchronous jobs: accepted now, answered when it is their turn, known to every gateway.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use shoal_nats::publish::NewJob;
use shoal_nats::register::Registered;
use shoal_shared::answer::{Answer, ErrorBody};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::headers::{ACCEPT_JSON, Deadline};
use shoal_shared::names::JobId;
use shoal_shared::sniff::sniff;

use crate::admission::Refusal;
use crate::predict::{Ask, Predictor, place_image, refusal};

/// A job as its owner sees it.
#[derive(Debug, Serialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Where it stands.
    pub state: JobState,
    /// The outcome, once there is one: what `POST /predict` would have answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted; waits or is being worked on.
    Accepted,
    /// There is a prediction.
    Done,
    /// There is none, and the result says why.
    Failed,
    /// Its deadline passed first.
    Expired,
    /// It was cancelled first.
    Cancelled,
}

impl JobView {
    fn accepted(id: JobId) -> Self {
        Self { id, state: JobState::Accepted, result: None }
    }

    fn settled(id: JobId, outcome: &Bytes) -> Self {
        let state = match serde_json::from_slice::<Answer>(outcome) {
            Ok(Answer::Success(_)) => JobState::Done,
            Ok(Answer::Error(body)) => match body.error.code {
                FailureCode::DeadlineExceeded => JobState::Expired,
                FailureCode::Cancelled => JobState::Cancelled,
                _ => JobState::Failed,
            },
            Err(_) => JobState::Failed,
        };
        let result = String::from_utf8(outcome.to_vec()).ok().and_then(|text| RawValue::from_string(text).ok());
        Self { id, state, result }
    }
}

/// A worker that has begun just before the deadline may still answer: this much later it will not.
const EXPIRY_GRACE: Duration = Duration::from_secs(2);

impl Predictor {
    /// Accepts a job: when this returns, it is in the queue and its outcome will be in the results.
    pub async fn submit(&self, ask: Ask, top_k: Option<usize>) -> Result<JobView, Refusal> {
        let inner = self.parts();
        sniff(&ask.image, self.limits())?;
        if !inner.bus.is_up() {
            return Err(no_capacity("NATS is not reachable".into()).into());
        }
        let model = self.models().accepting(ask.model.as_ref()).await?;
        let id = JobId::mint();
        let image = place_image(inner, &id, &ask.image).await?;
        let deadline = ask.timeout.map(|timeout| Deadline::after(SystemTime::now(), timeout));
        let job = NewJob {
            id: id.clone(),
            model: model.clone(),
            lane: ask.lane,
            image,
            digest: ask.digest.sha256(&ask.image),
            deadline,
            reply: None,
            accept: ACCEPT_JSON,
            top_k,
            no_store: ask.caching.no_store,
            once: false,
            trace: ask.trace,
        };
        let published = match inner.bus.publish_job(job).await {
            Ok(published) => published,
            Err(refused) => {
                self.forget_upload(&id, &ask.image).await;
                return Err(refusal(refused, inner.admission.wait(&model)));
            }
        };
        let registered = Registered {
            sequence: published.sequence,
            model: model.clone(),
            lane: ask.lane,
            accepted: unix_millis(),
            deadline: deadline.map(Deadline::as_millis),
        };
        if let Err(error) = inner.register.write(&id, &registered).await {
            // Not accepted, then: nobody could ask for it.
            inner.bus.cancel_job(&model, &id, Some(published.sequence)).await;
            self.forget_upload(&id, &ask.image).await;
            return Err(no_capacity(error.to_string()).into());
        }
        inner.metrics.accepted.inc();
        Ok(JobView::accepted(id))
    }

    /// What was stored beside a job that was not accepted in the end.
    async fn forget_upload(&self, id: &JobId, image: &Bytes) {
        if image.len() > self.config().inline_bytes {
            self.parts().uploads.remove(id.as_str()).await;
        }
    }

    /// How a job stands; waits for its outcome for at most `patience`.
    pub async fn job(&self, id: &JobId, patience: Duration) -> Result<JobView, Failure> {
        let inner = self.parts();
        if let Some(outcome) = inner.bus.result(id).await.map_err(unavailable)? {
            return Ok(JobView::settled(id.clone(), &outcome));
        }
        let job = self.registered(id).await?;
        let deadline = job.deadline.map(|at| Duration::from_millis(at.saturating_sub(unix_millis())) + EXPIRY_GRACE);
        let patience = deadline.map_or(patience, |deadline| deadline.min(patience));
        if let Some(outcome) = inner.bus.await_result(id, patience).await.map_err(unavailable)? {
            return Ok(JobView::settled(id.clone(), &outcome));
        }
        if job.deadline.is_some_and(|at| unix_millis() >= at + EXPIRY_GRACE.as_millis() as u64) {
            let message = "the deadline passed before a worker was free";
            return self.end(id, &job, Failure::new(FailureCode::DeadlineExceeded, message)).await;
        }
        Ok(JobView::accepted(id.clone()))
    }

    /// Cancels a job. What has an outcome keeps it.
    pub async fn cancel(&self, id: &JobId) -> Result<JobView, Failure> {
        if let Some(outcome) = self.parts().bus.result(id).await.map_err(unavailable)? {
            return Ok(JobView::settled(id.clone(), &outcome));
        }
        let job = self.registered(id).await?;
        self.end(id, &job, Failure::new(FailureCode::Cancelled, "the job was cancelled")).await
    }

    async fn registered(&self, id: &JobId) -> Result<Registered, Failure> {
        let found = self.parts().register.find(id).await.map_err(unavailable)?;
        let missing = || Failure::new(FailureCode::NotFound, format!("there is no job `{id}`: unknown, or too old"));
        found.ok_or_else(missing)
    }

    /// Gives a job an outcome of ours, unless it has one by now, and takes it out of the queue.
    async fn end(&self, id: &JobId, job: &Registered, failure: Failure) -> Result<JobView, Failure> {
        let bus = self.bus();
        let body = ErrorBody { job: Some(id.to_string()), ..ErrorBody::of(&failure) };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let stands = bus.store_result(id, body.clone()).await.map_err(unavailable)?;
        bus.cancel_job(&job.model, id, Some(job.sequence)).await;
        self.parts().uploads.remove(id.as_str()).await;
        let outcome = if stands { Some(body.into()) } else { bus.result(id).await.map_err(unavailable)? };
        Ok(outcome.map_or_else(|| JobView::accepted(id.clone()), |outcome| JobView::settled(id.clone(), &outcome)))
    }
}

fn no_capacity(message: String) -> Failure {
    Failure::new(FailureCode::NoCapacity, message)
}

fn unavailable(error: shoal_nats::BusError) -> Failure {
    no_capacity(error.to_string())
}

fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
