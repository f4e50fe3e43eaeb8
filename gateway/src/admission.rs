//! The door: who may come in, and when those may come back who may not. Refusing is immediate.
//!
//! | module | bounds |
//! | --- | --- |
//! | `bytes` | memory held by uploads, from their first byte on |
//! | `queue` | one model's door, made of the following four |
//! | `forecast` | the wait: a request that cannot meet its deadline is not queued |
//! | `margin` | how far the forecast is trusted: learnt from those who were let in |
//! | `tenants` | predictions in flight, divided between those who ask |
//! | `promises` | places kept for those who were told to come back |
//! | `poll` | what the forecast is made of, read from the broker while there is traffic |

mod bytes;
mod forecast;
mod margin;
mod poll;
mod promises;
mod queue;
mod tenants;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::ModelName;

pub use bytes::{Charge, Held};
pub use forecast::Observation;
pub(crate) use poll::first_guess;
pub use poll::run as poll;
pub use queue::Knock;
pub use tenants::Tenant;

use crate::config::GatewayConfig;
use crate::metrics::GatewayMetrics;
use queue::{ModelQueue, Reason};

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

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<State>);

/// Who is inside, by model.
#[derive(Default)]
struct Doors {
    queues: HashMap<ModelName, ModelQueue>,
    in_flight: usize,
}

impl Doors {
    fn of(&mut self, model: &ModelName, weights: &HashMap<Tenant, f64>) -> &mut ModelQueue {
        self.queues.entry(model.clone()).or_insert_with(|| ModelQueue::new(weights.clone()))
    }
}

struct State {
    started: Instant,
    max_jobs: usize,
    max_bytes: usize,
    weights: HashMap<Tenant, f64>,
    bytes: Held,
    doors: Mutex<Doors>,
    last_knock: AtomicU64,
    metrics: Arc<GatewayMetrics>,
}

/// What waits in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queues {
    /// Jobs that no worker has yet.
    pub waiting: u64,
    /// How long a new job would wait, where that is longest.
    pub wait: Duration,
}

/// A place inside; given back when dropped.
pub struct Place {
    admission: Admission,
    model: ModelName,
    tenant: Tenant,
    /// Whether it depended on the margin.
    by_margin: bool,
}

impl Admission {
    /// Nobody inside yet.
    pub fn new(config: &GatewayConfig, metrics: Arc<GatewayMetrics>) -> Self {
        let weights = config.tenants.iter().map(|(name, tenant)| (Tenant::named(name), tenant.weight)).collect();
        Self(Arc::new(State {
            started: Instant::now(),
            max_jobs: config.max_in_flight,
            max_bytes: config.max_in_flight_bytes,
            weights,
            bytes: Held::default(),
            doors: Mutex::default(),
            last_knock: AtomicU64::new(0),
            metrics,
        }))
    }

    /// Counts the bytes of one upload from now on.
    pub fn charge(&self) -> Charge {
        Charge::new(self.0.bytes.clone(), self.0.max_bytes, self.0.metrics.in_flight_bytes.clone())
    }

    /// Lets a prediction in, or says why not and when.
    pub fn admit(&self, model: &ModelName, knock: &Knock<'_>) -> Result<Place, Refusal> {
        let (state, now) = (&self.0, Instant::now());
        state.last_knock.store(now.duration_since(state.started).as_millis() as u64, Ordering::Relaxed);
        let mut doors = state.doors.lock();
        if doors.in_flight >= state.max_jobs {
            let wait = doors.of(model, &state.weights).forecast.wait(now).unwrap_or_default();
            let message = format!("{} predictions are in flight, as many as this gateway holds", state.max_jobs);
            return Err(self.refused("in_flight", message, wait.max(Duration::from_secs(1))));
        }
        let by_margin = doors.of(model, &state.weights).enter(knock, now).map_err(|full| match full.reason {
            Reason::Share { held, share } => {
                let message =
                    format!("{held} predictions of yours are in flight; your share while others ask too is {share}");
                self.refused("share", message, full.retry_after)
            }
            Reason::Wait { wait, usable } => {
                let message = format!(
                    "the queue is {:.2} s long; the deadline is in {:.2} s, of which {:.2} s may be spent waiting",
                    wait.as_secs_f64(),
                    knock.remaining.as_secs_f64(),
                    usable.as_secs_f64()
                );
                self.refused("wait", message, full.retry_after)
            }
        })?;
        doors.in_flight += 1;
        state.metrics.in_flight.set(doors.in_flight as i64);
        Ok(Place { admission: self.clone(), model: model.clone(), tenant: knock.tenant.clone(), by_margin })
    }

    fn refused(&self, bound: &str, message: String, retry_after: Duration) -> Refusal {
        self.0.metrics.refused.with_label_values(&[bound]).inc();
        Refusal { failure: Failure::new(FailureCode::Overloaded, message), retry_after: Some(retry_after) }
    }

    /// Takes in what the broker and the workers say about a model.
    pub fn observe(&self, model: &ModelName, observation: Observation) {
        self.0.doors.lock().of(model, &self.0.weights).forecast.observe(observation);
    }

    /// Whether anything was ever observed about a model.
    pub fn knows(&self, model: &ModelName) -> bool {
        self.0.doors.lock().queues.get(model).is_some_and(|queue| queue.forecast.is_known())
    }

    /// How long a new job of a model would wait now; `None` while nothing is known.
    pub fn wait(&self, model: &ModelName) -> Option<Duration> {
        self.0.doors.lock().queues.get(model)?.forecast.wait(Instant::now())
    }

    /// What waits, all models together.
    pub fn queues(&self) -> Queues {
        let now = Instant::now();
        let doors = self.0.doors.lock();
        let forecasts = doors.queues.values().map(|queue| &queue.forecast);
        forecasts.fold(Queues::default(), |sum, forecast| Queues {
            waiting: sum.waiting + forecast.waiting(now),
            wait: sum.wait.max(forecast.wait(now).unwrap_or_default()),
        })
    }

    /// Whether somebody knocked within `period`.
    pub fn is_busy(&self, period: Duration) -> bool {
        let last = self.0.last_knock.load(Ordering::Relaxed);
        last > 0 && self.0.started.elapsed().as_millis() as u64 <= last + period.as_millis() as u64
    }
}

impl Place {
    /// Whoever had it was answered in time, or was not: the door learns from that. Without a word, it was neither.
    pub fn ended(&self, in_time: bool) {
        if in_time || self.by_margin {
            let state = &self.admission.0;
            state.doors.lock().of(&self.model, &state.weights).margin.learn(in_time);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let state = &self.admission.0;
        let mut doors = state.doors.lock();
        doors.of(&self.model, &state.weights).leave(&self.tenant, Instant::now());
        doors.in_flight -= 1;
        state.metrics.in_flight.set(doors.in_flight as i64);
    }
}
