//! Every stream, consumer and bucket, field by field. Data only; [`crate::ensure`] applies it.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::object_store;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use serde::{Deserialize, Serialize};
use shoal_shared::digest::DigestKind;
use shoal_shared::names::{Lane, ModelName};

use crate::subjects;

/// The work queue.
pub const JOBS: &str = "JOBS";
/// Outcomes of asynchronous jobs.
pub const RESULTS: &str = "RESULTS";
/// Jobs that could not be done.
pub const DEAD: &str = "DEAD";
/// The broker's advisories about exhausted jobs.
pub const ADVISORIES: &str = "JOBS_ADVISORIES";
/// Predictions for every gateway and worker.
pub const CACHE: &str = "CACHE";
/// Bucket of attempts on jobs that came back.
pub const ATTEMPTS: &str = "shoal_attempts";
/// Bucket of accepted asynchronous jobs.
pub const REGISTER: &str = "shoal_jobs";
/// Bucket of what supervisors agree on, by model.
pub const FLEET: &str = "shoal_fleet";
/// What they decided, and why.
pub const DECISIONS: &str = "DECISIONS";
/// Bucket of images too large for a message.
pub const UPLOADS: &str = "shoal_uploads";
/// Bucket of accounts, keys and the secret that signs tokens.
pub const ACCOUNTS: &str = "shoal_accounts";
/// What people said of predictions, by account.
pub const FEEDBACK: &str = "FEEDBACK";
/// Requests counted by key and day.
pub const QUOTA: &str = "QUOTA";
/// Outcomes that somebody wants to be called about.
pub const WEBHOOKS: &str = "WEBHOOKS";
/// Bucket of images kept for display.
pub const KEPT: &str = "shoal_images";
/// Bucket of images that feedback was given on.
pub const JUDGED: &str = "shoal_judged";
/// Bucket of models and their versions.
pub const CATALOG: &str = "shoal_catalog";
/// Bucket of model files.
pub const BUNDLES: &str = "shoal_models";
/// The consumer that empties [`ADVISORIES`].
pub const UNDERTAKER: &str = "undertaker";

/// What an operator may choose about the topology.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopologyConfig {
    /// Copies of every stream: 1 on one server, 3 on a cluster.
    pub replicas: usize,
    /// Most jobs that may wait for one model and lane. More are refused at the publish.
    pub max_jobs_per_lane: i64,
    /// Most bytes of waiting jobs, all models together.
    pub max_job_bytes: i64,
    /// Silence after which a job is given to another worker: the delay that a crash costs.
    #[serde(with = "humantime_serde")]
    pub ack_wait: Duration,
    /// Attempts on a job before it counts as poison and goes to the dead letters.
    pub max_attempts: u32,
    /// Deliveries, whether attempts or not, after which the broker itself gives a job up.
    pub max_deliver: i64,
    /// How long outcomes of asynchronous jobs are kept.
    #[serde(with = "humantime_serde")]
    pub result_ttl: Duration,
    /// How long cached predictions are kept.
    #[serde(with = "humantime_serde")]
    pub cache_ttl: Duration,
    /// Most bytes of cached predictions; beyond, the oldest go. A gateway takes eight bytes of memory for each prediction, a
    /// thirty-second part of that at most; a worker keeps the latest in mind only.
    pub max_cache_bytes: i64,
    /// Digest that identifies images in cache keys; the same for gateways and workers.
    pub digest: DigestKind,
    /// Most bytes of large uploads in flight.
    pub max_upload_bytes: i64,
    /// Most bytes of pushed models.
    pub max_model_bytes: i64,
    /// How long dead letters are kept.
    #[serde(with = "humantime_serde")]
    pub dead_ttl: Duration,
    /// How long images are kept for display, where gateways keep them.
    #[serde(with = "humantime_serde")]
    pub kept_ttl: Duration,
    /// Most bytes of such images, and of those that feedback was given on; new ones are not kept beyond.
    pub max_kept_bytes: i64,
}

