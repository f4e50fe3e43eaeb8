//! Child processes: started in order, restarted when they crash, stopped in the reverse order.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rustix::process::Signal;
use shoal_shared::say;
use shoal_worker::fleet::{CrashLoop, Readiness, RestartPolicy, comes_to_work, signal};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How long a part may drain before it is killed.
const DRAIN: Duration = Duration::from_secs(35);

/// How long a replacement may take until it works.
const REPLACEMENT_PATIENCE: Duration = Duration::from_secs(60);

/// A program and how to start it.
#[derive(Clone)]
pub(super) struct Service {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    environment: Vec<(&'static str, String)>,
    listener: Option<Arc<TcpListener>>,
    timer_slack: Option<Duration>,
    replacement: Replacement,
}

/// What happens to a part when the fleet is to be replaced while it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replacement {
    /// It stays.
    None,
    /// It replaces its own children.
    Within,
    /// Another one starts, and when that one works the old one drains.
    Successor,
}

impl Service {
    pub(super) fn new(name: &'static str, program: PathBuf) -> Self {
        let (args, environment, replacement) = (Vec::new(), Vec::new(), Replacement::None);
        Self { name, program, args, environment, listener: None, timer_slack: None, replacement }
    }

    /// How late its timers may be.
    pub(super) fn timer_slack(mut self, slack: Duration) -> Self {
        self.timer_slack = Some(slack);
        self
    }

    /// A listening socket, passed as standard input: it outlives the process that accepts on it.
    pub(super) fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    pub(super) fn replacement(mut self, replacement: Replacement) -> Self {
        self.replacement = replacement;
        self
    }

    pub(super) fn arg(mut self, arg: impl Display) -> Self {
        self.args.push(arg.to_string());
        self
    }

    pub(super) fn args(mut self, args: impl IntoIterator<Item = String>) -> Self {
        self.args.extend(args);
        self
    }

