//! What a model is, told by a worker that has it loaded: its manifest and its labels are not in heartbeats.

use std::time::Duration;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use shoal_shared::digest::ModelDigest;
use shoal_shared::manifest::Manifest;
use shoal_shared::names::ModelName;
use shoal_shared::process::shutdown::Shutdown;

use crate::connect::Bus;
use crate::subjects;

/// How long a worker may take to tell what it knows.
const PATIENCE: Duration = Duration::from_secs(1);
/// Workers with the same model share the questions.
const QUEUE: &str = "workers";

/// A model in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Processing, title, licence.
    pub manifest: Manifest,
    /// Labels by class; empty when the model has none.
    pub labels: Vec<String>,
    /// Identity of both and of the weights.
    pub digest: ModelDigest,
}

impl Bus {
    /// Asks a worker for a model; `None` when nobody tells in time.
    pub async fn describe(&self, served: &ModelName) -> Option<Description> {
        let asked = self.client.request(subjects::describe(served), Vec::new().into());
        let answer = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
        serde_json::from_slice(&answer.payload).ok()
    }

    /// Answers [`Bus::describe`] until shutdown is ordered.
    pub async fn on_describe(&self, served: ModelName, description: Description, shutdown: Shutdown) {
        let subscribed = self.client.queue_subscribe(subjects::describe(&served), QUEUE.into()).await;
        let Ok(mut questions) = subscribed else { return };
        let Ok(body) = serde_json::to_vec(&description) else { return };
        loop {
            let question = tokio::select! {
                question = questions.next() => question,
                () = shutdown.ordered() => return,
            };
            let Some(question) = question else { return };
            if let Some(reply) = question.reply.filter(|reply| subjects::may_reply_to(reply)) {
                let _ = self.send(reply.to_string(), body.clone()).await;
            }
        }
    }
}
