//! Child processes: started in order, restarted when they crash, stopped in the reverse order.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use shoal_worker::fleet::{CrashLoop, RestartPolicy, terminate};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How long a part may drain before it is killed.
const DRAIN: Duration = Duration::from_secs(35);

/// A program and how to start it.
#[derive(Clone)]
pub(super) struct Service {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
}

impl Service {
    pub(super) fn new(name: &'static str, program: PathBuf) -> Self {
        Self { name, program, args: Vec::new() }
    }

    pub(super) fn arg(mut self, arg: impl Display) -> Self {
        self.args.push(arg.to_string());
        self
    }

    pub(super) fn args(mut self, args: impl IntoIterator<Item = String>) -> Self {
        self.args.extend(args);
        self
    }

    fn spawn(&self, log: &Path) -> anyhow::Result<Child> {
        let open = || -> std::io::Result<File> { OpenOptions::new().create(true).append(true).open(log) };
        let log = open().with_context(|| log.display().to_string())?;
        // In a group of its own, so that Ctrl-C reaches this process alone and the drain has an
        // order; and bound to this process, so that killing it leaves nothing behind.
        Command::new(std::env::current_exe()?)
            .arg("follow")
            .arg(&self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))
    }
}

/// All parts that were started.
pub(super) struct Services {
    logs: PathBuf,
    ready: watch::Sender<bool>,
    running: Vec<Running>,
    report: mpsc::UnboundedSender<anyhow::Error>,
    reports: mpsc::UnboundedReceiver<anyhow::Error>,
}

struct Running {
    stop: oneshot::Sender<()>,
    keeper: JoinHandle<()>,
}

impl Services {
    pub(super) fn new(logs: PathBuf) -> Self {
        let (report, reports) = mpsc::unbounded_channel();
        Self { logs, ready: watch::Sender::new(false), running: Vec::new(), report, reports }
    }

    pub(super) fn logs(&self) -> &Path {
        &self.logs
    }

    /// Starts a part and keeps it running.
    pub(super) fn start(&mut self, service: Service) -> anyhow::Result<()> {
        let log = self.logs.join(format!("{}.log", service.name));
        let child = service.spawn(&log)?;
        let (stop, stopped) = oneshot::channel();
        let (report, ready) = (self.report.clone(), self.ready.subscribe());
        let keeper = tokio::spawn(async move {
            if let Err(error) = keep(&service, child, &log, stopped, &ready).await {
                let _ = report.send(error);
            }
        });
        self.running.push(Running { stop, keeper });
        Ok(())
    }

    /// From now on a part that ends is started again. Before, it is a reason to give up: what
    /// does not even start will not do so the next time.
    pub(super) fn all_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Resolves when a part cannot start or keeps crashing.
    pub(super) async fn broken(&mut self) -> anyhow::Error {
        self.reports.recv().await.unwrap_or_else(|| anyhow!("no part is left"))
    }

    /// Drains the parts, the last started first, each before the next.
    pub(super) async fn stop_all(&mut self) {
        while let Some(Running { stop, keeper }) = self.running.pop() {
            let _ = stop.send(());
            let _ = keeper.await;
        }
    }
}

async fn keep(
    service: &Service,
    mut child: Child,
    log: &Path,
    mut stopped: oneshot::Receiver<()>,
    ready: &watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut policy = RestartPolicy::default();
    loop {
        let started = Instant::now();
        let status = tokio::select! {
            status = child.wait() => status?,
            _ = &mut stopped => return drain(service, child).await,
        };
        if !*ready.borrow() {
            bail!("{} could not start ({status}):\n{}", service.name, tail(log));
        }
        let pause = policy.crashed(started.elapsed()).map_err(|CrashLoop { crashes }| {
            anyhow!("{} crashed {crashes} times in a row ({status}). Its last words:\n{}", service.name, tail(log))
        })?;
        eprintln!("{} ended ({status}); starting it again in {pause:?}", service.name);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = &mut stopped => return Ok(()),
        }
        child = service.spawn(log)?;
    }
}

async fn drain(service: &Service, mut child: Child) -> anyhow::Result<()> {
    terminate(&child);
    if tokio::time::timeout(DRAIN, child.wait()).await.is_err() {
        eprintln!("{} did not drain within {DRAIN:?}; killing it", service.name);
        child.kill().await?;
    }
    Ok(())
}

/// The end of a log file.
pub(super) fn tail(log: &Path) -> String {
    const LONGEST: i64 = 2000;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len() as i64;
        file.seek(SeekFrom::End(-length.min(LONGEST)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(8).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
