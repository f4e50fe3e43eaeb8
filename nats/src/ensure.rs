//! Applying the topology: creates what is missing, updates what may be updated in place, refuses
//! with a sentence what may not. Running it twice changes nothing.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::object_store;
use async_nats::jetstream::stream::Config;
use shoal_shared::names::{Lane, ModelName};

use crate::connect::{Bus, BusError};
use crate::subjects;
use crate::topology::{ADVISORIES, JOBS, JUDGED, KEPT, WEBHOOKS};

/// How long a broker may take to become one.
const PATIENCE: Duration = Duration::from_secs(30);

impl Bus {
    /// Provisions everything for `models`. Models provisioned before keep their lanes. A cluster that
    /// has just started, and has no leader yet or not all of its servers, is given time.
    pub async fn ensure(&self, models: &[ModelName]) -> Result<(), BusError> {
        let patient_until = Instant::now() + PATIENCE;
        loop {
            match self.ensure_once(models).await {
                Err(error) if is_passing(&error) && Instant::now() < patient_until => {
                    tracing::info!(%error, "the broker is not ready yet");
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                done => return done,
            }
        }
    }

    async fn ensure_once(&self, models: &[ModelName]) -> Result<(), BusError> {
        for wanted in self.topology.streams(models) {
            self.ensure_stream(wanted).await?;
        }
        for objects in
            [self.topology.uploads(), self.topology.bundles(), self.topology.kept(KEPT), self.topology.kept(JUDGED)]
        {
            self.ensure_objects(objects).await?;
        }
        for state in ["waiting", "due"] {
            self.ensure_consumer(WEBHOOKS, self.topology.webhook_consumer(state)).await?;
        }
        for model in models {
            for lane in Lane::ALL {
                self.ensure_consumer(JOBS, self.topology.consumer(model, lane)).await?;
            }
        }
        self.ensure_consumer(ADVISORIES, self.topology.undertaker()).await
    }

    async fn ensure_stream(&self, wanted: Config) -> Result<(), BusError> {
        let name = wanted.name.clone();
        let existing = match self.js.get_stream(&name).await {
            Ok(stream) => stream.cached_info().config.clone(),
            Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(_)) => {
                tracing::info!(stream = name, "creating stream");
                let created = self.js.create_stream(wanted).await;
                return created.map(drop).map_err(|error| BusError::request(format!("creating stream {name}"), error));
            }
            Err(error) => return Err(BusError::request(format!("looking up stream {name}"), error)),
        };
        refuse_unsafe_change(&existing, &wanted)?;
        let merged = merge(&existing, wanted);
        if merged == existing {
            return Ok(());
        }
        tracing::info!(stream = name, "updating stream");
        let updated = self.js.update_stream(&merged).await;
        updated.map(drop).map_err(|error| BusError::request(format!("updating stream {name}"), error))
    }

    async fn ensure_objects(&self, wanted: object_store::Config) -> Result<(), BusError> {
        let name = wanted.bucket.clone();
        if self.js.get_object_store(&name).await.is_ok() {
            return Ok(());
        }
        let created = self.js.create_object_store(wanted).await;
        created.map(drop).map_err(|error| BusError::request(format!("creating object store {name}"), error))
    }

    /// Takes back what [`Bus::ensure`] made for one model: its jobs that wait, its lanes, its place in the
    /// stream.
    pub async fn retire(&self, model: &ModelName) -> Result<(), BusError> {
        let failed = |error: String| BusError::request(format!("retiring the queue of {model}"), error);
        let mut stream = self.js.get_stream(JOBS).await.map_err(|error| failed(error.to_string()))?;
        let mut config = stream.info().await.map_err(|error| failed(error.to_string()))?.config.clone();
        config.subjects = explicit(&config.subjects);
        config.subjects.retain(|known| subjects::jobs(model).all(|of_model| *known != of_model));
        for lane in Lane::ALL {
            if let Err(error) = stream.delete_consumer(&subjects::consumer(model, lane)).await {
                tracing::debug!(%error, "a lane was gone before it could be removed");
            }
        }
        let purged = stream.purge().filter(format!("jobs.{model}.*")).await;
        purged.map_err(|error| failed(error.to_string()))?;
        self.js.update_stream(&config).await.map(drop).map_err(|error| failed(error.to_string()))
    }

    /// Creating a consumer that exists with other settings updates what may be updated; the server
    /// refuses the rest and says which field.
    async fn ensure_consumer(&self, stream: &str, wanted: pull::Config) -> Result<(), BusError> {
        let name = wanted.durable_name.clone().unwrap_or_default();
        let created: Result<Consumer<pull::Config>, _> = self.js.create_consumer_on_stream(wanted, stream).await;
        created.map(drop).map_err(|error| BusError::request(format!("consumer {name} on stream {stream}"), error))
    }
}

