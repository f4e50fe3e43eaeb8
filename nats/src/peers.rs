//! Gateways that know of each other: whoever wants what another is already computing waits for it
//! there instead of computing it again.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use shoal_shared::codec;
use shoal_shared::digest::CacheKey;
use shoal_shared::failure::Failure;
use shoal_shared::names::NodeId;
use shoal_shared::prediction::Prediction;
use shoal_shared::process::shutdown::Shutdown;

use crate::connect::{Bus, BusError};
use crate::subjects;

/// How often a gateway shows that it is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// A gateway not heard of for this long is gone.
const EXPIRY: Duration = Duration::from_secs(4);
/// A peer answers within this time, if only to say that it is still computing.
pub const STILL_FLYING_AFTER: Duration = Duration::from_millis(1500);
/// Silence after which a peer counts as dead.
const PATIENCE: Duration = Duration::from_millis(3000);

/// What a peer says about a flight.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FlightNews {
    /// No such flight: it has ended, or never was.
    Unknown,
    /// Not yet: ask again.
    StillFlying,
    /// How it ended.
    Landed(Box<Result<Prediction, Failure>>),
}

/// This gateway among the others. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    bus: Bus,
    me: NodeId,
    others: Arc<Mutex<HashMap<NodeId, Instant>>>,
}

impl Peers {
    /// Shows this gateway to the others, and gathers them, until shutdown.
    pub async fn join(bus: &Bus, me: NodeId, shutdown: &Shutdown) -> Result<Self, BusError> {
        let subscribed = bus.client.subscribe(subjects::GATEWAY_ALIVE).await;
        let mut signs = subscribed.map_err(|error| BusError::request("subscribing for gateways", error))?;
        let peers = Self { bus: bus.clone(), me, others: Arc::default() };
        peers.show().await;
        let (watching, stop) = (peers.clone(), shutdown.clone());
        tokio::spawn(async move {
            let mut beat = tokio::time::interval(SIGN_OF_LIFE);
            loop {
                tokio::select! {
                    _ = beat.tick() => watching.show().await,
                    sign = signs.next() => match sign {
                        Some(sign) => watching.hear(&sign.payload).await,
                        None => return,
                    },
                    () = stop.ordered() => return,
                }
            }
        });
        Ok(peers)
    }

    async fn show(&self) {
        let _ = self.bus.send(subjects::GATEWAY_ALIVE.into(), self.me.as_str().as_bytes().to_vec()).await;
    }

    /// A newcomer is greeted at once, so that both know of each other before either works.
    async fn hear(&self, payload: &[u8]) {
        let Some(gateway) = std::str::from_utf8(payload).ok().and_then(|text| text.parse::<NodeId>().ok()) else {
            return;
        };
        if gateway == self.me {
            return;
        }
        let is_new = {
            let mut others = self.others.lock();
            others.retain(|_, heard| heard.elapsed() < EXPIRY);
            others.insert(gateway, Instant::now()).is_none()
        };
        if is_new {
            self.show().await;
        }
    }

    /// This gateway.
    pub fn me(&self) -> &NodeId {
        &self.me
    }

    /// Whether no other gateway has been heard of lately.
    pub fn is_alone(&self) -> bool {
        self.others.lock().values().all(|heard| heard.elapsed() >= EXPIRY)
    }

    /// Asks a peer about a flight. A peer that does not answer has none.
    pub async fn ask(&self, gateway: &NodeId, key: &CacheKey) -> FlightNews {
        let Ok(request) = codec::encode(key) else { return FlightNews::Unknown };
        let asked = self.bus.client.request(subjects::flight(gateway), request.into());
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => codec::decode(&answer.payload).unwrap_or(FlightNews::Unknown),
            _ => FlightNews::Unknown,
        }
    }

    /// Answers the others' questions until shutdown. `news` may take its time; when it takes
    /// longer than [`STILL_FLYING_AFTER`], the peer is told to ask again.
    pub async fn answer<F, N>(&self, news: F, shutdown: Shutdown)
    where
        F: Fn(CacheKey) -> N + Clone + Send + Sync + 'static,
        N: Future<Output = FlightNews> + Send + 'static,
    {
        let Ok(mut questions) = self.bus.client.subscribe(subjects::flight(&self.me)).await else { return };
        loop {
            let question = tokio::select! {
                question = questions.next() => question,
                () = shutdown.ordered() => return,
            };
            let Some(question) = question else { return };
            let (Some(reply), Ok(key)) = (question.reply, codec::decode::<CacheKey>(&question.payload)) else {
                continue;
            };
            let (bus, news) = (self.bus.clone(), news.clone());
            tokio::spawn(async move {
                let told = tokio::time::timeout(STILL_FLYING_AFTER, news(key)).await;
                let told = told.unwrap_or(FlightNews::StillFlying);
                let _ = bus.send(reply.to_string(), codec::encode(&told).unwrap_or_default()).await;
            });
        }
    }
}
