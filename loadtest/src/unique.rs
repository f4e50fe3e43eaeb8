//! Making every body different without changing what the picture shows.

use bytes::Bytes;

/// A picture that carries a number where no decoder looks at it.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Up to the number and a little beyond, all of it near the beginning of the file.
    head: Vec<u8>,
    /// Where in the head the number is.
    counter: usize,
    /// What follows and is always the same.
    rest: Bytes,
}

/// Marks the comment as ours; the number follows.
const COMMENT: &[u8] = b"shoal-loadtest\0";
const DIGITS: usize = 16;
const PNG: &[u8] = b"\x89PNG";

impl Picture {
    /// A picture with room for a number: a comment segment in a JPEG, a text chunk in a PNG.
    /// `None` for other formats.
    pub fn unique(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&[0xff, 0xd8]) {
            let length = (2 + COMMENT.len() + DIGITS) as u16;
            let head = [&bytes[..2], &[0xff, 0xfe], &length.to_be_bytes(), COMMENT].concat();
            return Some(Self::with(head, 0, &bytes[2..]));
        }
        const HEADER: usize = 8 + 25;
        if bytes.starts_with(PNG) && bytes.len() > HEADER {
            let length = (COMMENT.len() + DIGITS) as u32;
            let head = [&bytes[..HEADER], &length.to_be_bytes(), b"tEXt", COMMENT].concat();
            return Some(Self::with(head, CHECKSUM, &bytes[HEADER..]));
        }
        None
    }

    /// With the number behind `head`, and room for so many bytes behind that.
    fn with(mut head: Vec<u8>, room: usize, rest: &[u8]) -> Self {
        let counter = head.len();
        head.resize(counter + DIGITS + room, b'0');
        Self { head, counter, rest: Bytes::copy_from_slice(rest) }
    }

    /// The body that carries `number`: its beginning, and what all of them share.
    pub fn body(&self, number: u64) -> [Bytes; 2] {
        let (mut head, at) = (self.head.clone(), self.counter);
        let end = at + DIGITS;
        head[at..end].copy_from_slice(format!("{number:0DIGITS$x}").as_bytes());
        if head.starts_with(PNG) {
            let checksum = crc32(&head[at - COMMENT.len() - 4..end]);
            head[end..].copy_from_slice(&checksum.to_be_bytes());
        }
        [head.into(), self.rest.clone()]
    }
}

/// Bytes of a PNG chunk's checksum.
const CHECKSUM: usize = 4;

/// The checksum of PNG chunks (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_make_bodies_differ_in_one_place_only() {
        let jpeg = [&[0xff, 0xd8][..], &[7; 100]].concat();
        let picture = Picture::unique(&jpeg).unwrap();
        let [one, two] = [1, 2].map(|number| picture.body(number).concat());
        assert_eq!(one.len(), two.len());
        assert_eq!(one.iter().zip(&two).filter(|(a, b)| a != b).count(), 1);
        assert!(one.ends_with(&jpeg[2..]));
        assert!(Picture::unique(b"GIF89a").is_none());
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32(b"IEND"), 0xae42_6082);
    }
}
