//! The charts of a report, all on one time axis.

use std::collections::BTreeSet;

use super::chart::{Chart, Line};
use crate::report::{Report, Second};
use crate::watch::Sample;

/// Kinds of failures that are told apart in a chart.
const MAX_KINDS: usize = 7;

/// All charts that have something to show.
pub(super) fn charts(report: &Report) -> String {
    let phases: Vec<_> = report.phases.iter().map(|phase| (phase.from, phase.to, phase.name.clone())).collect();
    let chart = |title, unit, lines, steps| Chart { title, unit, lines, phases: &phases, steps }.html();
    [
        chart("Requests", "a second", rates(report), false),
        chart("Latency", "ms, answered requests", latency(report), false),
        chart("Users and requests without an answer", "count", users(report), true),
        chart("Refusals and failures", "a second, by kind", kinds(report), false),
        chart("Jobs in the target's queue", "count", queue(report), true),
        chart("Workers", "count", vec![watched(report, "workers", 2, |sample| Some(sample.workers? as f64))], true),
        chart("Saturation of the target's parts", "% busy", saturation(report), false),
        bottlenecks(report),
    ]
    .concat()
}

fn seen(report: &Report, name: &str, colour: usize, value: impl Fn(&Second) -> Option<f64>) -> Line {
    let mut values = vec![None; length(report)];
    for second in &report.series {
        if let Some(place) = values.get_mut(second.at as usize) {
            *place = value(second);
        }
    }
    Line { name: name.into(), colour, values }
}

fn watched(report: &Report, name: &str, colour: usize, value: impl Fn(&Sample) -> Option<f64>) -> Line {
    let mut values: Vec<Option<f64>> = vec![None; length(report)];
    for sample in &report.watched {
        if let Some(place) = values.get_mut(sample.at.max(0.0) as usize) {
            *place = value(sample);
        }
    }
    // A sample that came late leaves a second out; what was known holds until the next one.
    for index in 1..values.len() {
        if values[index].is_none() {
            values[index] = values[index - 1];
        }
    }
    Line { name: name.into(), colour, values }
}

fn length(report: &Report) -> usize {
    report.series.iter().map(|second| second.at as usize + 1).max().unwrap_or(0)
}

fn rates(report: &Report) -> Vec<Line> {
    let sum = |second: &Second, refused: bool| {
        let kinds = second.kinds.iter().filter(|(kind, _)| kind.starts_with("refused") == refused);
        Some(kinds.map(|(_, count)| *count).sum::<u64>() as f64)
    };
    let mut lines = vec![seen(report, "answered", 0, |second| Some(second.answered as f64))];
    if report.total.refused > 0 {
        lines.push(seen(report, "refused", 1, |second| sum(second, true)));
    }
    if report.total.failed > 0 {
        lines.push(seen(report, "failed", 3, |second| sum(second, false)));
    }
    lines
}

fn latency(report: &Report) -> Vec<Line> {
    vec![
        seen(report, "p50", 0, |second| second.p50_ms),
        seen(report, "p95", 1, |second| second.p95_ms),
        seen(report, "p99", 3, |second| second.p99_ms),
    ]
}

fn users(report: &Report) -> Vec<Line> {
    let mut lines = Vec::new();
    if !report.scenario.is_open() {
        lines.push(seen(report, "users", 2, |second| Some(second.users as f64)));
    }
    lines.push(seen(report, "without an answer", 4, |second| Some(second.outstanding as f64)));
    lines
}

fn kinds(report: &Report) -> Vec<Line> {
    let names: BTreeSet<&String> = report.total.kinds.keys().collect();
    let line = |(index, name): (usize, &String)| {
        let value = |second: &Second| Some(second.kinds.get(name).copied().unwrap_or(0) as f64);
        seen(report, name, [1, 3, 4, 0, 5, 2, 6][index % 7], value)
    };
    names.into_iter().take(MAX_KINDS).enumerate().map(line).collect()
}

fn queue(report: &Report) -> Vec<Line> {
    vec![
        watched(report, "waiting", 1, |sample| Some(sample.waiting? as f64)),
        watched(report, "in workers' hands", 0, |sample| Some(sample.in_flight? as f64)),
    ]
}

fn saturation(report: &Report) -> Vec<Line> {
    let names: BTreeSet<&String> = report.watched.iter().flat_map(|sample| sample.saturation.keys()).collect();
    let line = |(index, name): (usize, &String)| {
        watched(report, name, index % 7, |sample| sample.saturation.get(name).map(|ratio| 100.0 * ratio))
    };
    names.into_iter().enumerate().map(line).collect()
}

/// A strip that says what the bottleneck was, second by second.
fn bottlenecks(report: &Report) -> String {
    let named: Vec<(f64, &str)> =
        report.watched.iter().filter_map(|sample| Some((sample.at.max(0.0), sample.bottleneck.as_deref()?))).collect();
    let span = length(report) as f64;
    if named.is_empty() || span == 0.0 {
        return String::new();
    }
    let mut strips: Vec<(f64, f64, &str)> = Vec::new();
    for (index, (at, name)) in named.iter().enumerate() {
        let end = named.get(index + 1).map_or(span, |(at, _)| *at).min(span);
        match strips.last_mut() {
            Some(last) if last.2 == *name => last.1 = end,
            _ => strips.push((at.min(span), end, name)),
        }
    }
    let colour = |name: &str| match name {
        "none" => "b-none",
        "workers" => "b-workers",
        "inference" => "b-inference",
        "cpu" => "b-cpu",
        _ => "b-other",
    };
    let strip = |(from, to, name): &(f64, f64, &str)| {
        let (left, width) = (100.0 * from / span, 100.0 * (to - from) / span);
        let (class, name) = (colour(name), super::html::escape(if *name == "none" { "nothing" } else { name }));
        format!(r#"<span class="{class}" style="left:{left:.2}%;width:{width:.2}%" title="{name}">{name}</span>"#)
    };
    let strips: String = strips.iter().map(strip).collect();
    format!(
        "<figure class=\"chart\"><figcaption><b>What was saturated</b> <span class=\"unit\">by the target's own \
         account</span></figcaption><div class=\"strip\">{strips}</div></figure>\n"
    )
}
