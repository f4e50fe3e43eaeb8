//! Asynchronous jobs: accepted now, answered when it is their turn, known to every gateway.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::value::RawValue;
use shoal_nats::publish::NewJob;
use shoal_nats::register::Registered;
use shoal_nats::webhooks::Call;
use shoal_shared::answer::{Answer, ErrorBody};
use shoal_shared::digest::ImageSha256;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::headers::{ACCEPT_JSON, Deadline};
use shoal_shared::names::{JobId, Lane, ModelName, Owner};
use shoal_shared::sniff::sniff;

use crate::admission::Refusal;
use crate::predict::{Ask, Predictor, place_image, refusal};
use crate::unavailable::unavailable;

/// A job as its owner sees it.
#[derive(Debug, Serialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Where it stands.
    pub state: JobState,
    /// The model asked, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// When it was accepted, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<u64>,
    /// The outcome, once there is one: what `POST /predict` would have answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
}

/// How a job is submitted.
pub struct Submission {
    /// What is asked.
    pub ask: Ask,
    /// Classes wanted.
    pub top_k: Option<usize>,
    /// Whose job it is.
    pub owner: Owner,
    /// The id that its owner gives it. The same one again is the same job.
    pub id: Option<JobId>,
    /// Where its outcome is told.
    pub webhook: Option<Webhook>,
}

/// A wish to be called.
pub struct Webhook {
    /// Where to.
    pub url: String,
    /// Outcomes that are told; none named means all.
    pub events: Vec<String>,
}

/// A job that was submitted.
pub struct Submitted {
    /// Where it stands.
    pub view: JobView,
    /// Whether this request brought it about; otherwise it was there already.
    pub fresh: bool,
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

impl JobState {
    /// The word in answers and events.
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Accepted => "accepted",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Expired => "expired",
            JobState::Cancelled => "cancelled",
        }
    }
}

impl JobView {
    fn accepted(id: JobId) -> Self {
        Self { id, state: JobState::Accepted, model: None, accepted: None, result: None }
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
        Self { id, state, model: None, accepted: None, result }
    }

    fn of(self, job: &Registered) -> Self {
        Self { model: Some(job.model.clone()), accepted: Some(job.accepted), ..self }
    }
}

/// Outcomes looked up at the same time.
const LOOKUPS: usize = 16;
/// A worker that has begun just before the deadline may still answer: this much later it will not.
const EXPIRY_GRACE: Duration = Duration::from_secs(2);

