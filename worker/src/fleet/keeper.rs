//! Keeps one worker process alive: starts it, watches it, starts it again with a pause, replaces it,
//! drains it when it is told to stop.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::process::{EXIT_CONFIG, EXIT_UNAVAILABLE};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, watch};

use super::backoff::{CrashLoop, RestartPolicy, jittered};
use super::readiness::{Readiness, comes_to_work};
use super::{FleetPlan, allocator, signal};

/// How long a replacement may take to start. Loading a large model is most of it.
const REPLACEMENT_PATIENCE: Duration = Duration::from_secs(120);

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Loading and warming up, or waiting to be started again.
    Starting,
    /// Taking jobs.
    Ready,
    /// Finishing what it holds.
    Draining,
}

/// What is known of a worker from outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    pub(super) phase: Phase,
    /// When this phase began.
    pub(super) since: Instant,
    /// How long its last start took.
    pub(super) started_in: Option<Duration>,
    pub(super) pid: Option<u32>,
}

impl Life {
    pub(super) fn beginning() -> Self {
        Self { phase: Phase::Starting, since: Instant::now(), started_in: None, pid: None }
    }
}

/// Keeps one worker alive.
pub(super) struct Keeper {
    pub(super) number: usize,
    /// Found once, at the start: a new binary under the same name is used from the next start on.
    pub(super) program: PathBuf,
    pub(super) plan: Arc<FleetPlan>,
    /// Threads that each worker is to have.
    pub(super) threads: watch::Receiver<usize>,
    pub(super) replace: watch::Receiver<u64>,
    /// Held by the one that is replacing its worker.
    pub(super) turn: Arc<Mutex<()>>,
    pub(super) life: watch::Sender<Life>,
    /// Whether any worker of this host has ever been ready: then what fails now is no reason to take
    /// down those that work.
    pub(super) proven: Arc<AtomicBool>,
}

/// Pause before a worker whose share of the cores has changed is replaced again, when that failed.
const DIVIDE_AGAIN: Duration = Duration::from_secs(30);

/// Pause before another series of starts, when other workers work.
const SERIES_PAUSE: Duration = Duration::from_secs(30);

/// A worker that runs.
struct Running {
    child: Child,
    readiness: Readiness,
    threads: usize,
    since: Instant,
}

