//! The versions of a model and which of them answers. Pure: every change makes a sound record or says
//! why it does not, and whoever writes it back has read it before.

mod share;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::ModelDigest;
use crate::names::Version;

pub use share::{Lot, Share};

/// Most versions of one model.
pub const MAX_VERSIONS: usize = 32;
/// Changes that are remembered.
const MAX_LOG: usize = 20;
/// Longest reason that is remembered.
const MAX_REASON: usize = 240;

/// One model in the catalog.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CatalogRecord {
    /// Every version that was pushed and not removed.
    pub versions: BTreeMap<Version, Pushed>,
    /// The version that answers.
    pub live: Option<Version>,
    /// Since when, Unix milliseconds.
    pub live_since: u64,
    /// The version that answered before: answers go on coming from it until the live one is loaded, and it
    /// is what a rollback goes back to.
    pub previous: Option<Version>,
    /// A version that answers a part of the images.
    pub canary: Option<Share>,
    /// A version that is asked beside the live one, its answers compared and thrown away.
    pub shadow: Option<Share>,
    /// The last changes, the newest at the end.
    pub log: Vec<Change>,
}

/// One version. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Weights, manifest and labels.
    pub digest: ModelDigest,
    /// Bytes of all files.
    pub bytes: u64,
    /// When, Unix milliseconds.
    pub at: u64,
}

/// What was done to a model, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When, Unix milliseconds.
    pub at: u64,
    /// What, as in `live 1 to 2`.
    pub what: String,
    /// Why: a person's word, or what a gateway counted.
    pub why: String,
}

/// What a version is for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It answers.
    Live,
    /// It answers a part of the images.
    Canary,
    /// It is asked beside the live one.
    Shadow,
    /// It answered before.
    Previous,
}

impl Role {
    /// Word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Live => "live",
            Role::Canary => "canary",
            Role::Shadow => "shadow",
            Role::Previous => "previous",
        }
    }
}

/// Why a change is not made.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum CatalogError {
    /// No such version.
    #[error("there is no version {version}; there are: {known}")]
    Unknown {
        /// The version asked for.
        version: Version,
        /// Those that are there.
        known: String,
    },
    /// The version exists with other content.
    #[error("version {version} exists with digest {digest}: a version never changes, push another one")]
    Immutable {
        /// The version.
        version: Version,
        /// What it holds.
        digest: ModelDigest,
    },
    /// There is nothing to go back to.
    #[error("there is no earlier version to go back to: `shoal models promote` names one")]
    NothingBefore,
    /// The version is in use.
    #[error("version {version} is {role}: promote another one, or end that first")]
    InUse {
        /// The version.
        version: Version,
        /// What it is for.
        role: &'static str,
    },
    /// A share that is none.
    #[error("{0} % is no share: 1 to 100, or `off`")]
    Percent(u8),
    /// The live version cannot be compared with itself.
    #[error("version {0} is live already")]
    IsLive(Version),
    /// The catalog is bounded.
    #[error("there are {MAX_VERSIONS} versions already: remove one first")]
    Full,
}

impl CatalogRecord {
    /// Adds a version: the one named, or the next number. The first one answers at once.
    pub fn push(&mut self, version: Option<Version>, pushed: Pushed) -> Result<Version, CatalogError> {
        let version = version.unwrap_or_else(|| self.next_number());
        match self.versions.get(&version) {
            Some(known) if known.digest == pushed.digest => return Ok(version),
            Some(known) => return Err(CatalogError::Immutable { version, digest: known.digest.clone() }),
            None if self.versions.len() >= MAX_VERSIONS => return Err(CatalogError::Full),
            None => {}
        }
        let at = pushed.at;
        self.versions.insert(version.clone(), pushed);
        self.note(at, format!("pushed {version}"), "a person's word");
        if self.live.is_none() {
            (self.live, self.live_since) = (Some(version.clone()), at);
            self.note(at, format!("live {version}"), "it is the first version");
        }
        Ok(version)
    }

    /// The version answers from now on, as soon as a worker has it.
    pub fn promote(&mut self, version: &Version, at: u64) -> Result<(), CatalogError> {
        self.must_know(version)?;
        if self.live.as_ref() == Some(version) {
            return Err(CatalogError::IsLive(version.clone()));
        }
        self.release(version);
        let before = self.live.replace(version.clone());
        self.note(at, format!("live {} to {version}", shown(before.as_ref())), "a person's word");
        (self.previous, self.live_since) = (before, at);
        Ok(())
    }

    /// The version answers a part of the images; `None` ends that.
    pub fn set_canary(&mut self, share: Option<Share>, at: u64) -> Result<(), CatalogError> {
        self.may_be_beside(share.as_ref())?;
        self.canary = share;
        let what = self.canary.as_ref().map_or("canary off".to_owned(), |share| format!("canary {share}"));
        self.note(at, what, "a person's word");
        Ok(())
    }

