//! `find-capacity`: the highest rate that holds a promise.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use shoal_shared::process::shutdown::Shutdown;

use super::run::{Changes, until_signalled};
use crate::capacity::{Bounds, Next, Search};
use crate::environment::Environment;
use crate::measure::measure;
use crate::render::capacity_page;
use crate::report::Report;
use crate::scenario::{Phase, Scenario, Threshold};
use crate::verdict::lateness;
use crate::view::{Bar, Quiet, View};

#[derive(Args)]
pub(super) struct FindCapacity {
    /// The scenario; its tasks and images are used, its phases are not
    scenario: PathBuf,
    #[command(flatten)]
    changes: Changes,
    /// What must hold; the scenario's own thresholds do not count here
    #[arg(long = "slo", default_values = ["p95 < 300ms", "unanswered < 1%"])]
    slo: Vec<Threshold>,
    /// Rate to begin with, requests a second
    #[arg(long, default_value_t = 10.0)]
    from: f64,
    /// Highest rate to try
    #[arg(long, default_value_t = 20_000.0)]
    most: f64,
    /// How near to bring the highest rate that held and the lowest that did not
    #[arg(long, default_value_t = 0.05)]
    precision: f64,
    /// Seconds of a run while searching
    #[arg(long, default_value_t = 8.0)]
    probe: f64,
    /// Seconds of each run that confirms the rate
    #[arg(long, default_value_t = 20.0)]
    confirm: f64,
    /// Runs that confirm the rate; more than half must hold
    #[arg(long, default_value_t = 3)]
    confirmations: usize,
    /// Folder for capacity.html, capacity.json and capacity.md
    #[arg(long)]
    out: Option<PathBuf>,
    /// Show nothing while it runs
    #[arg(long)]
    quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What the search has found.
#[derive(Serialize)]
pub(crate) struct Capacity {
    pub(crate) title: String,
    pub(crate) slo: Vec<String>,
    pub(crate) finding: String,
    /// Requests a second; absent when nothing held.
    pub(crate) rate: Option<f64>,
    /// Long runs that held, of how many.
    pub(crate) confirmed: (usize, usize),
    pub(crate) runs: Vec<Tried>,
    pub(crate) environment: Environment,
}

/// One run of the search.
#[derive(Serialize)]
pub(crate) struct Tried {
    pub(crate) rate: f64,
    pub(crate) seconds: f64,
    pub(crate) confirms: bool,
    pub(crate) holds: bool,
    pub(crate) answered_per_second: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    pub(crate) why: String,
}

/// A rate holds when at least this much of what was due is answered: an SLO on answers alone would
/// be met by a target that answers few.
const ANSWERED: f64 = 0.95;

/// Runs in all that may say nothing because the generator was busy.
const MAX_INCONCLUSIVE: usize = 4;

pub(super) async fn find_capacity(asked: FindCapacity) -> anyhow::Result<u8> {
    let sane = |value: f64| value.is_finite() && value > 0.0;
    if ![asked.from, asked.most, asked.precision, asked.probe, asked.confirm].into_iter().all(sane) {
        bail!("--from, --most, --precision, --probe and --confirm are numbers above 0");
    }
    let (out, json, quiet) = (asked.out.clone(), asked.json, asked.quiet || asked.json);
    let bounds =
        Bounds { from: asked.from, most: asked.most, precision: asked.precision, confirmations: asked.confirmations };
    let lengths = (Duration::from_secs_f64(asked.probe), Duration::from_secs_f64(asked.confirm));
    let mut scenario = asked.changes.apply(&asked.scenario)?;
    scenario.thresholds = asked.slo;
    scenario.stop_when.clear();
    let capacity = search(scenario, bounds, lengths, quiet).await?;
    let markdown = markdown(&capacity);
    if let Some(folder) = out {
        std::fs::create_dir_all(&folder).with_context(|| format!("--out {}", folder.display()))?;
        std::fs::write(folder.join("capacity.html"), capacity_page(&capacity))?;
        std::fs::write(folder.join("capacity.json"), serde_json::to_string_pretty(&capacity)?)?;
        std::fs::write(folder.join("capacity.md"), &markdown)?;
    }
    if json {
        println!("{}", serde_json::to_string(&capacity)?)
    } else {
        print!("{markdown}")
    }
    Ok(if capacity.rate.is_some() { 0 } else { super::EXIT_THRESHOLD })
}

async fn search(
    scenario: Scenario,
    bounds: Bounds,
    (probe, confirm): (Duration, Duration),
    quiet: bool,
) -> anyhow::Result<Capacity> {
    let stop = until_signalled();
    let mut search = Search::new(bounds);
    let (mut runs, mut environment) = (Vec::new(), Environment::default());
    let mut inconclusive = 0;
    let (rate, confirmed, finding) = loop {
        let next = search.ask();
        let (rate, length) = match next {
            Next::Probe(rate) => (rate, probe),
            Next::Confirm(rate) => (rate, confirm),
            end => break told(end),
        };
        let report = one(&scenario, rate, length, quiet, &stop).await?;
        if stop.is_ordered() {
            break (None, (0, 0), "Interrupted before the search had ended.".to_owned());
        }
        let tried = tried(&report, rate, matches!(next, Next::Confirm(_)));
        if !quiet {
            eprintln!("{:>8.1}/s  {}  {}", rate, if tried.holds { "holds" } else { "breaks" }, tried.why);
        }
        // What holds in spite of a busy generator holds; what breaks may be its fault.
        let limit = report.generator.limit.clone().or_else(|| lateness(&report));
        if let Some(limit) = limit.filter(|_| !tried.holds) {
            inconclusive += 1;
            if inconclusive > MAX_INCONCLUSIVE {
                break (None, (0, 0), format!("The generator was the limit at {rate:.1}/s: {limit}."));
            }
            continue;
        }
        search.tell(next, tried.holds);
        runs.push(tried);
        environment = report.environment;
    };
    let slo = scenario.thresholds.iter().map(ToString::to_string).collect();
    Ok(Capacity { title: scenario.title, slo, finding, rate, confirmed, runs, environment })
}

fn told(end: Next) -> (Option<f64>, (usize, usize), String) {
    match end {
        Next::Found(rate, held, of) => {
            let sure = format!("{held} of {of} long runs at this rate held");
            (Some(rate), (held, of), format!("The capacity is {rate:.1} requests/s: {sure}."))
        }
        Next::BeyondMost(rate) => {
            (Some(rate), (0, 0), format!("It holds at {rate:.1}/s, the highest rate tried: the capacity is higher."))
        }
        Next::Nothing(rate) => (None, (0, 0), format!("It does not hold, even at {rate:.1}/s.")),
        Next::Probe(_) | Next::Confirm(_) => (None, (0, 0), String::new()),
    }
}

async fn one(scenario: &Scenario, rate: f64, length: Duration, quiet: bool, stop: &Shutdown) -> anyhow::Result<Report> {
    let mut scenario = scenario.clone();
    scenario.phases = vec![Phase::at_rate(rate, length)];
    let mut view: Box<dyn View> = if quiet { Box::new(Quiet) } else { Box::new(Bar::default()) };
    measure(scenario, None, view.as_mut(), stop.clone()).await
}

fn tried(report: &Report, rate: f64, confirms: bool) -> Tried {
    let total = &report.total;
    let latency = total.latency.as_ref();
    let broken = report.thresholds.iter().find(|threshold| !threshold.holds);
    // Poisson arrivals vary: what was sent is what was due.
    let answered = total.answered as f64 >= ANSWERED * total.requests as f64;
    let why = match broken {
        Some(threshold) => format!("{}: {}", threshold.threshold, threshold.value),
        None if !answered => format!("{} of {} were answered", total.answered, total.requests),
        None => {
            report.thresholds.iter().map(|t| format!("{}: {}", t.threshold, t.value)).collect::<Vec<_>>().join(", ")
        }
    };
    Tried {
        rate,
        seconds: report.seconds,
        confirms,
        holds: broken.is_none() && answered,
        answered_per_second: total.rps,
        p50_ms: latency.map(|stats| stats.p50_ms),
        p95_ms: latency.map(|stats| stats.p95_ms),
        p99_ms: latency.map(|stats| stats.p99_ms),
        failed: total.failed,
        refused: total.refused,
        why,
    }
}

fn markdown(capacity: &Capacity) -> String {
    let mut text = format!("# Capacity: {}\n\n{} ({})\n\n", capacity.title, capacity.finding, capacity.slo.join(", "));
    text.push_str("| rate/s | seconds | | answered/s | p50 ms | p95 ms | p99 ms | failed | refused |\n");
    text.push_str(&format!("{}|\n", "| --- ".repeat(9)));
    let ms = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.1}"));
    for run in &capacity.runs {
        let kind = match (run.holds, run.confirms) {
            (true, true) => "confirms",
            (true, false) => "holds",
            (false, true) => "does not confirm",
            (false, false) => "breaks",
        };
        let _ = writeln!(
            text,
            "| {:.1} | {:.0} | {kind} | {:.1} | {} | {} | {} | {} | {} |",
            run.rate,
            run.seconds,
            run.answered_per_second,
            ms(run.p50_ms),
            ms(run.p95_ms),
            ms(run.p99_ms),
            run.failed,
            run.refused
        );
    }
    text
}
