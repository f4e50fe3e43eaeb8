//! Small bodies: JSON and form fields, bounded in bytes and time.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt};
use multer::{Constraints, Multipart, SizeLimit};
use serde::de::DeserializeOwned;
use shoal_shared::failure::{Failure, FailureCode};

use super::upload::discard;

/// Longest body.
const MAX_BYTES: usize = 16 * 1024;
/// Fields of a form that are looked at.
const MAX_FIELDS: usize = 32;
/// How long a client may take to send it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads a small body whole.
pub(super) async fn read<S, B>(mut body: S) -> Result<Bytes, Failure>
where
    S: Stream<Item = Result<B, warp::Error>> + Unpin,
    B: Buf,
{
    let reading = async {
        let mut whole = BytesMut::new();
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|_| Failure::new(FailureCode::BadRequest, "the connection broke off"))?;
            if whole.len() + chunk.remaining() > MAX_BYTES {
                return Err(Failure::new(FailureCode::TooLarge, format!("the body may have {MAX_BYTES} bytes")));
            }
            whole.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
        }
        Ok(whole.freeze())
    };
    let late = || Failure::new(FailureCode::RequestTimeout, format!("the body was not complete after {PATIENCE:?}"));
    let read = tokio::time::timeout(PATIENCE, reading).await.map_err(|_| late())?;
    if read.is_err() {
        discard(body.map_ok(|mut chunk| chunk.copy_to_bytes(chunk.remaining()))).await;
    }
    read
}

/// Reads a JSON body.
pub(super) async fn json<T, S, B>(body: S) -> Result<T, Failure>
where
    T: DeserializeOwned,
    S: Stream<Item = Result<B, warp::Error>> + Unpin,
    B: Buf,
{
    parsed(&read(body).await?)
}

/// Reads JSON that is there.
pub(super) fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::new(FailureCode::Invalid, format!("the JSON body: {error}")))
}

/// Whether a body is a form, by its type; curl's usual type says so of JSON too.
pub(super) fn is_form(content_type: Option<&str>, body: &[u8]) -> bool {
    if body.trim_ascii_start().first() == Some(&b'{') {
        return false;
    }
    let kind = content_type.unwrap_or_default().trim_start().to_ascii_lowercase();
    kind.starts_with("application/x-www-form-urlencoded") || kind.starts_with("multipart/form-data")
}

/// Reads the text fields of a form.
pub(super) async fn form<S, B>(content_type: Option<&str>, body: S) -> Result<HashMap<String, String>, Failure>
where
    S: Stream<Item = Result<B, warp::Error>> + Unpin,
    B: Buf,
{
    fields(content_type, read(body).await?).await
}

/// The text fields of a form that is there.
pub(super) async fn fields(content_type: Option<&str>, body: Bytes) -> Result<HashMap<String, String>, Failure> {
    match content_type.and_then(|kind| multer::parse_boundary(kind).ok()) {
        Some(boundary) => multipart(body, boundary).await,
        None => Ok(form_urlencoded::parse(&body).into_owned().take(MAX_FIELDS).collect()),
    }
}

async fn multipart(body: Bytes, boundary: String) -> Result<HashMap<String, String>, Failure> {
    let malformed = |error: multer::Error| Failure::new(FailureCode::BadRequest, format!("the form: {error}"));
    let whole = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let limits = Constraints::new().size_limit(SizeLimit::new().whole_stream(MAX_BYTES as u64));
    let mut form = Multipart::with_constraints(whole, boundary, limits);
    let mut fields = HashMap::new();
    while let Some(field) = form.next_field().await.map_err(malformed)? {
        let Some(name) = field.name().map(str::to_owned) else { continue };
        fields.insert(name, field.text().await.map_err(malformed)?);
        if fields.len() > MAX_FIELDS {
            return Err(Failure::new(FailureCode::BadRequest, "the form has too many fields"));
        }
    }
    Ok(fields)
}
