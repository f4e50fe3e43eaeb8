//! `keys.conf`: the public keys that nats-server accepts, the one in use and the one before for each role.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use nkeys::KeyPair;

const HEAD: &str = "# Public keys, included by accounts.conf; written by `shoal keys`. A key that is BEFORE is the one\n\
                    # that was in use until the last rotation, or one that nobody has the seed of.\n";

/// The servers' own account has one key: nobody but operators uses it.
const ALONE: &str = "KEY_SYSTEM";

/// Variables of nats-server's configuration and their keys.
#[derive(Default)]
pub(super) struct Ring(BTreeMap<String, String>);

impl Ring {
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join("keys.conf")
    }

    pub(super) fn read(dir: &Path) -> anyhow::Result<Self> {
        let path = Self::path(dir);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut keys = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let pair = line.split_once(':').map(|(name, key)| (name.trim(), key.trim()));
            let Some((name, key)) = pair.filter(|(_, key)| KeyPair::from_public_key(key).is_ok()) else {
                // Not the line itself: it may be a seed.
                bail!("{}, line {number}: this is no `NAME: public key`", path.display());
            };
            keys.insert(name.to_owned(), key.to_owned());
        }
        Ok(Self(keys))
    }

    pub(super) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let mut text = HEAD.to_owned();
        self.0.iter().try_for_each(|(name, key)| writeln!(text, "{name}: {key}"))?;
        let path = Self::path(dir);
        // In one step: a server that is just reloading reads the old one or the new one.
        let fresh = path.with_extension("conf.new");
        std::fs::write(&fresh, text)
            .and_then(|()| std::fs::rename(&fresh, &path))
            .with_context(|| path.display().to_string())
    }

    pub(super) fn add(&mut self, name: &str, key: String) {
        if name != ALONE {
            self.0.insert(format!("{name}_BEFORE"), nobody());
        }
        self.0.insert(name.to_owned(), key);
    }

    pub(super) fn rotate(&mut self, name: &str, key: String) -> anyhow::Result<()> {
        let current = self.0.insert(name.to_owned(), key).ok_or_else(|| anyhow!("keys.conf has no {name}"))?;
        if name != ALONE {
            self.0.insert(format!("{name}_BEFORE"), current);
        }
        Ok(())
    }

    pub(super) fn retire(&mut self, name: &str) -> anyhow::Result<()> {
        let before = format!("{name}_BEFORE");
        if self.0.insert(before, nobody()).is_none() {
            bail!("{name} has one key only: rotating it has retired the other");
        }
        Ok(())
    }
}

/// A key whose seed is forgotten at once.
fn nobody() -> String {
    KeyPair::new_user().public_key()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_before_is_accepted_until_it_is_retired() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = [nobody(), nobody()];
        let mut ring = Ring::default();
        ring.add("KEY_GATEWAY", first.clone());
        ring.write(dir.path()).unwrap();
        let mut ring = Ring::read(dir.path()).unwrap();
        assert_eq!(ring.0["KEY_GATEWAY"], first);
        ring.rotate("KEY_GATEWAY", second.clone()).unwrap();
        assert_eq!((&ring.0["KEY_GATEWAY"], &ring.0["KEY_GATEWAY_BEFORE"]), (&second, &first));
        ring.retire("KEY_GATEWAY").unwrap();
        ring.write(dir.path()).unwrap();
        let ring = Ring::read(dir.path()).unwrap();
        assert!(ring.0["KEY_GATEWAY"] == second && ring.0.values().all(|key| *key != first));
    }

    #[test]
    fn a_line_that_is_no_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(Ring::path(dir.path()), "KEY_GATEWAY: SUSECRET\n").unwrap();
        let error = Ring::read(dir.path()).map(drop).unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("SUSECRET"), "{error}");
    }
}
