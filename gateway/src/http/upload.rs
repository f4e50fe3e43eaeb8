//! Reading an upload: raw body or multipart, hashed while it arrives, bounded in bytes and time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt};
use multer::{Constraints, Multipart, SizeLimit};
use parking_lot::Mutex;
use shoal_shared::digest::{DigestKind, Hasher, ImageKey};
use shoal_shared::failure::{Failure, FailureCode};

use crate::admission::Charge;

/// Form fields beside the file are few and short; they are skipped.
const MAX_OTHER_FIELD: u64 = 64 * 1024;
/// Parts that are looked at before the form counts as nonsense.
const MAX_PARTS: usize = 32;
/// Boundaries, part headers and small fields around the image.
const MULTIPART_OVERHEAD: usize = 256 * 1024;

/// Bytes of a refused upload that are read and thrown away.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;
/// Time spent on that.
pub(super) const DISCARD_TIME: Duration = Duration::from_secs(5);

/// A complete upload.
pub(super) struct Upload {
    pub(super) image: Bytes,
    /// What the file is called, in a form.
    pub(super) file_name: Option<String>,
    pub(super) digest: ImageKey,
    /// Time for all of it.
    pub(super) receive: Duration,
    /// Of that, for hashing.
    pub(super) hash: Duration,
    pub(super) charge: Charge,
}

/// What the request's head says about the upload.
pub(super) struct Announced<'a> {
    pub(super) content_type: Option<&'a str>,
    pub(super) length: Option<u64>,
    /// `Expect: 100-continue`: nothing is sent before the body is read.
    pub(super) waits_for_consent: bool,
}

/// What bounds an upload.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) max_bytes: usize,
    pub(super) timeout: Duration,
    pub(super) digest: DigestKind,
}

/// Reads the whole upload, or says what is wrong with it.
pub(super) async fn receive<S, B>(
    announced: Announced<'_>,
    body: S,
    bounds: Bounds,
    charge: Charge,
) -> Result<Upload, Failure>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Unpin + 'static,
    B: Buf,
{
    let begun = Instant::now();
    let content_type = announced.content_type;
    let boundary = content_type.and_then(|kind| multer::parse_boundary(kind).ok());
    let is_form = content_type.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("multipart/"));
    let allowed = bounds.max_bytes + if is_form { MULTIPART_OVERHEAD } else { 0 };
    if let Some(length) = announced.length.filter(|&length| length > allowed as u64) {
        if !announced.waits_for_consent {
            discard(body).await;
        }
        return Err(too_large(length, bounds.max_bytes));
    }
    let body = Shared::new(body.map_ok(|mut chunk| chunk.copy_to_bytes(chunk.remaining())));
    let chunks = body.clone();
    let reading = async {
        let read = match (is_form, boundary) {
            (true, Some(boundary)) => read_form(chunks, boundary, Collected::new(bounds, charge)).await,
            (true, None) => Err(bad_request("the multipart content type has no boundary")),
            (false, _) => read_raw(chunks, Collected::new(bounds, charge)).await,
        };
        if read.is_err() {
            discard(body).await;
        }
        read
    };
    let collected = tokio::time::timeout(bounds.timeout, reading).await.map_err(|_| {
        let message = format!("the upload was not complete after {:?}", bounds.timeout);
        Failure::new(FailureCode::RequestTimeout, message)
    })??;
    let (hash, file_name) = (collected.hashing, collected.file_name.clone());
    let (image, digest, charge) = collected.finish();
    Ok(Upload { image, file_name, digest, receive: begun.elapsed(), hash, charge })
}

/// A body that outlives whoever reads it: what a parser leaves is still there.
struct Shared<S>(Arc<Mutex<S>>);

impl<S> Shared<S> {
    fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Stream + Unpin> Stream for Shared<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.0.lock().poll_next_unpin(context)
    }
}

/// Most clients read the answer only after they have sent everything; closing on them would turn
/// the refusal into a broken pipe. Bounded in bytes and time.
async fn discard<S, B>(mut body: S)
where
    S: Stream<Item = Result<B, warp::Error>> + Unpin,
    B: Buf,
{
    let reading = async {
        let mut discarded = 0;
        while let Some(Ok(chunk)) = body.next().await {
            discarded += chunk.remaining();
            if discarded > MAX_DISCARDED {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIME, reading).await;
}

async fn read_raw<S, E>(mut chunks: S, mut collected: Collected) -> Result<Collected, Failure>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    while let Some(chunk) = chunks.next().await {
        collected.push(chunk.map_err(|_| bad_request("the connection broke off during the upload"))?)?;
    }
    Ok(collected)
}

async fn read_form<S, E>(chunks: S, boundary: String, mut collected: Collected) -> Result<Collected, Failure>
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let max_bytes = collected.max_bytes;
    let limits = SizeLimit::new()
        .whole_stream((max_bytes + MULTIPART_OVERHEAD) as u64)
        .per_field(MAX_OTHER_FIELD)
        .for_field("file", max_bytes as u64 + 1);
    let mut form = Multipart::with_constraints(chunks, boundary, Constraints::new().size_limit(limits));
    for _ in 0..MAX_PARTS {
        let Some(mut field) = form.next_field().await.map_err(|error| bad_form(&error, max_bytes))? else {
            return Err(Failure::new(FailureCode::MissingField, "the form has no field `file`"));
        };
        if field.name() != Some("file") {
            continue;
        }
        collected.file_name = Some(field.file_name().unwrap_or_default().to_owned());
        while let Some(chunk) = field.chunk().await.map_err(|error| bad_form(&error, max_bytes))? {
            collected.push(chunk)?;
        }
        return Ok(collected);
    }
    Err(bad_request("the form has too many parts and no field `file` among the first"))
}

