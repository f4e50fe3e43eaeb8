//! The tables of a report, as rows of text: the page and Markdown show the same.

use crate::report::{KEPT, Report, Stats, TaskReport};

/// A table.
pub(super) struct Table {
    pub(super) title: &'static str,
    /// What stands below it.
    pub(super) note: Option<String>,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// All tables that have rows.
pub(super) fn tables(report: &Report) -> Vec<Table> {
    let all = [thresholds(report), requests(report), percentiles(report), failures(report), phases(report)];
    let mut tables: Vec<Table> =
        all.into_iter().chain([cache(report), agents(report), generator(report), environment(report)]).collect();
    tables.retain(|table| !table.rows.is_empty());
    tables
}

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|word| (*word).to_owned()).collect()
}

fn rows_of(report: &Report) -> impl Iterator<Item = &TaskReport> {
    let several = report.tasks.len() > 1;
    report.tasks.iter().chain(several.then_some(&report.total))
}

fn name(task: &TaskReport) -> String {
    if task.method.is_empty() { "all together".into() } else { task.name.clone() }
}

fn requests(report: &Report) -> Table {
    let stats = |task: &TaskReport| task.ended.clone().unwrap_or_default();
    let row = |task: &TaskReport| {
        let ended = stats(task);
        let rate = |count: u64| format!("{:.2}", count as f64 / report.seconds.max(0.001));
        vec![
            task.method.clone(),
            name(task),
            task.requests.to_string(),
            task.failed.to_string(),
            task.refused.to_string(),
            number(ended.p50_ms),
            number(ended.mean_ms),
            number(ended.min_ms),
            number(ended.max_ms),
            format!("{:.0}", task.content_bytes),
            rate(task.requests),
            rate(task.failed),
        ]
    };
    Table {
        title: "Requests",
        note: Some(
            "Locust's columns, times in ms over every request that ended, and refusals (429 or 503 with Retry-After) \
             apart from failures. All other tables and charts of latency are of answered requests only."
                .into(),
        ),
        head: words(&[
            "Type",
            "Name",
            "# Requests",
            "# Fails",
            "# Refused",
            "Median",
            "Average",
            "Min",
            "Max",
            "Average size",
            "RPS",
            "Failures/s",
        ]),
        rows: rows_of(report).map(row).collect(),
    }
}

fn percentiles(report: &Report) -> Table {
    let mut head = words(&["Name", "From"]);
    head.extend(KEPT.iter().map(|percent| format!("{percent} %")));
    head.push("100 %".into());
    let mut rows = Vec::new();
    let scheduled = report.scenario.is_open() || report.scenario.users.pace.is_some();
    for task in rows_of(report) {
        let mut push = |from: &str, stats: &Option<Stats>| {
            let Some(stats) = stats else { return };
            let mut row = vec![name(task), from.to_owned()];
            row.extend(stats.percentiles().map(number));
            row.push(number(stats.max_ms));
            rows.push(row);
        };
        push(if scheduled { "due" } else { "sent" }, &task.latency);
        if scheduled {
            push("sent", &task.service);
        }
    }
    let note = if scheduled {
        "From the time a request was due: a stall counts for everyone who would have come. From the time it was sent: \
         what a tool reports that waits for the stall to end before it sends."
    } else {
        "A closed loop: these users send nothing while they wait, so a stall counts once for each of them. How long \
         independent visitors would wait, only an open loop can tell."
    };
    Table { title: "Latency of answered requests, ms", note: Some(note.into()), head, rows }
}

fn failures(report: &Report) -> Table {
    let rows = report.tasks.iter().flat_map(|task| {
        let share = |count: u64| format!("{:.2} %", 100.0 * count as f64 / (task.requests as f64).max(1.0));
        task.kinds.iter().map(move |(kind, count)| {
            vec![task.method.clone(), task.name.clone(), kind.clone(), count.to_string(), share(*count)]
        })
    });
    Table {
        title: "Refusals and failures",
        note: None,
        head: words(&["Type", "Name", "Kind", "Count", "Share"]),
        rows: rows.collect(),
    }
}

