//! An agent: does one run after another, as it is told.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use shoal_nats::Bus;
use shoal_nats::agents::{Agent, Order, Teller};
use shoal_shared::names::NodeId;
use shoal_shared::process::host::process_cpu;
use shoal_shared::process::shutdown::Shutdown;

use super::clock;
use super::words::{Done, Prepare, Prepared, Start, encode};
use crate::engine::Engine;
use crate::run::{Part, drive};

/// How often an agent says that it is there.
pub(super) const HERE: Duration = Duration::from_millis(500);

/// Who an agent is.
pub struct Identity {
    /// Those who are coordinated together.
    pub group: NodeId,
    /// Itself.
    pub id: NodeId,
    /// Addresses that its connections come from, instead of the scenario's.
    pub sources: Vec<IpAddr>,
}

/// A run that waits for its start, or goes on.
struct Ready {
    engine: Arc<Engine>,
    part: Part,
    stop: Shutdown,
}

/// Takes part in runs until shutdown is ordered.
pub async fn serve(bus: &Bus, identity: Identity, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut agent = Agent::join(bus, identity.group, identity.id).await?;
    let teller = agent.teller();
    let mut here = tokio::time::interval(HERE);
    let mut run: Option<Ready> = None;
    loop {
        let order = tokio::select! {
            _ = here.tick() => {
                let _ = teller.tell("here", Vec::new()).await;
                continue;
            }
            order = agent.order() => order.context("the connection to NATS is closed")?,
            () = shutdown.ordered() => break,
        };
        let answer = match order.kind.as_str() {
            "clock" => clock::now().to_string().into_bytes(),
            "prepare" => {
                // The run before, if its coordinator is gone, ends here.
                run.take().inspect(|run| run.stop.order());
                let prepared = prepare(&order, &identity.sources).await;
                let (ready, answer) = match prepared {
                    Ok((ready, warm_up)) => (Some(ready), Prepared { warm_up, error: None }),
                    Err(error) => (None, Prepared { warm_up: 0, error: Some(format!("{error:#}")) }),
                };
                run = ready;
                serde_json::to_vec(&answer)?
            }
            "start" => match start(&order, run.as_ref(), &teller).await {
                Ok(()) => b"ok".to_vec(),
                Err(error) => format!("{error:#}").into_bytes(),
            },
            "stop" => {
                run.as_ref().inspect(|run| run.stop.order());
                b"ok".to_vec()
            }
            other => format!("unknown order `{other}`").into_bytes(),
        };
        agent.answer(&order, answer).await?;
    }
    run.inspect(|run| run.stop.order());
    bus.flush().await;
    Ok(())
}

async fn prepare(order: &Order, sources: &[IpAddr]) -> anyhow::Result<(Ready, u64)> {
    let Prepare { mut scenario, run, index, of } = serde_json::from_slice(&order.payload)?;
    if !sources.is_empty() {
        scenario.target.sources = sources.to_vec();
    }
    scenario.check().map_err(anyhow::Error::msg)?;
    let engine = Arc::new(Engine::new(scenario, run).await?);
    let warm_up = engine.warm_up().await?;
    Ok((Ready { engine, part: Part::new(index, of), stop: Shutdown::new() }, warm_up))
}

/// Longest wait for a start.
const LONGEST_LEAD: Duration = Duration::from_secs(60);

async fn start(order: &Order, run: Option<&Ready>, teller: &Teller) -> anyhow::Result<()> {
    let Start { at } = serde_json::from_slice(&order.payload)?;
    let run = run.context("nothing was prepared")?;
    let start = clock::moment(at);
    if start > Instant::now() + LONGEST_LEAD {
        bail!("the start is more than a minute ahead");
    }
    let (engine, teller, cpu) = (run.engine.clone(), teller.clone(), process_cpu());
    let mut slices = drive(engine.clone(), run.part, start, run.stop.clone()).await;
    tokio::spawn(async move {
        while let Some(slice) = slices.recv().await {
            if let Ok(word) = encode(&slice) {
                let _ = teller.tell("slice", word).await;
            }
        }
        let seconds = start.elapsed().as_secs_f64().max(0.001);
        let logins = engine.board.logins.load(Ordering::Relaxed);
        let done = Done { cores: (process_cpu() - cpu) / seconds, logins };
        if let Ok(word) = serde_json::to_vec(&done) {
            let _ = teller.tell("done", word).await;
        }
    });
    Ok(())
}
