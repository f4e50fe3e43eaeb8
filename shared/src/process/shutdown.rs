//! One story of shutting down: stop intake, finish what is in flight, leave.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The order to stop, and the count of what is still running. Cheap to clone.
#[derive(Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Not yet ordered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Orders everybody to stop taking on work.
    pub fn order(&self) {
        self.token.cancel();
    }

    /// Whether the order was given.
    pub fn is_ordered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when the order is given.
    pub async fn ordered(&self) {
        self.token.cancelled().await;
    }

    /// Runs a task that [`Shutdown::finished`] waits for.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// Resolves when the order was given and every task has ended.
    pub async fn finished(&self) {
        self.token.cancelled().await;
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Resolves at SIGINT or SIGTERM. A second signal ends the process at once.
pub async fn signalled() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without signal handlers the default action (termination) stays in force.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
}

/// Counts SIGUSR2: each asks a supervisor to replace its processes, one after the other.
pub fn replacements() -> watch::Receiver<u64> {
    let (sender, receiver) = watch::channel(0);
    if let Ok(mut orders) = signal(SignalKind::user_defined2()) {
        tokio::spawn(async move {
            while orders.recv().await.is_some() {
                sender.send_modify(|count| *count += 1);
            }
        });
    }
    receiver
}
