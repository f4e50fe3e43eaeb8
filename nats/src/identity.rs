//! Who this process is to NATS: nkey, credentials and certificates, read from files of its own.

use std::path::Path;
use std::time::Duration;

use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions};

use crate::connect::{BusConfig, BusError};

/// Longest wait between attempts to reconnect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// How to connect.
pub(crate) fn options(config: &BusConfig, name: &str) -> Result<ConnectOptions, BusError> {
    let mut options = ConnectOptions::new()
        .name(name)
        .custom_inbox_prefix(&config.inbox_prefix)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempt| {
            let doubled = Duration::from_millis(10) * 2u32.saturating_pow(attempt.min(16) as u32);
            doubled.min(MAX_RECONNECT_DELAY)
        })
        .ping_interval(Duration::from_secs(10))
        .connection_timeout(Duration::from_secs(3));
    if let Some(path) = &config.nkey_file {
        options = options.nkey(seed(&read(path)?).ok_or_else(|| no_seed(path))?);
    }
    if let Some(path) = &config.credentials_file {
        let bad = |error: std::io::Error| BusError::File { path: path.clone(), reason: error.to_string() };
        options = options.credentials(&read(path)?).map_err(bad)?;
    }
    if let Some(path) = &config.ca_file {
        // Read here, so that a wrong path is told as one.
        read(path)?;
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    match (&config.cert_file, &config.key_file) {
        (Some(cert), Some(key)) => {
            read(cert)?;
            read(key)?;
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        (None, None) => {}
        (Some(path), None) | (None, Some(path)) => {
            let reason = "nats.cert_file and nats.key_file go together: set both".into();
            return Err(BusError::File { path: path.clone(), reason });
        }
    }
    Ok(options)
}

/// The seed in a file that may have comments, as other tools write them.
fn seed(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    (line.starts_with("SU") && line.chars().all(|c| c.is_ascii_alphanumeric())).then(|| line.to_owned())
}

fn no_seed(path: &Path) -> BusError {
    BusError::File { path: path.to_owned(), reason: "holds no user's nkey seed (a line that begins with SU)".into() }
}

/// Why there is no sense in trying again: the server knows its users, and ours is none.
pub(crate) fn refusal(error: &ConnectError) -> Option<String> {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation => Some(
            "it does not know this user; set nats.nkey_file or nats.credentials_file to a seed whose public key \
             the server has (keys.conf)"
                .into(),
        ),
        ConnectErrorKind::Authentication => Some(format!("{error}: nats.nkey_file holds no usable seed")),
        _ => None,
    }
}

/// What went wrong, and where to look when it is TLS.
pub(crate) fn hint(error: &ConnectError) -> String {
    let text = error.to_string();
    match error.kind() {
        ConnectErrorKind::Tls | ConnectErrorKind::Io if text.contains("ertificate") => format!(
            "{text}; nats.ca_file must hold the authority that signed the server's certificate, and the address \
             must be a name that the certificate is for"
        ),
        _ => text,
    }
}

fn read(path: &Path) -> Result<String, BusError> {
    std::fs::read_to_string(path).map_err(|error| BusError::File { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_found_among_comments_and_nothing_else_is_taken_for_one() {
        assert_eq!(seed("# gateway\n SUABC23 \n").as_deref(), Some("SUABC23"));
        for bad in ["", "# SUABC", "UABC", "SU ABC", "-----BEGIN NATS USER JWT-----"] {
            assert_eq!(seed(bad), None, "{bad}");
        }
    }

    #[test]
    fn half_a_certificate_is_named() {
        let config = BusConfig { cert_file: Some("c.pem".into()), ..BusConfig::default() };
        let error = options(&config, "test").map(drop).unwrap_err().to_string();
        assert!(error.contains("nats.key_file"), "{error}");
    }
}
