//! Which models exist, who serves them, and which one is meant when nobody says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shoal_nats::Bus;
use shoal_nats::presence::Fleet;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::ModelName;
use shoal_shared::presence::ModelStatus;

/// How often an unknown name may lead to a look at the broker.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The gateway's view of the models. Cheap to clone.
#[derive(Clone)]
pub struct Models {
    bus: Bus,
    fleet: Fleet,
    default: Option<ModelName>,
    provisioned: Arc<Mutex<Provisioned>>,
}

#[derive(Default)]
struct Provisioned {
    names: BTreeSet<ModelName>,
    looked: Option<Instant>,
}

impl Models {
    /// `default` is used when a request names no model.
    pub fn new(bus: Bus, fleet: Fleet, default: Option<ModelName>) -> Self {
        Self { bus, fleet, default, provisioned: Arc::default() }
    }

    /// The workers.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The model meant by a request: the one it names, or the default.
    pub async fn resolve(&self, named: Option<&ModelName>) -> Result<ModelStatus, Failure> {
        let name = match named.or(self.default.as_ref()) {
            Some(name) => name.clone(),
            None => self.first().await?,
        };
        match self.fleet.model(&name) {
            Some(status) => Ok(status),
            None => Err(self.why_not(&name).await),
        }
    }

    /// The model meant by a job: its queue must be there, a worker may come later.
    pub async fn accepting(&self, named: Option<&ModelName>) -> Result<ModelName, Failure> {
        let failure = match self.resolve(named).await {
            Ok(status) => return Ok(status.name),
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
            return Ok(model.name.clone());
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

fn no_capacity(message: &str) -> Failure {
    Failure::new(FailureCode::NoCapacity, message)
}
