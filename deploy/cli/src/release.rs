//! What a release carries beside the binaries: shell completions and manual pages, from the same definitions that
//! parse the command line.

use std::path::PathBuf;

use anyhow::Context;
use clap_complete::Shell;

/// `shoal completions`
#[derive(clap::Args)]
pub struct Completions {
    /// For which shell
    shell: Shell,
}

/// `shoal man`
#[derive(clap::Args)]
pub struct Man {
    /// Folder; made when it is missing
    dir: PathBuf,
}

/// Prints a shell's completion script for `shoal`.
pub fn complete(options: &Completions, mut command: clap::Command) {
    clap_complete::generate(options.shell, &mut command, "shoal", &mut std::io::stdout());
}

/// Writes a page for `shoal` and for each of its subcommands.
pub fn write_pages(options: &Man, command: clap::Command) -> anyhow::Result<()> {
    let dir = &options.dir;
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(command, dir))
        .context(dir.display().to_string())
}
