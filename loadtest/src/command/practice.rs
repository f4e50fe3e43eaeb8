//! `practice`: a server of known behaviour.

use clap::Args;
use shoal_shared::process::shutdown::{Shutdown, signalled};
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
    let shutdown = Shutdown::new();
    let order = shutdown.clone();
    tokio::spawn(async move {
        signalled().await;
        order.order();
    });
    serve(listener, practice.behaviour, shutdown).await;
    Ok(0)
}
