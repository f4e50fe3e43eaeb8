//! `shoal-loadtest`: posts images to a predict service and says how it did.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Parser;
use shoal_loadtest::closed::{Plan, run};
use shoal_loadtest::record::Summary;
use shoal_loadtest::unique::Picture;

#[derive(Parser)]
#[command(name = "shoal-loadtest", version, about = "Posts images to a predict service and says how it did")]
struct Cli {
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
    #[arg(long = "image", required = true)]
    images: Vec<PathBuf>,
    /// Make every body different (JPEG, PNG)
    #[arg(long)]
    unique: bool,
    /// Pause of each connection between two requests, seconds: one number, or a range as in 1-5
    #[arg(long, default_value = "0", value_parser = think)]
    think: RangeInclusive<Duration>,
    /// Wait as long as a refusal asks for (`Retry-After`), then send the same image again
    #[arg(long)]
    obey: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match measure(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shoal-loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(cli: Cli) -> anyhow::Result<()> {
    let pictures: anyhow::Result<Vec<Picture>> = cli.images.iter().map(|path| picture(path, cli.unique)).collect();
    // Another run must not find this one's images in the cache.
    let first = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    let duration = Duration::try_from_secs_f64(cli.seconds)?;
    let pictures = Arc::new(pictures?);
    let Cli { url, connections, think, obey, json, .. } = cli;
    let plan = Plan { url, connections, duration, pictures, think, obey, first };
    let (record, elapsed) = run(plan).await?;
    let summary = record.summary(elapsed);
    if json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        print(&summary);
    }
    Ok(())
}

fn think(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let seconds = |text: &str| {
        let seconds = text.trim().parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
        Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
    };
    let (least, most) = (seconds(least)?, seconds(most)?);
    if least > most { Err("the range is empty".into()) } else { Ok(least..=most) }
}

fn picture(path: &PathBuf, unique: bool) -> anyhow::Result<Picture> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    if !unique {
        return Ok(Picture::repeated(bytes));
    }
    Picture::unique(&bytes).with_context(|| format!("{}: --unique takes JPEG and PNG only", path.display()))
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
}
