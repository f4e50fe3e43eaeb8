//! A request body in several pieces, so that an image is not copied into a multipart form.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};

/// Up to four pieces, sent one after the other.
#[derive(Clone, Default)]
pub struct Pieces {
    pieces: [Bytes; 4],
    sent: usize,
}

/// Separates the parts of a form. No image contains it by accident.
const BOUNDARY: &str = "shoal-loadtest-5f0c1a7d93e84b26";

impl Pieces {
    /// Nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The bytes as they are.
    pub fn whole([head, rest]: [Bytes; 2]) -> Self {
        Self { pieces: [head, rest, Bytes::new(), Bytes::new()], sent: 0 }
    }

    /// The bytes as form field `file`.
    pub fn form([first, rest]: [Bytes; 2], content_type: &str) -> Self {
        let extension = content_type.rsplit('/').next().unwrap_or("bin");
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"image.{extension}\"\r\n\
             Content-Type: {content_type}\r\n\r\n"
        );
        Self { pieces: [head.into(), first, rest, format!("\r\n--{BOUNDARY}--\r\n").into()], sent: 0 }
    }

    /// The header that goes with [`Pieces::form`].
    pub fn form_type() -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while self.sent < self.pieces.len() {
            let index = self.sent;
            self.sent += 1;
            let piece = std::mem::take(&mut self.pieces[index]);
            if piece.has_remaining() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.pieces[self.sent..].iter().all(|piece| piece.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces[self.sent..].iter().map(|piece| piece.len() as u64).sum())
    }
}
