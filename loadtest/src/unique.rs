//! Making every body different without changing what the picture shows.

/// A picture and the place where a number goes that no decoder looks at.
#[derive(Debug, Clone)]
pub struct Picture {
    bytes: Vec<u8>,
    counter: Option<usize>,
}

/// Marks the comment as ours; the number follows.
const COMMENT: &[u8] = b"shoal-loadtest\0";
const DIGITS: usize = 16;

impl Picture {
    /// A picture that is sent as it is.
    pub fn repeated(bytes: Vec<u8>) -> Self {
        Self { bytes, counter: None }
    }

    /// A picture with room for a number: a comment segment in a JPEG, a text chunk in a PNG.
    /// `None` for other formats.
    pub fn unique(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&[0xff, 0xd8]) {
            let length = (2 + COMMENT.len() + DIGITS) as u16;
            let mut segment = vec![0xff, 0xfe];
            segment.extend(length.to_be_bytes());
            segment.extend(COMMENT);
            return Some(Self::with(&bytes[..2], &segment, &bytes[2..]));
        }
        const HEADER: usize = 8 + 25;
        if bytes.starts_with(b"\x89PNG") && bytes.len() > HEADER {
            let mut chunk = ((COMMENT.len() + DIGITS) as u32).to_be_bytes().to_vec();
            chunk.extend(b"tEXt");
            chunk.extend(COMMENT);
            let mut picture = Self::with(&bytes[..HEADER], &chunk, &bytes[HEADER..]);
            let end = HEADER + chunk.len() + DIGITS;
            picture.bytes.splice(end..end, [0; 4]);
            picture.set(0);
            return Some(picture);
        }
        None
    }

    fn with(before: &[u8], segment: &[u8], after: &[u8]) -> Self {
        let mut bytes = [before, segment].concat();
        let counter = Some(bytes.len());
        bytes.extend([b'0'; DIGITS]);
        bytes.extend(after);
        Self { bytes, counter }
    }

    /// The body that carries `number`.
    pub fn body(&self, number: u64) -> Vec<u8> {
        let mut picture = self.clone();
        picture.set(number);
        picture.bytes
    }

    fn set(&mut self, number: u64) {
        let Some(at) = self.counter else { return };
        let text = format!("{number:0DIGITS$x}");
        self.bytes[at..at + DIGITS].copy_from_slice(text.as_bytes());
        if self.bytes.starts_with(b"\x89PNG") {
            let chunk = at - COMMENT.len() - 4;
            let crc = crc32(&self.bytes[chunk..at + DIGITS]).to_be_bytes();
            self.bytes[at + DIGITS..at + DIGITS + 4].copy_from_slice(&crc);
        }
    }
}

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
        let (one, two) = (picture.body(1), picture.body(2));
        assert_eq!(one.len(), two.len());
        assert_eq!(one.iter().zip(&two).filter(|(a, b)| a != b).count(), 1);
        assert_eq!(Picture::repeated(jpeg.clone()).body(5), jpeg);
        assert!(Picture::unique(b"GIF89a").is_none());
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32(b"IEND"), 0xae42_6082);
    }
}
