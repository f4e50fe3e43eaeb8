//! Reading an upload: raw body or multipart, hashed while it arrives, bounded in bytes and time.

mod collected;
mod form;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use shoal_shared::digest::{DigestKind, ImageKey};
use shoal_shared::failure::{Failure, FailureCode};

pub(super) use collected::{Collected, Pieces};
pub(super) use form::{File, Files, is_form};

use crate::admission::Charge;
use form::MULTIPART_OVERHEAD;

/// Bytes of a refused upload that are read and thrown away.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;
/// Time spent on that.
const DISCARD_TIME: Duration = Duration::from_secs(5);
/// Of that, for a client that sends nothing: it is waiting for the answer already.
const DISCARD_PAUSE: Duration = Duration::from_millis(500);

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
    pub(super) charge: Arc<Charge>,
}

/// What the request's head says about the upload.
pub(super) struct Announced<'a> {
    pub(super) content_type: Option<&'a str>,
    pub(super) encoding: Option<&'a str>,
    pub(super) length: Option<u64>,
    /// `Expect: 100-continue`: nothing is sent before the body is read.
    pub(super) waits_for_consent: bool,
}

/// What bounds an upload.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) max_bytes: usize,
    pub(super) timeout: Duration,
    /// How it is hashed.
    pub(super) digest: DigestKind,
}

/// Reads one image, as the body or the first file of a form, or says what is wrong with it.
pub(super) async fn receive<S, B>(
    announced: Announced<'_>,
    body: S,
    bounds: Bounds,
    charge: Charge,
) -> Result<Upload, Failure>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf,
{
    let begun = Instant::now();
    let collected = Collected::new(bounds, charge);
    let read = if let Some(coded) = announced.encoding.filter(|name| !name.trim().eq_ignore_ascii_case("identity")) {
        let message = format!("images are taken as they are, without `Content-Encoding: {coded}`");
        let refusal = Failure::new(FailureCode::UnsupportedMediaType, message);
        bounded(&announced, body, (bounds, 0), |_| std::future::ready(Err(refusal))).await
    } else if is_form(announced.content_type) {
        let files = |chunks| Files::open(announced.content_type, chunks, bounds, 1);
        bounded(&announced, body, (bounds, MULTIPART_OVERHEAD), |chunks| read_form(files(chunks), collected)).await
    } else {
        bounded(&announced, body, (bounds, 0), |chunks| read_raw(chunks, collected)).await
    };
    Ok(read?.finish(begun.elapsed()))
}

/// Reads a body that is no image, whole.
pub(super) async fn receive_whole<S, B>(
    announced: Announced<'_>,
    body: S,
    bounds: Bounds,
    charge: Charge,
) -> Result<(Bytes, Charge), Failure>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf,
{
    let mut pieces = Pieces::new(bounds.max_bytes, charge);
    let read = |mut chunks: Shared| async move {
        while let Some(chunk) = chunks.next().await {
            pieces.push(chunk.map_err(|_| broken_off())?)?;
        }
        Ok(pieces)
    };
    Ok(bounded(&announced, body, (bounds, 0), read).await?.finish())
}

/// Has a body read within its bounds, and what is left of it thrown away when that fails. The body may
/// have some bytes more than what is read of it.
async fn bounded<T, S, B, R>(
    announced: &Announced<'_>,
    body: S,
    (bounds, overhead): (Bounds, usize),
    read: impl FnOnce(Shared) -> R,
) -> Result<T, Failure>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf,
    R: Future<Output = Result<T, Failure>>,
{
    let body = Shared::new(body);
    if let Some(length) = announced.length.filter(|&length| length > (bounds.max_bytes + overhead) as u64) {
        if !announced.waits_for_consent {
            discard(body).await;
        }
        return Err(too_large(length, bounds.max_bytes));
    }
    let reading = async {
        let read = read(body.clone()).await;
        if read.is_err() {
            discard(body).await;
        }
        read
    };
    tokio::time::timeout(bounds.timeout, reading).await.map_err(|_| too_slow(bounds.timeout))?
}

type Chunks = dyn Stream<Item = Result<Bytes, warp::Error>> + Send;

/// A body that outlives whoever reads it: what a parser leaves is still there.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Pin<Box<Chunks>>>>);

impl Shared {
    pub(super) fn new<S, B>(body: S) -> Self
    where
        S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
        B: Buf,
    {
        Self(Arc::new(Mutex::new(Box::pin(body.map_ok(|mut chunk| chunk.copy_to_bytes(chunk.remaining()))))))
    }
}

impl Stream for Shared {
    type Item = Result<Bytes, warp::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.lock().poll_next_unpin(context)
    }
}

/// Most clients read the answer only after they have sent everything; closing on them would turn
/// the refusal into a broken pipe. Bounded in bytes and time.
pub(super) async fn discard<E>(mut body: impl Stream<Item = Result<Bytes, E>> + Unpin) {
    let reading = async {
        let mut discarded = 0;
        while let Ok(Some(Ok(chunk))) = tokio::time::timeout(DISCARD_PAUSE, body.next()).await {
            discarded += chunk.len();
            if discarded > MAX_DISCARDED {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIME, reading).await;
}

async fn read_raw(mut chunks: Shared, mut collected: Collected) -> Result<Collected, Failure> {
    while let Some(chunk) = chunks.next().await {
        collected.push(chunk.map_err(|_| broken_off())?)?;
    }
    Ok(collected)
}

/// The first file of a form; what comes after it is not looked at.
async fn read_form(files: Result<Files, Failure>, mut collected: Collected) -> Result<Collected, Failure> {
    let mut files = files?;
    let Some(mut file) = files.next().await? else { return Err(no_file()) };
    collected.file_name = Some(file.name().unwrap_or_default().to_owned());
    while let Some(chunk) = file.chunk().await? {
        collected.push(chunk)?;
    }
    Ok(collected)
}

/// The form has no image.
pub(super) fn no_file() -> Failure {
    Failure::new(FailureCode::MissingField, "the form has no field `file`")
}

fn broken_off() -> Failure {
    bad_request("the connection broke off during the upload")
}

fn too_large(length: u64, max_bytes: usize) -> Failure {
    Failure::new(FailureCode::TooLarge, format!("the upload has at least {length} bytes, the limit is {max_bytes}"))
}

pub(super) fn too_slow(patience: Duration) -> Failure {
    Failure::new(FailureCode::RequestTimeout, format!("the upload was not complete after {patience:?}"))
}

fn bad_request(message: &str) -> Failure {
    Failure::new(FailureCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(name: &str, content: &[u8]) -> Bytes {
        let mut body =
            format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.jpg\"\r\n\r\n").into_bytes();
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n--B--\r\n");
        body.into()
    }

    async fn read(body: Bytes, max: usize) -> Result<(Bytes, ImageKey), Failure> {
        let pieces: Vec<_> = body.chunks(7).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let bounds = Bounds { max_bytes: max, timeout: Duration::from_secs(9), digest: DigestKind::Sha256 };
        let chunks = Shared::new(futures_util::stream::iter(pieces as Vec<Result<Bytes, warp::Error>>));
        let files = Files::open(Some("multipart/form-data; boundary=B"), chunks, bounds, 1);
        let upload = read_form(files, Collected::new(bounds, Charge::unbounded())).await?.finish(Duration::ZERO);
        Ok((upload.image, upload.digest))
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
        assert_eq!(code(read(form("image", b"picture"), 100).await), FailureCode::MissingField);
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
