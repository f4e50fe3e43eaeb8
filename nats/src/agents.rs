//! Load generators and whoever coordinates them: orders with answers one way, words the other. What
//! they mean is the generators' own affair.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use shoal_shared::names::NodeId;

use crate::connect::{Bus, BusError};
use crate::subjects;

/// A load generator's end.
pub struct Agent {
    bus: Bus,
    group: NodeId,
    id: NodeId,
    orders: Subscriber,
}

/// An order; it wants an answer.
pub struct Order {
    /// What is wanted.
    pub kind: String,
    /// The particulars.
    pub payload: Bytes,
    reply: Option<async_nats::Subject>,
}

/// The coordinator's end.
pub struct Coordinator {
    words: Subscriber,
    orders: Orders,
}

/// Sends orders. Cheap to clone.
#[derive(Clone)]
pub struct Orders {
    bus: Bus,
    group: NodeId,
}

/// Something that an agent told.
pub struct Word {
    /// Who.
    pub agent: NodeId,
    /// What it is about.
    pub kind: String,
    /// The particulars.
    pub payload: Bytes,
}

impl Agent {
    /// Listens for orders to `id` in a group.
    pub async fn join(bus: &Bus, group: NodeId, id: NodeId) -> Result<Self, BusError> {
        let orders = subscribe(bus, subjects::load_orders(&group, &id)).await?;
        Ok(Self { bus: bus.clone(), group, id, orders })
    }

    /// The next order; `None` when the connection was closed for good.
    pub async fn order(&mut self) -> Option<Order> {
        let Message { subject, payload, reply, .. } = self.orders.next().await?;
        let kind = subjects::parse_load(&subject).map(|(_, kind)| kind.to_owned());
        Some(Order { kind: kind.unwrap_or_default(), payload, reply })
    }

    /// Answers an order.
    pub async fn answer(&self, order: &Order, payload: Vec<u8>) -> Result<(), BusError> {
        match &order.reply {
            Some(reply) => self.bus.send(reply.to_string(), payload).await,
            None => Ok(()),
        }
    }

    /// Sends words from another task.
    pub fn teller(&self) -> Teller {
        Teller { bus: self.bus.clone(), group: self.group.clone(), id: self.id.clone() }
    }
}

/// Tells the coordinator something. Cheap to clone.
#[derive(Clone)]
pub struct Teller {
    bus: Bus,
    group: NodeId,
    id: NodeId,
}

impl Teller {
    /// Tells it; a word may be lost, nobody confirms it.
    pub async fn tell(&self, kind: &str, payload: Vec<u8>) -> Result<(), BusError> {
        self.bus.send(subjects::load_word(&self.group, &self.id, kind), payload).await
    }
}

impl Coordinator {
    /// Listens to a group.
    pub async fn listen(bus: &Bus, group: NodeId) -> Result<Self, BusError> {
        let words = subscribe(bus, subjects::load_words(&group)).await?;
        Ok(Self { words, orders: Orders { bus: bus.clone(), group } })
    }

    /// The next word; `None` when the connection was closed for good.
    pub async fn word(&mut self) -> Option<Word> {
        loop {
            let Message { subject, payload, .. } = self.words.next().await?;
            if let Some((agent, kind)) = subjects::parse_load(&subject) {
                return Some(Word { agent, kind: kind.to_owned(), payload });
            }
        }
    }

    /// What sends orders.
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }
}

impl Orders {
    /// Gives an order and waits for the answer.
    pub async fn give(
        &self,
        agent: &NodeId,
        kind: &str,
        payload: Vec<u8>,
        patience: Duration,
    ) -> Result<Bytes, BusError> {
        let what = || format!("order `{kind}` to load agent {agent}");
        let subject = subjects::load_order(&self.group, agent, kind);
        let request = async_nats::Request::new().payload(payload.into()).timeout(Some(patience));
        let answer = self.bus.client.send_request(subject, request).await;
        answer.map(|message| message.payload).map_err(|error| BusError::request(what(), error))
    }
}

async fn subscribe(bus: &Bus, subject: String) -> Result<Subscriber, BusError> {
    let subscriber = bus.client.subscribe(subject).await;
    let subscriber = subscriber.map_err(|error| BusError::request("subscribing for load agents", error))?;
    bus.flush().await;
    Ok(subscriber)
}
