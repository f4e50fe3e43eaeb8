//! What JetStream says of a delivery in its reply subject, and the way to settle it there.
//!
//! `$JS.ACK.STREAM.CONSUMER.DELIVERED.SEQUENCE.CONSUMER_SEQUENCE.NANOSECONDS.PENDING`, since 2.14 on request
//! with `DOMAIN.ACCOUNT` in front and a random token behind (ADR-15). Read here because the client library's
//! own reading takes a copy of the whole connection along with every message.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::client::PublishError;
use async_nats::jetstream::AckKind;
use async_nats::{Client, Subject};

/// A delivery as the broker counts it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Deliveries of this message so far, this one included; from 1 on.
    pub(crate) attempt: u64,
    /// Place in the stream.
    pub(crate) sequence: u64,
    /// When it was stored.
    pub(crate) published: SystemTime,
}

impl Counted {
    /// Reads the reply subject of a delivered message.
    pub(crate) fn read(subject: &str) -> Option<Self> {
        let named = subject.strip_prefix("$JS.ACK.")?;
        let names = match named.split('.').count() {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let mut numbers = named.split('.').skip(names).map(|token| token.parse::<u64>().ok());
        let mut next = || numbers.next().flatten();
        let (attempt, sequence, _, nanoseconds) = (next()?, next()?, next()?, next()?);
        let published = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds);
        Some(Self { attempt: attempt.max(1), sequence, published })
    }
}

/// Where a delivery is settled.
pub(crate) struct Receipt {
    client: Arc<Client>,
    subject: Subject,
}

impl Receipt {
    pub(crate) fn new(client: &Arc<Client>, subject: Subject) -> Self {
        Self { client: client.clone(), subject }
    }

    /// Sends a word about the delivery; nobody confirms that it arrived.
    pub(crate) async fn send(&self, kind: AckKind) -> Result<(), PublishError> {
        self.client.publish(self.subject.clone(), kind.into()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(attempt: u64, sequence: u64) -> Option<Counted> {
        let published = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
        Some(Counted { attempt, sequence, published })
    }

    #[test]
    fn both_forms_are_read() {
        let old = "$JS.ACK.JOBS.m-interactive.2.41.17.1700000000123456789.5";
        assert_eq!(Counted::read(old), counted(2, 41));
        let new = "$JS.ACK._.Zx81.JOBS.m-interactive.1.42.18.1700000000123456789.4.r4nd";
        assert_eq!(Counted::read(new), counted(1, 42));
    }

    #[test]
    fn anything_else_is_no_delivery() {
        for subject in ["", "_INBOX.a.b", "$JS.ACK.JOBS.c.1.2.3", "$JS.ACK.JOBS.c.x.2.3.4.5", "$JS.API.INFO"] {
            assert_eq!(Counted::read(subject), None, "{subject}");
        }
    }
}
