//! `POST /predict/batch`: many images in one form. Each becomes a prediction as soon as it is
//! complete, while the next one arrives; the answers come in order, each for itself a success or an
//! error. With `Accept: application/x-ndjson` one line at a time, as soon as it is its turn.

mod arrivals;
mod order;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use shoal_shared::answer::{Answer, ErrorBody, TimingMs};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::Lane;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Reply};

use super::predict::body as answer_body;
use super::request::{Head, Options, bounds, head};
use super::upload::{Files, Shared, Upload, discard, is_form, no_file};
use super::{Route, error, identified, json, observed, with};
use crate::admission::Refusal;
use crate::predict::Predictor;
use arrivals::Arrival;

/// The route's name in metrics and spans.
const ROUTE: &str = "/predict/batch";
/// What a client accepts that wants a line for each image.
const NDJSON: &str = "application/x-ndjson";
/// Shortest pause of an image that was refused.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// `POST /predict/batch`.
pub(super) fn post(predictor: &Predictor) -> Route {
    warp::path!("predict" / "batch")
        .and(warp::post())
        .and(head(predictor.clone()))
        .and(warp::body::stream())
        .and(with(predictor.clone()))
        .then(|head: Head, body, predictor: Predictor| async move {
            let trace = head.trace.clone();
            let answer = handle(head, body, predictor.clone());
            identified(observed(&predictor, ROUTE, Some(&trace), answer).await, &trace)
        })
        .boxed()
}

/// One request.
struct Batch {
    head: Head,
    options: Options,
    predictor: Predictor,
}

/// One image's answer, or why the form could not be read to its end.
#[derive(Serialize)]
struct Item {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_name: Option<String>,
    #[serde(flatten)]
    answer: Answer,
    /// Set on what is no image's answer but the form's.
    #[serde(skip)]
    broken: Option<Failure>,
}

async fn handle<S, B>(head: Head, body: S, predictor: Predictor) -> Response
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Unpin + 'static,
    B: Buf,
{
    let by_line = head.text(header::ACCEPT).is_some_and(|accepted| accepted.contains(NDJSON));
    let (body, waits_for_consent) = (Shared::new(body), head.announced().waits_for_consent);
    let (mut items, mut work) = match start(head, body.clone(), predictor).await {
        Ok(started) => started,
        Err(failure) => {
            if !waits_for_consent {
                discard(body).await;
            }
            return error::response(&failure);
        }
    };
    // The answer's head waits for the first image: until the body is read, nobody has told the client
    // to send it (`Expect: 100-continue`), and a form without images is an error of its own.
    match items.recv().await {
        None => error::response(&no_file()),
        Some(Item { broken: Some(failure), .. }) => {
            work.join_next().await;
            error::response(&failure)
        }
        Some(first) if by_line => lines(first, items, work),
        Some(first) => array(first, items).await,
    }
}

/// Begins to read and to predict. Dropping the work ends both.
async fn start(head: Head, body: Shared, predictor: Predictor) -> Result<(Receiver<Item>, JoinSet<()>), Failure> {
    let options = Options::read(&head.query)?.served(&head.headers, &predictor).await?;
    let content_type = head.text(header::CONTENT_TYPE);
    if !is_form(content_type) {
        return Err(bad_request("a batch is a form (multipart/form-data) with a field `file` for each image"));
    }
    let (bounds, settings) = (bounds(&predictor), predictor.config().batch.clone());
    let files = Files::open(content_type, body.clone(), bounds, settings.max_items + 1)?;
    let arrivals = arrivals::arrivals(files, bounds, predictor.admission().clone(), settings.max_items);
    let batch = Arc::new(Batch { head, options, predictor });
    let answer = move |index, arrival| {
        let batch = batch.clone();
        async move { batch.item(index, arrival).await }
    };
    // Room for every item: who reads the answer slowly, or after sending everything, stops nothing.
    let (sender, items) = tokio::sync::mpsc::channel(settings.max_items + 1);
    let mut work = JoinSet::new();
    work.spawn(async move {
        order::run(arrivals, &settings, answer, &sender).await;
        discard(body).await;
        drop(sender);
    });
    Ok((items, work))
}

async fn array(first: Item, mut items: Receiver<Item>) -> Response {
    let mut all = vec![first];
    while let Some(item) = items.recv().await {
        all.push(item);
    }
    json(StatusCode::OK, &all)
}

fn lines(first: Item, mut items: Receiver<Item>, work: JoinSet<()>) -> Response {
    let rest = futures_util::stream::poll_fn(move |context| {
        // Held until the client has gone, or has everything.
        let _ = &work;
        items.poll_recv(context)
    });
    let lines =
        futures_util::stream::iter([first]).chain(rest).map(|item| Ok::<_, std::convert::Infallible>(line(&item)));
    let mut response = warp::reply::stream(lines).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    // Some proxies gather an answer before they pass it on, unless told.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn line(item: &Item) -> Bytes {
    // Plain structs of numbers and strings always serialise.
    let mut line = serde_json::to_vec(item).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

impl Batch {
    async fn item(&self, index: usize, arrival: Arrival) -> Item {
        let error = |failure: &Failure| Answer::Error(ErrorBody::of(failure));
        let (file_name, answer, broken) = match arrival {
            Arrival::File { name, read: Ok(upload) } => (name, self.predict(index, upload).await, None),
            Arrival::File { name, read: Err(failure) } => (name, error(&failure), None),
            Arrival::Broken(failure) => (None, error(&failure), Some(failure)),
        };
        Item { index, file_name, answer, broken }
    }

    /// One image's answer. Refused for overload, it waits as told and asks again with its whole
    /// time, as a client of its own would, until that time has passed since it arrived.
    async fn predict(&self, index: usize, upload: Upload) -> Answer {
        let config = self.predictor.config();
        let (arrived, receive, hash) = (Instant::now(), upload.receive, upload.hash);
        let ask = self.head.ask_for(upload, &self.options, Lane::Bulk);
        let patience_ends = arrived + ask.timeout.unwrap_or(config.timeout).min(config.max_timeout);
        loop {
            let asked = Instant::now();
            match self.predictor.predict(ask.clone()).await {
                Ok(mut answered) => {
                    answered.stages.set("receive", receive.saturating_sub(hash).as_secs_f64());
                    answered.stages.set("hash", hash.as_secs_f64());
                    let total = (arrived.elapsed() + receive).as_secs_f64();
                    let body = answer_body(&answered, self.options.top_k, TimingMs::of_stages(&answered.stages, total));
                    let begun = asked.checked_sub(receive).unwrap_or(asked);
                    self.predictor.took(&mut answered, begun);
                    if index == 0 {
                        // A request has one span: the first image's stages stand for it.
                        self.predictor.span(&self.head.trace, ROUTE, begun, Ok(&answered));
                    }
                    return Answer::Success(Box::new(body));
                }
                Err(refusal) => match pause(&refusal, patience_ends) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Answer::Error(ErrorBody::of(&refusal.failure)),
                },
            }
        }
    }
}

/// How long a refused image waits, when that makes sense.
fn pause(refusal: &Refusal, patience_ends: Instant) -> Option<Duration> {
    let pause = refusal.retry_after?.max(SHORTEST_PAUSE);
    let is_overload = refusal.failure.code == FailureCode::Overloaded;
    (is_overload && Instant::now() + pause < patience_ends).then_some(pause)
}

fn bad_request(message: &str) -> Failure {
    Failure::new(FailureCode::BadRequest, message)
}
