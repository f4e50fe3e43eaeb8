//! Locust's CSV files: the same names, columns, order and line ends as `locust --csv` writes, so that
//! what reads those reads these.

use crate::report::{Report, Stats, TaskReport};

const STATS: &str = "Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,Min Response Time,Max Response Time,Average Content Size,Requests/s,Failures/s,50%,66%,75%,80%,90%,95%,98%,99%,99.9%,99.99%,100%";
const FAILURES: &str = "Method,Name,Error,Occurrences,First Seen,Last Seen";
const HISTORY: &str = "Timestamp,User Count,Type,Name,Requests/s,Failures/s,50%,66%,75%,80%,90%,95%,98%,99%,99.9%,99.99%,100%,Total Request Count,Total Failure Count,Total Median Response Time,Total Average Response Time,Total Min Response Time,Total Max Response Time,Total Average Content Size";

/// The ends of the files' names, and their text. Locust knows no refusals: they count as failures.
pub fn csv(report: &Report) -> [(&'static str, String); 3] {
    [("_stats.csv", stats(report)), ("_failures.csv", failures(report)), ("_stats_history.csv", history(report))]
}

fn table(head: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("{head}\r\n");
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| quote(cell)).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

fn quote(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

fn stats(report: &Report) -> String {
    let row = |task: &TaskReport, name: &str| {
        let ended = task.ended.clone().unwrap_or_default();
        let unanswered = task.failed + task.refused;
        let rate = |count: u64| (count as f64 / report.seconds.max(0.001)).to_string();
        let mut row = vec![
            task.method.clone(),
            name.to_owned(),
            task.requests.to_string(),
            unanswered.to_string(),
            whole(ended.p50_ms),
            ended.mean_ms.to_string(),
            ended.min_ms.to_string(),
            ended.max_ms.to_string(),
            task.content_bytes.to_string(),
            rate(task.requests),
            rate(unanswered),
        ];
        row.extend(percentiles(&ended));
        row
    };
    let tasks = report.tasks.iter().map(|task| row(task, &task.name));
    table(STATS, tasks.chain([row(&report.total, "Aggregated")]))
}

fn failures(report: &Report) -> String {
    let rows = report.tasks.iter().flat_map(|task| {
        task.kinds.iter().map(|(kind, count)| {
            let seen = |second: Option<u32>| stamp(report.begun + u64::from(second.unwrap_or(0)));
            let mut seconds = report.series.iter().filter(|second| second.kinds.contains_key(kind));
            let (first, last) = (seconds.next(), seconds.next_back());
            let last = last.or(first);
            vec![
                task.method.clone(),
                task.name.clone(),
                kind.clone(),
                count.to_string(),
                seen(first.map(|second| second.at)),
                seen(last.map(|second| second.at)),
            ]
        })
    });
    table(FAILURES, rows)
}

fn history(report: &Report) -> String {
    let rows = report.series.iter().map(|second| {
        let unanswered: u64 = second.kinds.values().sum();
        let mut row = vec![
            (report.begun + u64::from(second.at) + 1).to_string(),
            second.users.to_string(),
            String::new(),
            "Aggregated".to_owned(),
            format!("{:.6}", (second.answered + unanswered) as f64),
            format!("{:.6}", unanswered as f64),
        ];
        match &second.ended {
            Some(ended) => row.extend(percentiles(ended)),
            None => row.extend(std::iter::repeat_n("N/A".to_owned(), 11)),
        }
        let so_far = &second.so_far;
        row.extend([
            so_far.requests.to_string(),
            so_far.unanswered.to_string(),
            whole(so_far.median_ms),
            so_far.mean_ms.to_string(),
            so_far.min_ms.to_string(),
            so_far.max_ms.to_string(),
            so_far.content_bytes.to_string(),
        ]);
        row
    });
    table(HISTORY, rows)
}

fn percentiles(stats: &Stats) -> Vec<String> {
    stats.percentiles().into_iter().chain([stats.max_ms]).map(whole).collect()
}

/// Locust rounds percentiles to milliseconds.
fn whole(ms: f64) -> String {
    format!("{}", ms.round() as u64)
}

fn stamp(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).to_string()
}
