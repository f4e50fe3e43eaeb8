//! A search for the capacity as one page.

use super::html::{escape, page, table};
use super::tables::{Table, number};
use crate::command::Capacity;

/// The page.
pub(crate) fn capacity_page(capacity: &Capacity) -> String {
    let title = escape(&format!("Capacity: {}", capacity.title));
    let ms = |value: Option<f64>| value.map_or("–".into(), number);
    let row = |run: &crate::command::Tried| {
        let held = if run.holds { "holds" } else { "breaks" };
        vec![
            number(run.rate),
            format!("{:.0}", run.seconds),
            if run.confirms { format!("long run: {held}") } else { held.into() },
            number(run.answered_per_second),
            ms(run.p50_ms),
            ms(run.p95_ms),
            ms(run.p99_ms),
            run.failed.to_string(),
            run.refused.to_string(),
        ]
    };
    let head = ["Rate/s", "Seconds", "", "Answered/s", "p50 ms", "p95 ms", "p99 ms", "Failed", "Refused"];
    let runs = Table {
        title: "Runs, in order",
        note: Some("Open loop: latency counts from the time a request was due.".into()),
        head: head.map(str::to_owned).to_vec(),
        rows: capacity.runs.iter().map(row).collect(),
    };
    let environment = &capacity.environment;
    let body = format!(
        "<header><h1>{title}</h1><p class=\"about\">{}</p></header><section class=\"verdict\"><h2>Verdict</h2>\
         <ul><li>{}</li></ul></section>{}{}<p class=\"note\">{}: {}, {} cores, {:.1} GiB; {}</p>",
        escape(&capacity.slo.join(", ")),
        escape(&capacity.finding),
        plot(capacity),
        table(&runs),
        escape(&environment.host),
        escape(&environment.cpu),
        environment.cores,
        environment.memory_gib,
        escape(&environment.version),
    );
    page(&title, &body)
}

/// p95 over the rate: a dot for each run.
fn plot(capacity: &Capacity) -> String {
    let points: Vec<(f64, f64, bool)> =
        capacity.runs.iter().filter_map(|run| Some((run.rate, run.p95_ms?, run.holds))).collect();
    let ends = |values: &dyn Fn(&(f64, f64, bool)) -> f64| {
        let low = points.iter().map(values).fold(f64::INFINITY, f64::min).max(0.01);
        (low, points.iter().map(values).fold(low * 1.01, f64::max))
    };
    if points.len() < 2 {
        return String::new();
    }
    let ((slow, fast), (low, high)) = (ends(&|point| point.0), ends(&|point| point.1));
    // Both axes logarithmic: a search doubles its rate, and latency explodes at the limit.
    let share =
        |value: f64, from: f64, to: f64| 3.0 + 94.0 * (value.max(from).ln() - from.ln()) / (to.ln() - from.ln());
    let dot = |(rate, p95, holds): &(f64, f64, bool)| {
        let class = if *holds { "c2" } else { "c3" };
        let (x, y) = (share(*rate, slow, fast), share(*p95, low, high));
        format!(
            "<i class=\"dot {class}\" style=\"left:{x:.1}%;bottom:{y:.1}%\" title=\"{}/s: p95 {} ms\"></i>",
            number(*rate),
            number(*p95)
        )
    };
    let label = |axis: &str, at: f64, text: String| {
        let side = if axis == "x" { "left" } else { "bottom" };
        format!("<span class=\"{axis}\" style=\"{side}:{at}%\">{text}</span>")
    };
    let labels = [
        label("x", 3.0, format!("{}/s", number(slow))),
        label("x", 97.0, format!("{}/s", number(fast))),
        label("y", 3.0, number(low)),
        label("y", 97.0, number(high)),
    ];
    let dots: String = points.iter().map(dot).collect();
    format!(
        "<figure class=\"chart\"><figcaption><b>p95 over the rate</b> <span class=\"unit\">ms, both axes logarithmic\
         </span><span class=\"legend\"><span><i class=\"c2\"></i>holds</span><span><i class=\"c3\"></i>breaks</span>\
         </span></figcaption><div class=\"plot dots\">{}{dots}</div></figure>",
        labels.concat()
    )
}
