//! Worker processes on one host: started, watched, restarted with backoff, drained.

mod backoff;
mod readiness;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::process::{EXIT_CONFIG, EXIT_UNAVAILABLE, available_cores};
use tokio::process::{Child, Command};

use crate::config::WorkerConfig;
use readiness::Readiness;

pub use backoff::{CrashLoop, RestartPolicy, jittered};

/// What the fleet is to be.
#[derive(Debug, Clone)]
pub struct FleetPlan {
    /// Number of workers.
    pub workers: usize,
    /// Configuration of each.
    pub config: WorkerConfig,
    /// File that configuration came from, for what is not said on a worker's command line.
    pub config_file: Option<PathBuf>,
}

/// A supervisor.
pub struct Fleet {
    plan: FleetPlan,
}

impl Fleet {
    /// For `plan`.
    pub fn new(plan: FleetPlan) -> Self {
        Self { plan }
    }

    /// Keeps the workers running until shutdown is ordered, then drains them. An error when one of
    /// them keeps crashing: that is not load, it is broken.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let (broken, mut verdicts) = tokio::sync::mpsc::channel(1);
        for number in 0..self.plan.workers {
            let keeper = Keeper { number, plan: self.plan.clone() };
            let (shutdown_task, broken) = (shutdown.clone(), broken.clone());
            shutdown.spawn(async move {
                if let Err(error) = keeper.keep(&shutdown_task).await {
                    let _ = broken.try_send(error);
                }
            });
        }
        drop(broken);
        tokio::select! {
            () = shutdown.ordered() => {}
            Some(error) = verdicts.recv() => {
                shutdown.order();
                shutdown.finished().await;
                return Err(error);
            }
        }
        shutdown.finished().await;
        Ok(())
    }
}

/// Keeps one worker alive.
struct Keeper {
    number: usize,
    plan: FleetPlan,
}

impl Keeper {
    async fn keep(&self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut policy = RestartPolicy::default();
        let mut started_well = false;
        while !shutdown.is_ordered() {
            let started = Instant::now();
            let readiness = Readiness::listen(self.number)?;
            let mut child = self.start(&readiness)?;
            let status = tokio::select! {
                status = child.wait() => status?,
                () = shutdown.ordered() => return self.drain(child).await,
            };
            let was_ready = readiness.was_told();
            started_well |= was_ready;
            if is_hopeless(status, !started_well) {
                anyhow::bail!("worker {} cannot start ({status})", self.number);
            }
            let pause = if was_ready || status.code() == Some(i32::from(EXIT_UNAVAILABLE)) {
                policy.ended(started.elapsed())
            } else {
                policy.crashed(started.elapsed()).map_err(|CrashLoop { crashes }| {
                    anyhow::anyhow!(
                        "worker {} crashed {crashes} times in a row at start ({status}); giving up",
                        self.number
                    )
                })?
            };
            let pause = jittered(pause, fastrand::f64());
            tracing::warn!(worker = self.number, %status, ?pause, "worker ended; restarting");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.ordered() => {}
            }
        }
        Ok(())
    }

    fn start(&self, readiness: &Readiness) -> anyhow::Result<Child> {
        let FleetPlan { workers, config, config_file } = &self.plan;
        // Cores divided between the workers: more threads than cores make everybody slower.
        let share = (available_cores() / workers.max(&1)).max(1);
        let threads = if config.threads == 0 { share } else { config.threads };
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("run")
            .args(["--model", config.model.as_str()])
            .arg("--models-dir")
            .arg(&config.models_dir)
            .args(["--threads", &threads.to_string()])
            .args(["--max-batch", &config.max_batch.to_string()])
            .args(["--nats-url", &config.nats.url])
            .args(config_file.iter().flat_map(|file| [OsStr::new("--config"), file.as_os_str()]))
            .env("NOTIFY_SOCKET", readiness.path())
            .stdin(Stdio::null())
            // Its own group: Ctrl-C at the terminal reaches the supervisor, which drains.
            .process_group(0)
            .kill_on_drop(true);
        Ok(command.spawn()?)
    }

    async fn drain(&self, mut child: Child) -> anyhow::Result<()> {
        terminate(&child);
        let grace = self.plan.config.drain_grace + Duration::from_secs(2);
        if tokio::time::timeout(grace, child.wait()).await.is_err() {
            tracing::warn!(worker = self.number, ?grace, "worker did not drain in time; killing it");
            child.kill().await?;
        }
        Ok(())
    }
}

/// A wrong configuration stays wrong; something that was missing at the very first start is
/// better reported than waited for.
fn is_hopeless(status: std::process::ExitStatus, first: bool) -> bool {
    let code = status.code();
    code == Some(i32::from(EXIT_CONFIG)) || (first && code == Some(i32::from(EXIT_UNAVAILABLE)))
}

/// Sends SIGTERM; a process that is gone already is fine.
pub fn terminate(child: &Child) {
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}
