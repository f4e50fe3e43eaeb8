//! Without a command: so many connections for so long, and the figures.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use crate::measure::measure_found;
use crate::outcome::Outcome;
use crate::report::Stats;
use crate::scenario::{ImageFile, Images, Mix, Phase, Scenario, Target, Task, Upload, Users, Wait};
use crate::view::Quiet;

#[derive(Args)]
pub(super) struct Quick {
    /// Where to post
    #[arg(long, default_value = "http://127.0.0.1:8000/predict")]
    url: hyper::Uri,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Seconds to run
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Images to send, in turn
    #[arg(long = "image")]
    images: Vec<PathBuf>,
    /// Make every body different (JPEG, PNG)
    #[arg(long)]
    unique: bool,
    /// Pause of each connection between two requests, seconds: one number, or a range as in 1-5
    #[arg(long, default_value = "0")]
    think: Wait,
    /// Wait as long as a refusal asks for (`Retry-After`), then send the same image again
    #[arg(long)]
    obey: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is printed; latencies are those of answered requests, milliseconds.
#[derive(Serialize)]
struct Summary {
    seconds: f64,
    requests_per_second: f64,
    p50_ms: f64,
    p90_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    outcomes: BTreeMap<String, u64>,
    cache: BTreeMap<String, u64>,
    generator_cores: f64,
}

pub(super) async fn quick(quick: Quick) -> anyhow::Result<u8> {
    if quick.images.is_empty() {
        bail!("--image FILE is needed, or a command: see --help");
    }
    let json = quick.json;
    let scenario = scenario(quick)?;
    let stop = super::on_signal();
    let (found, generator) = measure_found(&scenario, &mut Quiet, &stop).await?;
    let total = found.ledger.total(found.seconds);
    let stats = total.latency.unwrap_or_default();
    let summary = summary(found.seconds, total.rps, &stats, found.ledger.outcomes());
    let summary = Summary { cache: found.ledger.cache().clone(), generator_cores: generator.cores, ..summary };
    if json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        print(&summary);
    }
    Ok(if found.ended_early.is_some() { super::EXIT_INTERRUPTED } else { 0 })
}

fn scenario(quick: Quick) -> anyhow::Result<Scenario> {
    let path = quick.url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let authority = quick.url.authority().context("the URL needs a host")?;
    let most = quick.think.most.as_secs_f64();
    // Not all at the same moment: users that pause come one after the other.
    let spawn = (most > 0.0).then(|| quick.connections as f64 / most);
    let duration = Duration::try_from_secs_f64(quick.seconds).context("--seconds")?;
    let task = Task {
        name: "predict".into(),
        path,
        method: None,
        upload: Some(Upload::Raw),
        weight: 1,
        token: false,
        check: Some(false),
    };
    let file = |path: PathBuf| ImageFile { path, label: None };
    Ok(Scenario {
        title: "quick".into(),
        about: String::new(),
        target: Target { url: format!("http://{authority}"), timeout: Duration::from_secs(600), ..Target::default() },
        images: Images {
            files: quick.images.into_iter().map(file).collect(),
            mix: if quick.unique { Mix::Unique } else { Mix::Repeated },
            ..Images::default()
        },
        users: Users { wait: quick.think, pace: None, obey: quick.obey },
        arrivals: Default::default(),
        thresholds: Vec::new(),
        stop_when: Vec::new(),
        tasks: vec![task],
        phases: vec![Phase { spawn, ..Phase::with_users(quick.connections, duration) }],
    })
}

fn summary(seconds: f64, rps: f64, stats: &Stats, outcomes: BTreeMap<Outcome, u64>) -> Summary {
    let mut by_key = BTreeMap::new();
    for (outcome, count) in outcomes {
        *by_key.entry(outcome.key().into_owned()).or_default() += count;
    }
    Summary {
        seconds,
        requests_per_second: rps,
        p50_ms: stats.p50_ms,
        p90_ms: stats.p90_ms,
        p95_ms: stats.p95_ms,
        p99_ms: stats.p99_ms,
        max_ms: stats.max_ms,
        outcomes: by_key,
        cache: BTreeMap::new(),
        generator_cores: 0.0,
    }
}

fn print(summary: &Summary) {
    println!("{:.1} answers/s over {:.1} s", summary.requests_per_second, summary.seconds);
    println!(
        "latency ms: p50 {:.2}  p90 {:.2}  p95 {:.2}  p99 {:.2}  max {:.2}",
        summary.p50_ms, summary.p90_ms, summary.p95_ms, summary.p99_ms, summary.max_ms
    );
    println!("outcomes: {:?}", summary.outcomes);
    if !summary.cache.is_empty() {
        println!("cache: {:?}", summary.cache);
    }
    println!("generator: {:.2} of a core", summary.generator_cores);
}
