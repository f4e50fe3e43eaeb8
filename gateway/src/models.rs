//! Which models exist, who serves them, and which one is meant when nobody says.
//!
//! | module | owns |
//! | --- | --- |
//! | [`choice`] | which version answers an image |
//! | [`outcomes`] | how often each version has failed lately |
//! | [`guard`] | taking a version out of service that fails |

pub mod choice;
pub mod guard;
pub mod outcomes;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shoal_nats::Bus;
use shoal_nats::catalog::CatalogView;
use shoal_nats::presence::Fleet;
use shoal_shared::catalog::CatalogRecord;
use shoal_shared::digest::ImageKey;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::{ModelName, Version};
use shoal_shared::presence::ModelStatus;

use crate::config::RolloutConfig;
use choice::{Candidate, Choice, Circumstances, candidate, choose, standing};
use outcomes::{Counted, Outcomes};

/// How often an unknown name may lead to a look at the broker.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The gateway's view of the models. Cheap to clone.
#[derive(Clone)]
pub struct Models {
    bus: Bus,
    fleet: Fleet,
    catalog: CatalogView,
    default: Option<ModelName>,
    rollout: RolloutConfig,
    provisioned: Arc<Mutex<Provisioned>>,
    outcomes: Arc<Mutex<Outcomes>>,
    started: Instant,
}

#[derive(Default)]
struct Provisioned {
    names: BTreeSet<ModelName>,
    looked: Option<Instant>,
}

impl Models {
    /// `default` is used when a request names no model.
    pub fn new(
        bus: Bus,
        fleet: Fleet,
        catalog: CatalogView,
        default: Option<ModelName>,
        rollout: RolloutConfig,
    ) -> Self {
        let (provisioned, outcomes) = (Arc::default(), Arc::default());
        Self { bus, fleet, catalog, default, rollout, provisioned, outcomes, started: Instant::now() }
    }

    /// Versions that were pushed.
    pub fn catalog(&self) -> &CatalogView {
        &self.catalog
    }

    /// The workers.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The model meant by a request: the one it names, or the default.
    pub async fn resolve(&self, named: Option<&ModelName>) -> Result<ModelStatus, Failure> {
        let candidate = self.standing(named).await?;
        Ok(self.fleet.model(&candidate.served).unwrap_or_else(|| described(&candidate)))
    }

    /// The model, and which of its versions, for an image.
    pub async fn choose(&self, named: Option<&ModelName>, image: &ImageKey) -> Result<Choice, Failure> {
        let model = self.meant(named).await?;
        let Some(record) = self.catalog.record(&model) else {
            return Ok(Choice::only(self.unversioned(&model).await?));
        };
        let chosen = self.with_circumstances(&model, &record, |of| choose(&record, of, image));
        chosen.ok_or_else(|| no_capacity(&format!("no version of model `{model}` is live")))
    }

    /// The model that answers a request whatever its image.
    pub async fn standing(&self, named: Option<&ModelName>) -> Result<Candidate, Failure> {
        let model = self.meant(named).await?;
        let Some(record) = self.catalog.record(&model) else { return self.unversioned(&model).await };
        let found = self.with_circumstances(&model, &record, |of| standing(&record, of));
        found.ok_or_else(|| no_capacity(&format!("no version of model `{model}` is live")))
    }

    /// Whether the model, in whatever version, answers now or as soon as a job is there.
    pub async fn answers(&self, model: &ModelName) -> bool {
        match self.standing(Some(model)).await {
            Ok(candidate) => self.can_answer(&candidate.served),
            Err(_) => false,
        }
    }

    /// The name under which a version is served, for a request that names one; else the model as named.
    pub async fn versioned(
        &self,
        named: Option<ModelName>,
        version: Option<&str>,
    ) -> Result<Option<ModelName>, Failure> {
        let Some(version) = version else { return Ok(named) };
        let bad = |error: String| Failure::new(FailureCode::BadRequest, format!("`version`: {error}"));
        let version: Version = version.parse().map_err(|error| bad(format!("{error}")))?;
        let model = self.meant(named.as_ref()).await?;
        let unknown = |message: String| Failure::new(FailureCode::UnknownModel, message);
        let record = self.catalog.record(&model);
        let record = record.ok_or_else(|| unknown(format!("model `{model}` has no versions: none was pushed")))?;
        if !record.versions.contains_key(&version) {
            let known: Vec<&str> = record.versions.keys().map(Version::as_str).collect();
            let known = known.join(", ");
            return Err(unknown(format!("there is no version {version} of model `{model}`; there are: {known}")));
        }
        model.served(&version).map(Some).map_err(|error| bad(error.to_string()))
    }

    /// Whether somebody answers, or will as soon as a job is there.
    pub fn can_answer(&self, served: &ModelName) -> bool {
        let by_fleet = |(model, version): (ModelName, Version)| {
            let is_live = self.catalog.record(&model).is_some_and(|record| record.live == Some(version));
            is_live && self.fleet.wakes(&model)
        };
        self.fleet.ready(Some(served)) > 0
            || self.fleet.wakes(served)
            || self.catalog.version_of(served).is_some_and(by_fleet)
    }

