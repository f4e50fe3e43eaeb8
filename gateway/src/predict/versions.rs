//! Which version answers, and who stands in when it fails by its own fault: the client sees an answer.

use std::time::{Duration, Instant};

use shoal_shared::digest::CacheKey;
use shoal_shared::failure::FailureCode;
use shoal_shared::sniff::sniff;

use super::flight::Mission;
use super::{Answered, Ask, Predictor, Source};
use crate::admission::Refusal;
use crate::models::choice::{Candidate, Choice};

/// Choices that may come too late before the failure is the client's to see.
const MOST_CHOICES: usize = 3;

/// A deadline shorter than this says more of the client than of the model.
const PATIENT: Duration = Duration::from_secs(2);

/// How one version is asked.
#[derive(Clone, Copy)]
pub(super) struct Errand {
    /// When the request came.
    pub(super) asked: Instant,
    /// Until when this version may take.
    pub(super) until: Instant,
    /// An attempt that fails is not repeated: another version is at hand.
    pub(super) once: bool,
}

impl Predictor {
    pub(super) async fn answer(&self, ask: Ask) -> Result<Answered, Refusal> {
        let asked = Instant::now();
        let mut choice = self.0.models.choose(ask.model.as_ref(), &ask.digest).await?;
        for _ in 0..MOST_CHOICES {
            let answered = self.answer_as(&ask, &choice, asked).await;
            let Err(Refusal { failure, .. }) = &answered else { return answered };
            if failure.code != FailureCode::NoCapacity {
                return answered;
            }
            // Its workers may have left it for another version between the choice and the question.
            let again = self.0.models.choose(ask.model.as_ref(), &ask.digest).await?;
            if again.first == choice.first {
                return answered;
            }
            choice = again;
        }
        self.answer_as(&ask, &choice, asked).await
    }

    async fn answer_as(&self, ask: &Ask, choice: &Choice, asked: Instant) -> Result<Answered, Refusal> {
        let Choice { first, fallback, shadow, on_trial } = choice;
        let timeout = ask.timeout.unwrap_or(self.0.config.timeout).min(self.0.config.max_timeout);
        let whole = Errand { asked, until: asked + timeout, once: false };
        // A canary leaves time for whoever stands in.
        let until = if *on_trial { asked + timeout / 2 } else { whole.until };
        let errand = Errand { until, once: fallback.is_some(), ..whole };
        let answered = match (self.ask_version(ask, first, errand).await, fallback) {
            (Err(refusal), Some(fallback)) if may_stand_in(refusal.failure.code, *on_trial) => {
                self.0.metrics.rollout.fell_back(&first.served);
                let (failed, instead) = (&first.served, &fallback.served);
                tracing::debug!(model.name = %failed, %instead, failure = %refusal.failure, "another version answers");
                self.ask_version(ask, fallback, whole).await?
            }
            (answered, _) => answered?,
        };
        if let Some(shadow) = shadow
            && answered.source == Source::Miss
        {
            self.ask_shadow(ask.clone(), shadow.clone(), &answered);
        }
        Ok(answered)
    }

    /// Asks one version, and counts how that ended.
    async fn ask_version(&self, ask: &Ask, of: &Candidate, errand: Errand) -> Result<Answered, Refusal> {
        let begun = Instant::now();
        let answered = self.answer_by(ask, of, errand).await;
        match &answered {
            // What the cache answered says nothing of the model's health.
            Ok(answered) if answered.source == Source::Miss => self.count(of, Some(begun.elapsed()), false),
            Err(refusal) if is_models_fault(refusal.failure.code, errand) => self.count(of, None, true),
            _ => {}
        }
        answered
    }

    fn count(&self, of: &Candidate, took: Option<Duration>, is_error: bool) {
        self.0.models.count(of, is_error);
        self.0.metrics.rollout.answered(&of.served, took, is_error);
    }

    /// One version's answer: from memory, from whoever is asking the same, from the shared cache, from a worker.
    pub(super) async fn answer_by(&self, ask: &Ask, of: &Candidate, errand: Errand) -> Result<Answered, Refusal> {
        let key = CacheKey { model: of.digest.clone(), image: ask.digest };
        let by_cache = !ask.caching.no_cache && !ask.caching.no_store;
        if by_cache && let Some(hit) = self.remembered(&key, errand.asked) {
            return Ok(hit.by(of));
        }
        if by_cache && let Some(failure) = self.0.memory.refusal(&key) {
            self.0.metrics.negative_hits.inc();
            return Err(failure.into());
        }
        sniff(&ask.image, &self.0.config.limits)?;
        let Errand { asked, until, once } = errand;
        let model = of.served.clone();
        let mission = Mission { ask: ask.clone(), model, key, by_cache, asked, deadline: until, once };
        Ok(self.fly(mission).await?.by(of))
    }
}

/// Failures that count against a version. A deadline does when the client had been patient.
fn is_models_fault(code: FailureCode, errand: Errand) -> bool {
    match code {
        FailureCode::Internal | FailureCode::DeadLettered => true,
        FailureCode::DeadlineExceeded => errand.until.duration_since(errand.asked) >= PATIENT,
        _ => false,
    }
}

/// Failures after which another version answers. A refusal is passed on, or a queue would be as long as two;
/// a canary's is not: its few workers are not the client's concern.
fn may_stand_in(code: FailureCode, on_trial: bool) -> bool {
    match code {
        FailureCode::Internal | FailureCode::DeadLettered | FailureCode::NoCapacity => true,
        FailureCode::DeadlineExceeded | FailureCode::Overloaded => on_trial,
        _ => false,
    }
}
