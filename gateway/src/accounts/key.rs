//! API keys: shown once, kept as their SHA-256, made for scopes, good until they run out.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use shoal_shared::digest::ImageSha256;
use shoal_shared::failure::{Failure, FailureCode};

use super::caller::{Allowance, Scope};
use super::{now, random};

/// What every key starts with, so that leaked ones are found by scanners.
pub(super) const PREFIX: &str = "shoal_";
/// Most characters of a key's name.
const MAX_NAME: usize = 50;
/// Longest life, in days.
const MAX_DAYS: u32 = 3650;

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ApiKey {
    /// Its id; not secret.
    pub id: String,
    /// SHA-256 of the key, in hex.
    pub sha256: String,
    /// The account it acts for.
    pub user: u64,
    /// Name for people.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it was made, Unix seconds.
    pub created: u64,
    /// When it stops being good, Unix seconds.
    pub expires: Option<u64>,
    /// How much may be asked with it.
    #[serde(default)]
    pub allowance: Allowance,
}

/// A key as it is shown.
#[derive(Debug, Clone, Serialize)]
pub struct KeyView {
    /// Its id.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it was made, Unix seconds.
    pub created: u64,
    /// When it stops being good, Unix seconds.
    pub expires: Option<u64>,
    /// How much may be asked with it.
    #[serde(flatten)]
    pub allowance: Allowance,
    /// The key itself, in the answer that makes it and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What a new key is to be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Name for people, 1 to 50 characters.
    pub name: String,
    /// What it may be used for; default: predictions.
    #[serde(default = "predict")]
    pub scopes: Vec<Scope>,
    /// Days that it is good for; absent: until it is removed.
    #[serde(default)]
    pub expires_in_days: Option<u32>,
    /// How much may be asked with it.
    #[serde(default)]
    pub requests_per_minute: Option<u32>,
    /// How much may be asked with it in a day.
    #[serde(default)]
    pub requests_per_day: Option<u64>,
}

fn predict() -> Vec<Scope> {
    vec![Scope::Predict]
}

impl NewKey {
    /// Makes the key; gives its record, and itself.
    pub(super) fn make(self, user: u64) -> Result<(ApiKey, String), Failure> {
        let invalid = |message: String| Err(Failure::new(FailureCode::Invalid, message));
        let length = self.name.chars().count();
        if length == 0 || length > MAX_NAME || self.name.chars().any(char::is_control) {
            return invalid(format!("`name` must have 1 to {MAX_NAME} characters"));
        }
        if self.scopes.is_empty() {
            return invalid("`scopes` must name at least one of predict, feedback, account".into());
        }
        if self.expires_in_days.is_some_and(|days| days == 0 || days > MAX_DAYS) {
            return invalid(format!("`expires_in_days` must be 1 to {MAX_DAYS}"));
        }
        if self.requests_per_minute == Some(0) || self.requests_per_day == Some(0) {
            return invalid("`requests_per_minute` and `requests_per_day` must be at least 1".into());
        }
        let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<32>()));
        let (created, requests_per_minute, requests_per_day) = (now(), self.requests_per_minute, self.requests_per_day);
        let record = ApiKey {
            id: hex::encode(random::<8>()),
            sha256: ImageSha256::of(key.as_bytes()).to_string(),
            user,
            name: self.name,
            scopes: self.scopes,
            created,
            expires: self.expires_in_days.map(|days| created + u64::from(days) * 86_400),
            allowance: Allowance { requests_per_minute, requests_per_day },
        };
        Ok((record, key))
    }
}

impl ApiKey {
    /// Whether it still is good.
    pub(super) fn is_good(&self, now: u64) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Key of the record that a request leads to.
    pub(super) fn by_hash(sha256: &str) -> String {
        format!("key.{sha256}")
    }

    /// Key of the record that its owner's listing finds.
    pub(super) fn by_owner(user: u64, id: &str) -> String {
        format!("keys.{user}.{id}")
    }

    /// As it is shown.
    pub(super) fn view(self, key: Option<String>) -> KeyView {
        let ApiKey { id, name, scopes, created, expires, allowance, .. } = self;
        KeyView { id, name, scopes, created, expires, allowance, key }
    }
}