fn phases(report: &Report) -> Table {
    let row = |phase: &crate::report::PhaseReport| {
        let total = &phase.total;
        let latency = total.latency.clone().unwrap_or_default();
        let percent = |count: u64| format!("{:.2} %", 100.0 * count as f64 / (total.requests as f64).max(1.0));
        let due = phase.due_per_second.map(|due| format!("{due:.1}"));
        vec![
            phase.name.clone(),
            format!("{:.0}–{:.0} s", phase.from, phase.to),
            due.unwrap_or_else(|| "–".into()),
            format!("{:.1}", total.rps),
            number(latency.p50_ms),
            number(latency.p95_ms),
            number(latency.p99_ms),
            percent(total.failed),
            percent(total.refused),
        ]
    };
    let several = report.phases.len() > 1;
    Table {
        title: "Phases",
        note: Some("Answers count where they came in, so a phase can have answers of the one before.".into()),
        head: words(&["Phase", "Time", "Due/s", "Answered/s", "p50 ms", "p95 ms", "p99 ms", "Failed", "Refused"]),
        rows: if several { report.phases.iter().map(row).collect() } else { Vec::new() },
    }
}

fn thresholds(report: &Report) -> Table {
    let row = |threshold: &crate::report::ThresholdReport| {
        let held = if threshold.holds { "holds" } else { "does NOT hold" };
        vec![threshold.threshold.clone(), threshold.value.clone(), held.to_owned()]
    };
    Table {
        title: "Thresholds",
        note: None,
        head: words(&["Threshold", "Measured", ""]),
        rows: report.thresholds.iter().map(row).collect(),
    }
}

fn cache(report: &Report) -> Table {
    let total: u64 = report.cache.values().sum();
    let row = |(source, count): (&String, &u64)| {
        vec![source.clone(), count.to_string(), format!("{:.1} %", 100.0 * *count as f64 / total.max(1) as f64)]
    };
    Table {
        title: "Answers by X-Cache",
        note: None,
        head: words(&["From", "Answers", "Share"]),
        rows: report.cache.iter().map(row).collect(),
    }
}

fn agents(report: &Report) -> Table {
    let row = |agent: &crate::report::AgentReport| {
        vec![
            agent.name.clone(),
            agent.requests.to_string(),
            format!("{:.2}", agent.cores),
            format!("{:+.2}", agent.clock_offset_ms),
            agent.lost_at.map_or("–".into(), |at| format!("after {at:.0} s")),
        ]
    };
    Table {
        title: "Agents",
        note: None,
        head: words(&["Agent", "Requests", "Cores", "Clock offset, ms", "Lost"]),
        rows: report.generator.agents.iter().map(row).collect(),
    }
}

fn generator(report: &Report) -> Table {
    let generator = &report.generator;
    let fact = |name: &str, value: String| vec![name.to_owned(), value];
    Table {
        title: "The generator itself",
        note: None,
        head: words(&["", ""]),
        rows: vec![
            fact("Limit", generator.limit.clone().unwrap_or_else(|| "it was not the limit".into())),
            fact("CPU", format!("{:.2} of a core", generator.cores)),
            fact("Its timers were late by", format!("{:.1} ms (99th percentile)", generator.lag_p99_ms)),
            fact("Due and not sent", generator.shortfall.to_string()),
            fact("Users that logged in", generator.logins.to_string()),
            fact("Warm-up requests, not counted", generator.warm_up.to_string()),
        ],
    }
}

fn environment(report: &Report) -> Table {
    let environment = &report.environment;
    let mut rows = Vec::new();
    let mut fact = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    fact("Target", report.scenario.target.url.clone());
    let target = &environment.target;
    if let Some(version) = &target.version {
        let workers = target.workers.map_or(String::new(), |workers| format!(", {workers} workers at the start"));
        fact("It says it is", format!("{version}, serving {}{workers}", target.models.join(", ")));
    }
    let sharing = if environment.local { ", shared by target and generator" } else { "" };
    fact("Machine", format!("{}: {}, {} cores{sharing}", environment.host, environment.cpu, environment.cores));
    fact("Memory", format!("{:.1} GiB", environment.memory_gib));
    fact("System", environment.system.clone());
    fact("Generator", environment.version.clone());
    if let Some(commit) = &environment.commit {
        fact("Commit", commit.clone());
    }
    fact(
        "Began",
        humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + std::time::Duration::from_secs(report.begun))
            .to_string(),
    );
    Table { title: "Environment", note: None, head: words(&["", ""]), rows }
}

/// Milliseconds with as many digits as say something.
pub(super) fn number(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}
