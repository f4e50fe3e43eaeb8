//! A gateway's inbox: one subscription for all answers, a waiter for each job. Nothing polls.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;
use shoal_shared::codec;
use shoal_shared::digest::ImageSha256;
use shoal_shared::names::{JobId, NodeId};
use shoal_shared::prediction::Outcome;
use shoal_shared::vouch::{Vouch, VouchKey};
use tokio::sync::oneshot;

use crate::connect::{Bus, BusError};
use crate::subjects;

/// Shorter images are hashed in two microseconds: not worth a word.
const SHORTEST: usize = 4 << 10;

type Waiters = Arc<Mutex<HashMap<JobId, oneshot::Sender<Outcome>>>>;

/// The inbox of one gateway.
#[derive(Clone)]
pub struct Replies {
    gateway: NodeId,
    waiters: Waiters,
    key: VouchKey,
}

/// The right to one job's answer. Dropped, the answer is discarded when it comes.
pub struct Waiter {
    id: JobId,
    answer: oneshot::Receiver<Outcome>,
    waiters: Waiters,
}

impl Replies {
    /// Subscribes before the first job is published; `late` is called for every answer that
    /// nobody waits for any more.
    pub async fn subscribe(
        bus: &Bus,
        gateway: NodeId,
        late: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, BusError> {
        let mut inbox = bus
            .client
            .subscribe(subjects::replies(&gateway))
            .await
            .map_err(|error| BusError::request("subscribing for answers", error))?;
        let secret = secret().map_err(|error| BusError::request("making a key", error))?;
        let key = VouchKey::new(&secret).ok_or_else(|| BusError::request("making a key", "of a wrong length"))?;
        let replies = Self { gateway, waiters: Waiters::default(), key };
        let (waiters, client) = (replies.waiters.clone(), bus.client.clone());
        tokio::spawn(async move {
            while let Some(message) = inbox.next().await {
                if subjects::asks_for_vouch_key(&message.subject) {
                    let Some(asker) = message.reply else { continue };
                    let _ = client.publish(asker, secret.to_vec().into()).await;
                } else if !hand_over(&waiters, &message.subject, &message.payload) {
                    late();
                }
            }
        });
        Ok(replies)
    }

    /// Registers for a job's answer: before the job is published, so that none is missed.
    pub fn expect(&self, id: JobId) -> Waiter {
        let (sender, answer) = oneshot::channel();
        self.waiters.lock().insert(id.clone(), sender);
        Waiter { id, answer, waiters: self.waiters.clone() }
    }

    /// The subject under which a job's answer is expected.
    pub fn subject(&self, job: &JobId) -> String {
        subjects::reply(&self.gateway, job)
    }

    /// This gateway's word that a job's image, of so many bytes, has a digest: workers that know its key take it.
    pub fn vouch(&self, job: &JobId, digest: &ImageSha256, bytes: usize) -> Option<Vouch> {
        (bytes >= SHORTEST).then(|| Vouch::new(self.gateway.clone(), &self.key, job, digest))
    }

    /// Jobs whose answer is awaited.
    pub fn pending(&self) -> usize {
        self.waiters.lock().len()
    }
}

impl Waiter {
    /// The job.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// The answer, when it comes.
    pub async fn answer(&mut self) -> Outcome {
        match (&mut self.answer).await {
            Ok(outcome) => outcome,
            // The sender lives in the map until the answer is handed over or this waiter drops.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiters.lock().remove(&self.id);
    }
}

fn secret() -> Result<[u8; VouchKey::BYTES], getrandom::Error> {
    let mut secret = [0; VouchKey::BYTES];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}

fn hand_over(waiters: &Waiters, subject: &str, payload: &Bytes) -> bool {
    let Some(id) = subjects::parse_reply(subject) else { return false };
    let Some(waiter) = waiters.lock().remove(&id) else { return false };
    match codec::decode::<Outcome>(payload) {
        Ok(outcome) => waiter.send(outcome).is_ok(),
        Err(error) => {
            tracing::warn!(job.id = %id, %error, "an answer does not decode");
            false
        }
    }
}
