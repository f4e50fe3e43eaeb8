//! `shoal dead`: jobs that could not be done, looked at and given another life.

use anyhow::{Context, bail};
use clap::Subcommand;
use shoal_nats::Bus;
use shoal_nats::dead::Letter;

use crate::connect::NatsOptions;

/// `shoal dead`
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    nats: NatsOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every dead letter: job, queue, attempts, reason
    List,
    /// One dead letter with its headers
    Show {
        /// Id of the job, or the letter's place in the list
        id: String,
        /// Write the image that it carried to this file
        #[arg(long)]
        save: Option<std::path::PathBuf>,
    },
    /// Put a dead job back into its queue, under the id it had
    Replay {
        /// Id of the job, or the letter's place in the list
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// Every dead letter
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
    /// Remove every dead letter
    Purge,
}

/// Runs the subcommand.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let bus = options.nats.connect("shoal-dead").await?;
    match options.command {
        Command::List => list(&bus).await,
        Command::Show { id, save } => show(&find(&bus, &id).await?, save),
        Command::Replay { id: Some(id), .. } => replay(&bus, &find(&bus, &id).await?).await,
        Command::Replay { id: None, .. } => replay_all(&bus).await,
        Command::Purge => {
            println!("removed {} dead letters", bus.purge_dead().await?);
            Ok(())
        }
    }
}

async fn find(bus: &Bus, id: &str) -> anyhow::Result<Letter> {
    let found = bus.dead_letter(id).await?;
    found.with_context(|| format!("there is no dead letter `{id}`: `shoal dead list` shows what there is"))
}

async fn list(bus: &Bus) -> anyhow::Result<()> {
    let (mut place, mut count) = (0, 0);
    while let Some(letter) = bus.next_dead_letter(place).await? {
        if count == 0 {
            println!("{:>6}  {:24}  {:20}  {:>8}  reason", "place", "job", "model.lane", "attempts");
        }
        (place, count) = (letter.place, count + 1);
        let lane = format!("{}.{}", letter.model, letter.lane);
        println!("{:>6}  {:24}  {lane:20}  {:>8}  {}", letter.place, letter.id, letter.attempts, letter.reason);
    }
    if count == 0 {
        println!("no dead letters");
    }
    Ok(())
}

fn show(letter: &Letter, save: Option<std::path::PathBuf>) -> anyhow::Result<()> {
    let worker = if letter.worker.is_empty() { "unknown" } else { &letter.worker };
    println!("job          {}", letter.id);
    println!("queue        jobs.{}.{}", letter.model, letter.lane);
    println!("reason       {}", letter.reason);
    println!("attempts     {}", letter.attempts);
    println!("last worker  {worker}");
    println!("buried       {}", letter.buried);
    println!("payload      {} bytes", letter.payload.len());
    for (name, value) in letter.headers() {
        println!("header       {name}: {value}");
    }
    if let Some(path) = save {
        std::fs::write(&path, &letter.payload).with_context(|| path.display().to_string())?;
        println!("saved to     {}", path.display());
    }
    Ok(())
}

async fn replay(bus: &Bus, letter: &Letter) -> anyhow::Result<()> {
    let sequence = bus.replay(letter).await?;
    println!("job {} is back in jobs.{}.{} as number {sequence}", letter.id, letter.model, letter.lane);
    Ok(())
}

async fn replay_all(bus: &Bus) -> anyhow::Result<()> {
    let (mut place, mut count) = (0, 0u64);
    while let Some(letter) = bus.next_dead_letter(place).await? {
        place = letter.place;
        replay(bus, &letter).await?;
        count += 1;
    }
    if count == 0 {
        bail!("no dead letters");
    }
    Ok(())
}
