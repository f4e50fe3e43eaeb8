//! `shoal-loadtest`: experiments on an HTTP predict service.

use std::process::ExitCode;

use clap::Parser;
use shoal_loadtest::command::Cli;

// Current thread: what one core can send is known, and the target keeps the others.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match shoal_loadtest::command::execute(Cli::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("shoal-loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}