impl Keeper {
    /// Keeps a worker until told to stop. An error when it keeps crashing: that is not load, it is
    /// broken.
    pub(super) async fn keep(mut self, stop: &Shutdown) -> anyhow::Result<()> {
        // What was ordered before this worker was there does not concern it.
        self.replace.mark_unchanged();
        let mut policy = RestartPolicy::default();
        let mut worker = self.start()?;
        while !stop.is_ordered() {
            let is_starting = self.life.borrow().phase == Phase::Starting;
            // A replacement that did not start left a worker with another share of the cores than its own.
            let is_misshapen = *self.threads.borrow() != worker.threads && !is_starting;
            let status = tokio::select! {
                status = worker.child.wait() => status?,
                () = worker.readiness.told(), if is_starting => {
                    self.is_ready(&worker);
                    continue;
                }
                Ok(()) = self.replace.changed() => {
                    worker = self.replace(worker, stop).await?;
                    continue;
                }
                Ok(()) = self.threads.changed(), if !is_starting => {
                    if *self.threads.borrow_and_update() != worker.threads {
                        worker = self.replace(worker, stop).await?;
                    }
                    continue;
                }
                () = tokio::time::sleep(DIVIDE_AGAIN), if is_misshapen => {
                    worker = self.replace(worker, stop).await?;
                    continue;
                }
                () = stop.ordered() => return self.drain(worker.child).await,
            };
            let was_ready = worker.readiness.was_told();
            if was_ready {
                self.proven.store(true, Ordering::Relaxed);
            }
            let proven = self.proven.load(Ordering::Relaxed);
            if is_hopeless(status) && !proven {
                anyhow::bail!("worker {} cannot start ({status})", self.number);
            }
            let pause = if was_ready || status.code() == Some(i32::from(EXIT_UNAVAILABLE)) {
                policy.ended(worker.since.elapsed())
            } else {
                match policy.crashed(worker.since.elapsed()) {
                    Ok(pause) => pause,
                    Err(CrashLoop { crashes }) if proven => {
                        tracing::error!(worker = self.number, crashes, %status, "worker does not start any more");
                        policy = RestartPolicy::default();
                        SERIES_PAUSE
                    }
                    Err(CrashLoop { crashes }) => anyhow::bail!(
                        "worker {} crashed {crashes} times in a row at start ({status}); giving up",
                        self.number
                    ),
                }
            };
            let pause = jittered(pause, fastrand::f64());
            tracing::warn!(worker = self.number, %status, ?pause, "worker ended; restarting");
            self.enters(Phase::Starting, None);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.ordered() => return Ok(()),
            }
            worker = self.start()?;
        }
        self.drain(worker.child).await
    }

    fn enters(&self, phase: Phase, pid: Option<u32>) {
        self.life.send_modify(|life| *life = Life { phase, since: Instant::now(), pid, ..*life });
    }

    fn is_ready(&self, worker: &Running) {
        self.proven.store(true, Ordering::Relaxed);
        self.enters(Phase::Ready, worker.child.id());
        let took = worker.since.elapsed();
        self.life.send_modify(|life| life.started_in = Some(took));
    }

    /// Starts another worker and drains the old one as soon as the new one works. One that does not
    /// start costs nothing: the old one stays. So it does when it is told to stop meanwhile.
    async fn replace(&self, old: Running, stop: &Shutdown) -> anyhow::Result<Running> {
        let _turn = tokio::select! {
            turn = self.turn.lock() => turn,
            () = stop.ordered() => return Ok(old),
        };
        let mut new = match self.start() {
            Ok(new) => new,
            Err(error) => {
                tracing::error!(worker = self.number, %error, "the replacement could not be started");
                return Ok(old);
            }
        };
        let works = tokio::select! {
            works = comes_to_work(&mut new.child, &new.readiness, REPLACEMENT_PATIENCE) => works,
            () = stop.ordered() => false,
        };
        if !works {
            tracing::error!(worker = self.number, "the replacement did not start; the old worker stays");
            let _ = new.child.kill().await;
            return Ok(old);
        }
        tracing::info!(worker = self.number, threads = new.threads, "worker replaced");
        self.is_ready(&new);
        self.drain_child(old.child).await?;
        Ok(new)
    }

    fn start(&self) -> anyhow::Result<Running> {
        let readiness = Readiness::listen("worker", self.number)?;
        let FleetPlan { config, config_file, .. } = &*self.plan;
        let threads = *self.threads.borrow();
        let models: Vec<String> = config.served_models().into_iter().map(String::from).collect();
        let mut command = Command::new(&self.program);
        command
            .arg("run")
            .args(["--model", &models.join(",")])
            .args(["--memory-budget", &config.memory_budget.to_string()])
            .arg("--models-dir")
            .arg(&config.models_dir)
            .args(["--threads", &threads.to_string()])
            .args(["--max-batch", &config.max_batch.to_string()])
            .args(["--nats-url", &config.nats.url])
            .args(config_file.iter().flat_map(|file| [OsStr::new("--config"), file.as_os_str()]))
            .env("NOTIFY_SOCKET", readiness.path())
            .envs(allocator::options(config))
            .stdin(Stdio::null())
            // Its own group: Ctrl-C at the terminal reaches the supervisor, which drains.
            .process_group(0)
            .kill_on_drop(true);
        Ok(Running { child: command.spawn()?, readiness, threads, since: Instant::now() })
    }

    async fn drain(&self, child: Child) -> anyhow::Result<()> {
        self.enters(Phase::Draining, child.id());
        self.drain_child(child).await
    }

    async fn drain_child(&self, mut child: Child) -> anyhow::Result<()> {
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
fn is_hopeless(status: std::process::ExitStatus) -> bool {
    [EXIT_CONFIG, EXIT_UNAVAILABLE].map(|code| Some(i32::from(code))).contains(&status.code())
}
