//! `agent` and `coordinate`: one run from several machines or addresses.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use shoal_nats::{Bus, BusConfig};
use shoal_shared::names::NodeId;

use super::on_signal;
use super::run::{Changes, Output, until_signalled};
use crate::distributed::agent::{Identity, serve};
use crate::distributed::coordinator::{self, Plan};

#[derive(Args)]
struct Meeting {
    /// NATS server over which agents and coordinator meet; not the target's, if that matters to it
    #[arg(long, env = "SHOAL_NATS_URL", default_value = "nats://127.0.0.1:4222")]
    nats_url: String,
    /// Several groups can share a server
    #[arg(long, default_value = "loadtest")]
    group: NodeId,
}

#[derive(Args)]
pub(super) struct Agent {
    #[command(flatten)]
    meeting: Meeting,
    /// Its name in the report; by default one of its own
    #[arg(long)]
    name: Option<NodeId>,
    /// Address that its connections come from; several: in turn
    #[arg(long = "source")]
    sources: Vec<IpAddr>,
}

#[derive(Args)]
pub(super) struct Coordinate {
    /// The scenario; its users or arrivals are divided between the agents, which read images from
    /// the same paths
    scenario: PathBuf,
    #[command(flatten)]
    meeting: Meeting,
    /// How many agents take part
    #[arg(long, default_value_t = 2)]
    agents: usize,
    /// Seconds to wait for them
    #[arg(long, default_value_t = 15)]
    patience: u64,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    output: Output,
}

/// Most agents of a run.
const MAX_AGENTS: usize = 200;
/// How long a NATS server that is starting is given.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

async fn connect(meeting: &Meeting, name: &str) -> anyhow::Result<Bus> {
    let config = BusConfig { url: meeting.nats_url.clone(), ..BusConfig::default() };
    Ok(Bus::connect(&config, name, CONNECT_PATIENCE).await?)
}

pub(super) async fn agent(agent: Agent) -> anyhow::Result<u8> {
    let bus = connect(&agent.meeting, "shoal-loadtest agent").await?;
    let id = agent.name.unwrap_or_else(|| NodeId::mint("agent"));
    eprintln!("agent {id} of group {} waits for runs at {}", agent.meeting.group, agent.meeting.nats_url);
    serve(&bus, Identity { group: agent.meeting.group, id, sources: agent.sources }, on_signal()).await?;
    Ok(0)
}

pub(super) async fn coordinate(asked: Coordinate) -> anyhow::Result<u8> {
    if asked.agents == 0 || asked.agents > MAX_AGENTS {
        bail!("--agents {}: 1 to {MAX_AGENTS} are taken", asked.agents);
    }
    let scenario = asked.changes.apply(&asked.scenario)?;
    let bus = connect(&asked.meeting, "shoal-loadtest coordinator").await?;
    let plan = Plan {
        scenario,
        label: asked.output.label(),
        group: asked.meeting.group,
        agents: asked.agents,
        patience: Duration::from_secs(asked.patience),
    };
    let mut view = asked.output.view();
    let report = coordinator::coordinate(&bus, plan, view.as_mut(), until_signalled()).await?;
    asked.output.deliver(&report)
}
