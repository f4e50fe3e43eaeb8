//! Table `[gateway.auth]`: who may ask, and who may register.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shoal_shared::config::ConfigError;

/// What an operator may choose about callers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Who may ask; default: `off` when only this machine can reach the gateway, `required` otherwise.
    pub mode: Option<AuthMode>,
    /// Who may create accounts; default: `open` when only this machine can reach the gateway,
    /// `admin` otherwise.
    pub registration: Option<Registration>,
    /// How long a token is good.
    #[serde(with = "humantime_serde")]
    pub token_ttl: Duration,
    /// Fewest characters of a new password; default: 1 when only this machine can reach the gateway,
    /// 8 otherwise.
    pub min_password_length: Option<usize>,
    /// Answer a wrong login with 404 instead of 401, as the systems replaced did.
    pub login_not_found: bool,
    /// Create the account admin@example.com with the password `admin`. For old scripts.
    pub demo: bool,
    /// The first admin, created when it is missing.
    pub admin_email: Option<String>,
    /// File that holds the first admin's password.
    pub admin_password_file: Option<PathBuf>,
    /// Requests a minute of each account or address that has no rate of its own; 0: unlimited.
    pub requests_per_minute: u32,
    /// Tokens of somebody else that are taken too.
    pub oidc: Option<OidcConfig>,
}

/// An OpenID Connect provider whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// `iss` of its tokens; its configuration is at `/.well-known/openid-configuration` below.
    pub issuer: String,
    /// `aud` that tokens for this service carry.
    pub audience: String,
    /// Where its keys are, when its configuration is not to be asked.
    #[serde(default)]
    pub jwks_url: Option<String>,
}

/// Who may ask for predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Everybody; credentials are looked at where an account is needed.
    Off,
    /// Everybody, but credentials that are sent must be right.
    Optional,
    /// Accounts and keys only.
    Required,
}

/// Who may create accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Everybody, for themselves.
    Open,
    /// Admins, for others.
    Admin,
    /// Nobody over HTTP.
    Closed,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            mode: None,
            registration: None,
            token_ttl: Duration::from_secs(30 * 60),
            min_password_length: None,
            login_not_found: false,
            demo: false,
            admin_email: None,
            admin_password_file: None,
            requests_per_minute: 0,
            oidc: None,
        }
    }
}

impl AuthConfig {
    /// With every default decided for a gateway that listens on `address`.
    pub fn decided(&self, address: SocketAddr) -> Decided {
        let private = address.ip().is_loopback();
        Decided {
            mode: self.mode.unwrap_or(if private { AuthMode::Off } else { AuthMode::Required }),
            registration: self.registration.unwrap_or(if private { Registration::Open } else { Registration::Admin }),
            min_password_length: self.min_password_length.unwrap_or(if private { 1 } else { 8 }),
        }
    }

    /// Holds the values against each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |key: &str, value: &dyn std::fmt::Display, expected| {
            Err(ConfigError::invalid(&format!("gateway.auth.{key}"), value, expected))
        };
        if self.token_ttl < Duration::from_secs(1) {
            return invalid("token_ttl", &format!("{:?}", self.token_ttl), "at least 1s");
        }
        if self.admin_email.is_some() != self.admin_password_file.is_some() {
            return invalid("admin_email", &"alone", "together with admin_password_file, or neither");
        }
        if let Some(email) = &self.admin_email
            && !super::user::is_email(email)
        {
            return invalid("admin_email", email, "an e-mail address");
        }
        if let Some(oidc) = &self.oidc
            && !oidc.issuer.starts_with("https://")
            && !oidc.issuer.starts_with("http://127.0.0.1")
        {
            return invalid("oidc.issuer", &oidc.issuer, "an https:// address");
        }
        Ok(())
    }
}

/// The rules in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// Who may ask.
    pub mode: AuthMode,
    /// Who may create accounts.
    pub registration: Registration,
    /// Fewest characters of a new password.
    pub min_password_length: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_reach_is_closed_by_default() {
        let auth = AuthConfig::default();
        assert_eq!(auth.decided(([127, 0, 0, 1], 80).into()).mode, AuthMode::Off);
        let public = auth.decided(([0, 0, 0, 0], 80).into());
        assert_eq!((public.mode, public.registration), (AuthMode::Required, Registration::Admin));
    }
}
