//! From an HTTP request with an image in it to what it asks for: query, headers, body, sender.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::Stream;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::{Lane, ModelName};
use shoal_shared::prediction::MAX_TOP_K;
use shoal_shared::trace::Trace;
use warp::Filter;
use warp::http::{HeaderMap, HeaderValue, header};

use super::upload::{Announced, Bounds, Upload, receive};
use super::{Query, caching, with};
use crate::accounts::Caller;
use crate::admission::{Refusal, Tenant};
use crate::http::server::Peer;
use crate::predict::{Ask, Predictor};

/// Names the version that is to answer, as `?version=` does.
const MODEL_VERSION: &str = "shoal-model-version";

/// The head of a request.
pub(super) struct Head {
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    pub(super) trace: Trace,
    pub(super) caller: Arc<Caller>,
    peer: Option<Peer>,
}

/// Extracts a request's head; never rejects.
pub(super) fn head(predictor: Predictor) -> impl Filter<Extract = (Head,), Error = warp::Rejection> + Clone {
    warp::query::<Query>()
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Arc<Caller>>())
        .and(warp::ext::optional::<Peer>())
        .and(with(predictor))
        .map(|query, headers: HeaderMap, caller, peer, predictor: Predictor| {
            let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            let trace = predictor.trace(text("traceparent"), text("x-request-id"));
            Head { query, headers, trace, caller, peer }
        })
}

/// What the query string asks for.
pub(super) struct Options {
    pub(super) model: Option<ModelName>,
    pub(super) version: Option<String>,
    pub(super) top_k: Option<usize>,
    pub(super) timeout: Option<Duration>,
    pub(super) lane: Option<Lane>,
}

impl Options {
    pub(super) fn read(query: &Query) -> Result<Self, Failure> {
        let bad = |message: String| Failure::new(FailureCode::BadRequest, message);
        let model = query.get("model").map(|name| name.parse()).transpose();
        let lane = query.get("lane").map(|name| name.parse()).transpose();
        Ok(Self {
            model: model.map_err(|error| bad(format!("`model`: {error}")))?,
            version: query.get("version").cloned(),
            top_k: number(query, "top_k", MAX_TOP_K as u64)?.map(|value| value as usize),
            timeout: number(query, "timeout_ms", 600_000)?.map(Duration::from_millis),
            lane: lane.map_err(|error| bad(format!("`lane`: {error}")))?,
        })
    }

    /// The same, with the model by the name it is served under when `?version=` or the header names a
    /// version.
    pub(super) async fn served(self, headers: &HeaderMap, predictor: &Predictor) -> Result<Self, Failure> {
        let header = headers.get(MODEL_VERSION).and_then(|value| value.to_str().ok());
        let version = self.version.as_deref().or(header);
        Ok(Self { model: predictor.models().versioned(self.model.clone(), version).await?, ..self })
    }
}

/// A number from 1 to `most` in the query string.
pub(super) fn number(query: &Query, name: &str, most: u64) -> Result<Option<u64>, Failure> {
    let Some(text) = query.get(name) else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(value) if (1..=most).contains(&value) => Ok(Some(value)),
        _ => {
            let message = format!("`{name}` is {text:?}: it must be a number from 1 to {most}");
            Err(Failure::new(FailureCode::BadRequest, message))
        }
    }
}

/// What bounds one image.
pub(super) fn bounds(predictor: &Predictor) -> Bounds {
    let config = predictor.config();
    Bounds { max_bytes: config.limits.max_bytes, timeout: config.receive_timeout, digest: predictor.digest_kind() }
}

/// A request read whole.
pub(super) struct Asked {
    pub(super) ask: Ask,
    pub(super) top_k: Option<usize>,
    /// What the file is called, in a form.
    pub(super) file_name: Option<String>,
    /// Time for the upload: reading it, and hashing it.
    pub(super) upload: (Duration, Duration),
}

impl Head {
    pub(super) fn text(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What the head says about the body.
    pub(super) fn announced(&self) -> Announced<'_> {
        Announced {
            content_type: self.text(header::CONTENT_TYPE),
            encoding: self.text(header::CONTENT_ENCODING),
            length: self.text(header::CONTENT_LENGTH).and_then(|value| value.parse().ok()),
            waits_for_consent: self.headers.contains_key(header::EXPECT),
        }
    }

    /// Reads the body, bounded in bytes and time. `lane` is taken when the query names none.
    pub(super) async fn ask<S, B>(&self, body: S, lane: Lane, predictor: &Predictor) -> Result<Asked, Refusal>
    where
        S: Stream<Item = Result<B, warp::Error>> + Send + Unpin + 'static,
        B: Buf,
    {
        let options = Options::read(&self.query)?;
        let options = options.served(&self.headers, predictor).await?;
        let bounds = bounds(predictor);
        let upload = receive(self.announced(), body, bounds, predictor.admission().charge()).await?;
        let (receive, hash) = (upload.receive, upload.hash);
        let file_name = upload.file_name.clone();
        let ask = self.ask_for(upload, &options, lane);
        Ok(Asked { ask, top_k: options.top_k, file_name, upload: (receive.saturating_sub(hash), hash) })
    }

    /// What this request asks about one image.
    pub(super) fn ask_for(&self, upload: Upload, options: &Options, lane: Lane) -> Ask {
        Ask {
            model: options.model.clone(),
            image: upload.image,
            digest: upload.digest,
            lane: options.lane.unwrap_or(lane),
            timeout: options.timeout,
            caching: caching::wishes(&self.headers),
            trace: self.trace.clone(),
            tenant: self.tenant(),
            charge: upload.charge,
        }
    }

    /// On whose behalf: whoever the credentials belong to, or an address.
    fn tenant(&self) -> Tenant {
        match (&self.caller.name, &self.peer) {
            (Some(name), _) => Tenant::named(name),
            (None, Some(Peer(address))) => Tenant::at(*address),
            (None, None) => Tenant::named("unknown"),
        }
    }
}
