//! Whether a child had started well before it ended: it says so on a socket of its own, which keeps
//! what was said when the child is gone.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use shoal_shared::process::notify::READY;

/// What one child has said.
pub(super) struct Readiness {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Readiness {
    /// A fresh socket for worker `number` of this supervisor.
    pub(super) fn listen(number: usize) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("shoal-{}-{number}.notify", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path })
    }

    /// Where the child finds it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the child has said that it works.
    pub(super) fn was_told(&self) -> bool {
        let mut message = [0; 256];
        while let Ok(length) = self.socket.recv(&mut message) {
            if message[..length].split(|&byte| byte == b'\n').any(|line| line == READY.as_bytes()) {
                return true;
            }
        }
        false
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
        let readiness = Readiness::listen(usize::MAX).unwrap();
        assert!(!readiness.was_told());
        let child = UnixDatagram::unbound().unwrap();
        child.send_to(b"STATUS=loading\nREADY=1", readiness.path()).unwrap();
        drop(child);
        assert!(readiness.was_told());
    }
}
