//! Digests of an upload, computed while it arrives, and the cache key made of them.

use std::fmt;

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::interned::Interned;
use crate::manifest::Manifest;
use crate::{hexadecimal, md5_lanes};

/// SHA-256 of an image's encoded bytes: what identifies an upload.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageSha256(pub [u8; 32]);

/// MD5 of an image's encoded bytes: the file name the systems replaced gave to an upload.
/// Never used to decide anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageMd5(pub [u8; 16]);

/// Which digest identifies an image in cache keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestKind {
    /// SHA-256: nobody can make two images with the same one.
    #[default]
    Sha256,
    /// MD5: what the systems replaced named files by. Two images with the same one can be made on
    /// purpose, so only for uploads that are trusted.
    Md5,
}

impl DigestKind {
    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            DigestKind::Sha256 => "SHA-256",
            DigestKind::Md5 => "MD5",
        }
    }
}

/// The digest that identifies an image in cache keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ImageKey {
    /// By SHA-256.
    Sha256(ImageSha256),
    /// By MD5.
    Md5(ImageMd5),
}

impl ImageKey {
    /// Of a complete upload.
    pub fn of(kind: DigestKind, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(kind);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Reads 64 or 32 hexadecimal digits.
    pub fn parse(kind: DigestKind, text: &str) -> Option<Self> {
        match kind {
            DigestKind::Sha256 => ImageSha256::parse(text).map(Self::Sha256),
            DigestKind::Md5 => ImageMd5::parse(text).map(Self::Md5),
        }
    }

    /// The image's SHA-256, computed from `bytes` unless it is the key itself.
    pub fn sha256(&self, bytes: &[u8]) -> ImageSha256 {
        match self {
            Self::Sha256(sha256) => *sha256,
            Self::Md5(_) => ImageSha256::of(bytes),
        }
    }

    /// The image's MD5, computed from `bytes` unless it is the key itself.
    pub fn md5(&self, bytes: &[u8]) -> ImageMd5 {
        match self {
            Self::Sha256(_) => ImageMd5::of(bytes),
            Self::Md5(md5) => *md5,
        }
    }
}

impl ImageSha256 {
    /// Digest of a complete upload.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut raw = [0; 32];
        hex::decode_to_slice(text.trim(), &mut raw).ok()?;
        Some(Self(raw))
    }
}

impl ImageMd5 {
    /// Uploads that [`ImageMd5::of_each`] takes in twice the time of one.
    pub const AT_ONCE: usize = md5_lanes::LANES;

    /// Digest of a complete upload.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Md5::digest(bytes).into())
    }

    /// Digests of several complete uploads, in their order. One that is longer than all the shorter ones together is
    /// done sooner by itself.
    pub fn of_each(uploads: &[&[u8]]) -> Vec<Self> {
        let mut digests = vec![Self([0; 16]); uploads.len()];
        let mut together: Vec<usize> = (0..uploads.len()).collect();
        together.sort_unstable_by_key(|&at| uploads[at].len());
        let mut bytes: usize = uploads.iter().map(|upload| upload.len()).sum();
        while let Some(longest) = together.pop() {
            bytes -= uploads[longest].len();
            if uploads[longest].len() < bytes {
                together.push(longest);
                break;
            }
            digests[longest] = Self::of(uploads[longest]);
        }
        // The longest first: what is begun last ends together.
        together.reverse();
        let side_by_side: Vec<&[u8]> = together.iter().map(|&at| uploads[at]).collect();
        for (at, digest) in together.into_iter().zip(md5_lanes::digests(&side_by_side)) {
            digests[at] = Self(digest);
        }
        digests
    }

    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut raw = [0; 16];
        hex::decode_to_slice(text.trim(), &mut raw).ok()?;
        Some(Self(raw))
    }
}

/// The key of an upload that is still arriving.
pub enum Hasher {
    /// By SHA-256.
    Sha256(Sha256),
    /// By MD5.
    Md5(Md5),
}

impl Hasher {
    /// Nothing taken yet.
    pub fn new(kind: DigestKind) -> Self {
        match kind {
            DigestKind::Sha256 => Self::Sha256(Sha256::new()),
            DigestKind::Md5 => Self::Md5(Md5::new()),
        }
    }

    /// Takes the next chunk of the body.
    pub fn update(&mut self, chunk: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(chunk),
            Self::Md5(hasher) => hasher.update(chunk),
        }
    }

    /// The digest of everything taken.
    pub fn finish(self) -> ImageKey {
        match self {
            Self::Sha256(hasher) => ImageKey::Sha256(ImageSha256(hasher.finalize().into())),
            Self::Md5(hasher) => ImageKey::Md5(ImageMd5(hasher.finalize().into())),
        }
    }
}

/// Identity of what a model computes: its weights, its manifest and its labels. Two models with
/// the same digest give the same prediction for the same image.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelDigest(Interned);

/// Raised whenever decoding or resizing changes what a model sees for the same bytes.
const PREPROCESSING_VERSION: u8 = 2;

