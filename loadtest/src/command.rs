//! The command line.

mod compare;
mod distributed;
mod find_capacity;
mod practice;
mod quick;
mod run;

use clap::{Parser, Subcommand};
use shoal_shared::process::shutdown::{Shutdown, signalled};

pub(crate) use find_capacity::{Capacity, Tried};

/// Exit code when a threshold does not hold, as k6 has it.
pub const EXIT_THRESHOLD: u8 = 99;
/// Exit code when the run was interrupted; its report is written all the same.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Experiments on an HTTP predict service, and honest reports of them.
///
/// Without a command it posts images over so many connections, each sending the next when the last
/// is answered, and prints the figures.
#[derive(Parser)]
#[command(name = "shoal-loadtest", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    quick: quick::Quick,
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario and write its report
    Run(run::Run),
    /// Search the highest rate that holds a promise
    FindCapacity(find_capacity::FindCapacity),
    /// Put runs side by side, and say which differences are more than chance
    Compare(compare::Compare),
    /// Write a run's report again from its report.json
    Report(compare::Render),
    /// Drive a part of the runs that a coordinator starts
    Agent(distributed::Agent),
    /// Run a scenario on several agents at the same time, and write one report
    Coordinate(distributed::Coordinate),
    /// Serve with known delays, stalls and errors, to check a load generator against
    Practice(practice::Practice),
}

/// Does what was asked; gives the exit code.
pub async fn execute(cli: Cli) -> anyhow::Result<u8> {
    rlimit();
    match cli.command {
        None => quick::quick(cli.quick).await,
        Some(Command::Run(run)) => run::run(run).await,
        Some(Command::FindCapacity(asked)) => find_capacity::find_capacity(asked).await,
        Some(Command::Compare(asked)) => compare::compare(asked),
        Some(Command::Report(asked)) => compare::render(asked),
        Some(Command::Agent(asked)) => distributed::agent(asked).await,
        Some(Command::Coordinate(asked)) => distributed::coordinate(asked).await,
        Some(Command::Practice(practice)) => practice::practice(practice).await,
    }
}

/// An order that is given at SIGINT or SIGTERM; a second signal ends the process.
fn on_signal() -> Shutdown {
    let shutdown = Shutdown::new();
    let order = shutdown.clone();
    tokio::spawn(async move {
        signalled().await;
        order.order();
    });
    shutdown
}

/// Every connection needs a descriptor: as many as may be had.
fn rlimit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
