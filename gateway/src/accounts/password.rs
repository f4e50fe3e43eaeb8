//! Passwords as argon2id hashes, computed off the runtime and few at a time: a hash takes 19 MiB and
//! tens of milliseconds on purpose, and a thousand logins at once must not take the process down.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::process::available_cores;
use tokio::sync::Semaphore;

/// Logins that may wait for their turn; more are refused.
const MAX_WAITING: usize = 256;
/// Longest password; longer ones cost time and add nothing.
pub(crate) const MAX_PASSWORD: usize = 1024;

/// Hashes and verifies. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
    /// Verified against when there is no such account, so that both take the same time.
    nobody: Arc<str>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        let nobody = hash("nobody has this password").unwrap_or_default();
        let turns = (available_cores() / 2).max(1);
        Self {
            turns: Arc::new(Semaphore::new(turns)),
            places: Arc::new(Semaphore::new(MAX_WAITING)),
            nobody: nobody.into(),
        }
    }

    /// The hash of a new password, as a PHC string.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Failure> {
        let hashed = self.in_turn(move || hash(&password)).await?;
        hashed.ok_or_else(|| Failure::new(FailureCode::Internal, "the password could not be hashed"))
    }

    /// Whether a password belongs to a hash; without one it takes as long and does not.
    pub(crate) async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, Failure> {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobody.to_string());
        let matches = self.in_turn(move || verify(&password, &stored)).await?;
        Ok(matches && known)
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        let busy = || Failure::new(FailureCode::Overloaded, "too many logins at the same time");
        let _place = self.places.try_acquire().map_err(|_| busy())?;
        let _turn = self.turns.acquire().await.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| Failure::new(FailureCode::Internal, "the password check ended early"))
    }
}

// Argon2's defaults are OWASP's first choice: argon2id, 19 MiB, 2 passes, 1 lane.
fn hash(password: &str) -> Option<String> {
    Argon2::default().hash_password(password.as_bytes()).ok().map(|hash| hash.to_string())
}

fn verify(password: &str, stored: &str) -> bool {
    let Ok(stored) = PasswordHash::new(stored) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &stored).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_fits_and_nobody_has_one() {
        let passwords = Passwords::new();
        let stored = passwords.hash("secret".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify("secret".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("Secret".into(), Some(stored)).await.unwrap());
        assert!(!passwords.verify("nobody has this password".into(), None).await.unwrap());
    }
}
