//! `shoal plan`: how many workers a rate and a delay need, by queueing theory, from what this machine
//! measures now.

use std::time::Duration;

use anyhow::{Context, ensure};
use shoal_scaling::{Ask, BatchCurve, Plan, Saturates, plan};
use shoal_shared::names::ModelName;
use shoal_shared::process::available_cores;
use shoal_worker::model::{Device, ModelStore, Runtime, measure};

/// `shoal plan`
#[derive(clap::Args)]
pub struct Options {
    /// Requests a second that a worker has to compute
    #[arg(long)]
    rps: f64,
    /// Delay that 95 of 100 requests are to stay under, as in `300ms`
    #[arg(long, value_parser = duration)]
    p95: Duration,
    /// The model
    #[arg(long)]
    model: ModelName,
    /// Folder with models
    #[arg(long, default_value = ".shoal/models")]
    models_dir: std::path::PathBuf,
    /// Threads of each worker's session
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Cores of all hosts together [default: those of this one]
    #[arg(long)]
    cores: Option<usize>,
    /// Core time to decode one image, milliseconds
    #[arg(long, default_value_t = 1.0)]
    decode_ms: f64,
    /// Everything else on the way, milliseconds: `shoal why` says what it is in a fleet that runs
    #[arg(long, default_value_t = 2.0)]
    overhead_ms: f64,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let number: f64 = number.trim().parse().map_err(|_| "must be a time, as in 300ms or 1.5s".to_owned())?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        _ => return Err("must be a time, as in 300ms or 1.5s".into()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Measures the model and prints the estimate.
pub fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.rps > 0.0 && options.rps.is_finite(), "--rps must be more than 0");
    ensure!(options.threads > 0, "--threads must be at least 1");
    let runtime = Runtime::load(Device::Cpu)?;
    let model = ModelStore::open(&options.models_dir).load(&options.model)?;
    let curve = measure(&runtime, &model, options.threads).context("measuring the model")?;
    let points: Vec<(usize, f64)> = curve.iter().map(|(rows, took)| (*rows, took.as_secs_f64() * 1e3)).collect();
    let shown: Vec<String> = points.iter().map(|(rows, ms)| format!("{rows}: {ms:.1}")).collect();
    println!(
        "{}, {} threads a worker, measured now: batch of … in ms: {}",
        options.model,
        options.threads,
        shown.join(", ")
    );
    let cores = options.cores.unwrap_or_else(available_cores) as f64;
    let ask = Ask {
        rate: options.rps,
        p95_goal_ms: options.p95.as_secs_f64() * 1e3,
        curve: BatchCurve::new(points).map_err(anyhow::Error::msg)?,
        cores,
        cores_per_worker: options.threads as f64,
        most_workers: 1000,
        decode_ms: options.decode_ms,
        overhead_ms: options.overhead_ms,
        arrivals_cv2: 1.0,
        service_cv2: 0.0,
    };
    print!("{}", in_words(&ask, &plan(&ask)));
    Ok(())
}

fn in_words(ask: &Ask, plan: &Plan) -> String {
    let Ask { rate, p95_goal_ms, cores, .. } = ask;
    let mut text = format!(
        "\n{rate} requests/s with p95 under {p95_goal_ms:.0} ms on {cores} cores:\n  workers      {}{}\n",
        plan.workers,
        if plan.met { "" } else { ", as many as the cores carry: the goal is not met" }
    );
    if plan.p95_ms.is_finite() {
        text.push_str(&format!("  expected     p50 {:.0} ms, p95 {:.0} ms\n", plan.p50_ms, plan.p95_ms));
    } else {
        text.push_str("  expected     the queue grows without end\n");
    }
    let first = match plan.saturates {
        Saturates::Workers => "the workers",
        Saturates::Decode => "the cores, mostly by decoding",
        Saturates::Cores => "the cores, mostly by inference",
    };
    text.push_str(&format!(
        "  utilisation  {:.0} %, batches of {:.1} on average\n",
        100.0 * plan.utilisation,
        plan.batch
    ));
    text.push_str(&format!("  gives out    {first}, at {:.0} requests/s\n", plan.capacity));
    if !plan.trustworthy {
        text.push_str("  beware       over 85 % utilisation the delay depends on what no formula knows\n");
    }
    text.push_str("\nBy Allen and Cunneen's approximation of the M/G/c queue, with batches: docs/scaling.md.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(rate: f64) -> Ask {
        Ask {
            rate,
            p95_goal_ms: 300.0,
            curve: BatchCurve::new(vec![(1, 20.0)]).unwrap(),
            cores: 4.0,
            cores_per_worker: 1.0,
            most_workers: 1000,
            decode_ms: 0.0,
            overhead_ms: 2.0,
            arrivals_cv2: 1.0,
            service_cv2: 0.0,
        }
    }

    #[test]
    fn says_what_is_needed_and_what_cannot_be() {
        let (easy, hard) = (ask(60.0), ask(1000.0));
        let text = in_words(&easy, &plan(&easy));
        assert!(text.contains("workers      2\n") && !text.contains("not met"), "{text}");
        let text = in_words(&hard, &plan(&hard));
        assert!(text.contains("the goal is not met") && text.contains("grows without end"), "{text}");
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(duration("300").is_err() && duration("fast").is_err() && duration("-5ms").is_err());
    }
}
