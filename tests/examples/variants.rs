//! Writes pictures made of photographs, for measurements where there are only a few: `variants OUT COUNT PHOTO...`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement's preparation, not a service")]

use image::ImageFormat;
use shoal_testkit::images::{encode, variant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [out, count, photos @ ..] = args.as_slice() else { panic!("see the top of this file") };
    let photos: Vec<_> = photos.iter().map(|path| image::open(path).unwrap()).collect();
    std::fs::create_dir_all(out).unwrap();
    for number in 0..count.parse::<usize>().unwrap() {
        let picture = variant(&photos[number % photos.len()], number as u64);
        std::fs::write(format!("{out}/{number:05}.jpg"), encode(&picture, ImageFormat::Jpeg)).unwrap();
    }
}
