//! `practice`: a server of known behaviour.

use clap::Args;
use tokio::net::TcpListener;

use crate::practice::{Behaviour, serve};

#[derive(Args)]
pub(super) struct Practice {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:8099")]
    listen: std::net::SocketAddr,
    #[command(flatten)]
    behaviour: Behaviour,
}

pub(super) async fn practice(practice: Practice) -> anyhow::Result<u8> {
    let listener = TcpListener::bind(practice.listen).await?;
    println!("practice server on http://{}; GET /practice tells what it has done", listener.local_addr()?);
    serve(listener, practice.behaviour, super::on_signal()).await;
    Ok(0)
}
