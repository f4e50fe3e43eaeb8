//! Digests that gateways vouch for, as a worker sees them: believed once the gateway has told its key, computed until then.
//!
//! A gateway tells its key to whoever may ask for it under its reply subjects and read the answer: gateways and workers
//! (`nats/accounts.conf`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use parking_lot::Mutex;
use shoal_shared::digest::ImageSha256;
use shoal_shared::names::NodeId;
use shoal_shared::vouch::VouchKey;
use tokio::sync::Semaphore;

use crate::connect::Bus;
use crate::delivery::Delivery;
use crate::subjects;

/// Gateways that are kept in mind, whether they have told their key or not.
const MOST: usize = 1024;
/// Gateways that are asked at the same time.
const AT_ONCE: usize = 4;
/// How long a gateway has for its answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A gateway that has not told its key is not asked again before.
const AGAIN: Duration = Duration::from_secs(30);

/// The keys of the gateways whose jobs came by. Cheap to clone.
#[derive(Clone)]
pub struct Vouched {
    client: Client,
    gateways: Arc<Mutex<HashMap<NodeId, Gateway>>>,
    asking: Arc<Semaphore>,
}

enum Gateway {
    Known(VouchKey),
    Asked(Instant),
}

impl Vouched {
    /// No gateway is known yet.
    pub fn new(bus: &Bus) -> Self {
        Self { client: bus.client.clone(), gateways: Arc::default(), asking: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The digest of the image that a job carries, if a gateway vouches for it. An object may have been replaced since. One whose key is not known yet is asked for it meanwhile.
    pub fn digest(&self, delivery: &Delivery) -> Option<ImageSha256> {
        if delivery.object.is_some() {
            return None;
        }
        let (digest, vouch) = (delivery.wishes.digest?, delivery.wishes.vouch.as_ref()?);
        let mut gateways = self.gateways.lock();
        match gateways.get(&vouch.gateway) {
            Some(Gateway::Known(key)) => return vouch.holds(key, &delivery.id, &digest).then_some(digest),
            Some(Gateway::Asked(at)) if at.elapsed() < AGAIN => return None,
            _ => {}
        }
        let Ok(permit) = self.asking.clone().try_acquire_owned() else { return None };
        // Anybody may name gateways that do not exist.
        if gateways.len() >= MOST {
            gateways.clear();
        }
        gateways.insert(vouch.gateway.clone(), Gateway::Asked(Instant::now()));
        let (asker, gateway) = (self.clone(), vouch.gateway.clone());
        tokio::spawn(async move {
            let _permit = permit;
            asker.ask(gateway).await;
        });
        None
    }

    async fn ask(&self, gateway: NodeId) {
        let asked = self.client.request(subjects::vouch_key(&gateway), Vec::new().into());
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(told)) => {
                if let Some(key) = VouchKey::new(&told.payload) {
                    self.gateways.lock().insert(gateway, Gateway::Known(key));
                }
            }
            // It has ended, is slow, or is none.
            Ok(Err(error)) => tracing::debug!(%gateway, %error, "its digests are computed again"),
            Err(_) => tracing::debug!(%gateway, "it does not tell its key: its digests are computed again"),
        }
    }
}
