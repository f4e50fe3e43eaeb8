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

/// How much a gateway is an image's home; the same for whoever computes it. Ties are left to chance: one in 2⁶⁴.
fn affinity(gateway: &NodeId, image: u64) -> u64 {
    // FNV-1a over the id, then the finalizer of splitmix64 over both.
    let id = gateway
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut mixed = id ^ image;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

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

    /// The gateway at which an image is at home, by its fingerprint; `None` for this one. All gateways that know of
    /// each other agree (rendezvous hashing), and one that goes or comes changes the home of its own share alone.
    pub fn home(&self, image: u64) -> Option<NodeId> {
        let others = self.others.lock();
        let there = others.iter().filter(|(_, heard)| heard.elapsed() < EXPIRY).map(|(id, _)| id);
        let best = there.max_by_key(|id| affinity(id, image))?;
        (affinity(best, image) > affinity(&self.me, image)).then(|| best.clone())
    }

    /// A gateway that gives no answer is gone until it shows itself again.
    pub(crate) fn lose(&self, gateway: &NodeId) {
        self.others.lock().remove(gateway);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gateway_is_home_to_its_share() {
        let gateways: Vec<NodeId> =
            ["gateway-a", "gateway-b", "gateway-c"].iter().map(|id| id.parse().unwrap()).collect();
        let mut homes = [0; 3];
        for image in (0..30_000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let best = (0..3).max_by_key(|&at| affinity(&gateways[at], image)).unwrap();
            homes[best] += 1;
        }
        assert!(homes.iter().all(|&share| (9_000..11_000).contains(&share)), "{homes:?}");
    }
}
