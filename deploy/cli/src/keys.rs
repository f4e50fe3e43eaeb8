//! `shoal keys`: an nkey for each role of `nats/accounts.conf`. Seeds stay in files that only their owner
//! reads; the server learns public keys alone.

mod ring;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use nkeys::KeyPair;

use ring::Ring;

/// `shoal keys`
#[derive(clap::Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Make a seed for each role, keys.conf for the servers and shoal.toml for the binaries
    New {
        /// Folder; made when it is missing
        dir: PathBuf,
    },
    /// Give a role a new seed; the one in use is accepted until it is retired
    Rotate {
        /// Folder of `shoal keys new`
        dir: PathBuf,
        /// Whose
        role: Role,
    },
    /// Accept only the newest seed of a role from now on
    Retire {
        /// Folder of `shoal keys new`
        dir: PathBuf,
        /// Whose
        role: Role,
    },
}

/// Who may be known to NATS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Gateways
    Gateway,
    /// Workers and their supervisors
    Worker,
    /// Whoever runs `shoal provision`, `scale`, `dead` and so on
    Operator,
    /// What watches streams and consumers
    Exporter,
    /// Who publishes jobs and asks for predictions over NATS
    Submitter,
    /// The servers' own account: `nats server …`
    System,
}

impl Role {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn variable(self) -> String {
        format!("KEY_{}", self.name().to_uppercase())
    }

    fn seed_file(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.nk", self.name()))
    }
}

/// Makes, rotates or retires keys.
pub fn run(options: &Options) -> anyhow::Result<()> {
    match &options.action {
        Action::New { dir } => new(dir),
        Action::Rotate { dir, role } => rotate(dir, *role),
        Action::Retire { dir, role } => retire(dir, *role),
    }
}

fn new(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let config = Ring::path(dir);
    if config.exists() {
        bail!("{} exists: `shoal keys rotate` changes a key, or remove the folder", config.display());
    }
    let mut ring = Ring::default();
    for role in Role::value_variants() {
        let pair = KeyPair::new_user();
        write_seed(&role.seed_file(dir), &pair)?;
        ring.add(&role.variable(), pair.public_key());
    }
    ring.write(dir)?;
    let toml = dir.join("shoal.toml");
    std::fs::write(&toml, client_config(&dir.canonicalize()?)).with_context(|| toml.display().to_string())?;
    println!("{}: public keys, for beside nats/accounts.conf", config.display());
    println!("{}: which seed and inbox each binary uses (SHOAL_CONFIG)", toml.display());
    println!("{}/*.nk: seeds; give each host only those of its roles", dir.display());
    Ok(())
}

fn rotate(dir: &Path, role: Role) -> anyhow::Result<()> {
    let mut ring = Ring::read(dir)?;
    let pair = KeyPair::new_user();
    ring.rotate(&role.variable(), pair.public_key())?;
    let seed = role.seed_file(dir);
    std::fs::rename(&seed, seed.with_extension("nk.before")).with_context(|| seed.display().to_string())?;
    write_seed(&seed, &pair)?;
    ring.write(dir)?;
    println!("1. copy keys.conf to every server, and there: nats-server --signal reload");
    println!("2. copy {} to the hosts of the role, and restart its processes one by one", seed.display());
    println!("3. shoal keys retire {} {}, and step 1 again", dir.display(), role.name());
    Ok(())
}

fn retire(dir: &Path, role: Role) -> anyhow::Result<()> {
    let mut ring = Ring::read(dir)?;
    ring.retire(&role.variable())?;
    ring.write(dir)?;
    let _ = std::fs::remove_file(role.seed_file(dir).with_extension("nk.before"));
    println!("copy keys.conf to every server, and there: nats-server --signal reload");
    Ok(())
}

/// Only the owner reads it; one that is there is never overwritten.
fn write_seed(path: &Path, pair: &KeyPair) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(writeln!(file, "{}", pair.seed()?)?)
    };
    write().with_context(|| path.display().to_string())
}

/// The gateway and the worker have users of their own; everything else here is the operator's.
fn client_config(dir: &Path) -> String {
    let table = |table: &str, role: Role| {
        let (seed, name) = (role.seed_file(dir), role.name());
        format!("[{table}]\nnkey_file = {:?}\ninbox_prefix = \"_INBOX_{name}\"\n", seed.display().to_string())
    };
    [table("nats", Role::Operator), table("gateway.nats", Role::Gateway), table("worker.nats", Role::Worker)].join("\n")
}
