//! What the forecast is made of. Asked of the JetStream API, which the consumers' leader answers;
//! seldom while there is no traffic.

use std::time::{Duration, Instant};

use shoal_nats::backlog::Backlog;
use shoal_nats::presence::Fleet;
use shoal_shared::names::{Lane, ModelName};
use shoal_shared::process::shutdown::Shutdown;

use super::Observation;
use crate::predict::Predictor;

/// How often the queue is looked at while there is traffic.
const INTERVAL: Duration = Duration::from_millis(250);
/// Every how manieth time while there is none.
const IDLE: u32 = 8;
/// Traffic this recent is a reason to look.
const RECENT: Duration = Duration::from_secs(5);

/// Observes until shutdown is ordered.
pub async fn run(predictor: Predictor, shutdown: Shutdown) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in 0u32.. {
        tokio::select! {
            _ = tick.tick() => {}
            () = shutdown.ordered() => return,
        }
        let workers = predictor.models().fleet().workers();
        for model in predictor.models().fleet().models() {
            let of = predictor.models().fleet_of(&model.name);
            predictor.metrics().rollout.know(&model.name, &of);
            let supervisors = predictor.models().fleet().supervisors_of(&of);
            predictor.metrics().fleet.workers(&model.name, &workers, &supervisors);
        }
        let is_due = round.is_multiple_of(IDLE) || predictor.admission().is_busy(RECENT);
        if !is_due || !predictor.bus().is_up() {
            continue;
        }
        for model in predictor.models().fleet().models() {
            if let Some(observation) = observe(&predictor, &model.name).await {
                predictor.admission().observe(&model.name, observation);
                report(&predictor, &model.name, round).await;
            }
        }
        if round.is_multiple_of(IDLE)
            && let Ok((streams, storage)) = tokio::try_join!(predictor.bus().streams(), predictor.bus().storage())
        {
            predictor.metrics().streams.observe(&streams, &storage);
        }
    }
}

/// A worker was just heard of, and the broker was not asked yet: nothing waits, as far as one knows.
pub(crate) fn first_guess(fleet: &Fleet, model: &ModelName) -> Observation {
    let (speed, workers) = strength(fleet, model);
    Observation { at: Instant::now(), ahead: 0, waiting: 0, bulk_waits: false, settled: 0, speed, workers }
}

/// Images a second that the workers reach by their own measurement, and their number.
fn strength(fleet: &Fleet, model: &ModelName) -> (f64, usize) {
    let workers = fleet.workers_of(model);
    let speed = workers.iter().map(|worker| 1e3 / f64::from(worker.model.image_ms.max(1e-3))).sum();
    (speed, workers.len())
}

/// What waits, for people and for scrapers. The oldest job costs a request of its own: seldom asked.
async fn report(predictor: &Predictor, model: &ModelName, round: u32) {
    let metrics = predictor.metrics();
    let wait = predictor.admission().wait(model).unwrap_or_default();
    metrics.queue_wait.with_label_values(&[model.as_str()]).set(wait.as_secs_f64());
    if !round.is_multiple_of(IDLE) {
        return;
    }
    for lane in Lane::ALL {
        if let Ok(oldest) = predictor.bus().oldest_job(model, lane).await {
            let labels = [model.as_str(), lane.as_str()];
            metrics.queue_oldest.with_label_values(&labels).set(oldest.unwrap_or_default().as_secs_f64());
        }
    }
}

async fn observe(predictor: &Predictor, model: &ModelName) -> Option<Observation> {
    let (bus, fleet) = (predictor.bus(), predictor.models().fleet());
    let begun = Instant::now();
    let both = tokio::try_join!(bus.backlog(model, Lane::Interactive), bus.backlog(model, Lane::Bulk));
    let (interactive, bulk): (Backlog, Backlog) = both.ok()?;
    predictor.metrics().broker_seconds.observe(begun.elapsed().as_secs_f64());
    for (lane, backlog) in [(Lane::Interactive, interactive), (Lane::Bulk, bulk)] {
        predictor.metrics().queued(model, lane, &backlog);
    }
    let (speed, workers) = strength(fleet, model);
    Some(Observation {
        at: Instant::now(),
        ahead: interactive.pending + interactive.in_flight,
        waiting: interactive.pending + bulk.pending,
        bulk_waits: bulk.pending > 0,
        settled: interactive.settled() + bulk.settled(),
        speed,
        workers,
    })
}
