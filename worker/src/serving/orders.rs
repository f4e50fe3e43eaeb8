//! Which model the fleet wants this worker to keep loaded: written by whoever decides for the fleet, read
//! here once a second. Only where there are several models.

use std::time::Duration;

use shoal_nats::Bus;
use shoal_nats::supervision::Supervision;
use shoal_shared::names::{ModelName, NodeId};
use shoal_shared::process::shutdown::Shutdown;
use tokio::sync::watch;

/// How often the fleet's record is read.
const INTERVAL: Duration = Duration::from_secs(1);

/// Follows the orders of a fleet for one worker. While the record cannot be read, the last one holds.
pub(crate) fn follow(
    bus: &Bus,
    fleet: ModelName,
    me: NodeId,
    shutdown: &Shutdown,
) -> watch::Receiver<Option<ModelName>> {
    let (orders, followed) = watch::channel(None);
    let (bus, shutdown) = (bus.clone(), shutdown.clone());
    tokio::spawn(async move {
        let Ok(supervision) = Supervision::open(&bus).await else { return };
        while !shutdown.is_ordered() {
            if let Ok(read) = supervision.read(&fleet).await {
                let order = read.record.orders.get(&me).cloned();
                orders.send_if_modified(|known| std::mem::replace(known, order.clone()) != order);
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = shutdown.ordered() => return,
            }
        }
    });
    followed
}
