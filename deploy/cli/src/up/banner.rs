//! What a person reads when the fleet is ready.

use std::net::SocketAddr;
use std::path::Path;

use super::model::Chosen;

/// URLs and three commands to try.
pub(super) fn print(address: SocketAddr, nats: &str, chosen: &Chosen, workers: usize, data: &Path) {
    let Chosen { name, title, why } = chosen;
    let plural = if workers == 1 { "worker" } else { "workers" };
    println!(
        "
Shoal is ready.

  page      http://{address}/
  predict   http://{address}/predict
  metrics   http://{address}/metrics
  NATS      {nats}
  model     {name}: {title} ({why})
            another: --model NAME (`shoal models list`)
  workers   {workers} {plural}
  data      {} (logs in logs/)

Try:

  curl -F file=@PHOTO http://{address}/predict
  nats --server {nats} req predict.{name} --force-stdin --no-templates --raw < PHOTO
  curl http://{address}/metrics

Ctrl-C drains and stops everything.",
        data.display()
    );
}
