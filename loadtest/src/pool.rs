//! The images of a run, and which one is sent next.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use bytes::Bytes;

use crate::photograph;
use crate::scenario::{Images, Mix};
use crate::unique::Picture;
use crate::zipf::Zipf;

/// The images of a run.
pub struct Pool {
    images: Vec<Image>,
    mix: Mix,
    unique: f64,
    zipf: Option<Zipf>,
    /// Bodies of a Zipf mix are numbered from here, alike in every agent.
    run: u64,
    next: AtomicU64,
}

struct Image {
    bytes: Bytes,
    picture: Option<Picture>,
    label: Option<String>,
    content_type: &'static str,
}

/// One upload.
#[derive(Clone)]
pub struct Shot {
    /// Which image it shows.
    pub image: usize,
    /// Its bytes, in two pieces.
    pub body: [Bytes; 2],
    /// Its media type.
    pub content_type: &'static str,
}

/// Most images that are kept in memory, and most bytes of one.
const MAX_IMAGES: usize = 10_000;
const MAX_IMAGE_BYTES: u64 = 64 << 20;

/// Held-out samples of the digit model that ships.
pub(crate) const DIGITS: [&[u8]; 10] = [
    include_bytes!("../../worker/models/digits/samples/digit-0.png"),
    include_bytes!("../../worker/models/digits/samples/digit-1.png"),
    include_bytes!("../../worker/models/digits/samples/digit-2.png"),
    include_bytes!("../../worker/models/digits/samples/digit-3.png"),
    include_bytes!("../../worker/models/digits/samples/digit-4.png"),
    include_bytes!("../../worker/models/digits/samples/digit-5.png"),
    include_bytes!("../../worker/models/digits/samples/digit-6.png"),
    include_bytes!("../../worker/models/digits/samples/digit-7.png"),
    include_bytes!("../../worker/models/digits/samples/digit-8.png"),
    include_bytes!("../../worker/models/digits/samples/digit-9.png"),
];

impl Pool {
    /// Reads or makes them. Two runs, or two agents, send different unique bodies; `run` is common to
    /// all agents.
    pub fn new(images: &Images, run: u64) -> anyhow::Result<Self> {
        let mut pool = Vec::new();
        for file in &images.files {
            pool.push(Image::read(&file.path, file.label.clone())?);
        }
        if let Some(folder) = &images.folder {
            pool.extend(read_folder(folder)?);
        }
        if let Some(generate) = &images.generate {
            for index in 0..generate.count as u64 {
                let (width, height) = (generate.width, generate.height);
                let bytes = photograph::jpeg(width, height, generate.bytes, generate.seed + index + 1)?;
                pool.push(Image::new(bytes, None).context("a generated photograph is no JPEG")?);
            }
        }
        if images.digits || pool.is_empty() {
            let digit = |(digit, bytes): (usize, &&[u8])| Image::new(bytes.to_vec(), Some(digit.to_string()));
            pool.extend(DIGITS.iter().enumerate().filter_map(digit));
        }
        if pool.len() > MAX_IMAGES {
            bail!("{} images; at most {MAX_IMAGES} are taken", pool.len());
        }
        let varies = images.mix == Mix::Zipf || images.mix == Mix::Unique && images.unique > 0.0;
        if varies && pool.iter().any(|image| image.picture.is_none()) {
            bail!("only JPEG and PNG can be made unique: use mix = \"repeated\" for others");
        }
        let zipf = (images.mix == Mix::Zipf).then(|| Zipf::new(images.bodies, images.exponent));
        let next = AtomicU64::new(fastrand::u64(..));
        Ok(Self { images: pool, mix: images.mix, unique: images.unique, zipf, run, next })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there is none; never.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The right label of an image, where it is known.
    pub fn label(&self, image: usize) -> Option<&str> {
        self.images.get(image)?.label.as_deref()
    }

    /// The next upload.
    pub fn draw(&self) -> Shot {
        match (self.mix, &self.zipf) {
            (Mix::Zipf, Some(zipf)) => {
                let rank = zipf.rank(fastrand::f64());
                self.shot(rank, Some(self.run.wrapping_add(rank)))
            }
            (Mix::Unique, _) if self.unique >= 1.0 || fastrand::f64() < self.unique => self.fresh(),
            (Mix::Unique, _) => self.shot(fastrand::u64(..self.images.len() as u64), None),
            _ => self.shot(self.next.fetch_add(1, Ordering::Relaxed), None),
        }
    }

    /// An image in a body that no other request has, if its format can carry a number.
    pub fn fresh_of(&self, image: usize) -> Shot {
        self.shot(image as u64, Some(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    fn fresh(&self) -> Shot {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.shot(number, Some(number))
    }

    fn shot(&self, image: u64, number: Option<u64>) -> Shot {
        let index = (image % self.images.len() as u64) as usize;
        let image = &self.images[index];
        let body = match (number, &image.picture) {
            (Some(number), Some(picture)) => picture.body(number),
            _ => [image.bytes.clone(), Bytes::new()],
        };
        Shot { image: index, body, content_type: image.content_type }
    }
}

impl Image {
    fn new(bytes: Vec<u8>, label: Option<String>) -> Option<Self> {
        let content_type = match bytes.as_slice() {
            [0xff, 0xd8, ..] => "image/jpeg",
            [0x89, b'P', b'N', b'G', ..] => "image/png",
            _ => "application/octet-stream",
        };
        let picture = Picture::unique(&bytes);
        (!bytes.is_empty()).then(|| Self { picture, bytes: bytes.into(), label, content_type })
    }

    fn read(path: &Path, label: Option<String>) -> anyhow::Result<Self> {
        let length = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
        if length > MAX_IMAGE_BYTES {
            bail!("{}: {length} bytes; at most {MAX_IMAGE_BYTES} are taken", path.display());
        }
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        Self::new(bytes, label).with_context(|| format!("{}: empty", path.display()))
    }
}

fn read_folder(folder: &Path) -> anyhow::Result<Vec<Image>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("images.folder {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default().to_ascii_lowercase();
        if ["jpg", "jpeg", "png"].contains(&kind.as_str()) && paths.len() < MAX_IMAGES {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        bail!("images.folder {}: no JPEG or PNG in it", folder.display());
    }
    // The same order everywhere: a folder's own is the file system's.
    paths.sort();
    paths.iter().map(|path| Image::read(path, None)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn bodies(images: Images, count: usize) -> HashSet<[Bytes; 2]> {
        let pool = Pool::new(&images, 7).unwrap();
        (0..count).map(|_| pool.draw().body).collect()
    }

    #[test]
    fn the_mix_decides_how_often_a_body_comes_again() {
        assert_eq!(bodies(Images { mix: Mix::Repeated, ..Images::default() }, 100).len(), 10);
        assert_eq!(bodies(Images::default(), 1000).len(), 1000);
        let half = bodies(Images { unique: 0.5, ..Images::default() }, 1000).len();
        assert!((400..620).contains(&half), "{half}");
        let zipf = Images { mix: Mix::Zipf, bodies: 50, ..Images::default() };
        assert!(bodies(zipf.clone(), 5000).len() <= 50);
        let again = bodies(zipf.clone(), 5000);
        assert!(bodies(zipf, 5000).iter().filter(|body| again.contains(*body)).count() > 40, "alike in every agent");
    }

    #[test]
    fn digits_show_what_their_label_says() {
        let pool = Pool::new(&Images::default(), 0).unwrap();
        assert_eq!(pool.label(pool.fresh_of(3).image), Some("3"));
    }
}
