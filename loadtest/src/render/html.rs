//! A report as one page that needs nothing else: no network, no files beside it.

use std::fmt::Write;

use super::markdown::title;
use super::series::charts;
use super::tables::{Table, number, tables};
use crate::report::Report;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page.
pub fn html(report: &Report) -> String {
    let title = escape(&title(report));
    let mut body = format!("<header><h1>{title}</h1>");
    if !report.scenario.about.is_empty() {
        let _ = write!(body, "<p class=\"about\">{}</p>", escape(report.scenario.about.trim()));
    }
    body.push_str("</header>\n");
    if let Some(reason) = &report.ended_early {
        let _ = write!(body, "<p class=\"early\">Ended early: {}.</p>", escape(reason));
    }
    body.push_str(&cards(report));
    let _ = write!(body, "<section class=\"verdict\"><h2>Verdict</h2><ul>");
    for finding in &report.verdict {
        let _ = write!(body, "<li>{}</li>", escape(finding));
    }
    body.push_str("</ul></section>\n");
    let _ = write!(body, "<section><h2>Over time</h2>{}</section>\n<section>", charts(report));
    for part in tables(report) {
        body.push_str(&table(&part));
    }
    body.push_str("</section>\n");
    let scenario = toml::to_string_pretty(&report.scenario).unwrap_or_default();
    let _ = write!(body, "<details><summary>The scenario</summary><pre>{}</pre></details>", escape(&scenario));
    page(&title, &body)
}

/// A page of this style; `title` is escaped already.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title>\
         <style>{STYLE}</style></head>\n<body><main>{body}</main><script>{SCRIPT}</script></body></html>\n"
    )
}

fn cards(report: &Report) -> String {
    let total = &report.total;
    let percent = |count: u64| 100.0 * count as f64 / (total.requests as f64).max(1.0);
    let latency =
        |value: fn(&crate::report::Stats) -> f64| total.latency.as_ref().map_or("–".into(), |s| number(value(s)));
    let card = |name: &str, value: String, unit: &str, class: &str| {
        format!("<div class=\"card {class}\"><span>{name}</span><b>{value}</b><small>{unit}</small></div>")
    };
    let bad = |count: u64| if count > 0 { "bad" } else { "" };
    let cards = [
        card("Answers", number(total.rps), "a second", ""),
        card("Median", latency(|stats| stats.p50_ms), "ms", ""),
        card("p95", latency(|stats| stats.p95_ms), "ms", ""),
        card("p99", latency(|stats| stats.p99_ms), "ms", ""),
        card("Failed", number(percent(total.failed)), "% of requests", bad(total.failed)),
        card("Refused", number(percent(total.refused)), "% with Retry-After", ""),
    ];
    format!("<section class=\"cards\">{}</section>\n", cards.concat())
}

/// A table of the page.
pub(super) fn table(table: &Table) -> String {
    let is_bare = table.head.iter().all(String::is_empty);
    let is_number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit() || c == '–' || c == '+' || c == '-');
    let class = |column: usize| {
        let numbers = table.rows.iter().all(|row| row.get(column).is_some_and(|cell| is_number(cell)));
        if numbers && !is_bare { " class=\"n\"" } else { "" }
    };
    let mut text = format!("<h2>{}</h2><div class=\"scroll\"><table>", escape(table.title));
    if !is_bare {
        text.push_str("<thead><tr>");
        for (column, head) in table.head.iter().enumerate() {
            let _ = write!(text, "<th{}>{}</th>", class(column), escape(head));
        }
        text.push_str("</tr></thead>");
    }
    text.push_str("<tbody>");
    for row in &table.rows {
        let broken = if row.iter().any(|cell| cell == "does NOT hold") { " class=\"broken\"" } else { "" };
        let _ = write!(text, "<tr{broken}>");
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(text, "<td{}>{}</td>", class(column), escape(cell));
        }
        text.push_str("</tr>");
    }
    text.push_str("</tbody></table></div>\n");
    if let Some(note) = &table.note {
        let _ = writeln!(text, "<p class=\"note\">{}</p>", escape(note));
    }
    text
}

/// Text that cannot become markup.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
