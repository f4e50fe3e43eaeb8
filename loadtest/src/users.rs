//! The closed loop: users that send, wait for the answer, pause, and send again, as Locust's do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use shoal_shared::process::shutdown::Shutdown;
use tokio::task::JoinSet;

use crate::engine::{After, Engine};
use crate::run::Part;
use crate::schedule::users_at;

/// How often the number of users is brought to what it should be.
const TICK: Duration = Duration::from_millis(20);
/// Pause after a connection was lost, so that a user without pauses does not spin.
const AFTER_LOSS: Duration = Duration::from_millis(10);

/// Runs this part's users until the phases end or `stop` is ordered; gives those that still wait for
/// an answer.
pub async fn run(engine: &Arc<Engine>, part: Part, start: Instant, stop: &Shutdown) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let mut users: Vec<Shutdown> = Vec::new();
    let end = start + engine.scenario.duration();
    tokio::time::sleep_until(start.into()).await;
    while Instant::now() < end && !stop.is_ordered() {
        let wanted = part.of(users_at(&engine.scenario.phases, start.elapsed()));
        while users.len() < wanted {
            let leave = Shutdown::new();
            users.push(leave.clone());
            tasks.spawn(user(engine.clone(), leave));
        }
        users.drain(wanted.min(users.len())..).for_each(|user| user.order());
        while tasks.try_join_next().is_some() {}
        let next = (Instant::now() + TICK).min(end);
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = stop.ordered() => {}
        }
    }
    users.iter().for_each(Shutdown::order);
    tasks
}

async fn user(engine: Arc<Engine>, leave: Shutdown) {
    engine.board.users.fetch_add(1, Ordering::Relaxed);
    live(&engine, &leave).await;
    engine.board.users.fetch_sub(1, Ordering::Relaxed);
}

async fn live(engine: &Engine, leave: &Shutdown) {
    let manners = &engine.scenario.users;
    let mut session = engine.session();
    let mut due = Instant::now();
    let mut again = None;
    while !leave.is_ordered() {
        let pause = if engine.login(&mut session).await {
            // The login is not part of the first request's time.
            due = due.max(if manners.pace.is_some() { due } else { Instant::now() });
            let (task, shot) = again.take().unwrap_or_else(|| (engine.draw(), None));
            match engine.perform(&mut session, task, due, shot).await {
                After::Refused(pause, shot) if manners.obey => {
                    again = Some((task, shot));
                    Some(pause)
                }
                After::Lost => Some(AFTER_LOSS.max(manners.wait.draw())),
                _ => None,
            }
        } else {
            Some(Duration::from_secs(1).max(manners.wait.draw()))
        };
        due = match (manners.pace, pause) {
            // The next one is due at its time, however late the answer was.
            (Some(pace), _) => due + pace,
            (None, pause) => Instant::now() + pause.unwrap_or_else(|| manners.wait.draw()),
        };
        if due > Instant::now() {
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {}
                () = leave.ordered() => {}
            }
            if manners.pace.is_none() {
                due = Instant::now();
            }
        }
    }
}
