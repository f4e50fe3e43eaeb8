//! Who is asked, and how a user logs in there.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Who is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// Root of the service; `--url` replaces it.
    pub url: String,
    /// Whether a connection serves more than one request.
    pub keep_alive: bool,
    /// A request without an answer for this long has failed.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Addresses of this machine that connections come from, in turn.
    pub sources: Vec<IpAddr>,
    /// How each user logs in, once; tasks with `token` need it.
    pub login: Option<Login>,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8000".into(),
            keep_alive: true,
            timeout: Duration::from_secs(60),
            sources: Vec::new(),
            login: None,
        }
    }
}

/// The OAuth2 password form, answered with `access_token`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Where the form is posted.
    pub path: String,
    /// Who.
    pub username: String,
    /// The secret of a test account.
    pub password: String,
}

/// Most source addresses.
const MAX_SOURCES: usize = 1000;

impl Target {
    /// The root as a URI: scheme http, a host, no path of its own.
    pub fn uri(&self) -> Result<hyper::Uri, String> {
        let uri: hyper::Uri = self.url.parse().map_err(|error| format!("target.url `{}`: {error}", self.url))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(format!("target.url `{}`: http://HOST:PORT is needed", self.url));
        }
        Ok(uri)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.uri()?;
        if self.timeout.is_zero() || self.timeout > Duration::from_secs(600) {
            return Err("target.timeout is from a moment to ten minutes".into());
        }
        if self.sources.len() > MAX_SOURCES {
            return Err(format!("target.sources has more than {MAX_SOURCES} addresses"));
        }
        Ok(())
    }
}
