//! `shoal models`: what is there, what can be had, adding to it; versions, and which of them answers.

mod add;
pub mod catalogue;
pub mod download;
mod list;
pub mod pull;
mod push;
pub mod quantize;
mod rollout;
mod synth;
mod versions;

use std::path::PathBuf;

use clap::Subcommand;
use shoal_nats::Bus;
use shoal_shared::names::{ModelName, Version};
use shoal_worker::model::ModelStore;

use crate::connect::NatsOptions;
use push::What;
use quantize::Quantize;
use rollout::Beside;

/// `shoal models`
#[derive(clap::Args)]
pub struct Options {
    /// Folder with models
    #[arg(long, global = true, default_value = ".shoal/models")]
    models_dir: PathBuf,
    #[command(flatten)]
    nats: NatsOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Models on this machine, and those of the catalogue
    List,
    /// Fetch a model of the catalogue: resumes, verifies size and SHA-256
    Pull {
        /// Name in the catalogue
        name: ModelName,
    },
    /// Add an ONNX file with its manifest
    Add {
        /// The ONNX file
        file: PathBuf,
        /// Its manifest; labels are looked for beside it
        #[arg(long)]
        manifest: PathBuf,
    },
    /// Show a model: manifest, digest, labels
    Show {
        /// Name
        name: ModelName,
    },
    /// Write a synthetic model: real cost, meaningless labels
    Synth {
        /// Architecture
        #[arg(value_parser = ["resnet50"])]
        architecture: String,
        /// Weights and activations in 8 bits
        #[arg(long)]
        int8: bool,
        /// Seed of the random weights
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Make a model of 8 bits from one in floating point and images like those it will see
    Quantize(Quantize),
    #[command(flatten)]
    Versions(VersionCommand),
}

/// What is kept on the bus.
#[derive(Subcommand)]
enum VersionCommand {
    /// Push a version of a model, from where workers fetch it
    Push(What),
    /// The versions of a model, what each is for, and the last changes
    Versions {
        /// Name
        name: ModelName,
        /// The record as JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a version answer: workers load it first, no request fails
    Promote {
        /// Name
        name: ModelName,
        /// The version
        version: Version,
    },
    /// Let a version answer a part of the images; it is withdrawn by itself when it fails
    Canary(Beside),
    /// Ask a version beside the live one, and compare
    Shadow(Beside),
    /// Back to the version that answered before
    Rollback {
        /// Name
        name: ModelName,
    },
    /// Forget a version that is not used: its files and its queue
    Remove {
        /// Name
        name: ModelName,
        /// The version
        version: Version,
    },
}

/// Runs the subcommand.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let store = ModelStore::open(options.models_dir);
    match options.command {
        Command::List => list::list(&store),
        Command::Pull { name } => pull::by_name(&name, &store),
        Command::Add { file, manifest } => add::add(&file, &manifest, &store),
        Command::Show { name } => list::show(&name, &store),
        Command::Synth { int8, seed, .. } => synth::resnet50(int8, seed, &store),
        Command::Quantize(wanted) => quantize::run(&wanted, &store),
        Command::Versions(command) => {
            let bus = options.nats.connect("shoal-models").await?;
            on_bus(command, &store, &bus).await
        }
    }
}

async fn on_bus(command: VersionCommand, store: &ModelStore, bus: &Bus) -> anyhow::Result<()> {
    match command {
        VersionCommand::Push(what) => push::push(what, store, bus).await,
        VersionCommand::Versions { name, json } => versions::versions(&name, json, bus).await,
        VersionCommand::Promote { name, version } => rollout::promote(&name, &version, bus).await,
        VersionCommand::Canary(beside) => rollout::canary(&beside, bus).await,
        VersionCommand::Shadow(beside) => rollout::shadow(&beside, bus).await,
        VersionCommand::Rollback { name } => rollout::roll_back(&name, bus).await,
        VersionCommand::Remove { name, version } => rollout::remove(&name, &version, bus).await,
    }
}
