//! Taking jobs on credits: a pull asks for exactly as many jobs as there are free slots.
//!
//! The client library's prefetching streams hoard jobs and its batches lose their pull when the
//! server restarts. This puller holds a slot for every job it asks for, notices a silent server by
//! missing heartbeats, and starts over with a fresh inbox after a reconnect.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::{Client, Message, StatusCode, Subscriber};
use futures_util::StreamExt;
use shoal_shared::names::{Lane, ModelName};
use shoal_shared::process::shutdown::Shutdown;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::connect::{Bus, BusError};
use crate::delivery::{Delivery, Lease, Slot};
use crate::order::Order;
use crate::subjects;
use crate::topology::JOBS;

/// How long the server keeps a pull before it answers "timeout" and the puller asks again.
const PULL_EXPIRY: Duration = Duration::from_secs(30);
/// How often the server says that it has not forgotten a waiting pull.
const IDLE_HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence after which the pull counts as lost.
const MISSED_HEARTBEAT: Duration = Duration::from_secs(5);
/// Pause after the server refused a pull.
const REFUSAL_PAUSE: Duration = Duration::from_millis(200);
/// A job held longer than this many `ack_wait`s is no longer renewed: whoever holds it hangs.
const LONGEST_HOLD: u32 = 30;

/// Pulls one model's lane.
pub struct Puller {
    bus: Bus,
    /// For every delivery to be settled with.
    client: Arc<Client>,
    consumer: Consumer<pull::Config>,
    lane: Lane,
    slots: Arc<Semaphore>,
    held: Arc<AtomicU32>,
    /// In which deliveries are acknowledged.
    order: Arc<Order>,
    capacity: usize,
    jobs: mpsc::Sender<Delivery>,
}

impl Puller {
    /// Looks up the lane's consumer; creates nothing. `capacity` is the number of jobs this
    /// process may hold from the lane.
    pub async fn attach(
        bus: &Bus,
        model: &ModelName,
        lane: Lane,
        capacity: usize,
        jobs: mpsc::Sender<Delivery>,
    ) -> Result<Self, BusError> {
        let name = subjects::consumer(model, lane);
        let what = format!("consumer {name} on stream {JOBS}");
        let consumer = bus.lookup(&what, || bus.js.get_consumer_from_stream(&name, JOBS)).await?;
        let capacity = capacity.max(1);
        let (slots, held) = (Arc::new(Semaphore::new(capacity)), Arc::default());
        let client = Arc::new(bus.client.clone());
        Ok(Self { bus: bus.clone(), client, consumer, lane, slots, held, order: Arc::default(), capacity, jobs })
    }

    /// Jobs of the lane that are in hand.
    pub fn held(&self) -> Arc<AtomicU32> {
        self.held.clone()
    }

    /// Pulls until shutdown is ordered, then gives back what arrives too late.
    pub async fn run(self, shutdown: Shutdown) {
        let mut connections = self.bus.connections();
        let mut leases = Vec::new();
        while !shutdown.is_ordered() {
            connections.mark_unchanged();
            let inbox = self.bus.client.new_inbox();
            match self.bus.client.subscribe(inbox.clone()).await {
                Ok(subscription) => {
                    let mut session = PullSession::new(&self, inbox, subscription, &mut leases);
                    let end = tokio::select! {
                        end = session.run() => end,
                        () = until_reconnected(&mut connections) => SessionEnd::Reconnected,
                        () = shutdown.ordered() => SessionEnd::Shutdown,
                    };
                    tracing::debug!(lane = %self.lane, ?end, "pull session ended");
                    session.close().await;
                }
                Err(error) => tracing::warn!(lane = %self.lane, %error, "cannot subscribe for jobs"),
            }
            tokio::select! {
                () = tokio::time::sleep(REFUSAL_PAUSE) => {}
                () = shutdown.ordered() => {}
            }
        }
        self.renew_until_settled(leases).await;
    }

    /// While draining, jobs in hand still need their leases.
    async fn renew_until_settled(&self, mut leases: Vec<Lease>) {
        let every = self.renewal_interval();
        while !leases.is_empty() {
            tokio::time::sleep(Duration::from_millis(20).min(every)).await;
            renew(&mut leases, every).await;
        }
    }

    fn renewal_interval(&self) -> Duration {
        (self.bus.topology.ack_wait / 3).max(Duration::from_millis(10))
    }
}

async fn until_reconnected(connections: &mut tokio::sync::watch::Receiver<crate::connect::Connections>) {
    let before = connections.borrow().count;
    if connections.wait_for(|now| now.count != before).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Tells the broker about every job that is held for longer than `every`; forgets settled ones.
async fn renew(leases: &mut Vec<Lease>, every: Duration) {
    leases.retain(|lease| lease.is_live(every * 3 * LONGEST_HOLD));
    for lease in leases.iter().filter(|lease| lease.is_older_than(every)) {
        lease.renew().await;
    }
}

#[derive(Debug)]
enum SessionEnd {
    Silent,
    Refused,
    Unsubscribed,
    Reconnected,
    Shutdown,
    Closed,
}

/// The life of one inbox: its subscription and the credits that pulls on it hold.
struct PullSession<'a> {
    puller: &'a Puller,
    inbox: String,
    subscription: Subscriber,
    /// Slots offered to the server and not yet answered with a job.
    credits: Vec<OwnedSemaphorePermit>,
    heard: Instant,
    leases: &'a mut Vec<Lease>,
}

