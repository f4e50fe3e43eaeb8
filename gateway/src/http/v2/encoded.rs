//! Encoded images: base64 in JSON, or each behind its length.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use shoal_shared::failure::{Failure, FailureCode};

use super::flat;
use super::input::Source;
use crate::admission::Charge;

/// Exactly `count` images.
pub(super) fn images(source: Source<'_>, count: usize, charge: &mut Charge) -> Result<Vec<Bytes>, Failure> {
    match source {
        Source::Binary(bytes) => cut(bytes, count),
        Source::Json(data) => {
            // The texts, and the images that they become.
            charge.grow(data.get().len() * 2)?;
            let decode = |(index, text): (usize, String)| {
                let decoded = STANDARD.decode(text.trim());
                decoded.map(Bytes::from).map_err(|error| bad(format!("image {index} is no base64: {error}")))
            };
            flat::read::<String>(data, count)?.into_iter().enumerate().map(decode).collect()
        }
    }
}

/// Elements of a BYTES tensor: each has its length before it, four bytes, little-endian.
fn cut(mut bytes: Bytes, count: usize) -> Result<Vec<Bytes>, Failure> {
    let mut elements = Vec::new();
    while elements.len() < count {
        let index = elements.len();
        let Some(length) = bytes.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize) else {
            return Err(bad(format!("the binary data ends before element {index} of {count}")));
        };
        if bytes.len() - 4 < length {
            let left = bytes.len() - 4;
            return Err(bad(format!("element {index} says that it has {length} bytes, there are {left}")));
        }
        let _ = bytes.split_to(4);
        elements.push(bytes.split_to(length));
    }
    match bytes.len() {
        0 => Ok(elements),
        left => Err(bad(format!("{left} bytes follow the {count} elements that the shape says"))),
    }
}

fn bad(message: String) -> Failure {
    Failure::new(FailureCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_cut_at_their_lengths_and_nowhere_else() {
        let bytes = Bytes::from_static(b"\x02\0\0\0ab\0\0\0\0\x01\0\0\0c");
        assert_eq!(cut(bytes.clone(), 3).unwrap(), ["ab", "", "c"]);
        assert!(cut(bytes.clone(), 2).unwrap_err().message.contains("5 bytes follow"));
        assert!(cut(bytes.clone(), 4).unwrap_err().message.contains("before element 3"));
        assert!(cut(bytes.slice(..14), 3).unwrap_err().message.contains("there are 0"));
    }
}