    /// The model whose supervisors run the workers of a served one.
    pub fn fleet_of(&self, served: &ModelName) -> ModelName {
        self.catalog.version_of(served).map_or_else(|| served.clone(), |(model, _)| model)
    }

    /// Whether a model's live version is so new that it is watched.
    pub fn is_fresh(&self, record: &CatalogRecord) -> bool {
        guard::is_fresh(record, self.rollout.fresh_for)
    }

    /// Counts a worker's answer, or the lack of one. Only versions are judged.
    pub fn count(&self, of: &Candidate, is_error: bool) {
        if of.version.is_some() {
            self.outcomes.lock().record(&of.served, self.started.elapsed(), is_error);
        }
    }

    /// What was counted of a version lately.
    pub fn counted(&self, served: &ModelName) -> Counted {
        self.outcomes.lock().counted(served, self.started.elapsed(), self.rollout.window)
    }

    /// Why a version is to be withdrawn.
    pub fn verdict(&self, served: &ModelName, instead: &ModelName) -> Option<String> {
        self.outcomes.lock().verdict(served, instead, &self.rollout.bound(), self.started.elapsed())
    }

    /// Forgets what was counted of versions that are gone.
    pub fn forget_outcomes(&self) {
        self.outcomes.lock().retain(|served| self.catalog.version_of(served).is_some());
    }

    fn with_circumstances<T>(
        &self,
        model: &ModelName,
        record: &CatalogRecord,
        decide: impl Fn(&Circumstances<'_>) -> T,
    ) -> T {
        let is_ready = |served: &ModelName| self.fleet.ready(Some(served)) > 0;
        let unversioned = self.fleet.model(model).map(|status| status.digest);
        decide(&Circumstances { model, is_ready: &is_ready, unversioned, is_fresh: self.is_fresh(record) })
    }

    async fn meant(&self, named: Option<&ModelName>) -> Result<ModelName, Failure> {
        match named.or(self.default.as_ref()) {
            Some(name) => Ok(name.clone()),
            None => self.first().await,
        }
    }

    /// A model without versions, or one version by the name it is served under.
    async fn unversioned(&self, name: &ModelName) -> Result<Candidate, Failure> {
        if let Some((model, version)) = self.catalog.version_of(name)
            && let Some(record) = self.catalog.record(&model)
            && let Some(candidate) = candidate(&record, &model, &version)
        {
            return Ok(candidate);
        }
        match self.fleet.model(name) {
            Some(status) => {
                Ok(Candidate { served: name.clone(), model: name.clone(), version: None, digest: status.digest })
            }
            None => Err(self.why_not(name).await),
        }
    }

    /// The model meant by a job: its queue must be there, a worker may come later.
    pub async fn accepting(&self, named: Option<&ModelName>) -> Result<ModelName, Failure> {
        let failure = match self.standing(named).await {
            Ok(candidate) => return Ok(candidate.served),
            Err(failure) => failure,
        };
        let provisioned = self.provisioned().await;
        match named.or(self.default.as_ref()).or(provisioned.first()) {
            Some(name) if provisioned.contains(name) => Ok(name.clone()),
            _ => Err(failure),
        }
    }

    async fn first(&self) -> Result<ModelName, Failure> {
        if let Some(model) = self.fleet.models().first() {
            return Ok(self.fleet_of(&model.name));
        }
        let provisioned = self.provisioned().await;
        provisioned.first().cloned().ok_or_else(|| no_capacity("no model is being served: no worker has reported"))
    }

    /// Never served so far: unknown, or known to the queue and without a worker?
    async fn why_not(&self, name: &ModelName) -> Failure {
        let provisioned = self.provisioned().await;
        if provisioned.contains(name) || provisioned.is_empty() {
            return no_capacity(&format!("no worker serves model `{name}` at the moment"));
        }
        let known: Vec<&str> = provisioned.iter().map(ModelName::as_str).collect();
        let message = format!("there is no model `{name}`; there are: {}", known.join(", "));
        Failure::new(FailureCode::UnknownModel, message)
    }

    /// Models whose jobs the queue takes, as of a moment ago.
    pub async fn provisioned(&self) -> BTreeSet<ModelName> {
        {
            let known = self.provisioned.lock();
            if known.looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN) || !self.bus.is_up() {
                return known.names.clone();
            }
        }
        let looked = self.bus.provisioned_models().await;
        let mut known = self.provisioned.lock();
        known.looked = Some(Instant::now());
        if let Ok(names) = looked {
            known.names = names.into_iter().collect();
        }
        known.names.clone()
    }
}

/// A version that no worker has described yet.
fn described(candidate: &Candidate) -> ModelStatus {
    ModelStatus::outline(candidate.served.clone(), candidate.digest.clone())
}

fn no_capacity(message: &str) -> Failure {
    Failure::new(FailureCode::NoCapacity, message)
}
