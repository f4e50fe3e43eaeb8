//! Requests counted by key and day. Gateways report what they have seen; the broker adds it up and
//! says the sum, so that all gateways hold a key to the same quota.

use async_nats::jetstream::message::PublishMessage;

use crate::connect::{Bus, BusError};

/// Header of what is added to a counter.
const INCREMENT: &str = "Nats-Incr";

impl Bus {
    /// Adds to a key's count of a day (days since 1970); gives the count of all gateways.
    pub async fn count_requests(&self, key: &str, day: u64, seen: u64) -> Result<u64, BusError> {
        let failed = |error| BusError::request("counting requests", error);
        let message = PublishMessage::build().header(INCREMENT, format!("+{seen}").as_str());
        let published = self.js.send_publish(format!("quota.{key}.{day}"), message).await.map_err(failed)?;
        let ack = published.await.map_err(failed)?;
        Ok(ack.value.and_then(|value| value.parse().ok()).unwrap_or(seen))
    }
}
