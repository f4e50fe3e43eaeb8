//! Runs side by side as one page.

use super::chart::{Chart, Line};
use super::html::{escape, page, table};
use super::tables::Table;
use crate::compare::{Group, HEAD, NOTE, findings, rows};
use crate::report::{Report, Second};

/// Groups that have a colour of their own.
const MAX_LINES: usize = 7;

/// The page.
pub fn comparison(groups: &[Group]) -> String {
    let points: String = findings(groups).iter().map(|finding| format!("<li>{}</li>", escape(finding))).collect();
    let side_by_side =
        Table { title: "Figures", note: Some(NOTE.into()), head: HEAD.map(str::to_owned).to_vec(), rows: rows(groups) };
    let chart = |title, unit, value: fn(&Second) -> Option<f64>| {
        let line = |(colour, group): (usize, &Group)| Some(line(group.runs.first()?, &group.name, colour, value));
        let lines = groups.iter().take(MAX_LINES).enumerate().filter_map(line).collect();
        Chart { title, unit, lines, phases: &[], steps: false }.html()
    };
    let body = format!(
        "<header><h1>Side by side</h1></header><section class=\"verdict\"><h2>Verdict</h2><ul>{points}</ul></section>{}\
         <section><h2>The first run of each, over time</h2>{}{}</section>",
        table(&side_by_side),
        chart("Answers", "a second", |second| Some(second.answered as f64)),
        chart("Latency, p95", "ms, answered requests", |second| second.p95_ms),
    );
    page("Side by side", &body)
}

fn line(report: &Report, name: &str, colour: usize, value: fn(&Second) -> Option<f64>) -> Line {
    let length = report.series.iter().map(|second| second.at as usize + 1).max().unwrap_or(0);
    let mut values = vec![None; length];
    for second in &report.series {
        values[second.at as usize] = value(second);
    }
    Line { name: name.into(), colour, values }
}
