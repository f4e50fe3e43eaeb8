//! Runs side by side: 1, 2 and 4 workers, each repeated, and whether the difference is more than
//! chance.

use std::fmt::Write;

use crate::report::Report;
use crate::welch::{Sample, p_value};

/// Repeated runs of the same thing.
pub struct Group {
    /// What distinguishes them from the others.
    pub name: String,
    /// The runs.
    pub runs: Vec<Report>,
}

/// A difference is told from chance below this.
pub const SIGNIFICANT: f64 = 0.05;

/// Groups runs by label, in the order in which labels come; runs without one by their scenario.
pub fn group(reports: Vec<Report>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for report in reports {
        let name = report.label.clone().unwrap_or_else(|| report.scenario.title.clone());
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.runs.push(report),
            None => groups.push(Group { name, runs: vec![report] }),
        }
    }
    groups
}

impl Group {
    fn of(&self, figure: impl Fn(&Report) -> f64) -> Sample {
        Sample::of(&self.runs.iter().map(figure).collect::<Vec<_>>())
    }

    /// Answers a second.
    pub fn rps(&self) -> Sample {
        self.of(|report| report.total.rps)
    }

    /// 95th percentile of answered requests, milliseconds.
    pub fn p95(&self) -> Sample {
        self.of(|report| report.total.latency.as_ref().map_or(f64::NAN, |stats| stats.p95_ms))
    }
}

/// Every other group against the first, in words.
pub fn findings(groups: &[Group]) -> Vec<String> {
    let Some((first, others)) = groups.split_first() else { return Vec::new() };
    let mut findings: Vec<String> = others.iter().map(|other| difference(first, other)).collect();
    if groups.iter().any(|group| group.runs.iter().any(|run| run.generator.limit.is_some())) {
        findings.push("In at least one run the generator was the limit: that run says little of its target.".into());
    }
    if groups.iter().any(|group| group.runs.iter().any(|run| run.scenario.title != first.runs[0].scenario.title)) {
        findings.push("The runs are not all of one scenario.".into());
    }
    findings
}

fn difference(first: &Group, other: &Group) -> String {
    let told = |what: &str, a: Sample, b: Sample| {
        let ratio = b.mean / a.mean;
        match p_value(&a, &b) {
            Some(p) if p < 0.001 => format!("{ratio:.2} × the {what} (p < 0.001)"),
            Some(p) if p < SIGNIFICANT => format!("{ratio:.2} × the {what} (p = {p:.3})"),
            Some(p) => format!("{ratio:.2} × the {what}, which may be chance (p = {p:.2})"),
            None => format!("{ratio:.2} × the {what} (one run a side: chance cannot be told)"),
        }
    };
    format!(
        "{} against {}: {}; {}.",
        other.name,
        first.name,
        told("answers/s", first.rps(), other.rps()),
        told("p95", first.p95(), other.p95())
    )
}

/// As Markdown.
pub fn markdown(groups: &[Group]) -> String {
    let mut text = String::from("# Side by side\n\n");
    for finding in findings(groups) {
        let _ = writeln!(text, "- {finding}");
    }
    let _ = writeln!(text, "\n| {} |\n{}|", HEAD.join(" | "), "| --- ".repeat(HEAD.len()));
    for row in rows(groups) {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    let _ = writeln!(text, "\n{NOTE}");
    text
}

/// Columns of the table.
pub const HEAD: [&str; 8] = ["", "runs", "answers/s", "±", "median ms", "p95 ms", "failed", "refused"];
/// What stands below it.
pub const NOTE: &str = "Means of the runs; ± is their standard deviation. p: Welch's t-test over the runs, two-sided. \
                        Repeat runs in turns (A B A B), so that a drift of the machine is in both.";

/// Rows of the table.
pub fn rows(groups: &[Group]) -> Vec<Vec<String>> {
    let row = |group: &Group| {
        let (rps, median) = (group.rps(), group.of(|run| run.total.latency.as_ref().map_or(f64::NAN, |s| s.p50_ms)));
        let share = |count: fn(&Report) -> u64| {
            let sample = group.of(|run| count(run) as f64 / (run.total.requests as f64).max(1.0));
            format!("{:.2} %", 100.0 * sample.mean)
        };
        vec![
            group.name.clone(),
            rps.count.to_string(),
            format!("{:.1}", rps.mean),
            if rps.count > 1 { format!("{:.1}", rps.deviation()) } else { "–".into() },
            format!("{:.1}", median.mean),
            format!("{:.1}", group.p95().mean),
            share(|run| run.total.failed),
            share(|run| run.total.refused),
        ]
    };
    groups.iter().map(row).collect()
}
