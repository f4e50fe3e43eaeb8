//! `POST /feedback`: what somebody thinks of a prediction; `GET /feedback`: one's own, or all for an
//! admin. `GET /display/{name}`: an image that was kept.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::Owner;
use warp::Filter;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::account::answered;
use super::{Front, Query, Route, any_of, body, error, observed, with};
use crate::accounts::{Caller, unauthorized};
use crate::unavailable::unavailable;

/// Longest text of a field.
const MAX_TEXT: usize = 1000;

/// What somebody thinks of a prediction.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Feedback {
    /// The probability that was shown, 0 to 1.
    score: f64,
    /// The label that was shown.
    predicted_class: String,
    /// The image, as the prediction named it.
    image_file_name: String,
    /// `up`, `down` or free text.
    feedback: String,
    /// What would have been right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    true_label: Option<String>,
    /// When it was said, Unix seconds.
    #[serde(default)]
    created: u64,
}

/// Feedback as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    id: u64,
    #[serde(flatten)]
    feedback: Feedback,
}

/// Every route of feedback.
pub(super) fn routes(front: &Front) -> Route {
    let give = warp::path!("feedback")
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Arc<Caller>>())
        .and(warp::body::stream())
        .and(with(front.clone()))
        .then(|headers: HeaderMap, caller: Arc<Caller>, body, front: Front| async move {
            let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let answer = async {
                let body = match body::read(body).await {
                    Ok(body) => body,
                    Err(failure) => return error::response(&failure),
                };
                if body::is_form(kind, &body) {
                    return report(body::fields(kind, body).await, &caller, &front).await;
                }
                let given = async { give(body::parsed(&body)?, &caller.owner, &front).await };
                answered(StatusCode::CREATED, given).await
            };
            observed(&front.predictor, "/feedback", None, answer).await
        });
    let list = warp::path!("feedback")
        .and(warp::get())
        .and(warp::query::<Query>())
        .and(warp::ext::get::<Arc<Caller>>())
        .and(with(front.clone()))
        .then(|query: Query, caller: Arc<Caller>, front: Front| async move {
            let listed = answered(StatusCode::OK, list(&query, &caller, &front));
            observed(&front.predictor, "/feedback", None, listed).await
        });
    let display = warp::path!("display" / String)
        .and(warp::get())
        .and(warp::ext::get::<Arc<Caller>>())
        .and(with(front.clone()))
        .then(|name: String, caller: Arc<Caller>, front: Front| async move {
            observed(&front.predictor, "/display", None, display(&name, &caller.owner, &front)).await
        });
    any_of([give.boxed(), list.boxed(), display.boxed()])
}

async fn give(feedback: Feedback, owner: &Owner, front: &Front) -> Result<Shown, Failure> {
    let invalid = |message: String| Err(Failure::new(FailureCode::Invalid, message));
    if !(0.0..=1.0).contains(&feedback.score) {
        return invalid(format!("`score` is {}: it must be 0 to 1", feedback.score));
    }
    let texts = [
        ("predicted_class", Some(&feedback.predicted_class)),
        ("image_file_name", Some(&feedback.image_file_name)),
        ("feedback", Some(&feedback.feedback)),
        ("true_label", feedback.true_label.as_ref()),
    ];
    for (name, text) in texts {
        if text.is_some_and(|text| text.chars().count() > MAX_TEXT) {
            return invalid(format!("`{name}` may have {MAX_TEXT} characters"));
        }
    }
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let feedback = Feedback { created, ..feedback };
    let stored = serde_json::to_vec(&feedback).unwrap_or_default();
    let kept = front.predictor.bus().keep_feedback(owner, stored).await;
    let id = kept.map_err(unavailable)?;
    front.keeper.judged(owner, &feedback.image_file_name).await;
    Ok(Shown { id, feedback })
}

async fn list(query: &Query, caller: &Caller, front: &Front) -> Result<Vec<Shown>, Failure> {
    if !caller.is_known() {
        return Err(unauthorized());
    }
    let all = query.get("all").is_some_and(|all| all == "true");
    if all && !caller.admin {
        return Err(Failure::new(FailureCode::Forbidden, "only admins may see what others have said"));
    }
    let bus = front.predictor.bus();
    let stored = if all { bus.all_feedback().await } else { bus.feedback_of(&caller.owner).await };
    let stored = stored.map_err(unavailable)?;
    let read = |message: shoal_nats::listing::Stored| {
        Some(Shown { id: message.sequence, feedback: serde_json::from_slice(&message.payload).ok()? })
    };
    Ok(stored.into_iter().filter_map(read).collect())
}

/// The form of the oldest clients: one field, and back to the page.
async fn report(
    fields: Result<std::collections::HashMap<String, String>, Failure>,
    caller: &Caller,
    front: &Front,
) -> Response {
    let given = async {
        let mut fields = fields?;
        let mut field = |name: &str| fields.remove(name).unwrap_or_default();
        let feedback = field("report");
        if feedback.is_empty() {
            return Err(Failure::new(FailureCode::Invalid, "the form field `report` is missing"));
        }
        let feedback = Feedback {
            score: field("score").parse().unwrap_or_default(),
            predicted_class: field("predicted_class"),
            image_file_name: field("image_file_name"),
            feedback,
            true_label: None,
            created: 0,
        };
        give(feedback, &caller.owner, front).await
    };
    match given.await {
        Ok(_) => super::page::back("Thank you for your feedback."),
        Err(failure) => error::refused(&failure.into()),
    }
}

async fn display(name: &str, owner: &Owner, front: &Front) -> Response {
    match front.keeper.find(owner, name).await {
        Ok(Some((image, kind))) => {
            let mut response = Response::new(image.into());
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
            response
        }
        Ok(None) => {
            error::response(&Failure::new(FailureCode::NotFound, "there is no such image: unknown, or not kept"))
        }
        Err(failure) => error::refused(&failure.into()),
    }
}