/// Whether trying again may help: the API does not answer, or the cluster is not complete.
fn is_passing(error: &BusError) -> bool {
    let text = error.to_string();
    ["timed out", "no responders", "temporarily unavailable", "no suitable peers"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// Changes that JetStream either forbids or carries out in a way that breaks consumers.
fn refuse_unsafe_change(existing: &Config, wanted: &Config) -> Result<(), BusError> {
    let name = &existing.name;
    let conflict = |what: &str, is: String, want: String| {
        Err(BusError::Conflict(format!(
            "stream {name} exists with {what} {is}, the configuration asks for {want}; this cannot be changed in place: \
             drain the queue and delete the stream (`nats stream rm {name}`), or keep {is}"
        )))
    };
    if existing.retention != wanted.retention {
        return conflict("retention", format!("{:?}", existing.retention), format!("{:?}", wanted.retention));
    }
    if existing.storage != wanted.storage {
        return conflict("storage", format!("{:?}", existing.storage), format!("{:?}", wanted.storage));
    }
    if existing.num_replicas != wanted.num_replicas {
        return conflict("replicas", existing.num_replicas.to_string(), wanted.num_replicas.to_string());
    }
    Ok(())
}

/// Streams of earlier releases took any lane of a model, and kept for ever what no lane's consumer fetched.
fn explicit(known: &[String]) -> Vec<String> {
    let lanes = |subject: &String| match subjects::parse_any_lane(subject) {
        Some(model) => subjects::jobs(&model).collect(),
        None => vec![subject.clone()],
    };
    known.iter().flat_map(lanes).collect()
}

/// What is wanted, on top of what the server filled in by itself, with the subjects of both.
fn merge(existing: &Config, wanted: Config) -> Config {
    let mut subjects = explicit(&existing.subjects);
    for subject in wanted.subjects {
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    Config {
        subjects,
        description: wanted.description,
        discard: wanted.discard,
        discard_new_per_subject: wanted.discard_new_per_subject,
        max_bytes: wanted.max_bytes,
        max_messages_per_subject: wanted.max_messages_per_subject,
        max_age: wanted.max_age,
        max_message_size: if wanted.max_message_size > 0 { wanted.max_message_size } else { existing.max_message_size },
        duplicate_window: wanted.duplicate_window,
        allow_direct: wanted.allow_direct,
        allow_message_ttl: existing.allow_message_ttl || wanted.allow_message_ttl,
        allow_rollup: wanted.allow_rollup,
        ..existing.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::TopologyConfig;

    fn streams(models: &[&str]) -> Vec<Config> {
        let models: Vec<ModelName> = models.iter().map(|m| m.parse().unwrap()).collect();
        TopologyConfig::default().streams(&models)
    }

    #[test]
    fn a_second_model_adds_its_subjects_and_keeps_the_first() {
        let existing = streams(&["a"]).remove(0);
        let merged = merge(&existing, streams(&["b"]).remove(0));
        assert_eq!(merged.subjects, ["jobs.a.interactive", "jobs.a.bulk", "jobs.b.interactive", "jobs.b.bulk"]);
    }

    #[test]
    fn a_model_named_twice_is_there_once() {
        assert_eq!(streams(&["a", "a"]).remove(0).subjects, ["jobs.a.interactive", "jobs.a.bulk"]);
    }

    #[test]
    fn a_stream_that_takes_any_lane_takes_those_that_exist_from_now_on() {
        let existing = Config { subjects: vec!["jobs.a.*".into()], ..streams(&["a"]).remove(0) };
        let merged = merge(&existing, streams(&["a", "b"]).remove(0));
        assert_eq!(merged.subjects, ["jobs.a.interactive", "jobs.a.bulk", "jobs.b.interactive", "jobs.b.bulk"]);
    }

    #[test]
    fn merging_the_same_changes_nothing() {
        for stream in streams(&["a", "b"]) {
            assert_eq!(merge(&stream, stream.clone()), stream);
        }
    }

    #[test]
    fn replicas_are_not_changed_in_place() {
        let existing = streams(&["a"]).remove(0);
        let wanted = Config { num_replicas: 3, ..existing.clone() };
        let error = refuse_unsafe_change(&existing, &wanted).unwrap_err().to_string();
        assert!(error.contains("replicas 1") && error.contains("asks for 3"), "{error}");
    }
}