impl Default for TopologyConfig {
    fn default() -> Self {
        Self {
            replicas: 1,
            max_jobs_per_lane: 100_000,
            max_job_bytes: 4 << 30,
            ack_wait: Duration::from_secs(10),
            max_attempts: 5,
            max_deliver: 50,
            result_ttl: Duration::from_secs(3600),
            cache_ttl: Duration::from_secs(24 * 3600),
            max_cache_bytes: 256 << 20,
            digest: DigestKind::Sha256,
            max_upload_bytes: 2 << 30,
            max_model_bytes: 4 << 30,
            dead_ttl: Duration::from_secs(7 * 24 * 3600),
            kept_ttl: Duration::from_secs(7 * 24 * 3600),
            max_kept_bytes: 512 << 20,
        }
    }
}

/// Longest message accepted: the servers' `max_payload` less room for headers.
pub const MAX_MESSAGE: i32 = 8 * 1024 * 1024 - 64 * 1024;

/// Repeated publishes of one job id within this window count once.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

impl TopologyConfig {
    /// The streams for the given models.
    ///
    /// Jobs are accepted for those models only: a job that no consumer filters on would rot.
    pub fn streams(&self, models: &[ModelName]) -> Vec<Config> {
        vec![
            self.jobs(models),
            self.results(),
            self.dead(),
            self.advisories(),
            self.cache(),
            self.notes(ATTEMPTS, "Attempts on jobs that came back", self.dead_ttl),
            self.notes(REGISTER, "Accepted asynchronous jobs", self.result_ttl * 24),
            self.notes(FLEET, "Who runs how many workers", Duration::ZERO),
            self.decisions(),
            self.accounts(),
            self.feedback(),
            self.quota(),
            self.webhooks(),
            self.notes(CATALOG, "Models, their versions and which of them answers", Duration::ZERO),
        ]
    }

    fn base(&self, name: &str, description: &str, subjects: Vec<String>) -> Config {
        Config {
            name: name.into(),
            description: Some(description.into()),
            subjects,
            storage: StorageType::File,
            num_replicas: self.replicas,
            allow_direct: true,
            duplicate_window: DUPLICATE_WINDOW,
            ..Config::default()
        }
    }

    fn jobs(&self, models: &[ModelName]) -> Config {
        let mut seen = HashSet::new();
        let subjects = models.iter().filter(|model| seen.insert(*model)).flat_map(subjects::jobs).collect();
        Config {
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            max_messages_per_subject: self.max_jobs_per_lane,
            max_bytes: self.max_job_bytes,
            max_message_size: MAX_MESSAGE,
            allow_message_ttl: true,
            ..self.base(JOBS, "Images waiting for a prediction", subjects)
        }
    }

    fn results(&self) -> Config {
        Config {
            max_messages_per_subject: 1,
            max_age: self.result_ttl,
            max_bytes: 1 << 30,
            ..self.base(RESULTS, "Outcomes of asynchronous jobs", vec!["results.*".into()])
        }
    }

    fn dead(&self) -> Config {
        Config {
            max_age: self.dead_ttl,
            max_bytes: 1 << 30,
            ..self.base(DEAD, "Jobs that could not be done", vec!["dead.*.*".into()])
        }
    }

    fn decisions(&self) -> Config {
        Config {
            max_messages_per_subject: 1000,
            max_age: Duration::from_secs(7 * 24 * 3600),
            max_bytes: 64 << 20,
            discard: DiscardPolicy::Old,
            ..self.base(DECISIONS, "How many workers, and why", vec![subjects::DECISIONS.into()])
        }
    }

    fn advisories(&self) -> Config {
        Config {
            retention: RetentionPolicy::WorkQueue,
            max_age: self.dead_ttl,
            max_bytes: 16 << 20,
            ..self.base(
                ADVISORIES,
                "Jobs the broker will not deliver again",
                subjects::ADVISORIES.iter().map(|s| (*s).into()).collect(),
            )
        }
    }

    /// A subject for each model, not for each image: gateways and workers know where a prediction is.
    fn cache(&self) -> Config {
        Config {
            max_age: self.cache_ttl,
            max_bytes: self.max_cache_bytes,
            max_message_size: 64 * 1024,
            discard: DiscardPolicy::Old,
            ..self.base(CACHE, "Predictions by model", vec!["cache.*".into()])
        }
    }

