//! The heartbeat: what this process is, what it uses, and how its models stand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use shoal_nats::Bus;
use shoal_shared::names::NodeId;
use shoal_shared::presence::{HeldModel, HoldState, Slots, Used, WorkerState, WorkerStatus};
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::process::{VERSION, available_cores, host, host_name};
use tokio::sync::Notify;

use super::roll::Roll;
use crate::metrics::WorkerMetrics;

/// What the heartbeat tells.
#[derive(Clone)]
pub(crate) struct Heart {
    pub(crate) id: NodeId,
    /// Address of the admin server.
    pub(crate) admin: String,
    pub(crate) roll: Roll,
    pub(crate) metrics: Arc<WorkerMetrics>,
    /// When the process started.
    pub(crate) started: Instant,
    pub(crate) draining: Arc<AtomicBool>,
    /// Something is new: it is told at once.
    pub(crate) changed: Arc<Notify>,
}

impl Heart {
    /// Beats until shutdown is ordered.
    pub(crate) fn start(&self, bus: &Bus, shutdown: &Shutdown) -> tokio::task::JoinHandle<()> {
        let (bus, shutdown, changed, heart) = (bus.clone(), shutdown.clone(), self.changed.clone(), self.clone());
        tokio::spawn(async move {
            bus.run_heartbeat(|| heart.status(), changed, shutdown).await;
        })
    }

    fn status(&self) -> Option<WorkerStatus> {
        let models = self.roll.held();
        // The model that stands for the process, for those who expect one: it is described best when served.
        let first = |state: HoldState| models.iter().find(|held| held.state == state);
        let model = first(HoldState::Ready).or(models.first())?.status.clone();
        let slots = models.iter().fold(Slots::default(), |sum, held| Slots {
            total: sum.total + held.slots.total,
            busy: sum.busy + held.slots.busy,
        });
        self.metrics.slots_busy.set(slots.busy.into());
        let draining = self.draining.load(Ordering::Relaxed);
        Some(WorkerStatus {
            id: self.id.clone(),
            host: host_name(),
            pid: std::process::id(),
            version: VERSION.into(),
            admin: self.admin.clone(),
            state: if draining { WorkerState::Draining } else { WorkerState::Ready },
            model,
            busy: models.iter().map(|held| held.busy).sum::<f32>().clamp(0.0, 1.0),
            slots,
            images: self.metrics.images.get(),
            used: self.used(&models),
            models,
        })
    }

    fn used(&self, models: &[HeldModel]) -> Used {
        let metrics = &self.metrics;
        let serves = |held: &HeldModel| held.state == HoldState::Ready;
        Used {
            uptime: self.started.elapsed().as_secs_f64(),
            sessions: metrics.session_busy.get(),
            decoding: metrics.decode_busy.get(),
            cpu: host::process_cpu(),
            host_cpu: host::cpu_times().unwrap_or_default().used,
            batches: metrics.batch_size.get_sample_count(),
            decode_threads: metrics.decode_threads.get() as u32,
            session_threads: metrics.session_threads.get() as u32,
            cores: available_cores() as u32,
            int8_would_help: models.iter().any(serves) && self.roll.lines().iter().any(|line| line.int8_would_help),
        }
    }

    /// Takes no more jobs from now on.
    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// The last word.
    pub(crate) async fn say_goodbye(&self, bus: &Bus) {
        if let Some(status) = self.status() {
            bus.announce(&WorkerStatus { state: WorkerState::Gone, ..status }).await;
        }
    }
}