impl Predictor {
    /// Accepts a job: when this returns, it is in the queue and its outcome will be in the results. Once begun, that is
    /// brought to an end: whoever submits and hangs up leaves a job behind, and not the half of one.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, Refusal> {
        let predictor = self.clone();
        let accepted = tokio::spawn(async move { predictor.accept(submission).await }).await;
        accepted.unwrap_or_else(|error| Err(Failure::new(FailureCode::Internal, error.to_string()).into()))
    }

    async fn accept(&self, submission: Submission) -> Result<Submitted, Refusal> {
        let Submission { ask, top_k, owner, id, webhook } = submission;
        let inner = self.parts();
        sniff(&ask.image, self.limits())?;
        if !inner.bus.is_up() {
            return Err(Failure::new(FailureCode::NoCapacity, "NATS is not reachable").into());
        }
        let model = self.models().accepting(ask.model.as_ref()).await?;
        let chosen = id.is_some();
        let id = id.unwrap_or_else(JobId::mint);
        let job = if chosen { on_the_bus(&owner, &id)? } else { id.clone() };
        let deadline = ask.timeout.map(|timeout| Deadline::after(SystemTime::now(), timeout));
        let registered = Registered {
            sequence: 0,
            model: model.clone(),
            lane: ask.lane,
            accepted: unix_millis(),
            deadline: deadline.map(Deadline::as_millis),
            request: format!("{} {:?} {top_k:?}", ask.digest.sha256(&ask.image), ask.model),
            job: chosen.then(|| job.clone()),
        };
        let claim = match chosen {
            true => inner.register.claim(&owner, &id, &registered).await.map_err(unavailable)?,
            false => None,
        };
        // What another request claimed is not ours to take back.
        let ours = !chosen || claim.is_some();
        if !ours {
            let known = self.registered(&owner, &id).await?;
            if known.request != registered.request {
                let message = format!("the job `{id}` was submitted before, with another image or for another model");
                return Err(Failure::new(FailureCode::Conflict, message).into());
            }
            // Whoever claimed it and did not finish may be gone: publishing it again is no second job.
            if known.sequence > 0 {
                return Ok(Submitted { view: self.job(&owner, &id, Duration::ZERO).await?, fresh: false });
            }
        }
        let published = self.publish(&job, &ask, Asked { model, deadline, top_k }).await;
        let sequence = match published {
            Ok(sequence) => sequence,
            Err(refusal) => {
                if let Some(claim) = claim {
                    inner.register.give_back(&owner, &id, claim).await;
                }
                if ours {
                    self.forget_upload(&job, &ask.image).await;
                }
                return Err(refusal);
            }
        };
        let registered = Registered { sequence, ..registered };
        let written = async {
            inner.register.write(&owner, &id, &registered).await?;
            match webhook {
                Some(Webhook { url, events }) => {
                    let traceparent = Some(ask.trace.traceparent());
                    let call = Call { job: id.clone(), owner: owner.clone(), url, events, traceparent };
                    inner.bus.want_call(&call).await
                }
                None => Ok(()),
            }
        };
        if let Err(error) = written.await {
            // Not accepted, then: nobody could ask for it.
            if ours {
                inner.bus.cancel_job(&registered.model, &job, Some(sequence)).await;
                inner.register.forget(&owner, &id).await;
                self.forget_upload(&job, &ask.image).await;
            }
            return Err(unavailable(error).into());
        }
        inner.metrics.accepted.inc();
        Ok(Submitted { view: JobView::accepted(id).of(&registered), fresh: true })
    }

    /// Puts a job into the queue; gives its sequence there.
    async fn publish(&self, id: &JobId, ask: &Ask, asked: Asked) -> Result<u64, Refusal> {
        let inner = self.parts();
        let full = |refused| refusal(refused, inner.admission.wait(&asked.model));
        let digest = ask.digest.sha256(&ask.image);
        let job = NewJob {
            id: id.clone(),
            model: asked.model.clone(),
            lane: ask.lane,
            image: place_image(inner, id, &ask.image, &ask.digest).await.map_err(full)?,
            digest,
            vouch: inner.replies.vouch(id, &digest, ask.image.len()),
            deadline: asked.deadline,
            reply: None,
            accept: ACCEPT_JSON,
            top_k: asked.top_k,
            no_store: ask.caching.no_store,
            once: false,
            trace: ask.trace.clone(),
        };
        Ok(inner.bus.publish_job(job).await.map_err(full)?.sequence)
    }

    /// What was stored beside a job that was not accepted in the end.
    async fn forget_upload(&self, id: &JobId, image: &Bytes) {
        if image.len() > self.config().inline_bytes {
            self.parts().uploads.remove(id.as_str()).await;
        }
    }

    /// How a job stands; waits for its outcome for at most `patience`.
    pub async fn job(&self, owner: &Owner, id: &JobId, patience: Duration) -> Result<JobView, Failure> {
        let bus = self.bus();
        let job = self.registered(owner, id).await?;
        let name = job.job.as_ref().unwrap_or(id);
        let deadline = job.deadline.map(|at| Duration::from_millis(at.saturating_sub(unix_millis())) + EXPIRY_GRACE);
        let patience = deadline.map_or(patience, |deadline| deadline.min(patience));
        if let Some(outcome) = bus.await_result(name, patience).await.map_err(unavailable)? {
            return Ok(JobView::settled(id.clone(), &outcome).of(&job));
        }
        if job.deadline.is_some_and(|at| unix_millis() >= at + EXPIRY_GRACE.as_millis() as u64) {
            let message = "the deadline passed before a worker was free";
            return self.end(id, &job, Failure::new(FailureCode::DeadlineExceeded, message)).await;
        }
        Ok(JobView::accepted(id.clone()).of(&job))
    }

    /// The latest jobs of an owner, newest first.
    pub async fn jobs(&self, owner: &Owner, limit: usize) -> Result<Vec<JobView>, Failure> {
        let mut known = self.parts().register.list(owner).await.map_err(unavailable)?;
        known.sort_by_key(|(_, job)| std::cmp::Reverse(job.accepted));
        let views = known.into_iter().take(limit).map(|(id, job)| async move {
            let outcome = self.bus().result(job.job.as_ref().unwrap_or(&id)).await.map_err(unavailable)?;
            let view = match outcome {
                Some(outcome) => JobView { result: None, ..JobView::settled(id, &outcome) },
                None => JobView::accepted(id),
            };
            Ok(view.of(&job))
        });
        futures_util::stream::iter(views).buffered(LOOKUPS).try_collect().await
    }

    /// Cancels a job. What has an outcome keeps it.
    pub async fn cancel(&self, owner: &Owner, id: &JobId) -> Result<JobView, Failure> {
        let job = self.registered(owner, id).await?;
        let name = job.job.as_ref().unwrap_or(id);
        if let Some(outcome) = self.bus().result(name).await.map_err(unavailable)? {
            return Ok(JobView::settled(id.clone(), &outcome).of(&job));
        }
        self.end(id, &job, Failure::new(FailureCode::Cancelled, "the job was cancelled")).await
    }

    /// What was written down of a job. Jobs that came through NATS are known by their outcome only,
    /// and belong to nobody.
    async fn registered(&self, owner: &Owner, id: &JobId) -> Result<Registered, Failure> {
        if let Some(job) = self.parts().register.find(owner, id).await.map_err(unavailable)? {
            return Ok(job);
        }
        let missing = || Failure::new(FailureCode::NotFound, format!("there is no job `{id}`: unknown, or too old"));
        let is_sequence = id.as_str().bytes().all(|byte| byte.is_ascii_digit());
        if *owner != Owner::public() || !is_sequence {
            return Err(missing());
        }
        let outcome = self.bus().result(id).await.map_err(unavailable)?.ok_or_else(missing)?;
        let model = match serde_json::from_slice::<Answer>(&outcome) {
            Ok(Answer::Success(success)) => success.model.parse().ok(),
            _ => None,
        };
        Ok(Registered {
            sequence: id.as_str().parse().unwrap_or_default(),
            model: model.or(self.config().default_model.clone()).ok_or_else(missing)?,
            lane: Lane::Bulk,
            accepted: 0,
            deadline: None,
            request: String::new(),
            job: None,
        })
    }

    /// Gives a job an outcome of ours, unless it has one by now, and takes it out of the queue.
    async fn end(&self, id: &JobId, job: &Registered, failure: Failure) -> Result<JobView, Failure> {
        let bus = self.bus();
        let name = job.job.as_ref().unwrap_or(id);
        let body = ErrorBody { job: Some(id.to_string()), ..ErrorBody::of(&failure) };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let stands = bus.store_result(name, body.clone()).await.map_err(unavailable)?;
        bus.cancel_job(&job.model, name, Some(job.sequence)).await;
        self.parts().uploads.remove(name.as_str()).await;
        let outcome = if stands { Some(body.into()) } else { bus.result(name).await.map_err(unavailable)? };
        let view =
            outcome.map_or_else(|| JobView::accepted(id.clone()), |outcome| JobView::settled(id.clone(), &outcome));
        Ok(view.of(job))
    }
}

/// What a job asks for, beside its image.
struct Asked {
    model: ModelName,
    deadline: Option<Deadline>,
    top_k: Option<usize>,
}

/// The name on the bus of a job whose owner chose its id: two owners may choose the same.
fn on_the_bus(owner: &Owner, id: &JobId) -> Result<JobId, Failure> {
    let digest = ImageSha256::of(format!("{owner} {id}").as_bytes()).to_string();
    let name = format!("c{}", &digest[..40]);
    name.parse().map_err(|error| Failure::new(FailureCode::Internal, format!("a job's name: {error}")))
}

fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