    /// A bucket of small records that must outlive a crash.
    fn notes(&self, bucket: &str, description: &str, max_age: Duration) -> Config {
        Config {
            max_messages_per_subject: 1,
            max_age,
            max_bytes: 256 << 20,
            max_message_size: 16 * 1024,
            discard: DiscardPolicy::Old,
            allow_rollup: true,
            deny_delete: true,
            ..self.base(&format!("KV_{bucket}"), description, vec![format!("$KV.{bucket}.>")])
        }
    }

    /// Nothing here may go by itself: a full bucket refuses new accounts.
    fn accounts(&self) -> Config {
        Config {
            max_messages_per_subject: 1,
            max_bytes: 256 << 20,
            max_message_size: 16 * 1024,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            ..self.base(&format!("KV_{ACCOUNTS}"), "Accounts and keys", vec![format!("$KV.{ACCOUNTS}.>")])
        }
    }

    fn feedback(&self) -> Config {
        Config {
            max_bytes: 256 << 20,
            max_message_size: 16 * 1024,
            discard: DiscardPolicy::New,
            ..self.base(FEEDBACK, "What people said of predictions", vec!["feedback.*".into()])
        }
    }

    /// Counters: the broker adds up what gateways report, so that they share one sum.
    fn quota(&self) -> Config {
        Config {
            max_age: Duration::from_secs(2 * 24 * 3600),
            max_messages_per_subject: 1,
            max_bytes: 64 << 20,
            allow_message_counter: true,
            ..self.base(QUOTA, "Requests by key and day", vec!["quota.*.*".into()])
        }
    }

    fn webhooks(&self) -> Config {
        Config {
            retention: RetentionPolicy::WorkQueue,
            max_age: self.result_ttl * 24,
            max_bytes: 64 << 20,
            max_message_size: 16 * 1024,
            discard: DiscardPolicy::New,
            ..self.base(WEBHOOKS, "Calls to be made about jobs", vec!["webhooks.*".into()])
        }
    }

    /// Images kept for their owners.
    pub fn kept(&self, bucket: &str) -> object_store::Config {
        let (description, max_age) = match bucket {
            KEPT => ("Images kept for display", self.kept_ttl),
            _ => ("Images that feedback was given on", Duration::from_secs(365 * 24 * 3600)),
        };
        object_store::Config {
            bucket: bucket.into(),
            description: Some(description.into()),
            max_age,
            max_bytes: self.max_kept_bytes,
            storage: StorageType::File,
            num_replicas: self.replicas,
            ..object_store::Config::default()
        }
    }

    /// The consumer of calls in one state: `waiting` for the outcome, or `due`.
    pub fn webhook_consumer(&self, state: &str) -> pull::Config {
        pull::Config {
            durable_name: Some(format!("webhooks-{state}")),
            filter_subject: format!("webhooks.{state}"),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 1024,
            ..pull::Config::default()
        }
    }

    /// The bucket of large uploads. What is not fetched and deleted goes by age.
    pub fn uploads(&self) -> object_store::Config {
        object_store::Config {
            bucket: UPLOADS.into(),
            description: Some("Images too large for a message".into()),
            max_age: self.result_ttl * 24,
            max_bytes: self.max_upload_bytes,
            storage: StorageType::File,
            num_replicas: self.replicas,
            ..object_store::Config::default()
        }
    }

    /// The bucket of model files: they stay until somebody removes them.
    pub fn bundles(&self) -> object_store::Config {
        object_store::Config {
            bucket: BUNDLES.into(),
            description: Some("Model files, by the name that a version is served under".into()),
            max_bytes: self.max_model_bytes,
            storage: StorageType::File,
            num_replicas: self.replicas,
            ..object_store::Config::default()
        }
    }

    /// The consumer of one model and lane.
    pub fn consumer(&self, model: &ModelName, lane: Lane) -> pull::Config {
        pull::Config {
            durable_name: Some(subjects::consumer(model, lane)),
            filter_subject: subjects::job(model, lane),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait,
            max_deliver: self.max_deliver,
            max_ack_pending: 4096,
            max_waiting: 2048,
            ..pull::Config::default()
        }
    }

    /// The consumer that turns advisories into dead letters.
    pub fn undertaker(&self) -> pull::Config {
        pull::Config {
            durable_name: Some(UNDERTAKER.into()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(30),
            ..pull::Config::default()
        }
    }
}
