//! The coordinator: gathers agents, compares clocks, starts them together, adds up what they see.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use shoal_nats::Bus;
use shoal_nats::agents::{Coordinator, Orders, Word};
use shoal_shared::names::NodeId;
use shoal_shared::process::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::clock::{self, Echo};
use super::roster::{LOST_AFTER, Roster};
use super::words::{Prepare, Prepared, Start, decode};
use crate::board::MAX_SLICES_WAITING;
use crate::environment;
use crate::measure::{Frame, Gather, gather, report};
use crate::report::{Generator, Report};
use crate::scenario::Scenario;
use crate::slice::Slice;
use crate::view::View;
use crate::watch::Watch;

/// Questions about an agent's clock.
const ECHOES: usize = 15;
/// From the order to start until the start: every agent has it by then.
const LEAD: Duration = Duration::from_millis(1500);
/// How long an agent may read images and warm up.
const PREPARATION: Duration = Duration::from_secs(120);
/// How long an agent may take to answer anything else.
const ANSWER: Duration = Duration::from_secs(5);

/// What is to be run by whom.
pub struct Plan {
    /// What was asked for.
    pub scenario: Scenario,
    /// What distinguishes it from other runs.
    pub label: Option<String>,
    /// Those who are coordinated together.
    pub group: NodeId,
    /// How many take part.
    pub agents: usize,
    /// How long they are awaited.
    pub patience: Duration,
}

/// Runs a scenario on agents.
pub async fn coordinate(bus: &Bus, plan: Plan, view: &mut dyn View, stop: Shutdown) -> anyhow::Result<Report> {
    let Plan { scenario, label, group, agents, patience } = plan;
    scenario.check().map_err(anyhow::Error::msg)?;
    let mut coordinator = Coordinator::listen(bus, group).await?;
    let orders = coordinator.orders();
    let names = assemble(&mut coordinator, agents, patience).await?;
    let mut clocks = Vec::new();
    for name in &names {
        clocks.push((name.clone(), compare_clocks(&orders, name).await?));
    }
    let warm_up = prepare(&orders, &names, &scenario).await?;
    let (watch, about) = Watch::new(&scenario.target).await?;
    let environment = environment::look(&scenario.target.url, about);

    let (start, at) = (Instant::now() + LEAD, clock::now() + LEAD.as_micros() as i64);
    for (name, offset) in &clocks {
        let order = serde_json::to_vec(&Start { at: at + offset })?;
        let answer = orders.give(name, "start", order, ANSWER).await?;
        if answer != b"ok".as_slice() {
            bail!("agent {name}: {}", String::from_utf8_lossy(&answer));
        }
    }
    let (sender, slices) = mpsc::channel(MAX_SLICES_WAITING);
    let roster = Roster::new(&clocks, start);
    let tasks = scenario.names().len();
    let listening = tokio::spawn(listen(coordinator, Listening { roster, start, tasks, sender }));
    let stopping = tokio::spawn(pass_on_stop(orders, names, stop.clone()));
    // A lost agent is known so late; until then its seconds may still come.
    let late = LOST_AFTER.as_secs() as u32 + 1;
    let found = gather(Gather { scenario: &scenario, slices, watch, start, patience: late }, view, &stop).await;
    stopping.abort();
    let roster = listening.await.context("listening to agents")?;
    let (cores, busiest, logins) = roster.sums();
    let generator = Generator { cores, busiest, logins, warm_up, agents: roster.reports(), ..Generator::default() };
    Ok(report(Frame { scenario, label, environment }, found, generator))
}

/// The first agents that say they are there.
async fn assemble(coordinator: &mut Coordinator, count: usize, patience: Duration) -> anyhow::Result<Vec<NodeId>> {
    let mut names: Vec<NodeId> = Vec::new();
    let heard = tokio::time::timeout(patience, async {
        while names.len() < count {
            let Some(word) = coordinator.word().await else { break };
            if word.kind == "here" && !names.contains(&word.agent) {
                names.push(word.agent);
            }
        }
    });
    let _ = heard.await;
    if names.len() < count {
        bail!("{} of {count} agents came within {} s", names.len(), patience.as_secs());
    }
    Ok(names)
}

async fn compare_clocks(orders: &Orders, name: &NodeId) -> anyhow::Result<i64> {
    let mut echoes = Vec::new();
    for _ in 0..ECHOES {
        let asked = clock::now();
        let answer = orders.give(name, "clock", Vec::new(), ANSWER).await?;
        let theirs = std::str::from_utf8(&answer)?.parse().with_context(|| format!("the clock of agent {name}"))?;
        echoes.push(Echo { asked, theirs, answered: clock::now() });
    }
    Ok(clock::offset(&echoes))
}

async fn prepare(orders: &Orders, names: &[NodeId], scenario: &Scenario) -> anyhow::Result<u64> {
    let run = fastrand::u64(..);
    let mut preparing = JoinSet::new();
    for (index, name) in names.iter().cloned().enumerate() {
        let order = serde_json::to_vec(&Prepare { scenario: scenario.clone(), run, index, of: names.len() })?;
        let orders = orders.clone();
        preparing.spawn(async move {
            let answer = orders.give(&name, "prepare", order, PREPARATION).await?;
            let Prepared { warm_up, error } = serde_json::from_slice(&answer)?;
            match error {
                Some(error) => bail!("agent {name}: {error}"),
                None => Ok(warm_up),
            }
        });
    }
    let mut warm_up = 0;
    while let Some(prepared) = preparing.join_next().await {
        warm_up += prepared??;
    }
    Ok(warm_up)
}

struct Listening {
    roster: Roster,
    start: Instant,
    tasks: usize,
    sender: mpsc::Sender<Slice>,
}

/// Until every agent is done or lost.
async fn listen(mut coordinator: Coordinator, listening: Listening) -> Roster {
    let Listening { mut roster, start, tasks, sender } = listening;
    let mut look = tokio::time::interval(Duration::from_millis(500));
    while !roster.is_over() {
        let word = tokio::select! {
            word = coordinator.word() => word,
            _ = look.tick() => {
                roster.look(start, Instant::now());
                continue;
            }
        };
        let Some(Word { agent, kind, payload }) = word else { break };
        if !roster.hear(&agent, Instant::now()) {
            continue;
        }
        match kind.as_str() {
            "slice" => {
                let Ok(slice) = decode(&payload, tasks) else { continue };
                let requests = slice.tasks.iter().flat_map(|task| task.outcomes.values()).sum();
                roster.count(&agent, requests);
                let _ = sender.send(slice).await;
            }
            "done" => {
                if let Ok(done) = serde_json::from_slice(&payload) {
                    roster.finish(&agent, done);
                }
            }
            _ => {}
        }
    }
    roster
}

async fn pass_on_stop(orders: Orders, names: Vec<NodeId>, stop: Shutdown) {
    stop.ordered().await;
    for name in &names {
        // One that is lost does not answer; the others must hear it all the same.
        let _ = orders.give(name, "stop", Vec::new(), Duration::from_millis(500)).await;
    }
}
