//! Worker processes on one host: started, watched, restarted with backoff, drained.

mod backoff;
mod readiness;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::process::{EXIT_CONFIG, EXIT_UNAVAILABLE, available_cores};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, watch};

use crate::config::WorkerConfig;
pub use backoff::{CrashLoop, RestartPolicy, jittered};
pub use readiness::{Readiness, comes_to_work};

/// How long a replacement may take to start. Loading a large model is most of it.
const REPLACEMENT_PATIENCE: Duration = Duration::from_secs(120);

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

    /// Keeps the workers running until shutdown is ordered, then drains them. Each time `replace`
    /// changes, every worker is replaced by a fresh one, one after the other. An error when one of
    /// them keeps crashing: that is not load, it is broken.
    pub async fn run(self, shutdown: Shutdown, replace: watch::Receiver<u64>) -> anyhow::Result<()> {
        let (broken, mut verdicts) = tokio::sync::mpsc::channel(1);
        let turn = Arc::new(Mutex::new(()));
        let program = std::env::current_exe()?;
        for number in 0..self.plan.workers {
            let (program, plan) = (program.clone(), self.plan.clone());
            let keeper = Keeper { number, program, plan, replace: replace.clone(), turn: turn.clone() };
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
    /// Found once, at the start: a new binary under the same name is used from the next start on.
    program: PathBuf,
    plan: FleetPlan,
    replace: watch::Receiver<u64>,
    /// Held by the one that is replacing its worker.
    turn: Arc<Mutex<()>>,
}

/// A worker that runs.
struct Running {
    child: Child,
    readiness: Readiness,
    since: Instant,
}

impl Keeper {
    async fn keep(mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut policy = RestartPolicy::default();
        let mut started_well = false;
        let mut worker = self.start()?;
        while !shutdown.is_ordered() {
            let status = tokio::select! {
                status = worker.child.wait() => status?,
                Ok(()) = self.replace.changed() => {
                    worker = self.replace(worker).await?;
                    continue;
                }
                () = shutdown.ordered() => return self.drain(worker.child).await,
            };
            let was_ready = worker.readiness.was_told();
            started_well |= was_ready;
            if is_hopeless(status, !started_well) {
                anyhow::bail!("worker {} cannot start ({status})", self.number);
            }
            let pause = if was_ready || status.code() == Some(i32::from(EXIT_UNAVAILABLE)) {
                policy.ended(worker.since.elapsed())
            } else {
                policy.crashed(worker.since.elapsed()).map_err(|CrashLoop { crashes }| {
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
                () = shutdown.ordered() => return Ok(()),
            }
            worker = self.start()?;
        }
        self.drain(worker.child).await
    }

    /// Starts another worker and drains the old one as soon as the new one works. One that does not
    /// start costs nothing: the old one stays.
    async fn replace(&self, old: Running) -> anyhow::Result<Running> {
        let _turn = self.turn.lock().await;
        let mut new = self.start()?;
        if !comes_to_work(&mut new.child, &new.readiness, REPLACEMENT_PATIENCE).await {
            tracing::error!(worker = self.number, "the replacement did not start; the old worker stays");
            let _ = new.child.kill().await;
            return Ok(old);
        }
        tracing::info!(worker = self.number, "worker replaced");
        self.drain(old.child).await?;
        Ok(new)
    }

    fn start(&self) -> anyhow::Result<Running> {
        let readiness = Readiness::listen("worker", self.number)?;
        let FleetPlan { workers, config, config_file } = &self.plan;
        // Cores divided between the workers: more threads than cores make everybody slower.
        let share = (available_cores() / workers.max(&1)).max(1);
        let threads = if config.threads == 0 { share } else { config.threads };
        let mut command = Command::new(&self.program);
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
        Ok(Running { child: command.spawn()?, readiness, since: Instant::now() })
    }

    async fn drain(&self, mut child: Child) -> anyhow::Result<()> {
        signal(&child, Signal::TERM);
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

/// Sends a signal; a process that is gone already is fine.
pub fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}