impl<'a> PullSession<'a> {
    fn new(puller: &'a Puller, inbox: String, subscription: Subscriber, leases: &'a mut Vec<Lease>) -> Self {
        Self { puller, inbox, subscription, credits: Vec::new(), heard: Instant::now(), leases }
    }

    async fn run(&mut self) -> SessionEnd {
        let every = self.puller.renewal_interval();
        let mut renewal = interval(every);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Few large pulls instead of many small ones: ask again once half the credits are used.
        let low_water = self.puller.capacity / 2;
        let step = (self.puller.capacity / 4).max(1) as u32;
        loop {
            let silent_at = self.heard + MISSED_HEARTBEAT;
            tokio::select! {
                message = self.subscription.next() => match message {
                    Some(message) => if let Some(end) = self.take(message).await { return end },
                    None => return SessionEnd::Unsubscribed,
                },
                free = self.puller.slots.clone().acquire_many_owned(step), if self.credits.len() <= low_water => {
                    let Ok(free) = free else { return SessionEnd::Closed };
                    if self.pull(free).await.is_err() {
                        return SessionEnd::Refused;
                    }
                }
                _ = renewal.tick() => renew(self.leases, every).await,
                () = tokio::time::sleep_until(silent_at), if !self.credits.is_empty() => return SessionEnd::Silent,
            }
        }
    }

    /// Asks for as many jobs as there are free slots.
    async fn pull(&mut self, mut free: OwnedSemaphorePermit) -> Result<(), pull::BatchRequestError> {
        let more = self.puller.slots.available_permits() as u32;
        if let Ok(rest) = self.puller.slots.clone().try_acquire_many_owned(more) {
            free.merge(rest);
        }
        let batch = free.num_permits();
        let request = pull::BatchConfig {
            batch,
            expires: Some(PULL_EXPIRY),
            idle_heartbeat: IDLE_HEARTBEAT,
            ..pull::BatchConfig::default()
        };
        while let Some(credit) = free.split(1) {
            self.credits.push(credit);
            if free.num_permits() == 0 {
                break;
            }
        }
        if self.credits.len() == batch {
            self.heard = Instant::now();
        }
        self.puller.consumer.request_batch(request, self.inbox.as_str().into()).await
    }

    /// A job, or a word from the server about the pull.
    async fn take(&mut self, message: Message) -> Option<SessionEnd> {
        self.heard = Instant::now();
        match message.status {
            None | Some(StatusCode::OK) => return self.deliver(message).await,
            Some(StatusCode::IDLE_HEARTBEAT) => {}
            Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => self.give_credit_back(&message),
            Some(status) => {
                let why = message.description.as_deref().unwrap_or_default();
                tracing::info!(lane = %self.puller.lane, %status, why, "pull refused");
                return Some(SessionEnd::Refused);
            }
        }
        None
    }

    async fn deliver(&mut self, message: Message) -> Option<SessionEnd> {
        // The server never sends more than was asked for; should it ever, the job waits its turn.
        let slot = match self.credits.pop() {
            Some(credit) => credit,
            None => self.puller.slots.clone().acquire_owned().await.ok()?,
        };
        let Some(delivery) =
            Delivery::read(&self.puller.client, &self.puller.order, message, Slot::taken(slot, &self.puller.held))
        else {
            tracing::warn!("a message that is no job arrived on a pull inbox");
            return None;
        };
        self.leases.push(delivery.lease());
        // The channel has room for every slot, so this never waits.
        if self.puller.jobs.send(delivery).await.is_err() { Some(SessionEnd::Closed) } else { None }
    }

    /// A pull ended with jobs still owed: those slots are free again.
    fn give_credit_back(&mut self, message: &Message) {
        let header = message.headers.as_ref().and_then(|map| map.get("Nats-Pending-Messages"));
        let owed = header.and_then(|value| value.as_str().parse().ok()).unwrap_or(self.credits.len());
        let left = self.credits.len().saturating_sub(owed);
        self.credits.truncate(left);
    }

    /// Stops the deliveries and returns what was already on its way.
    async fn close(mut self) {
        if self.subscription.unsubscribe().await.is_err() {
            return;
        }
        // Bounded: a connection that is down never confirms the end of a subscription.
        let rest = async {
            while let Some(message) = self.subscription.next().await {
                if message.status.is_some() {
                    continue;
                }
                let Some(slot) = self.credits.pop() else { break };
                if let Some(delivery) = Delivery::read(
                    &self.puller.client,
                    &self.puller.order,
                    message,
                    Slot::taken(slot, &self.puller.held),
                ) {
                    delivery.nak(Duration::ZERO).await;
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(200), rest).await;
    }
}
