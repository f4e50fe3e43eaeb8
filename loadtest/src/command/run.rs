//! `run`: a scenario and its report.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use shoal_shared::process::shutdown::Shutdown;

use crate::measure::measure;
use crate::render;
use crate::report::Report;
use crate::scenario::{Scenario, Threshold};
use crate::view::{Bar, JsonLines, Quiet, View};

#[derive(Args)]
pub(super) struct Run {
    /// The scenario, a TOML file
    scenario: PathBuf,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    output: Output,
}

/// What differs from the scenario's file.
#[derive(Args)]
pub(super) struct Changes {
    /// Root of the target, instead of the scenario's
    #[arg(long)]
    url: Option<String>,
    /// Address that connections come from; several: in turn
    #[arg(long = "source")]
    sources: Vec<IpAddr>,
    /// What must hold besides, as in 'p95 < 300ms', 'errors < 1%', 'predict.rps > 100'
    #[arg(long = "threshold")]
    thresholds: Vec<Threshold>,
    /// One connection for each request
    #[arg(long)]
    no_keep_alive: bool,
    /// For a target without accounts: nobody logs in, no task sends a token
    #[arg(long)]
    no_login: bool,
    /// Another path for a task, as in predict=/predict
    #[arg(long = "path", value_name = "TASK=PATH")]
    paths: Vec<String>,
    /// Every phase so many times as long; 0.1 for a rehearsal
    #[arg(long, default_value_t = 1.0)]
    stretch: f64,
}

/// What is shown and written.
#[derive(Args)]
pub(super) struct Output {
    /// What distinguishes this run from others of the scenario: "2 workers"
    #[arg(long)]
    label: Option<String>,
    /// Folder for report.html, report.json and report.md
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write PREFIX_stats.csv, PREFIX_failures.csv and PREFIX_stats_history.csv as Locust does
    #[arg(long, value_name = "PREFIX")]
    csv: Option<PathBuf>,
    /// Show nothing while it runs, and only the verdict at the end
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// Print one JSON object a second, and the report as the last one
    #[arg(long)]
    json: bool,
}

impl Changes {
    /// The scenario of a file, changed.
    pub(super) fn apply(self, path: &Path) -> anyhow::Result<Scenario> {
        let mut scenario = Scenario::read(path)?;
        if let Some(url) = self.url {
            scenario.target.url = url.trim_end_matches('/').to_owned();
        }
        if !self.sources.is_empty() {
            scenario.target.sources = self.sources;
        }
        scenario.target.keep_alive &= !self.no_keep_alive;
        scenario.thresholds.extend(self.thresholds);
        if self.no_login {
            scenario.target.login = None;
            scenario.tasks.iter_mut().for_each(|task| task.token = false);
        }
        for change in &self.paths {
            let (name, path) = change.split_once('=').with_context(|| format!("--path {change}: TASK=PATH"))?;
            let task = scenario.tasks.iter_mut().find(|task| task.name == name);
            task.with_context(|| format!("--path {change}: the scenario has no such task"))?.path = path.to_owned();
        }
        if !(self.stretch.is_finite() && self.stretch > 0.0) {
            anyhow::bail!("--stretch {}: a number above 0 is needed", self.stretch);
        }
        for phase in &mut scenario.phases {
            phase.duration = phase.duration.mul_f64(self.stretch);
        }
        scenario.check().map_err(anyhow::Error::msg)?;
        Ok(scenario)
    }
}

impl Output {
    pub(super) fn label(&self) -> Option<String> {
        self.label.clone()
    }

    pub(super) fn view(&self) -> Box<dyn View> {
        match (self.quiet, self.json) {
            (true, _) => Box::new(Quiet),
            (_, true) => Box::new(JsonLines),
            _ => Box::new(Bar::default()),
        }
    }

    /// Writes and prints the report; gives the exit code.
    pub(super) fn deliver(&self, report: &Report) -> anyhow::Result<u8> {
        if let Some(folder) = &self.out {
            std::fs::create_dir_all(folder).with_context(|| format!("--out {}", folder.display()))?;
            write(&folder.join("report.html"), &render::html(report))?;
            write(&folder.join("report.json"), &serde_json::to_string_pretty(report)?)?;
            write(&folder.join("report.md"), &render::markdown(report))?;
        }
        if let Some(prefix) = &self.csv {
            for (name, text) in render::csv(report) {
                let mut path = prefix.clone().into_os_string();
                path.push(name);
                write(Path::new(&path), &text)?;
            }
        }
        if self.json {
            println!("{}", serde_json::to_string(report)?);
        } else if self.quiet {
            report.verdict.iter().for_each(|finding| println!("{finding}"));
        } else {
            print!("{}", render::text(report));
        }
        if !self.json {
            report.thresholds.iter().filter(|threshold| !threshold.holds).for_each(|threshold| {
                eprintln!("threshold `{}` does not hold: {}", threshold.threshold, threshold.value);
            });
        }
        Ok(match &report.ended_early {
            Some(reason) if reason.starts_with("interrupted") => super::EXIT_INTERRUPTED,
            _ if !report.holds() => super::EXIT_THRESHOLD,
            _ => 0,
        })
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// An order to stop that is given at SIGINT or SIGTERM, and what happens then.
pub(super) fn until_signalled() -> Shutdown {
    let stop = super::on_signal();
    let ordered = stop.clone();
    tokio::spawn(async move {
        ordered.ordered().await;
        eprintln!("stopping: two seconds for answers, then the report");
    });
    stop
}

pub(super) async fn run(run: Run) -> anyhow::Result<u8> {
    let scenario = run.changes.apply(&run.scenario)?;
    let mut view = run.output.view();
    let report = measure(scenario, run.output.label(), view.as_mut(), until_signalled()).await?;
    run.output.deliver(&report)
}
