//! Which gateway computes what, when there are several. Every image has a home among them, by its key (rendezvous
//! hashing): that gateway keeps in mind who computes it, in memory. A claim is a hint: what is lost with a gateway, or
//! while gateways come and go, costs a second computation, never an answer.

mod held;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use shoal_shared::codec;
use shoal_shared::digest::CacheKey;
use shoal_shared::names::NodeId;
use shoal_shared::process::shutdown::Shutdown;

use crate::connect::Bus;
use crate::peers::Peers;
use crate::subjects;
use held::Held;

/// How long an image's home has for its answer. One that has ended is known at once: the broker says that nobody listens.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a gateway asks an image's home.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    /// The image and its model ([`CacheKey::fingerprint`]).
    image: u64,
    /// Who asks, and computes it if nobody else does.
    asker: NodeId,
    /// Who was found not to compute it any more.
    gone: Option<NodeId>,
}

/// Who computes what. Cheap to clone.
#[derive(Clone)]
pub struct Claims {
    bus: Bus,
    peers: Peers,
    /// Of the images that are at home here.
    held: Arc<Mutex<Held>>,
}

impl Claims {
    /// Nobody computes anything yet.
    pub fn new(bus: &Bus, peers: &Peers) -> Self {
        Self { bus: bus.clone(), peers: peers.clone(), held: Arc::default() }
    }

    /// Claims an image; `None` when this gateway is to compute it, otherwise who does. `gone` is who was named before
    /// and turned out not to.
    pub async fn claim(&self, key: &CacheKey, gone: Option<NodeId>) -> Option<NodeId> {
        let question = Question { image: key.fingerprint(), asker: self.peers.me().clone(), gone };
        match self.peers.home(question.image) {
            None => self.held.lock().claim(&question),
            Some(home) => self.ask(&home, &question).await,
        }
    }

    /// A home that does not answer knows of nobody, and is none until it shows that it is there.
    async fn ask(&self, home: &NodeId, question: &Question) -> Option<NodeId> {
        let request = codec::encode(question).ok()?;
        let asked = self.bus.client.request(subjects::claim(home), request.into());
        let Ok(answer) = tokio::time::timeout(PATIENCE, asked).await else {
            self.peers.lose(home);
            return None;
        };
        codec::decode(&answer.ok()?.payload).ok()?
    }

    /// Answers for the images that are at home here, until shutdown.
    pub async fn answer(self, shutdown: Shutdown) {
        let Ok(mut questions) = self.bus.client.subscribe(subjects::claim(self.peers.me())).await else { return };
        loop {
            let question = tokio::select! {
                question = questions.next() => question,
                () = shutdown.ordered() => return,
            };
            let Some(message) = question else { return };
            let (Some(reply), Ok(question)) = (message.reply, codec::decode(&message.payload)) else { continue };
            let holder = self.held.lock().claim(&question);
            let _ = self.bus.send(reply.to_string(), codec::encode(&holder).unwrap_or_default()).await;
        }
    }
}
