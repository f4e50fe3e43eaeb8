//! The door: who may come in, and when those may come back who may not. Refusing is immediate.
//!
//! | module | bounds |
//! | --- | --- |
//! | `bytes` | memory held by uploads, from their first byte on |
//! | `tenants` | predictions in flight, divided between those who ask |
//! | `forecast` | the wait: a request that cannot meet its deadline is not queued |
//! | `poll` | what the forecast is made of, read from the broker while there is traffic |

mod bytes;
mod forecast;
mod poll;
mod tenants;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shoal_shared::digest::CacheKey;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::ModelName;

pub use bytes::{Charge, Held};
pub use forecast::Observation;
pub use poll::run as poll;
pub use tenants::Tenant;

use crate::config::GatewayConfig;
use crate::metrics::GatewayMetrics;
use forecast::Forecast;
use tenants::Tenants;

/// A failure, and when to try again where that helps.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What went wrong.
    pub failure: Failure,
    /// When the same request will be let in.
    pub retry_after: Option<Duration>,
}

/// When to come back to a fleet without a worker or without NATS: about as long as either takes to
/// be noticed again.
const NO_CAPACITY_PAUSE: Duration = Duration::from_secs(2);

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let retry_after = match failure.code {
            FailureCode::NoCapacity => Some(NO_CAPACITY_PAUSE),
            FailureCode::Overloaded => Some(Duration::from_secs(1)),
            _ => None,
        };
        Self { failure, retry_after }
    }
}

impl Refusal {
    fn overloaded(message: String, retry_after: Duration) -> Self {
        Self { failure: Failure::new(FailureCode::Overloaded, message), retry_after: Some(retry_after) }
    }
}

/// A request for a place.
pub struct Knock<'a> {
    /// On whose behalf.
    pub tenant: &'a Tenant,
    /// The model asked.
    pub model: &'a ModelName,
    /// What is asked: a promise to come back is kept for the same question.
    pub key: &'a CacheKey,
    /// Time left until the deadline.
    pub remaining: Duration,
}

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<State>);

struct State {
    started: Instant,
    max_jobs: usize,
    max_bytes: usize,
    /// The deadline that most requests have; with the rate it gives the room.
    timeout: Duration,
    bytes: Held,
    tenants: Mutex<Tenants>,
    forecasts: Mutex<HashMap<ModelName, Forecast>>,
    last_knock: AtomicU64,
    metrics: Arc<GatewayMetrics>,
}

/// A place inside; given back when dropped.
pub struct Place {
    admission: Admission,
    tenant: Tenant,
}

impl Admission {
    /// Nobody inside yet.
    pub fn new(config: &GatewayConfig, metrics: Arc<GatewayMetrics>) -> Self {
        let weights = config.tenants.iter().map(|(name, tenant)| (Tenant::named(name), tenant.weight)).collect();
        Self(Arc::new(State {
            started: Instant::now(),
            max_jobs: config.max_in_flight,
            max_bytes: config.max_in_flight_bytes,
            timeout: config.timeout,
            bytes: Held::default(),
            tenants: Mutex::new(Tenants::new(weights)),
            forecasts: Mutex::default(),
            last_knock: AtomicU64::new(0),
            metrics,
        }))
    }

    /// Counts the bytes of one upload from now on.
    pub fn charge(&self) -> Charge {
        Charge::new(self.0.bytes.clone(), self.0.max_bytes, self.0.metrics.in_flight_bytes.clone())
    }

    /// Lets a prediction in, or says why not and when.
    pub fn admit(&self, knock: &Knock<'_>) -> Result<Place, Refusal> {
        let (state, now) = (&self.0, Instant::now());
        state.last_knock.store(now.duration_since(state.started).as_millis() as u64, Ordering::Relaxed);
        let mut forecasts = state.forecasts.lock();
        let mut forecast = forecasts.get_mut(knock.model);
        let mut tenants = state.tenants.lock();
        let room = forecast.as_ref().and_then(|forecast| forecast.room(state.timeout));
        let room = room.unwrap_or(state.max_jobs).clamp(1, state.max_jobs);

        if tenants.total() >= state.max_jobs {
            let pause = forecast.map_or(Duration::from_secs(1), |forecast| forecast.wait(now).unwrap_or_default());
            let message = format!("{} predictions are in flight, as many as this gateway holds", state.max_jobs);
            return Err(self.refused("in_flight", Refusal::overloaded(message, pause)));
        }
        if let Err(excess) = tenants.may_enter(knock.tenant, room, now) {
            let rate = forecast.as_ref().and_then(|forecast| forecast.rate()).unwrap_or(room as f64);
            let message = format!(
                "{} predictions of yours are in flight: your share while others ask too is {}",
                excess.held, excess.share
            );
            return Err(self.refused("share", Refusal::overloaded(message, excess.until_back_in_share(rate, room))));
        }
        if let Some(forecast) = forecast.as_mut()
            && let Err(full) = forecast.enter(knock.key, knock.remaining, now)
        {
            let (wait, remaining) = (full.wait.as_secs_f64(), knock.remaining.as_secs_f64());
            let message = format!("the queue is {wait:.1} s long, the deadline is in {remaining:.1} s");
            return Err(self.refused("wait", Refusal::overloaded(message, full.retry_after)));
        }
        tenants.enter(knock.tenant, now);
        state.metrics.in_flight.set(tenants.total() as i64);
        Ok(Place { admission: self.clone(), tenant: knock.tenant.clone() })
    }

    fn refused(&self, bound: &str, refusal: Refusal) -> Refusal {
        self.0.metrics.refused.with_label_values(&[bound]).inc();
        refusal
    }

    /// Takes in what the broker and the workers say about a model.
    pub fn observe(&self, model: &ModelName, observation: Observation) {
        let mut forecasts = self.0.forecasts.lock();
        forecasts.entry(model.clone()).or_default().observe(observation);
    }

    /// How long a new job of a model would wait now; `None` while nothing is known.
    pub fn wait(&self, model: &ModelName) -> Option<Duration> {
        self.0.forecasts.lock().get(model)?.wait(Instant::now())
    }

    /// Whether somebody knocked within `period`.
    pub fn is_busy(&self, period: Duration) -> bool {
        let last = self.0.last_knock.load(Ordering::Relaxed);
        last > 0 && self.0.started.elapsed().as_millis() as u64 <= last + period.as_millis() as u64
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let state = &self.admission.0;
        let mut tenants = state.tenants.lock();
        tenants.leave(&self.tenant, Instant::now());
        state.metrics.in_flight.set(tenants.total() as i64);
    }
}
