//! `shoal`: the operator's command.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use shoal_cli::{cache, dead, fleet, keys, models, plan, provision, release, scale, top, tune, up, users, why};
use shoal_shared::process::{EXIT_UNAVAILABLE, follow_parent, output, set_timer_slack, telemetry};
use shoal_worker::model::prepare_environment;

#[derive(Parser)]
#[command(name = "shoal", version, about = "Image inference on NATS JetStream: one command, no lost upload")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start NATS, gateway and workers on this machine; Ctrl-C drains and stops them
    Up(up::Options),
    /// Name the bottleneck, say why, and what would help
    Why(why::Options),
    /// Watch the fleet in the terminal
    Top(top::Options),
    /// Order a number of workers, or leave it to the policy
    Scale(scale::Options),
    /// Who runs how many workers, and why
    Fleet(fleet::Options),
    /// How many workers a rate and a delay would need
    Plan(plan::Options),
    /// Find the fastest way to compute a model on this machine that keeps its answers
    Tune(tune::Options),
    /// One trial of `tune`, in a process of its own
    #[command(hide = true)]
    TuneTrial(tune::Worked),
    /// Look after models
    Models(models::Options),
    /// Look into the prediction cache, or empty it
    Cache(cache::Options),
    /// Look after accounts
    Users(users::Options),
    /// Look at jobs that could not be done, replay or remove them
    Dead(dead::Options),
    /// Make the keys by which gateways, workers and people are known to NATS
    Keys(keys::Options),
    /// Create or update streams, consumers and buckets on a NATS server
    Provision(provision::Options),
    /// Print a completion script, as in: shoal completions bash > ~/.local/share/bash-completion/completions/shoal
    Completions(release::Completions),
    /// Write the manual pages
    #[command(hide = true)]
    Man(release::Man),
    /// Run a program that ends when this process's parent does
    #[command(hide = true)]
    Follow {
        /// How late its timers may be
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        timer_slack: Option<Duration>,
        program: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    if let Err(error) = prepare_environment() {
        eprintln!("shoal: {error}");
        return ExitCode::from(EXIT_UNAVAILABLE);
    }
    let done = match Cli::parse().command {
        Command::Follow { timer_slack, program, args } => {
            follow_parent();
            timer_slack.into_iter().for_each(set_timer_slack);
            Err(std::process::Command::new(program).args(args).exec().into())
        }
        command => run(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shoal: {error:#}");
            ExitCode::from(EXIT_UNAVAILABLE)
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    telemetry::init_with("warn");
    if !matches!(command, Command::Up(_)) {
        output::end_with_reader();
    }
    // Children are tied to the thread that started them, so there is one thread only.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        Command::Up(options) => runtime.block_on(up::run(options)),
        Command::Cache(options) => runtime.block_on(cache::run(options)),
        Command::Users(options) => runtime.block_on(users::run(options)),
        Command::Dead(options) => runtime.block_on(dead::run(options)),
        Command::Provision(options) => runtime.block_on(provision::run(options)),
        Command::Completions(options) => {
            release::complete(&options, Cli::command());
            Ok(())
        }
        Command::Man(options) => release::write_pages(&options, Cli::command()),
        Command::Keys(options) => keys::run(&options),
        Command::Models(options) => runtime.block_on(models::run(options)),
        Command::Why(options) => why::run(&options),
        Command::Scale(options) => runtime.block_on(scale::run(options)),
        Command::Fleet(options) => runtime.block_on(fleet::run(options)),
        Command::Plan(options) => plan::run(&options),
        Command::Tune(options) => tune::run(&options),
        Command::TuneTrial(tune::Worked {}) => tune::work(),
        Command::Top(options) => top::run(&options),
        Command::Follow { .. } => Ok(()),
    }
}
