//! A run and its report: of this process alone, or of slices that come from agents.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use shoal_shared::process::host::process_cpu;
use shoal_shared::process::shutdown::Shutdown;
use tokio::sync::mpsc;

use crate::engine::Engine;
use crate::environment::{self, Environment};
use crate::ledger::Ledger;
use crate::report::{FORMAT, Generator, Report, ThresholdReport};
use crate::run::{Part, drive};
use crate::scenario::Scenario;
use crate::slice::Slice;
use crate::verdict;
use crate::view::View;
use crate::watch::{Sample, Watch};

/// Time between the decision to start and the start, so that nothing of the preparation is in it.
const LEAD: Duration = Duration::from_millis(50);
/// Seconds over which `stop_when` looks back.
pub const LOOK_BACK: usize = 10;

/// What a run has found, before it is a report.
pub struct Found {
    /// Totals.
    pub ledger: Ledger,
    /// What the target said.
    pub watched: Vec<Sample>,
    /// From the start to the last answer, seconds.
    pub seconds: f64,
    /// Why it ended early.
    pub ended_early: Option<String>,
}

/// The run that a report is of.
pub struct Frame {
    /// What was asked for.
    pub scenario: Scenario,
    /// What distinguishes it from other runs.
    pub label: Option<String>,
    /// Where it was measured.
    pub environment: Environment,
}

/// Runs a scenario in this process. `stop` ends it early, with a report.
pub async fn measure(
    scenario: Scenario,
    label: Option<String>,
    view: &mut dyn View,
    stop: Shutdown,
) -> anyhow::Result<Report> {
    let (_, about) = Watch::new(&scenario.target).await?;
    let environment = environment::look(&scenario.target.url, about);
    let (found, generator) = measure_found(&scenario, view, &stop).await?;
    Ok(report(Frame { scenario, label, environment }, found, generator))
}

/// Runs a scenario in this process; what was found, not yet a report.
pub async fn measure_found(
    scenario: &Scenario,
    view: &mut dyn View,
    stop: &Shutdown,
) -> anyhow::Result<(Found, Generator)> {
    scenario.check().map_err(|reason| anyhow!(reason))?;
    let engine = Arc::new(Engine::new(scenario.clone(), fastrand::u64(..)).await?);
    let warm_up = tokio::select! {
        warm_up = engine.warm_up() => warm_up?,
        () = stop.ordered() => return Err(anyhow!("interrupted before the start")),
    };
    let (watch, _) = Watch::new(&scenario.target).await?;
    let cpu = process_cpu();
    let start = Instant::now() + LEAD;
    let slices = drive(engine.clone(), Part::WHOLE, start, stop.clone()).await;
    let found = gather(Gather { scenario, slices, watch, start, patience: 0 }, view, stop).await;
    let cores = (process_cpu() - cpu) / found.seconds.max(0.001);
    let logins = engine.board.logins.load(Ordering::Relaxed);
    Ok((found, Generator { cores, busiest: cores, logins, warm_up, ..Generator::default() }))
}

/// Where slices come from, and what goes with them.
pub struct Gather<'a> {
    /// What was asked for.
    pub scenario: &'a Scenario,
    /// Seconds as they are seen.
    pub slices: mpsc::Receiver<Slice>,
    /// Who asks the target what it says of itself.
    pub watch: Watch,
    /// The start.
    pub start: Instant,
    /// Seconds that a slice may come late.
    pub patience: u32,
}

/// Takes slices in until there are no more.
pub async fn gather(from: Gather<'_>, view: &mut dyn View, stop: &Shutdown) -> Found {
    let Gather { scenario, mut slices, watch, start, patience } = from;
    let mut ledger = Ledger::new(scenario, patience);
    let ended = Shutdown::new();
    let watching = tokio::spawn(follow(watch, start, ended.clone()));
    let mut ended_early = None;
    view.begin(scenario);
    while let Some(slice) = slices.recv().await {
        for second in ledger.add(slice) {
            view.second(second);
        }
        let elapsed = start.elapsed().as_secs_f64();
        let reached = scenario.stop_when.iter().find(|threshold| {
            let recent = ledger.recent(threshold.task.as_deref());
            ledger.looked_back() >= LOOK_BACK && threshold.judge(&recent).1
        });
        if let Some(threshold) = reached.filter(|_| ended_early.is_none()) {
            ended_early = Some(format!("stop_when `{threshold}` was reached after {elapsed:.0} s"));
            stop.order();
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    if stop.is_ordered() && ended_early.is_none() {
        ended_early = Some(format!("interrupted after {seconds:.0} s"));
    }
    ended.order();
    ledger.finish();
    view.end();
    let watched = watching.await.unwrap_or_default();
    Found { ledger, watched, seconds, ended_early }
}

async fn follow(mut watch: Watch, start: Instant, ended: Shutdown) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut beat = tokio::time::interval_at(start.into(), Duration::from_secs(1));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while watch.sees_anything() {
        tokio::select! {
            _ = beat.tick() => {}
            () = ended.ordered() => break,
        }
        tokio::select! {
            sample = watch.sample(start) => samples.push(sample),
            () = ended.ordered() => break,
        }
    }
    samples
}

/// Puts a report together.
pub fn report(mut frame: Frame, found: Found, mut generator: Generator) -> Report {
    // Reports are passed on.
    if let Some(login) = &mut frame.scenario.target.login {
        login.password = "…".into();
    }
    let Found { ledger, watched, seconds, ended_early } = found;
    generator.shortfall = ledger.shortfall();
    generator.lag_p99_ms = ledger.lag_p99_ms();
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() - seconds;
    let mut report = Report {
        format: FORMAT,
        scenario: frame.scenario,
        label: frame.label,
        begun: begun.max(0.0) as u64,
        seconds,
        ended_early,
        environment: frame.environment,
        generator,
        total: ledger.total(seconds),
        tasks: ledger.tasks(seconds),
        phases: ledger.phases(seconds),
        series: ledger.seconds().to_vec(),
        watched,
        cache: ledger.cache().clone(),
        thresholds: Vec::new(),
        verdict: Vec::new(),
    };
    report.thresholds = judge(&report);
    report.generator.limit = verdict::generators_limit(&report.generator, &report);
    report.verdict = verdict::verdict(&report);
    report
}

fn judge(report: &Report) -> Vec<ThresholdReport> {
    let judged = report.scenario.thresholds.iter().map(|threshold| {
        let named = report.tasks.iter().find(|task| Some(&task.name) == threshold.task.as_ref());
        let (value, holds) = threshold.judge(named.unwrap_or(&report.total));
        let value = value.map_or("no answer".into(), |value| threshold.show(value));
        ThresholdReport { threshold: threshold.to_string(), value, holds }
    });
    judged.collect()
}
