//! Whether a child had started well before it ended: it says so on a socket of its own, which keeps
//! what was said when the child is gone.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use shoal_shared::process::notify::READY;
use tokio::process::Child;

/// What one child has said.
pub struct Readiness {
    socket: UnixDatagram,
    path: PathBuf,
    told: AtomicBool,
}

/// Makes the sockets of one supervisor differ: a worker and its replacement live at the same time.
static SOCKETS: AtomicUsize = AtomicUsize::new(0);

impl Readiness {
    /// A fresh socket for child `number` of a kind.
    pub fn listen(kind: &str, number: usize) -> io::Result<Self> {
        let (process, socket) = (std::process::id(), SOCKETS.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("shoal-{process}-{kind}-{number}-{socket}.notify"));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path, told: AtomicBool::new(false) })
    }

    /// Where the child finds it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the child has said that it works.
    pub fn was_told(&self) -> bool {
        let mut message = [0; 256];
        while let Ok(length) = self.socket.recv(&mut message) {
            if message[..length].split(|&byte| byte == b'\n').any(|line| line == READY.as_bytes()) {
                self.told.store(true, Ordering::Relaxed);
            }
        }
        self.told.load(Ordering::Relaxed)
    }

    /// Resolves when the child says so.
    pub async fn told(&self) {
        while !self.was_told() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Whether a child comes to work within `patience`; one that ends first does not.
pub async fn comes_to_work(child: &mut Child, readiness: &Readiness, patience: Duration) -> bool {
    tokio::select! {
        told = tokio::time::timeout(patience, readiness.told()) => told.is_ok(),
        _ = child.wait() => false,
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_outlives_who_said_it() {
        let readiness = Readiness::listen("test", 0).unwrap();
        assert!(!readiness.was_told());
        let child = UnixDatagram::unbound().unwrap();
        child.send_to(b"STATUS=loading\nREADY=1", readiness.path()).unwrap();
        drop(child);
        assert!(readiness.was_told());
    }
}