fn bad_form(error: &multer::Error, max_bytes: usize) -> Failure {
    match error {
        multer::Error::FieldSizeExceeded { limit, .. } | multer::Error::StreamSizeExceeded { limit } => {
            too_large(*limit, max_bytes)
        }
        error => bad_request(&format!("the multipart form is malformed: {error}")),
    }
}

/// Chunks of an upload and their digest so far.
struct Collected {
    file_name: Option<String>,
    chunks: Vec<Bytes>,
    length: usize,
    hasher: Hasher,
    hashing: Duration,
    max_bytes: usize,
    charge: Charge,
}

impl Collected {
    fn new(bounds: Bounds, charge: Charge) -> Self {
        let hasher = Hasher::new(bounds.digest);
        Self {
            file_name: None,
            chunks: Vec::new(),
            length: 0,
            hasher,
            hashing: Duration::ZERO,
            max_bytes: bounds.max_bytes,
            charge,
        }
    }

    fn push(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.length += chunk.len();
        if self.length > self.max_bytes {
            return Err(too_large(self.length as u64, self.max_bytes));
        }
        self.charge.grow(chunk.len())?;
        let begun = Instant::now();
        self.hasher.update(&chunk);
        self.hashing += begun.elapsed();
        self.chunks.push(chunk);
        Ok(())
    }

    fn finish(mut self) -> (Bytes, ImageKey, Charge) {
        let image = match self.chunks.len() {
            1 => self.chunks.swap_remove(0),
            _ => {
                let mut whole = BytesMut::with_capacity(self.length);
                self.chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
                whole.freeze()
            }
        };
        (image, self.hasher.finish(), self.charge)
    }
}

fn too_large(length: u64, max_bytes: usize) -> Failure {
    Failure::new(FailureCode::TooLarge, format!("the upload has at least {length} bytes, the limit is {max_bytes}"))
}

fn bad_request(message: &str) -> Failure {
    Failure::new(FailureCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn form(name: &str, content: &[u8]) -> Bytes {
        let mut body =
            format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.jpg\"\r\n\r\n").into_bytes();
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n--B--\r\n");
        body.into()
    }

    async fn read(body: Bytes, max: usize) -> Result<(Bytes, ImageKey), Failure> {
        let pieces: Vec<Result<Bytes, Infallible>> = body.chunks(7).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let bounds = Bounds { max_bytes: max, timeout: Duration::from_secs(9), digest: DigestKind::Sha256 };
        let collected = Collected::new(bounds, Charge::unbounded());
        let read = read_form(futures_util::stream::iter(pieces), "B".into(), collected).await?;
        let (image, digest, _) = read.finish();
        Ok((image, digest))
    }

    #[tokio::test]
    async fn the_file_field_is_read_and_hashed() {
        let (image, digest) = read(form("file", b"picture"), 100).await.unwrap();
        let expected = ImageKey::of(DigestKind::Sha256, b"picture");
        assert_eq!((image.as_ref(), digest), (b"picture".as_slice(), expected));
    }

    #[tokio::test]
    async fn a_wrong_field_a_large_field_and_a_cut_form_are_told_apart() {
        let code = |result: Result<_, Failure>| result.unwrap_err().code;
        assert_eq!(code(read(form("image", b"picture"), 100).await), FailureCode::BadRequest);
        assert_eq!(code(read(form("file", &[1; 101]), 100).await), FailureCode::TooLarge);
        let whole = form("file", b"picture");
        assert_eq!(code(read(whole.slice(..whole.len() - 9), 100).await), FailureCode::BadRequest);
    }

    #[tokio::test]
    async fn thousands_of_parts_end_early() {
        let part = "--B\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n".repeat(1000);
        let result = read(Bytes::from(part + "--B--\r\n"), 10_000_000).await;
        assert!(result.unwrap_err().message.contains("too many parts"));
    }
}
