//! `shoal models`: what is there, what can be had, and adding to it.

mod add;
pub mod catalogue;
pub mod download;
mod list;
pub mod pull;
mod synth;

use std::path::PathBuf;

use clap::Subcommand;
use shoal_shared::names::ModelName;
use shoal_worker::model::ModelStore;

/// `shoal models`
#[derive(clap::Args)]
pub struct Options {
    /// Folder with models
    #[arg(long, global = true, default_value = ".shoal/models")]
    models_dir: PathBuf,
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
}

/// Runs the subcommand.
pub fn run(options: Options) -> anyhow::Result<()> {
    let store = ModelStore::open(options.models_dir);
    match options.command {
        Command::List => list::list(&store),
        Command::Pull { name } => pull::by_name(&name, &store),
        Command::Add { file, manifest } => add::add(&file, &manifest, &store),
        Command::Show { name } => list::show(&name, &store),
        Command::Synth { int8, seed, .. } => synth::resnet50(int8, seed, &store),
    }
}
