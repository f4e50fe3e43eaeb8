//! A report as Markdown, and the short form for a terminal.

use std::fmt::Write;

use super::tables::{Table, tables};
use crate::report::Report;

/// The whole report.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("# {}\n\n", title(report));
    if !report.scenario.about.is_empty() {
        let _ = writeln!(text, "{}\n", report.scenario.about.trim());
    }
    if let Some(reason) = &report.ended_early {
        let _ = writeln!(text, "**Ended early: {reason}.**\n");
    }
    for finding in &report.verdict {
        let _ = writeln!(text, "- {finding}");
    }
    for table in tables(report) {
        let _ = write!(text, "\n## {}\n\n{}", table.title, rows(&table));
        if let Some(note) = &table.note {
            let _ = writeln!(text, "\n{note}");
        }
    }
    text
}

/// Findings and figures, for a terminal.
pub fn text(report: &Report) -> String {
    let mut text = format!("\n{}\n\n", title(report));
    if let Some(reason) = &report.ended_early {
        let _ = writeln!(text, "Ended early: {reason}.");
    }
    for finding in &report.verdict {
        let _ = writeln!(text, "  • {finding}");
    }
    let shown =
        ["Thresholds", "Requests", "Latency of answered requests, ms", "Refusals and failures", "Phases", "Agents"];
    for table in tables(report).iter().filter(|table| shown.contains(&table.title)) {
        let _ = write!(text, "\n{}\n{}", table.title, columns(table));
    }
    let _ = writeln!(text, "\ngenerator: {:.2} of a core", report.generator.cores);
    text
}

/// The scenario, and what distinguishes this run.
pub(super) fn title(report: &Report) -> String {
    match &report.label {
        Some(label) => format!("{}: {label}", report.scenario.title),
        None => report.scenario.title.clone(),
    }
}

fn rows(table: &Table) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = line(&table.head);
    text.push_str(&format!("{}|\n", "| --- ".repeat(table.head.len())));
    table.rows.iter().for_each(|row| text.push_str(&line(row)));
    text
}

/// Aligned; numbers to the right.
fn columns(table: &Table) -> String {
    let all: Vec<&Vec<String>> = std::iter::once(&table.head).chain(&table.rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table.head.len()).map(width).collect();
    let mut text = String::new();
    for row in all {
        for (cell, width) in row.iter().zip(&widths) {
            let is_number = cell.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '#');
            let _ = if is_number { write!(text, "  {cell:>width$}") } else { write!(text, "  {cell:<width$}") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
