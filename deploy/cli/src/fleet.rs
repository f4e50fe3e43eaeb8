//! `shoal fleet`: who runs how many workers, and why.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use serde_json::Value;
use shoal_nats::supervision::{Recorded, Supervision};
use shoal_shared::names::{ModelName, NodeId};
use shoal_shared::supervision::{LEASE, Member};

use crate::connect::NatsOptions;
use crate::scale::the_fleet;

/// `shoal fleet`
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    nats: NatsOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Supervisors, hosts and workers
    Status {
        /// The model; not needed when there is only one
        #[arg(long)]
        model: Option<ModelName>,
    },
    /// The latest decisions, each with its reason
    Explain {
        /// The model; not needed when there is only one
        #[arg(long)]
        model: Option<ModelName>,
        /// How many
        #[arg(long, default_value_t = 10)]
        last: u64,
        /// Print JSON, one decision a line, with everything they were made from
        #[arg(long)]
        json: bool,
    },
}

/// Runs the subcommand.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let bus = options.nats.connect("shoal-fleet").await?;
    let supervision = Supervision::open(&bus).await?;
    match options.command {
        Command::Status { model } => status(&supervision, &the_fleet(&supervision, model).await?).await,
        Command::Explain { model, last, json } => {
            let model = the_fleet(&supervision, model).await?;
            let decisions = supervision.decisions(&model, last).await?;
            if decisions.is_empty() {
                println!("{model}: nothing was decided yet");
            }
            decisions.iter().for_each(|recorded| explain(recorded, json));
            Ok(())
        }
    }
}

async fn status(supervision: &Supervision, model: &ModelName) -> anyhow::Result<()> {
    let record = supervision.read(model).await?.record;
    let how = match record.fixed {
        Some(workers) => format!("fixed at {workers} by `shoal scale`"),
        None => "decided by the policy".to_owned(),
    };
    println!("{model}: workers ordered: {} of at most {}, {how}", record.ordered(), record.max);
    println!(
        "{:<24} {:<16} {:>7} {:>6} {:>9} {:>9}  CPU",
        "supervisor", "host", "ordered", "ready", "starting", "draining"
    );
    for (id, member) in &record.members {
        let is_leader = record.leader.as_ref().map(NodeId::as_str) == Some(id.as_str());
        println!(
            "{:<24} {:<16} {:>7} {:>6} {:>9} {:>9}  {:.2} of {}{}{}",
            id.as_str(),
            member.host,
            member.ordered,
            member.ready,
            member.starting.len(),
            member.draining,
            member.busy,
            member.cores,
            if is_leader { "  decides" } else { "" },
            silence(member)
        );
    }
    for (worker, model) in &record.orders {
        println!("{worker} keeps {model}");
    }
    Ok(())
}

/// For people: whether a supervisor was there lately, as far as clocks agree.
pub(crate) fn is_silent(member: &Member) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let seconds = now.saturating_sub(member.renewed) / 1000;
    (seconds > LEASE.as_secs()).then_some(seconds)
}

fn silence(member: &Member) -> String {
    is_silent(member).map_or_else(String::new, |seconds| format!("  silent for {seconds} s"))
}

fn explain(recorded: &Recorded, json: bool) {
    let text = String::from_utf8_lossy(&recorded.json);
    if json {
        println!("{text}");
        return;
    }
    let decision: Value = serde_json::from_str(&text).unwrap_or_default();
    let ago = SystemTime::now().duration_since(recorded.at).unwrap_or_default().as_secs();
    let (from, to) = (&decision["from"], &decision["to"]);
    let step = if from == to { format!("{from} stay") } else { format!("{from} to {to}") };
    let reason = decision["reason"].as_str().unwrap_or("of another release");
    println!("{ago:>6} s ago  {step:<10} {reason}");
}
