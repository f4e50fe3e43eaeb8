//! `GET /jobs/{id}/events`: what happens to a job, as server-sent events. Events are numbered, so
//! that a client that reconnects with `Last-Event-ID` gets what it has missed and nothing twice.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use shoal_shared::names::Owner;
use tokio::sync::mpsc;
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;
use warp::sse::Event;
use warp::{Filter, Reply};

use super::{Front, Route, error, jobs, observed, with};
use crate::accounts::Caller;
use crate::jobs::{JobState, JobView};
use crate::predict::Predictor;

/// How long one look for the outcome lasts.
const LOOK: Duration = Duration::from_secs(30);
/// How often a silent connection is shown to live.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The number of the first event, and of the last.
const ACCEPTED: u64 = 1;
const SETTLED: u64 = 2;

/// `GET /jobs/{id}/events`.
pub(super) fn routes(front: &Front) -> Route {
    warp::path!("jobs" / String / "events")
        .and(warp::get())
        .and(warp::header::optional::<String>("last-event-id"))
        .and(warp::ext::get::<Arc<Caller>>())
        .and(with(front.clone()))
        .then(|id: String, last: Option<String>, caller: Arc<Caller>, front: Front| async move {
            let answer = follow(&id, last.as_deref(), &caller.owner, &front.predictor);
            observed(&front.predictor, "/jobs/{id}/events", None, answer).await
        })
        .boxed()
}

async fn follow(id: &str, last: Option<&str>, owner: &Owner, predictor: &Predictor) -> Response {
    let seen = last.and_then(|last| last.parse().ok()).unwrap_or(0);
    let found = async {
        let id = jobs::parse(id)?;
        predictor.job(owner, &id, Duration::ZERO).await
    };
    match found.await {
        // Told it all already: an EventSource that is answered 204 does not come back.
        Ok(_) if seen >= SETTLED => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Ok(view) => {
            let (sender, mut events) = mpsc::channel(1);
            let told = Told { predictor: predictor.clone(), owner: owner.clone(), events: sender };
            tokio::spawn(tell(told, view, seen));
            let events = futures_util::stream::poll_fn(move |context| events.poll_recv(context));
            let alive = warp::sse::keep_alive().interval(KEEP_ALIVE).stream(events.map(Ok::<_, Infallible>));
            let mut response = warp::sse::reply(alive).into_response();
            // Proxies that buffer would hold the news back.
            response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
            response
        }
        Err(failure) => error::refused(&failure.into()),
    }
}

/// Tells what happens until the job has ended or nobody listens any more.
async fn tell(told: Told, mut view: JobView, seen: u64) {
    if seen < ACCEPTED {
        let accepted = serde_json::json!({ "id": view.id, "state": "accepted" }).to_string();
        let event = Event::default().id(ACCEPTED.to_string()).event("accepted").data(accepted);
        if told.events.send(event).await.is_err() {
            return;
        }
    }
    while view.state == JobState::Accepted {
        let look = told.predictor.job(&told.owner, &view.id, LOOK);
        let news = tokio::select! {
            news = look => news,
            () = told.events.closed() => return,
        };
        match news {
            Ok(news) => view = news,
            // The client comes back, to this gateway or another, and gets the rest there.
            Err(_) => return,
        }
    }
    let settled = serde_json::to_string(&view).unwrap_or_default();
    let event = Event::default().id(SETTLED.to_string()).event(view.state.as_str()).data(settled);
    let _ = told.events.send(event).await;
}

/// Whom to tell, and where from.
struct Told {
    predictor: Predictor,
    owner: Owner,
    events: mpsc::Sender<Event>,
}
