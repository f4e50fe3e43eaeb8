//! A part of the images, always the same ones: by their digest, so that an image keeps its version and
//! its cached answer.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::ImageKey;
use crate::names::Version;

/// A version and the part of the images it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The version.
    pub version: Version,
    /// Of a hundred images.
    pub percent: u8,
}

/// Which lot an image draws: canary and shadow must not get the same images only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lot {
    /// For the canary.
    Canary,
    /// For the shadow.
    Shadow,
}

impl Share {
    /// Whether an image belongs to the share.
    pub fn has(&self, image: &ImageKey, lot: Lot) -> bool {
        let digest: &[u8] = match image {
            ImageKey::Sha256(sha256) => &sha256.0,
            ImageKey::Md5(md5) => &md5.0,
        };
        let from = match lot {
            Lot::Canary => 0,
            Lot::Shadow => 8,
        };
        // Digests are as good as random, and both kinds have sixteen bytes.
        let drawn = digest[from..from + 8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        drawn % 100 < u64::from(self.percent)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} %", self.version, self.percent)
    }
}
