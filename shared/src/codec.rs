//! The versioned binary form of values that travel between our own processes.
//!
//! The only place that knows bincode: one version byte, then bincode's standard encoding, decoded
//! under a size limit. What does not decode is an error, never a panic and never a guess.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// Raised whenever the shape of an encoded type changes.
pub const VERSION: u8 = 1;

/// Longest value that is decoded. A prediction of [`crate::prediction::MAX_TOP_K`] classes is a
/// few kilobytes even with long labels.
pub const MAX_ENCODED: usize = 64 * 1024;

const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MAX_ENCODED>,
> = bincode::config::standard().with_limit::<MAX_ENCODED>();

/// Why bytes are not a value of ours.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// Nothing there.
    #[error("empty value")]
    Empty,
    /// Written by another release.
    #[error("encoded with version {found}, this program reads version {VERSION}")]
    Version {
        /// The version byte found.
        found: u8,
    },
    /// Bytes are left over: this is another type, or damaged.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// Not this type, or damaged.
    #[error(transparent)]
    Malformed(#[from] bincode::error::DecodeError),
}

/// Why a value could not be encoded: it is larger than [`MAX_ENCODED`].
#[derive(Debug, Error)]
#[error(transparent)]
pub struct EncodeError(#[from] bincode::error::EncodeError);

/// Version byte and encoded value.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(512);
    bytes.push(VERSION);
    bincode::serde::encode_into_std_write(value, &mut bytes, CONFIG)?;
    Ok(bytes)
}

/// Reads what [`encode`] wrote.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (&found, body) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if found != VERSION {
        return Err(DecodeError::Version { found });
    }
    let (value, read) = bincode::serde::borrow_decode_from_slice(body, CONFIG)?;
    match body.len() - read {
        0 => Ok(value),
        left => Err(DecodeError::Trailing(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failure, FailureCode};
    use crate::names::JobId;
    use crate::prediction::{Outcome, Served, Timings};

    fn outcome() -> Outcome {
        Outcome {
            job: JobId::mint(),
            result: Err(Failure::new(FailureCode::CorruptImage, "the JPEG ends after 17 bytes")),
            served: Served { worker: "w".into(), batch: 3, attempt: 1, timings: Timings::default() },
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let outcome = outcome();
        assert_eq!(decode::<Outcome>(&encode(&outcome).unwrap()).unwrap(), outcome);
    }

    #[test]
    fn another_version_and_every_truncation_are_errors() {
        let mut bytes = encode(&outcome()).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode::<Outcome>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        bytes.push(0);
        assert!(matches!(decode::<Outcome>(&bytes), Err(DecodeError::Trailing(1))));
        bytes.pop();
        bytes[0] = VERSION + 1;
        assert!(matches!(decode::<Outcome>(&bytes), Err(DecodeError::Version { .. })));
    }

    #[test]
    fn a_huge_declared_length_allocates_nothing() {
        let bytes = [VERSION, 253, 255, 255, 255, 255, 255, 255, 255, 127];
        assert!(decode::<String>(&bytes).is_err());
    }
}
