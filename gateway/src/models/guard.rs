//! Takes a version out of service that fails: a canary, or a live one that has just been promoted. Every
//! gateway looks; the one that changes the record first says so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use shoal_nats::catalog::Catalog;
use shoal_shared::catalog::{CatalogRecord, Role};
use shoal_shared::names::{ModelName, Version};
use shoal_shared::process::shutdown::Shutdown;
use tokio::time::MissedTickBehavior;

use crate::predict::Predictor;

/// How often versions are judged.
const INTERVAL: Duration = Duration::from_millis(250);

/// A withdrawal as an event, beside scaling's decisions.
#[derive(Serialize)]
struct Event<'a> {
    model: &'a ModelName,
    action: &'static str,
    from: &'a Version,
    to: Option<&'a Version>,
    reason: &'a str,
}

/// Judges until shutdown is ordered.
pub async fn run(predictor: Predictor, catalog: Catalog, shutdown: Shutdown) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shutdown.ordered() => return,
        }
        let records = predictor.models().catalog().records();
        for (model, record) in records.iter() {
            for (version, role) in record.in_use() {
                if let Some(why) = verdict(&predictor, model, record, (&version, role)) {
                    withdraw(&predictor, &catalog, (model, &version), &why).await;
                }
            }
        }
        predictor.models().forget_outcomes();
    }
}

/// Why a version has to go; `None` for one that works, and for one that nobody could stand in for.
fn verdict(
    predictor: &Predictor,
    model: &ModelName,
    record: &CatalogRecord,
    (version, role): (&Version, Role),
) -> Option<String> {
    let models = predictor.models();
    let instead = match role {
        Role::Canary => record.live.as_ref()?,
        Role::Live if models.is_fresh(record) => record.previous.as_ref()?,
        _ => return None,
    };
    let (served, instead) = (model.served(version).ok()?, model.served(instead).ok()?);
    if let Some((worker, reason)) = models.fleet().failed(&served)
        && models.fleet().ready(Some(&served)) == 0
    {
        return Some(format!("{worker} cannot serve it: {reason}"));
    }
    models.verdict(&served, &instead)
}

async fn withdraw(predictor: &Predictor, catalog: &Catalog, (model, version): (&ModelName, &Version), why: &str) {
    let changed = catalog.change(model, |record, at| Ok(record.withdraw(version, why, at))).await;
    match changed {
        // Another gateway was faster.
        Ok((false, _)) => {}
        Ok((true, record)) => {
            let to = record.live.as_ref();
            tracing::warn!(model.name = %model, %version, instead = ?to, reason = why, "version withdrawn");
            predictor.metrics().rollout.rollbacks.with_label_values(&[model.as_str()]).inc();
            let event = Event { model, action: "rollback", from: version, to, reason: why };
            if let Ok(body) = serde_json::to_vec(&event) {
                let _ = catalog.publish(model, body).await;
            }
        }
        Err(error) => tracing::warn!(%error, model.name = %model, %version, "a failing version stays for now"),
    }
}

/// Whether a version was promoted within `fresh_for`, by this host's clock.
pub(super) fn is_fresh(record: &CatalogRecord, fresh_for: Duration) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    now.saturating_sub(record.live_since) < fresh_for.as_millis() as u64
}
