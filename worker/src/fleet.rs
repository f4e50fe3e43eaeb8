//! Worker processes on one host: started, watched, restarted with backoff, drained; and how many of them
//! there are, which supervisors on several hosts decide together.
//!
//! | module | owns |
//! | --- | --- |
//! | `keeper` | one worker kept alive |
//! | `allocator` | what its memory allocator is told |
//! | `roster` | the workers of this host, as many as ordered |
//! | `queues` | what waits for it, of every model and version |
//! | `division` | which worker keeps which model loaded |
//! | `scaling` | how many that is |
//! | `readiness` | how a child says that it works |
//! | `backoff` | when to start again, and when to give up |

mod allocator;
mod backoff;
mod division;
mod keeper;
mod queues;
mod readiness;
mod roster;
mod scaling;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process};
use shoal_shared::process::shutdown::Shutdown;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};

use crate::config::WorkerConfig;
pub use backoff::{CrashLoop, RestartPolicy, jittered};
pub use readiness::{Readiness, comes_to_work};
use roster::Roster;
use scaling::Scaling;

/// What the fleet is to be.
#[derive(Debug, Clone)]
pub struct FleetPlan {
    /// Configuration of each worker, and of the scaling.
    pub config: WorkerConfig,
    /// File that configuration came from, for what is not said on a worker's command line.
    pub config_file: Option<PathBuf>,
}

/// A supervisor.
pub struct Fleet {
    plan: Arc<FleetPlan>,
}

impl Fleet {
    /// For `plan`.
    pub fn new(plan: FleetPlan) -> Self {
        Self { plan: Arc::new(plan) }
    }

    /// Keeps as many workers running as decided until shutdown is ordered, then drains them. Each time
    /// `replace` changes, every worker is replaced by a fresh one, one after the other. An error when
    /// one of them keeps crashing: that is not load, it is broken.
    pub fn run(self, shutdown: Shutdown, replace: watch::Receiver<u64>) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(self.supervise(shutdown, replace))
    }

    async fn supervise(self, shutdown: Shutdown, replace: watch::Receiver<u64>) -> anyhow::Result<()> {
        let (broken, mut verdicts) = mpsc::channel(1);
        let roster = Roster::new(self.plan.clone(), shutdown.clone(), replace, broken)?;
        let (scaled, config) = (shutdown.clone(), self.plan.config.clone());
        let scaling = tokio::spawn(async move {
            let scaling = Scaling::connect(&config, &scaled).await?;
            scaling.run(roster, scaled).await;
            anyhow::Ok(())
        });
        tokio::pin!(scaling);
        let ended = tokio::select! {
            () = shutdown.ordered() => Ok(()),
            Some(error) = verdicts.recv() => Err(error),
            ended = &mut scaling => ended.map_err(anyhow::Error::from).and_then(|ended| ended),
        };
        shutdown.order();
        shutdown.finished().await;
        if !scaling.is_finished() {
            let _ = scaling.await;
        }
        ended
    }
}

/// Sends a signal; a process that is gone already is fine.
pub fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}
