//! The first accounts: the configured admin, one that is printed once, or the demo's.

use std::io::Write as _;

use anyhow::Context as _;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shoal_shared::failure::FailureCode;

use super::config::{AuthConfig, AuthMode};
use super::user::{NewUser, User};
use super::{Accounts, random};

/// The account that scripts for the systems replaced know.
const DEMO: (&str, &str) = ("admin@example.com", "admin");

/// Sees to it that somebody can get in. Of several gateways that start together one creates it.
pub(super) async fn found(accounts: &Accounts, auth: &AuthConfig) -> anyhow::Result<()> {
    if auth.demo {
        tracing::warn!("--demo: anybody may sign in as {} with the password `{}`", DEMO.0, DEMO.1);
        create(accounts, DEMO.0, DEMO.1.to_owned()).await?;
    }
    if let (Some(email), Some(path)) = (&auth.admin_email, &auth.admin_password_file) {
        let password = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        anyhow::ensure!(!password.trim().is_empty(), "{} holds no password", path.display());
        create(accounts, email, password.trim().to_owned()).await?;
    } else if accounts.rules().mode != AuthMode::Off && !has_admin(accounts).await? {
        let (email, password) = ("admin@localhost.localdomain", URL_SAFE_NO_PAD.encode(random::<15>()));
        if create(accounts, email, password.clone()).await? {
            // To the terminal, not to the log: it is said once, and kept nowhere.
            let said = format!("First admin: {email}, password {password} (shown once; sign in and keep it)");
            writeln!(std::io::stderr(), "\n{said}\n")?;
        }
    }
    Ok(())
}

async fn has_admin(accounts: &Accounts) -> anyhow::Result<bool> {
    let users: Vec<User> = accounts.0.store.list("user.*").await?;
    Ok(users.iter().any(|user| user.admin))
}

/// Creates an admin unless the address has an account; gives whether it did.
async fn create(accounts: &Accounts, email: &str, password: String) -> anyhow::Result<bool> {
    if accounts.by_email(email).await?.is_some() {
        return Ok(false);
    }
    let admin = NewUser { name: "Admin".into(), email: email.into(), password };
    match accounts.create(admin, true).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.code == FailureCode::BadRequest => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}