    /// The version is asked beside the live one; `None` ends that.
    pub fn set_shadow(&mut self, share: Option<Share>, at: u64) -> Result<(), CatalogError> {
        self.may_be_beside(share.as_ref())?;
        self.shadow = share;
        let what = self.shadow.as_ref().map_or("shadow off".to_owned(), |share| format!("shadow {share}"));
        self.note(at, what, "a person's word");
        Ok(())
    }

    /// Back to the version that answered before. The one that is left is not gone back to.
    pub fn roll_back(&mut self, why: &str, at: u64) -> Result<(), CatalogError> {
        let previous = self.previous.take().ok_or(CatalogError::NothingBefore)?;
        self.release(&previous);
        let left = self.live.replace(previous.clone());
        self.live_since = at;
        self.note(at, format!("live {} back to {previous}", shown(left.as_ref())), why);
        Ok(())
    }

    /// Takes a version that fails out of service, as its role allows; false when it has none to lose any more.
    pub fn withdraw(&mut self, version: &Version, why: &str, at: u64) -> bool {
        if self.canary.as_ref().is_some_and(|share| share.version == *version) {
            self.canary = None;
            self.note(at, format!("canary {version} withdrawn"), why);
            return true;
        }
        self.live.as_ref() == Some(version) && self.roll_back(why, at).is_ok()
    }

    /// Forgets a version that nobody uses.
    pub fn remove(&mut self, version: &Version, at: u64) -> Result<(), CatalogError> {
        self.must_know(version)?;
        match self.role(version) {
            None => {}
            Some(Role::Previous) => self.previous = None,
            Some(role) => return Err(CatalogError::InUse { version: version.clone(), role: role.as_str() }),
        }
        self.versions.remove(version);
        self.note(at, format!("removed {version}"), "a person's word");
        Ok(())
    }

    /// What a version is for.
    pub fn role(&self, version: &Version) -> Option<Role> {
        let is = |share: &Option<Share>| share.as_ref().is_some_and(|share| share.version == *version);
        match () {
            () if self.live.as_ref() == Some(version) => Some(Role::Live),
            () if is(&self.canary) => Some(Role::Canary),
            () if is(&self.shadow) => Some(Role::Shadow),
            () if self.previous.as_ref() == Some(version) => Some(Role::Previous),
            () => None,
        }
    }

    /// Every version with a role, the live one first.
    pub fn in_use(&self) -> Vec<(Version, Role)> {
        let mut used: Vec<(Version, Role)> = Vec::new();
        let shares = [&self.canary, &self.shadow].map(|share| share.as_ref().map(|share| &share.version));
        for version in [self.live.as_ref(), shares[0], shares[1], self.previous.as_ref()].into_iter().flatten() {
            if let Some(role) = self.role(version)
                && used.iter().all(|(known, _)| known != version)
            {
                used.push((version.clone(), role));
            }
        }
        used
    }

    /// One more than the highest number.
    fn next_number(&self) -> Version {
        let numbers = self.versions.keys().filter_map(|version| version.as_str().parse::<u32>().ok());
        let next = numbers.max().unwrap_or(0).saturating_add(1).to_string();
        #[expect(clippy::expect_used, reason = "digits are allowed characters")]
        next.parse().expect("a valid version")
    }

    fn must_know(&self, version: &Version) -> Result<(), CatalogError> {
        if self.versions.contains_key(version) {
            return Ok(());
        }
        let known = self.versions.keys().map(Version::as_str).collect::<Vec<_>>().join(", ");
        Err(CatalogError::Unknown { version: version.clone(), known })
    }

    fn may_be_beside(&self, share: Option<&Share>) -> Result<(), CatalogError> {
        let Some(Share { version, percent }) = share else { return Ok(()) };
        self.must_know(version)?;
        if !(1..=100).contains(percent) {
            return Err(CatalogError::Percent(*percent));
        }
        if self.live.as_ref() == Some(version) {
            return Err(CatalogError::IsLive(version.clone()));
        }
        Ok(())
    }

    /// A version that becomes live is nothing else any more.
    fn release(&mut self, version: &Version) {
        for share in [&mut self.canary, &mut self.shadow] {
            if share.as_ref().is_some_and(|share| share.version == *version) {
                *share = None;
            }
        }
    }

    fn note(&mut self, at: u64, what: String, why: &str) {
        let why = why.chars().take(MAX_REASON).collect();
        self.log.push(Change { at, what, why });
        let old = self.log.len().saturating_sub(MAX_LOG);
        self.log.drain(..old);
    }
}

fn shown(version: Option<&Version>) -> &str {
    version.map_or("none", Version::as_str)
}

#[cfg(test)]
mod tests;
