//! A decoded picture, or as much of it as is looked at.

use image::metadata::Orientation;

/// What a decoder has made of an image.
pub(super) struct Picture {
    pub(super) extent: Extent,
    /// Where in the picture the pixels are.
    pub(super) part: Part,
    pub(super) channels: Channels,
    /// Rows of the part.
    pub(super) bytes: Vec<u8>,
    /// How to turn it upright.
    pub(super) orientation: Orientation,
}

impl Picture {
    /// A whole picture in RGB.
    pub(super) fn whole(size: (u32, u32), rgb: Vec<u8>, orientation: Orientation) -> Self {
        let part = Part { left: 0, top: 0, width: size.0, height: size.1 };
        Self { extent: Extent { whole: size, reduction: 1 }, part, channels: Channels::Rgb, bytes: rgb, orientation }
    }
}

/// How large a picture is, and how large it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Width and height of what was encoded.
    pub(super) whole: (u32, u32),
    /// Pixels of that along a side of one of these; those of the last column and row may show fewer.
    pub(super) reduction: u32,
}

impl Extent {
    /// Width and height of the picture.
    pub(super) fn size(self) -> (u32, u32) {
        (self.whole.0.div_ceil(self.reduction), self.whole.1.div_ceil(self.reduction))
    }
}

/// A rectangle of a picture, in its pixels; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Bytes of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channels {
    /// Brightness (ITU-R 601).
    Luma = 1,
    /// Red, green, blue.
    Rgb = 3,
}

/// What will be done with a picture: a decoder may leave out the rest.
pub(super) struct Wanted<'a> {
    /// Pixels that the shorter side must keep; what is larger may come smaller.
    pub(super) needed: u32,
    /// What a pixel must have at least.
    pub(super) channels: Channels,
    /// The part that is looked at, of a picture of such an extent and orientation.
    pub(super) part_of: &'a dyn Fn(Extent, Orientation) -> Part,
}
