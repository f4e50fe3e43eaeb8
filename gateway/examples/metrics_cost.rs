//! What the measuring itself costs: nanoseconds for everything that is recorded about one computed
//! prediction. Compare with the gateway's CPU a request in `docs/benchmark.md`.

use std::hint::black_box;
use std::time::Instant;

use prometheus::Registry;
use shoal_gateway::metrics::GatewayMetrics;
use shoal_gateway::predict::Source;
use shoal_shared::attribution::{STAGES, StageTimes};

const REQUESTS: u32 = 1_000_000;

fn main() -> prometheus::Result<()> {
    let metrics = GatewayMetrics::register(&Registry::new())?;
    let mut stages = StageTimes::default();
    STAGES.iter().enumerate().for_each(|(index, stage)| stages.set(stage, 0.001 * (index + 1) as f64));
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        metrics.took(Source::Miss, black_box(&stages));
        metrics.predicted(Source::Miss, 1000);
        metrics.requests.with_label_values(&["/predict", "200"]).inc();
        metrics.request_seconds.with_label_values(&["/predict"]).observe(black_box(0.02));
    }
    println!("{:.0} ns a request", begun.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS));
    Ok(())
}
