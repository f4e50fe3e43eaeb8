//! How a worker knows that a digest is a gateway's: by a MAC under the gateway's own key, so that what a gateway has
//! hashed need not be hashed again.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

use crate::digest::ImageSha256;
use crate::hexadecimal;
use crate::names::{JobId, NodeId};

/// Bytes of a MAC: half of HMAC-SHA-256.
const MAC_BYTES: usize = 16;

/// A gateway's key, as secret as the right to answer in its name.
#[derive(Clone)]
pub struct VouchKey(Hmac<Sha256>);

impl VouchKey {
    /// Bytes of the secret.
    pub const BYTES: usize = 32;

    /// The key with this secret; `None` when that has another length.
    pub fn new(secret: &[u8]) -> Option<Self> {
        if secret.len() != Self::BYTES {
            return None;
        }
        Hmac::new_from_slice(secret).ok().map(Self)
    }

    fn of(&self, job: &JobId, digest: &ImageSha256) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(&digest.0);
        mac.update(job.as_str().as_bytes());
        mac
    }

    fn mac(&self, job: &JobId, digest: &ImageSha256) -> [u8; MAC_BYTES] {
        let whole: [u8; 32] = self.of(job, digest).finalize().into_bytes().into();
        whole.first_chunk().copied().unwrap_or_default()
    }
}

/// A gateway's word that the image of a job has a digest; as text `GATEWAY.MAC`, the MAC in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouch {
    /// Whose word it is.
    pub gateway: NodeId,
    mac: [u8; MAC_BYTES],
}

impl Vouch {
    /// A gateway's word, given with its key.
    pub fn new(gateway: NodeId, key: &VouchKey, job: &JobId, digest: &ImageSha256) -> Self {
        Self { gateway, mac: key.mac(job, digest) }
    }

    /// Reads the text.
    pub fn parse(text: &str) -> Option<Self> {
        let (gateway, digits) = text.trim().split_once('.')?;
        let mut mac = [0; MAC_BYTES];
        hex::decode_to_slice(digits, &mut mac).ok()?;
        Some(Self { gateway: gateway.parse().ok()?, mac })
    }

    /// Whether it was given with this key, for this job and digest.
    pub fn holds(&self, key: &VouchKey, job: &JobId, digest: &ImageSha256) -> bool {
        key.of(job, digest).verify_truncated_left(&self.mac).is_ok()
    }
}

impl fmt::Display for Vouch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.gateway)?;
        hexadecimal::write(&self.mac, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_for_its_key_job_and_digest_only() {
        let [key, other] = [1, 2].map(|byte| VouchKey::new(&[byte; VouchKey::BYTES]).unwrap());
        let [job, another]: [JobId; 2] = ["job-1", "job-2"].map(|id| id.parse().unwrap());
        let [digest, wrong] = [b"photo", b"other"].map(|bytes| ImageSha256::of(bytes));
        let given = Vouch::new("gateway-a".parse().unwrap(), &key, &job, &digest);
        // What other releases give and take.
        assert_eq!(given.to_string(), "gateway-a.cc2557c1bd99cfc62e912a44e31d8c4d");
        let read = Vouch::parse(&given.to_string()).unwrap();
        assert_eq!(read, given);
        assert!(read.holds(&key, &job, &digest));
        assert!(!read.holds(&other, &job, &digest));
        assert!(!read.holds(&key, &another, &digest));
        assert!(!read.holds(&key, &job, &wrong));
    }

    #[test]
    fn what_is_no_word_is_none() {
        let mac = "0".repeat(2 * MAC_BYTES);
        assert!(Vouch::parse(&format!("gateway-a.{mac}")).is_some());
        for text in ["", "gateway-a", ".", &mac, &format!("gateway-a.{mac}0"), "gateway-a.xyz", &format!("a b.{mac}")] {
            assert_eq!(Vouch::parse(text), None, "{text}");
        }
        assert!(VouchKey::new(b"short").is_none());
    }
}
