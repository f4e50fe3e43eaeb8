//! What agents and their coordinator say to each other, as JSON. Histograms travel whole, in their
//! own compressed format, so that nothing is lost when they are added up.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;
use crate::scenario::Scenario;
use crate::slice::{Slice, TaskSlice};

/// The order to get ready.
#[derive(Serialize, Deserialize)]
pub(super) struct Prepare {
    pub(super) scenario: Scenario,
    /// Common to all agents of the run.
    pub(super) run: u64,
    pub(super) index: usize,
    pub(super) of: usize,
}

/// Its answer.
#[derive(Serialize, Deserialize)]
pub(super) struct Prepared {
    pub(super) warm_up: u64,
    /// Why it cannot.
    pub(super) error: Option<String>,
}

/// The order to start, by the agent's own clock.
#[derive(Serialize, Deserialize)]
pub(super) struct Start {
    /// Unix microseconds.
    pub(super) at: i64,
}

/// The last word of a run.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) cores: f64,
    pub(super) logins: u64,
}

/// One second.
#[derive(Serialize, Deserialize)]
struct SliceWord {
    at: u32,
    users: u64,
    outstanding: u64,
    shortfall: u64,
    lag: String,
    tasks: Vec<TaskWord>,
    cache: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
struct TaskWord {
    outcomes: Vec<(Outcome, u64)>,
    latency: String,
    service: String,
    ended: String,
    bytes: u64,
}

/// A second, to be sent.
pub(super) fn encode(slice: &Slice) -> anyhow::Result<Vec<u8>> {
    let task = |task: &TaskSlice| {
        anyhow::Ok(TaskWord {
            outcomes: task.outcomes.iter().map(|(outcome, count)| (*outcome, *count)).collect(),
            latency: text(&task.latency)?,
            service: text(&task.service)?,
            ended: text(&task.ended)?,
            bytes: task.bytes,
        })
    };
    let word = SliceWord {
        at: slice.at,
        users: slice.users,
        outstanding: slice.outstanding,
        shortfall: slice.shortfall,
        lag: text(&slice.lag)?,
        tasks: slice.tasks.iter().map(task).collect::<Result<_, _>>()?,
        cache: slice.cache.clone(),
    };
    Ok(serde_json::to_vec(&word)?)
}

/// A second that was received.
pub(super) fn decode(payload: &[u8], tasks: usize) -> anyhow::Result<Slice> {
    let word: SliceWord = serde_json::from_slice(payload)?;
    let mut slice = Slice::new(word.at, tasks);
    (slice.users, slice.outstanding, slice.shortfall) = (word.users, word.outstanding, word.shortfall);
    slice.lag.add(&histogram(&word.lag)?)?;
    for (task, word) in slice.tasks.iter_mut().zip(word.tasks) {
        task.outcomes = word.outcomes.into_iter().collect();
        task.latency.add(&histogram(&word.latency)?)?;
        task.service.add(&histogram(&word.service)?)?;
        task.ended.add(&histogram(&word.ended)?)?;
        task.bytes = word.bytes;
    }
    slice.cache = word.cache;
    Ok(slice)
}

fn text(histogram: &Histogram<u64>) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .map_err(|error| anyhow::anyhow!("a histogram cannot be written: {error:?}"))?;
    Ok(hex::encode(bytes))
}

fn histogram(text: &str) -> anyhow::Result<Histogram<u64>> {
    let bytes = hex::decode(text)?;
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| anyhow::anyhow!("a histogram cannot be read: {error:?}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::slice::Ended;

    #[test]
    fn nothing_is_lost_on_the_way() {
        let mut slice = Slice::new(7, 2);
        for ms in 1..=500 {
            let (latency, service) = (Duration::from_millis(ms), Duration::from_millis(ms / 2));
            let outcome = if ms % 50 == 0 { Outcome::Status(500) } else { Outcome::Answered };
            slice.add(1, &Ended { outcome, latency, service, bytes: 10, cache: Some("HIT".into()) });
        }
        let bytes = encode(&slice).unwrap();
        assert!(bytes.len() < 20_000, "{} bytes a second", bytes.len());
        let read = decode(&bytes, 2).unwrap();
        assert_eq!((read.at, &read.cache), (7, &slice.cache));
        assert_eq!(read.tasks[1].outcomes, slice.tasks[1].outcomes);
        assert_eq!(read.tasks[1].latency, slice.tasks[1].latency);
        assert_eq!(read.tasks[1].ended, slice.tasks[1].ended);
        assert!(decode(b"{}", 2).is_err());
    }
}