impl ModelDigest {
    /// Digest of the model file, the labels and everything in the manifest that shapes the answer.
    pub fn of(model: &[u8], manifest: &Manifest, labels: &[String]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([PREPROCESSING_VERSION]);
        hasher.update(Sha256::digest(model));
        hasher.update(manifest.processing_fingerprint());
        for label in labels {
            hasher.update(label.as_bytes());
            hasher.update([0]);
        }
        let digest: [u8; 32] = hasher.finalize().into();
        Self(hex::encode(&digest[..16]).into())
    }

    /// 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Identity of a prediction: (model, preprocessing, image).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CacheKey {
    /// The model, its preprocessing and labels.
    pub model: ModelDigest,
    /// The image.
    pub image: ImageKey,
}

/// Hexadecimal digits of each digest that go into a fingerprint.
const FINGERPRINT_DIGITS: usize = 16;

impl CacheKey {
    /// Eight bytes that tell keys apart, short of chance: for filters and announcements, never to decide what is
    /// answered. Fleets of mixed releases tell each other.
    pub fn fingerprint(&self) -> u64 {
        let image: &[u8] = match &self.image {
            ImageKey::Sha256(digest) => &digest.0,
            ImageKey::Md5(digest) => &digest.0,
        };
        let image = image.first_chunk().map_or(0, |raw| u64::from_be_bytes(*raw));
        image ^ leading_digits(self.model.as_str()).unwrap_or_default()
    }

    /// The fingerprint of a key whose parts are text; `None` for what is no key.
    pub fn fingerprint_of(model: &str, image: &str) -> Option<u64> {
        Some(leading_digits(model)? ^ leading_digits(image)?)
    }
}

fn leading_digits(text: &str) -> Option<u64> {
    u64::from_str_radix(text.get(..FINGERPRINT_DIGITS)?, 16).ok()
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.model, self.image)
    }
}

macro_rules! show {
    ($name:ident, $write:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $write(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

show!(ImageSha256, |raw: &[u8; 32], f| hexadecimal::write(raw, f));
show!(ImageMd5, |raw: &[u8; 16], f| hexadecimal::write(raw, f));
show!(ModelDigest, |text: &str, f: &mut fmt::Formatter<'_>| f.write_str(text));

impl fmt::Display for ImageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => digest.fmt(f),
            Self::Md5(digest) => digest.fmt(f),
        }
    }
}

impl fmt::Debug for ImageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_do_not_matter() {
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        for kind in [DigestKind::Sha256, DigestKind::Md5] {
            let mut hasher = Hasher::new(kind);
            bytes.chunks(777).for_each(|chunk| hasher.update(chunk));
            let key = hasher.finish();
            assert_eq!(key, ImageKey::of(kind, &bytes));
            assert_eq!(ImageKey::parse(kind, &key.to_string()), Some(key));
            assert_eq!((key.sha256(&bytes), key.md5(&bytes)), (ImageSha256::of(&bytes), ImageMd5::of(&bytes)));
        }
    }

    #[test]
    fn each_of_many_uploads_gets_its_own_digest() {
        let upload = |len: usize| -> Vec<u8> { (0..len).map(|at| (at * 7 + len) as u8).collect() };
        let lengths: [&[usize]; 6] =
            [&[], &[5000], &[0, 0], &[300, 300, 300], &[90_000, 100, 70, 200], &[50_000, 90_000, 10, 60_000, 0, 7]];
        for lengths in lengths {
            let uploads: Vec<Vec<u8>> = lengths.iter().map(|&len| upload(len)).collect();
            let each = ImageMd5::of_each(&uploads.iter().map(Vec::as_slice).collect::<Vec<_>>());
            assert_eq!(each, uploads.iter().map(|upload| ImageMd5::of(upload)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn known_digests_of_the_empty_upload() {
        assert_eq!(
            ImageSha256::of(b"").to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(ImageMd5::of(b"").to_string(), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn a_fingerprint_is_that_of_the_text() {
        let model = ModelDigest("093f60b3881c73acd02ee24b3a935830".into());
        let prints = [DigestKind::Sha256, DigestKind::Md5].map(|kind| {
            let key = CacheKey { model: model.clone(), image: ImageKey::of(kind, b"photo") };
            assert_eq!(CacheKey::fingerprint_of(key.model.as_str(), &key.image.to_string()), Some(key.fingerprint()));
            key.fingerprint()
        });
        // What other releases tell and are told.
        assert_eq!(prints[0], 6_699_436_207_332_650_739);
        assert_ne!(prints[0], prints[1]);
        let other =
            CacheKey { model: ModelDigest("193f".repeat(8).into()), image: ImageKey::of(DigestKind::Md5, b"photo") };
        assert_ne!(other.fingerprint(), prints[1]);
        assert_eq!(CacheKey::fingerprint_of("no", "key"), None);
        assert_eq!(CacheKey::fingerprint_of("093f60b3881c73acd02ee24b3a935830", "093f60b"), None);
    }

    #[test]
    fn a_digest_is_read_back_from_its_text() {
        let digest = ImageSha256::of(b"photo");
        assert_eq!(ImageSha256::parse(&digest.to_string()), Some(digest));
        assert_eq!(ImageSha256::parse("abc"), None);
    }
}
