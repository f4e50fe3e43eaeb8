//! Reading dead letters, and giving them another life.

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use bytes::Bytes;
use shoal_shared::headers;
use shoal_shared::names::{JobId, Lane, ModelName};

use super::bury::{ATTEMPTS, LAST_WORKER, REASON, SEQUENCE, without};
use crate::connect::{Bus, BusError};
use crate::subjects;
use crate::topology::DEAD;

/// A job that could not be done.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its place among the dead letters.
    pub place: u64,
    /// The job.
    pub id: JobId,
    /// The model it asked.
    pub model: ModelName,
    /// The lane it came by.
    pub lane: Lane,
    /// Why it died.
    pub reason: String,
    /// Attempts it had.
    pub attempts: u64,
    /// The worker that had it last; empty when nobody knows.
    pub worker: String,
    /// When it was buried, RFC 3339.
    pub buried: String,
    /// The image, unless it was too large for a message.
    pub payload: Bytes,
    headers: HeaderMap,
}

/// Headers that say how the first life ended, or that belong to it alone: whoever waited for the
/// answer is gone, and so is the deadline.
const OF_THE_FIRST_LIFE: [&str; 7] =
    [REASON, ATTEMPTS, LAST_WORKER, SEQUENCE, headers::REPLY, headers::ACCEPT, headers::DEADLINE];

impl Letter {
    fn read(place: u64, subject: &str, buried: String, map: HeaderMap, payload: Bytes) -> Option<Self> {
        let text = |name: &str| map.get(name).map(|value| value.as_str());
        let (model, lane) = subjects::parse_job(&format!("jobs.{}", subject.strip_prefix("dead.")?))?;
        let sequence = text(SEQUENCE).and_then(|text| text.parse().ok()).unwrap_or(place);
        Some(Self {
            place,
            id: text(headers::JOB).and_then(|id| id.parse().ok()).unwrap_or_else(|| JobId::from_sequence(sequence)),
            model,
            lane,
            reason: text(REASON).unwrap_or_default().to_owned(),
            attempts: text(ATTEMPTS).and_then(|text| text.parse().ok()).unwrap_or_default(),
            worker: text(LAST_WORKER).unwrap_or_default().to_owned(),
            buried,
            payload,
            headers: map,
        })
    }

    /// The job's own headers.
    pub fn headers(&self) -> impl Iterator<Item = (String, String)> {
        let pairs = self
            .headers
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.as_str().to_owned())));
        pairs.filter(|(name, _)| !OF_THE_FIRST_LIFE[..4].contains(&name.as_str()))
    }
}

impl Bus {
    /// The oldest dead letter behind a place; 0 is in front of all.
    pub async fn next_dead_letter(&self, behind: u64) -> Result<Option<Letter>, BusError> {
        let (stream, mut place) = (self.dead().await?, behind);
        loop {
            let message = match stream.raw_message_builder().sequence(place + 1).next_by_subject("dead.>").send().await
            {
                Ok(message) => message,
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
                Err(error) => return Err(BusError::request("reading the dead letters", error)),
            };
            place = message.sequence;
            let buried = message.time.to_string();
            // Anything else under these subjects is none of ours.
            if let Some(letter) = Letter::read(place, &message.subject, buried, message.headers, message.payload) {
                return Ok(Some(letter));
            }
        }
    }

    /// The newest dead letter with a job's id; failing that, the one at that place.
    pub async fn dead_letter(&self, id: &str) -> Result<Option<Letter>, BusError> {
        let (mut found, mut at_place, mut place) = (None, None, 0);
        while let Some(letter) = self.next_dead_letter(place).await? {
            place = letter.place;
            if letter.id.as_str() == id {
                found = Some(letter);
            } else if place.to_string() == id {
                at_place = Some(letter);
            }
        }
        Ok(found.or(at_place))
    }

    /// Puts a dead job back into its queue under the id it had. Its outcome goes to the results.
    pub async fn replay(&self, letter: &Letter) -> Result<u64, BusError> {
        let mut map = OF_THE_FIRST_LIFE.iter().fold(letter.headers.clone(), |map, name| without(&map, name));
        map.insert(headers::JOB, letter.id.as_str());
        // Its own id is still in the deduplication window; a replay that is repeated counts once.
        map.insert(NATS_MESSAGE_ID, format!("replay-{}", letter.place));
        // The outcome of the first life would stand against that of the second.
        self.forget_result(&letter.id).await?;
        let failed = |error| BusError::request("putting a dead job back into its queue", error);
        let message = PublishMessage::build().payload(letter.payload.clone()).headers(map);
        let ack = self.js.send_publish(subjects::job(&letter.model, letter.lane), message).await.map_err(failed)?;
        let sequence = ack.await.map_err(failed)?.sequence;
        self.forget_letter(letter).await?;
        Ok(sequence)
    }

    /// Removes one dead letter.
    pub async fn forget_letter(&self, letter: &Letter) -> Result<(), BusError> {
        let deleted = self.dead().await?.delete_message(letter.place).await;
        deleted.map(drop).map_err(|error| BusError::request("removing a dead letter", error))
    }

    /// Removes every dead letter; gives how many there were.
    pub async fn purge_dead(&self) -> Result<u64, BusError> {
        let purged = self.dead().await?.purge().await;
        purged.map(|purged| purged.purged).map_err(|error| BusError::request("removing the dead letters", error))
    }

    async fn dead(&self) -> Result<Stream<()>, BusError> {
        self.js.get_stream_no_info(DEAD).await.map_err(|error| BusError::request(format!("stream {DEAD}"), error))
    }
}
