//! The workers of this host, as many as ordered.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use shoal_shared::process::available_cores;
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::supervision::Member;
use tokio::sync::{Mutex, mpsc, watch};

use super::FleetPlan;
use super::keeper::{Keeper, Life, Phase};

/// The workers, and how to start another one.
pub(super) struct Roster {
    program: PathBuf,
    plan: Arc<FleetPlan>,
    shutdown: Shutdown,
    replace: watch::Receiver<u64>,
    threads: watch::Sender<usize>,
    turn: Arc<Mutex<()>>,
    broken: mpsc::Sender<anyhow::Error>,
    kept: Vec<Kept>,
    next: usize,
    proven: Arc<AtomicBool>,
    /// Start-up times that nobody has been told.
    started_in: Vec<Duration>,
}

struct Kept {
    number: usize,
    stop: Shutdown,
    life: watch::Receiver<Life>,
    /// Whether its start-up time was told.
    is_told: bool,
}

impl Roster {
    /// No worker yet. `broken` hears of one that cannot be kept alive.
    pub(super) fn new(
        plan: Arc<FleetPlan>,
        shutdown: Shutdown,
        replace: watch::Receiver<u64>,
        broken: mpsc::Sender<anyhow::Error>,
    ) -> std::io::Result<Self> {
        let program = std::env::current_exe()?;
        let threads = watch::Sender::new(share(&plan, 1));
        let (turn, proven, kept, started_in) = (Arc::default(), Arc::default(), Vec::new(), Vec::new());
        Ok(Self { program, plan, shutdown, replace, threads, turn, broken, kept, next: 0, proven, started_in })
    }

    /// Starts or drains workers until there are `count`; `slowness` of those that are known, by process,
    /// says who goes first.
    pub(super) fn set(&mut self, count: usize, slowness: &HashMap<u32, f64>) {
        self.forget_ended();
        // Before anybody starts: a new worker has its share from the beginning.
        if count > 0 {
            let share = share(&self.plan, count);
            self.threads.send_if_modified(|threads| std::mem::replace(threads, share) != share);
        }
        while self.active() < count {
            self.start();
        }
        while self.active() > count {
            let going = self.kept.iter().filter(|kept| !kept.stop.is_ordered());
            let rank = |kept: &&Kept| {
                let life = *kept.life.borrow();
                let slowness = life.pid.and_then(|pid| slowness.get(&pid)).copied().unwrap_or_default();
                (life.phase == Phase::Starting, slowness, kept.number)
            };
            let worst = going.max_by(|a, b| {
                let (a, b) = (rank(a), rank(b));
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
            });
            if let Some(kept) = worst {
                kept.stop.order();
            }
        }
    }

    /// Workers that are there to stay.
    pub(super) fn active(&self) -> usize {
        self.kept.iter().filter(|kept| !kept.stop.is_ordered()).count()
    }

    fn start(&mut self) {
        let (life, seen) = watch::channel(Life::beginning());
        let stop = Shutdown::new();
        let keeper = Keeper {
            number: self.next,
            program: self.program.clone(),
            plan: self.plan.clone(),
            threads: self.threads.subscribe(),
            replace: self.replace.clone(),
            turn: self.turn.clone(),
            life,
            proven: self.proven.clone(),
        };
        let (stopping, whole, broken) = (stop.clone(), self.shutdown.clone(), self.broken.clone());
        self.shutdown.spawn(async move {
            let relayed = stopping.clone();
            let relay = async {
                whole.ordered().await;
                relayed.order();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                kept = keeper.keep(&stopping) => {
                    if let Err(error) = kept {
                        let _ = broken.try_send(error);
                    }
                }
                () = relay => {}
            }
        });
        self.kept.push(Kept { number: self.next, stop, life: seen, is_told: false });
        self.next += 1;
    }

    /// A keeper that has ended has dropped its end of the channel.
    fn forget_ended(&mut self) {
        self.kept.retain(|kept| kept.life.has_changed().is_ok());
    }

    /// What was described has been written down.
    pub(super) fn was_told(&mut self) {
        self.started_in.clear();
    }

    /// How this host stands, for the common record.
    pub(super) fn describe(&mut self, now: Instant) -> Member {
        self.forget_ended();
        for kept in &mut self.kept {
            let started_in = kept.life.borrow().started_in;
            if !kept.is_told
                && let Some(took) = started_in
            {
                kept.is_told = true;
                self.started_in.push(took);
            }
        }
        let lives: Vec<Life> = self.kept.iter().map(|kept| *kept.life.borrow()).collect();
        let count = |phase| lives.iter().filter(|life| life.phase == phase).count();
        let age = |life: &Life| now.saturating_duration_since(life.since).as_secs_f64();
        Member {
            ready: count(Phase::Ready),
            draining: count(Phase::Draining),
            starting: lives.iter().filter(|life| life.phase == Phase::Starting).map(age).collect(),
            started_in: self.started_in.iter().map(Duration::as_secs_f64).collect(),
            threads: *self.threads.borrow(),
            cores: available_cores() as f64,
            most: self.plan.config.scaling.max,
            ..Member::default()
        }
    }
}

/// Cores divided between the workers: more threads than cores make everybody slower.
fn share(plan: &FleetPlan, workers: usize) -> usize {
    match plan.config.threads {
        0 => (available_cores() / workers.max(1)).max(1),
        threads => threads,
    }
}
