//! A trial in a process of its own, from both sides.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use shoal_worker::model::tuning::{Outcome, Trial, run};

/// What the other process is called as; takes no options.
#[derive(clap::Args)]
pub struct Worked {}

/// Before the outcome on standard output: a provider may print there, too.
const MARK: &str = "outcome: ";

/// Reads a trial from standard input, tries it, prints the outcome.
pub fn work() -> anyhow::Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let outcome = run(&serde_json::from_str(&text)?)?;
    println!("\n{MARK}{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// Has a trial tried.
pub(super) fn try_out(trial: &Trial) -> anyhow::Result<Outcome> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("tune-trial").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let input = child.stdin.take().context("the trial has no input")?;
    serde_json::to_writer(&input, trial)?;
    (&input).flush()?;
    drop(input);
    let output = child.wait_with_output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match out.lines().rev().find_map(|line| line.strip_prefix(MARK)) {
        Some(outcome) if output.status.success() => Ok(serde_json::from_str(outcome)?),
        _ => {
            let last = err.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            bail!("{}: {}", output.status, last.trim_start_matches("shoal: "))
        }
    }
}
