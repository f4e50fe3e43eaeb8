//! `POST /v2/models/{m}/infer`: every image of the request is a job of its own; they run at the same
//! time and are answered together. One that fails fails the request: the protocol knows no half answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt};
use serde::Serialize;
use shoal_shared::digest::ImageKey;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::{Lane, ModelName};
use shoal_shared::prediction::Class;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::VERSION;
use super::call::Call;
use super::encoding::Encoding;
use super::input::Terms;
use super::outputs::Tensor;
use crate::admission::{Charge, Refusal};
use crate::http::json;
use crate::http::request::{Head, Options, bounds};
use crate::http::upload::{Bounds, Upload, receive_whole};
use crate::predict::{Answered, Predictor};

/// Where the JSON ends and the tensors' bytes begin.
const HEAD_LENGTH: &str = "inference-header-content-length";
/// The route's name in spans.
const ROUTE: &str = "/v2/infer";
/// Bodies beyond this are parsed on a thread that may be busy for a while.
const LARGE: usize = 128 * 1024;

/// Answers one request.
pub(super) async fn infer<S, B>(
    head: &Head,
    body: S,
    model: &ModelName,
    predictor: &Predictor,
) -> Result<Response, Refusal>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf,
{
    let begun = Instant::now();
    let config = predictor.config();
    let max_bytes = config.batch.max_infer_bytes.min(config.max_in_flight_bytes);
    let bounds = Bounds { max_bytes, ..bounds(predictor) };
    let received = receive_whole(head.announced(), body, bounds, predictor.admission().charge()).await?;
    let receive = begun.elapsed();
    let terms = Terms {
        model: predictor.models().resolve(Some(model)).await?,
        max_items: config.batch.max_items,
        // As for `.npy` uploads.
        max_values: config.limits.max_pixels.saturating_mul(3),
        digest: predictor.digest_kind(),
    };
    let (call, charge) = parse(head, received, terms, max_bytes).await?;
    let asking = Asking { head, model, predictor, begun, receive, charge: Arc::new(charge) };
    let answers = asking.predict_all(&call).await;
    if let Err(refusal) = &answers {
        predictor.span(&head.trace, ROUTE, begun, Err(&refusal.failure));
    }
    Ok(respond(model, &call, &answers?))
}

async fn parse(
    head: &Head,
    (body, mut charge): (Bytes, Charge),
    terms: Terms,
    max_bytes: usize,
) -> Result<(Call, Charge), Failure> {
    let encoding = Encoding::read(head.text(header::CONTENT_ENCODING))?;
    let head_length = head.text(HEAD_LENGTH).map(|text| text.trim().parse::<usize>()).transpose();
    let head_length = head_length.map_err(|_| {
        Failure::new(FailureCode::BadRequest, "`Inference-Header-Content-Length` must be a number of bytes")
    })?;
    let is_small = body.len() <= LARGE && encoding == Encoding::Identity;
    let work = move || {
        let body = encoding.decode(body, max_bytes, &mut charge)?;
        Ok((Call::read(body, head_length, &terms, &mut charge)?, charge))
    };
    if is_small {
        return work();
    }
    let parsed = tokio::task::spawn_blocking(work).await;
    parsed.map_err(|error| Failure::new(FailureCode::Internal, format!("reading the request failed: {error}")))?
}

/// What the predictions of one request have in common.
struct Asking<'a> {
    head: &'a Head,
    model: &'a ModelName,
    predictor: &'a Predictor,
    begun: Instant,
    receive: Duration,
    charge: Arc<Charge>,
}

impl Asking<'_> {
    /// The answers in the order of the images. The first failure ends the others.
    async fn predict_all(&self, call: &Call) -> Result<Vec<Answered>, Refusal> {
        let options = Options {
            model: Some(self.model.clone()),
            version: None,
            top_k: None,
            timeout: call.timeout,
            lane: Some(call.lane),
        };
        let (options, one) = (&options, call.images.len() == 1);
        let predictions: Vec<_> = call
            .images
            .iter()
            .enumerate()
            .map(|(index, image)| async move {
                let answered = self.predict(image, options, one).await;
                answered.map_err(|refusal| if one { refusal } else { of_image(index, refusal) })
            })
            .collect();
        let concurrency = self.predictor.config().batch.concurrency;
        let answers: Vec<Answered> =
            futures_util::stream::iter(predictions).buffered(concurrency).try_collect().await?;
        if let Some(first) = answers.first() {
            // A request has one span: the first image's stages stand for it.
            self.predictor.span(&self.head.trace, ROUTE, self.begun, Ok(first));
        }
        Ok(answers)
    }

    async fn predict(
        &self,
        (image, digest): &(Bytes, ImageKey),
        options: &Options,
        one: bool,
    ) -> Result<Answered, Refusal> {
        // Of several images none has the request's time before it for itself.
        let (begun, receive) = if one { (self.begun, self.receive) } else { (Instant::now(), Duration::ZERO) };
        let (hash, charge) = (Duration::ZERO, self.charge.clone());
        let upload = Upload { image: image.clone(), file_name: None, digest: *digest, receive, hash, charge };
        let ask = self.head.ask_for(upload, options, Lane::Interactive);
        let mut answered = self.predictor.predict(ask).await?;
        answered.stages.set("receive", receive.as_secs_f64());
        self.predictor.took(&mut answered, begun);
        Ok(answered)
    }
}

fn of_image(index: usize, refusal: Refusal) -> Refusal {
    let Failure { code, message } = refusal.failure;
    Refusal { failure: Failure::new(code, format!("image {index}: {message}")), ..refusal }
}

#[derive(Serialize)]
struct Inferred<'a> {
    model_name: &'a ModelName,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Tensor>,
}

fn respond(model: &ModelName, call: &Call, answers: &[Answered]) -> Response {
    let images: Vec<&[Class]> = answers.iter().map(|answered| &answered.entry.prediction.top[..]).collect();
    let mut behind = BytesMut::new();
    let outputs = call.wanted.iter().map(|wanted| wanted.tensor(&images, call.top_k, &mut behind)).collect();
    let version =
        answers.first().and_then(|answered| answered.named.1.as_ref()).map_or(VERSION, |version| version.as_str());
    let body = Inferred { model_name: model, model_version: version, id: call.id.as_deref(), outputs };
    if !call.wants_bytes() {
        return json(StatusCode::OK, &body);
    }
    // Plain structs of numbers and strings always serialise.
    let mut whole = serde_json::to_vec(&body).unwrap_or_default();
    let head_length = whole.len();
    whole.extend_from_slice(&behind);
    let mut response = Response::new(whole.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(HEAD_LENGTH, HeaderValue::from(head_length));
    response
}