    pub(super) fn env(mut self, variable: Option<(&'static str, String)>) -> Self {
        self.environment.extend(variable);
        self
    }

    fn spawn(&self, launch: &Launch) -> anyhow::Result<Running> {
        let log = launch.log(self.name);
        let open = || -> std::io::Result<File> { OpenOptions::new().create(true).append(true).open(&log) };
        let output = open().with_context(|| log.display().to_string())?;
        let said_before = output.metadata().map_or(0, |log| log.len());
        let input = match &self.listener {
            Some(listener) => Stdio::from(OwnedFd::from(listener.try_clone()?)),
            None => Stdio::null(),
        };
        let readiness = Arc::new(Readiness::listen(self.name, 0)?);
        // In a group of its own, so that Ctrl-C reaches this process alone and the drain has an
        // order; and bound to this process, so that killing it leaves nothing behind.
        let child = Command::new(&launch.shoal)
            .arg("follow")
            .args(self.timer_slack.map(|slack| format!("--timer-slack={}us", slack.as_micros())))
            .arg(&self.program)
            .args(&self.args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("NOTIFY_SOCKET", readiness.path())
            .stdin(input)
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        Ok(Running { child, readiness, since: Instant::now(), said_before })
    }
}

/// What starting needs beside the service itself. Found once, at the start: a new binary under the
/// same name is used from the next start on.
#[derive(Clone)]
struct Launch {
    shoal: PathBuf,
    logs: PathBuf,
}

impl Launch {
    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}

/// A part that runs.
struct Running {
    child: Child,
    readiness: Arc<Readiness>,
    since: Instant,
    /// Bytes that were in the log already.
    said_before: u64,
}

/// All parts that were started.
pub(super) struct Services {
    launch: Launch,
    ready: watch::Sender<bool>,
    replace: watch::Sender<u64>,
    kept: Vec<Kept>,
    report: mpsc::UnboundedSender<anyhow::Error>,
    reports: mpsc::UnboundedReceiver<anyhow::Error>,
}

struct Kept {
    stop: oneshot::Sender<()>,
    keeper: JoinHandle<()>,
}

impl Services {
    pub(super) fn new(logs: PathBuf) -> anyhow::Result<Self> {
        let (report, reports) = mpsc::unbounded_channel();
        let launch = Launch { shoal: std::env::current_exe()?, logs };
        let (ready, replace) = (watch::Sender::new(false), watch::Sender::new(0));
        Ok(Self { launch, ready, replace, kept: Vec::new(), report, reports })
    }

    pub(super) fn logs(&self) -> &Path {
        &self.launch.logs
    }

    /// Starts a part and keeps it running; gives what tells when it works.
    pub(super) fn start(&mut self, service: Service) -> anyhow::Result<Arc<Readiness>> {
        let running = service.spawn(&self.launch)?;
        let readiness = running.readiness.clone();
        let (stop, stopped) = oneshot::channel();
        let (launch, report) = (self.launch.clone(), self.report.clone());
        let (ready, replace) = (self.ready.subscribe(), self.replace.subscribe());
        let keeper = tokio::spawn(async move {
            let keeper = Keeper { service, launch, ready, replace };
            if let Err(error) = keeper.keep(running, stopped).await {
                let _ = report.send(error);
            }
        });
        self.kept.push(Kept { stop, keeper });
        Ok(readiness)
    }

    /// Replaces every part that can be, without an interruption.
    pub(super) fn replace_all(&self) {
        self.replace.send_modify(|count| *count += 1);
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
        while let Some(Kept { stop, keeper }) = self.kept.pop() {
            let _ = stop.send(());
            let _ = keeper.await;
        }
    }
}

/// Keeps one part running.
struct Keeper {
    service: Service,
    launch: Launch,
    ready: watch::Receiver<bool>,
    replace: watch::Receiver<u64>,
}

impl Keeper {
    async fn keep(mut self, mut part: Running, mut stopped: oneshot::Receiver<()>) -> anyhow::Result<()> {
        let (mut policy, name) = (RestartPolicy::default(), self.service.name);
        let log = self.launch.log(name);
        loop {
            let status = tokio::select! {
                status = part.child.wait() => status?,
                Ok(()) = self.replace.changed() => {
                    part = self.replace(part).await?;
                    continue;
                }
                _ = &mut stopped => {
                    // From now on clients are refused at once: what connected would wait for nobody.
                    self.service.listener = None;
                    return drain(&self.service, part.child).await;
                }
            };
            if !*self.ready.borrow() {
                bail!("{name} could not start ({status}):\n{}", tail(&log, part.said_before));
            }
            let pause = policy.crashed(part.since.elapsed()).map_err(|CrashLoop { crashes }| {
                anyhow!(
                    "{name} crashed {crashes} times in a row ({status}). Its last words:\n{}",
                    tail(&log, part.said_before)
                )
            })?;
            say!(err: "{name}: ended ({status}); starting again in {pause:?}");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = &mut stopped => return Ok(()),
            }
            part = self.service.spawn(&self.launch)?;
        }
    }

    async fn replace(&self, old: Running) -> anyhow::Result<Running> {
        let name = self.service.name;
        match self.service.replacement {
            Replacement::None => return Ok(old),
            Replacement::Within => {
                signal(&old.child, Signal::USR2);
                return Ok(old);
            }
            Replacement::Successor => {}
        }
        let mut new = self.service.spawn(&self.launch)?;
        if !comes_to_work(&mut new.child, &new.readiness, REPLACEMENT_PATIENCE).await {
            say!(err: "the new {name} did not start; the old one stays:\n{}", tail(&self.launch.log(name), new.said_before));
            let _ = new.child.kill().await;
            return Ok(old);
        }
        drain(&self.service, old.child).await?;
        say!("{name} replaced");
        Ok(new)
    }
}

async fn drain(service: &Service, mut child: Child) -> anyhow::Result<()> {
    signal(&child, Signal::TERM);
    if tokio::time::timeout(DRAIN, child.wait()).await.is_err() {
        say!(err: "{} did not drain within {DRAIN:?}; killing it", service.name);
        child.kill().await?;
    }
    Ok(())
}

/// The end of a log file, of what follows its first bytes.
pub(super) fn tail(log: &Path, after: u64) -> String {
    const LONGEST: u64 = 2000;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(after.max(length.saturating_sub(LONGEST)).min(length)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(8).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
