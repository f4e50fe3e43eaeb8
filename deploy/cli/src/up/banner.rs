//! What a person reads when the fleet is ready.

use std::net::SocketAddr;
use std::path::Path;

use shoal_shared::say;

use super::model::Chosen;

/// What was started.
pub(super) struct Ready<'a> {
    /// Where the gateway listens.
    pub(super) address: SocketAddr,
    /// The broker.
    pub(super) nats: &'a str,
    /// Prometheus, when it runs.
    pub(super) prometheus: Option<String>,
    /// Fewest and most workers.
    pub(super) workers: (usize, usize),
    /// The data folder.
    pub(super) data: &'a Path,
    /// Whether the account of the demo is there.
    pub(super) demo: bool,
}

/// URLs and commands to try.
pub(super) fn print(fleet: &Ready<'_>, chosen: &[Chosen]) {
    let Some(Chosen { name, title, why }) = chosen.first() else { return };
    let others: Vec<&str> = chosen[1..].iter().map(|other| other.name.as_str()).collect();
    let others = if others.is_empty() { String::new() } else { format!(", and {}", others.join(", ")) };
    let Ready { address, nats, prometheus, workers, data, demo } = fleet;
    let workers = match workers {
        (1, 1) => "1 worker".to_owned(),
        (min, max) if min == max => format!("{max} workers"),
        (min, max) => format!("{min} to {max} workers, as many as are needed (`shoal fleet explain`)"),
    };
    let prometheus = prometheus.as_ref().map(|url| format!("\n  Prometheus {url}")).unwrap_or_default();
    let accounts = match (demo, first_admin(data)) {
        (true, _) => {
            "\n  accounts   DEMO: anybody may sign in as admin@example.com with the password `admin`".to_owned()
        }
        (false, Some(admin)) => format!("\n  accounts   {admin}"),
        (false, None) => String::new(),
    };
    // Commands find a gateway at the usual address by themselves.
    let url = if address.port() == 8000 { String::new() } else { format!(" --url http://{address}") };
    let elsewhere = if nats.ends_with(":4222") {
        String::new()
    } else {
        format!("\n  shoal cache stats --nats-url {nats}        so do scale, fleet, models, users and dead")
    };
    say!(
        "
Shoal is ready.

  page       http://{address}/
  predict    http://{address}/predict
  metrics    http://{address}/metrics{prometheus}
  NATS       {nats}
  model      {name}: {title} ({why}){others}
             another: --model NAME (`shoal models list`)
  workers    {workers}
  data       {} (logs in logs/){accounts}

Try:

  curl -F file=@PHOTO http://{address}/predict
  nats --server {nats} req predict.{name} --force-stdin --no-templates --raw < PHOTO
  shoal top{url}        watch it
  shoal why{url}        which part is the bottleneck, and what would help{elsewhere}

Ctrl-C drains and stops everything.",
        data.display()
    );
}

/// The first admin, when the gateway has just created one.
fn first_admin(data: &Path) -> Option<String> {
    let log = std::fs::read_to_string(data.join("logs/gateway.log")).ok()?;
    Some(log.lines().find(|line| line.starts_with("First admin:"))?.to_owned())
}
