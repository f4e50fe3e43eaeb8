//! `shoal models versions`: what was pushed, what each version is for, and the last changes.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use shoal_nats::Bus;
use shoal_nats::catalog::Catalog;
use shoal_shared::catalog::{CatalogRecord, Role};
use shoal_shared::names::{ModelName, Version};

use super::rollout::never_pushed;

/// Prints a model's record.
pub(super) async fn versions(name: &ModelName, json: bool, bus: &Bus) -> anyhow::Result<()> {
    let record = Catalog::open(bus).await?.read(name).await?.with_context(|| never_pushed(name))?;
    if json {
        println!("{}", serde_json::to_string(&record)?);
        return Ok(());
    }
    println!("{:<12} {:<16} {:>10} {:>14}  DIGEST", "VERSION", "ROLE", "MB", "PUSHED");
    let mut versions: Vec<&Version> = record.versions.keys().collect();
    // Numbers by their value, words after them.
    versions.sort_by_key(|version| (version.as_str().parse::<u32>().unwrap_or(u32::MAX), version.as_str()));
    for version in versions {
        let pushed = &record.versions[version];
        let (megabytes, ago) = (pushed.bytes as f64 / 1e6, ago(pushed.at));
        println!("{version:<12} {:<16} {megabytes:>10.1} {ago:>14}  {}", role(&record, version), pushed.digest);
    }
    println!("\nlast changes:");
    for change in &record.log {
        println!("{:>14}  {:<28} {}", ago(change.at), change.what, change.why);
    }
    Ok(())
}

fn role(record: &CatalogRecord, version: &Version) -> String {
    let share = |share: &Option<shoal_shared::catalog::Share>| share.as_ref().map_or(0, |share| share.percent);
    match record.role(version) {
        None => "-".into(),
        Some(Role::Canary) => format!("canary {} %", share(&record.canary)),
        Some(Role::Shadow) => format!("shadow {} %", share(&record.shadow)),
        Some(role) => role.as_str().into(),
    }
}

fn ago(at: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    match now.saturating_sub(at) / 1000 {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds @ 120..7200 => format!("{} min ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}
