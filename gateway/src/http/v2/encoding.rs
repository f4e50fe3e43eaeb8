//! Compressed requests: `Content-Encoding: gzip` or `deflate`.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use shoal_shared::failure::{Failure, FailureCode};

use crate::admission::Charge;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl Encoding {
    pub(super) fn read(header: Option<&str>) -> Result<Self, Failure> {
        match header.unwrap_or("identity").trim().to_ascii_lowercase().as_str() {
            "identity" | "" => Ok(Encoding::Identity),
            "gzip" | "x-gzip" => Ok(Encoding::Gzip),
            "deflate" => Ok(Encoding::Deflate),
            other => {
                let message = format!("`Content-Encoding: {other}` is not served: send gzip, deflate or none");
                Err(Failure::new(FailureCode::UnsupportedFormat, message))
            }
        }
    }

    /// The body as it was; what it takes is charged, and at most `max_bytes`.
    pub(super) fn decode(self, body: Bytes, max_bytes: usize, charge: &mut Charge) -> Result<Bytes, Failure> {
        match self {
            Encoding::Identity => Ok(body),
            Encoding::Gzip => inflate(MultiGzDecoder::new(&body[..]), max_bytes, charge),
            Encoding::Deflate => inflate(ZlibDecoder::new(&body[..]), max_bytes, charge),
        }
    }
}

/// Charged piece by piece: a small body may become a large one.
fn inflate(mut decoder: impl Read, max_bytes: usize, charge: &mut Charge) -> Result<Bytes, Failure> {
    let (mut whole, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let read = decoder.read(&mut piece).map_err(|error| {
            Failure::new(FailureCode::BadRequest, format!("the compressed body is damaged or cut off: {error}"))
        })?;
        if read == 0 {
            return Ok(whole.into());
        }
        if whole.len() + read > max_bytes {
            let message = format!("the body has more than {max_bytes} bytes when it is decompressed");
            return Err(Failure::new(FailureCode::TooLarge, message));
        }
        charge.grow(read)?;
        whole.extend_from_slice(&piece[..read]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn both_kinds_are_undone() {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"a request").unwrap();
        for (encoding, body) in [("gzip", gzip(b"a request")), ("deflate", encoder.finish().unwrap().into())] {
            let decoded = Encoding::read(Some(encoding)).unwrap().decode(body, 100, &mut Charge::unbounded());
            assert_eq!(decoded.unwrap().as_ref(), b"a request");
        }
    }

    #[test]
    fn bombs_damage_and_other_kinds_are_refused() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert!(bomb.len() < 2000);
        let refused = Encoding::Gzip.decode(bomb.clone(), 1000, &mut Charge::unbounded()).unwrap_err();
        assert_eq!(refused.code, FailureCode::TooLarge);
        let cut = Encoding::Gzip.decode(bomb.slice(..bomb.len() / 2), 1 << 21, &mut Charge::unbounded());
        assert_eq!(cut.unwrap_err().code, FailureCode::BadRequest);
        assert_eq!(Encoding::read(Some("br")).unwrap_err().code, FailureCode::UnsupportedFormat);
    }
}
