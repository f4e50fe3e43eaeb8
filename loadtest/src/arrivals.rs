//! The open loop: requests come when they are due, whether or not earlier ones were answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shoal_shared::process::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::engine::{Engine, Session};
use crate::run::Part;
use crate::schedule::Arrivals;

/// Arrivals that may wait until the runtime gets to them; each keeps the time at which it was due.
const MAX_DUE: usize = 4096;
/// Longest sleep of the clock, so that it notices the end of the run.
const NAP: Duration = Duration::from_millis(100);

/// Sends this part's arrivals until the phases end or `stop` is ordered; gives those that still wait
/// for an answer.
pub async fn run(engine: &Arc<Engine>, part: Part, start: Instant, stop: &Shutdown) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let most = part.of(engine.scenario.arrivals.max_outstanding).max(1);
    let idle: Arc<Mutex<Vec<Session>>> = Arc::default();
    let mut clock = clock(engine, part, start);
    loop {
        let due = tokio::select! {
            due = clock.recv() => due,
            () = stop.ordered() => None,
        };
        let Some(due) = due else { return tasks };
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= most {
            engine.board.fall_short(1);
            continue;
        }
        tasks.spawn(arrival(engine.clone(), idle.clone(), due));
    }
}

async fn arrival(engine: Arc<Engine>, idle: Arc<Mutex<Vec<Session>>>, due: Instant) {
    let session = idle.lock().pop();
    let mut session = session.unwrap_or_else(|| engine.session());
    engine.share_login(&mut session).await;
    engine.perform(&mut session, engine.draw(), due, None).await;
    engine.forget_login(&session).await;
    idle.lock().push(session);
}

/// A thread of its own tells when an arrival is due: the runtime's timers know only milliseconds.
fn clock(engine: &Arc<Engine>, part: Part, start: Instant) -> mpsc::Receiver<Instant> {
    let (sender, receiver) = mpsc::channel(MAX_DUE);
    let scenario = &engine.scenario;
    let mut arrivals = Arrivals::new(&scenario.phases, scenario.arrivals.spacing, part.share());
    std::thread::spawn(move || {
        while let Some(at) = arrivals.next(fastrand::f64()) {
            let due = start + at;
            while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                std::thread::sleep(left.min(NAP));
                if sender.is_closed() {
                    return;
                }
            }
            if sender.blocking_send(due).is_err() {
                return;
            }
        }
    });
    receiver
}
