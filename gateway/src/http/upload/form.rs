//! The files of a multipart form, one after the other as they arrive.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use multer::{Constraints, Field, Multipart, SizeLimit};
use shoal_shared::failure::{Failure, FailureCode};

use super::{Bounds, Shared, bad_request};

/// Form fields beside the files are few and short; they are skipped.
const MAX_OTHER_FIELD: u64 = 64 * 1024;
/// Parts that are looked at, between two files, before the form counts as nonsense.
const MAX_PARTS: usize = 32;
/// Boundaries, part headers and small fields around an image.
pub(super) const MULTIPART_OVERHEAD: usize = 256 * 1024;

/// Whether a content type announces a form.
pub(in crate::http) fn is_form(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("multipart/"))
}

/// A form that is being read.
pub(in crate::http) struct Files {
    form: Multipart<'static>,
    unparsed: Arc<AtomicUsize>,
}

/// One part called `file`. What is not read of it is skipped.
pub(in crate::http) struct File {
    field: Field<'static>,
    unparsed: Arc<AtomicUsize>,
}

/// The body as the parser gets it. The parser takes all that is there and keeps it until it has found
/// the end of a header: it gets one piece at a time, and no more than a file's worth without a result.
struct Paced {
    chunks: Shared,
    unparsed: Arc<AtomicUsize>,
    most: usize,
    pause: bool,
}

impl Stream for Paced {
    type Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.pause) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let chunk = std::task::ready!(self.chunks.poll_next_unpin(context));
        self.pause = true;
        Poll::Ready(chunk.map(|chunk| {
            let chunk = chunk?;
            let unparsed = self.unparsed.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
            if unparsed > self.most {
                return Err(format!("{unparsed} bytes without the end of a part").into());
            }
            Ok(chunk)
        }))
    }
}

impl Files {
    /// A form of at most `files` files. A file may be of any length here: who reads it counts.
    pub(in crate::http) fn open(
        content_type: Option<&str>,
        chunks: Shared,
        bounds: Bounds,
        files: usize,
    ) -> Result<Self, Failure> {
        let kind = content_type.unwrap_or_default();
        if !kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data") {
            let message = format!("the content type is `{kind}`; a form is multipart/form-data");
            return Err(Failure::new(FailureCode::UnsupportedMediaType, message));
        }
        let boundary = multer::parse_boundary(kind).ok();
        let boundary = boundary.ok_or_else(|| bad_request("the multipart content type has no boundary"))?;
        let whole = (bounds.max_bytes + MULTIPART_OVERHEAD).saturating_mul(files) as u64;
        let limits = SizeLimit::new().whole_stream(whole).per_field(MAX_OTHER_FIELD).for_field("file", whole);
        let (unparsed, most) = (Arc::new(AtomicUsize::new(0)), bounds.max_bytes + MULTIPART_OVERHEAD);
        let chunks = Paced { chunks, unparsed: unparsed.clone(), most, pause: false };
        let form = Multipart::with_constraints(chunks, boundary, Constraints::new().size_limit(limits));
        Ok(Self { form, unparsed })
    }

    /// The next file; `None` at the end of the form.
    pub(in crate::http) async fn next(&mut self) -> Result<Option<File>, Failure> {
        for _ in 0..MAX_PARTS {
            let field = self.form.next_field().await.map_err(|error| bad_form(&error))?;
            self.unparsed.store(0, Ordering::Relaxed);
            match field {
                Some(field) if field.name() == Some("file") => {
                    return Ok(Some(File { field, unparsed: self.unparsed.clone() }));
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Err(bad_request("the form has too many parts and no field `file` among the first"))
    }
}

impl File {
    /// Name that the client gave it.
    pub(in crate::http) fn name(&self) -> Option<&str> {
        self.field.file_name()
    }

    /// The next piece.
    pub(in crate::http) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let chunk = self.field.chunk().await.map_err(|error| bad_form(&error))?;
        self.unparsed.store(0, Ordering::Relaxed);
        Ok(chunk)
    }
}

fn bad_form(error: &multer::Error) -> Failure {
    match error {
        multer::Error::FieldSizeExceeded { limit, .. } | multer::Error::StreamSizeExceeded { limit } => {
            Failure::new(FailureCode::TooLarge, format!("the form has more than the {limit} bytes that it may have"))
        }
        error => bad_request(&format!("the multipart form is malformed: {error}")),
    }
}
