//! The routes of the systems replaced, as their clients know them: `POST /model/predict` with a
//! token, and the form at `POST /`.

use std::time::Instant;

use bytes::Buf;
use futures_util::Stream;
use serde::Serialize;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::interned::Interned;
use shoal_shared::names::Lane;
use warp::Filter;
use warp::http::StatusCode;
use warp::reply::Response;

use super::request::{Asked, Head, head};
use super::{Front, Route, any_of, error, identified, json, observed, page, predict, with};
use crate::accounts::unauthorized;
use crate::admission::Refusal;
use crate::predict::Answered;

/// What a file may be called, whatever is in it.
const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "gif"];

/// Every route of old.
pub(super) fn routes(front: &Front) -> Route {
    let api = warp::path!("model" / "predict")
        .and(warp::post())
        .and(head(front.predictor.clone()))
        .and(warp::body::stream())
        .and(with(front.clone()))
        .then(|head: Head, body, front: Front| async move {
            let answer = api(&head, body, &front);
            identified(observed(&front.predictor, "/model/predict", Some(&head.trace), answer).await, &head.trace)
        });
    let form = warp::path::end()
        .and(warp::post())
        .and(head(front.predictor.clone()))
        .and(warp::body::stream())
        .and(with(front.clone()))
        .then(|head: Head, body, front: Front| async move {
            let answer = form(&head, body, &front);
            identified(observed(&front.predictor, "/", Some(&head.trace), answer).await, &head.trace)
        });
    any_of([api.boxed(), form.boxed()])
}

/// What old clients read; newer fields beside it do not disturb them.
#[derive(Serialize)]
struct Prediction {
    success: bool,
    prediction: Interned,
    score: f64,
    image_file_name: String,
}

async fn api<S, B>(head: &Head, body: S, front: &Front) -> Response
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Unpin + 'static,
    B: Buf,
{
    let predicted = async {
        if !head.caller.is_known() {
            return Err(Refusal::from(unauthorized()));
        }
        Ok(ask(head, body, front).await?.0)
    };
    match predicted.await {
        Ok(Shown { label, score, file }) => {
            json(StatusCode::OK, &Prediction { success: true, prediction: label, score, image_file_name: file })
        }
        Err(refusal) => error::refused(&refusal),
    }
}

/// An answer as old clients show it.
struct Shown {
    label: Interned,
    score: f64,
    file: String,
}

async fn ask<S, B>(head: &Head, body: S, front: &Front) -> Result<(Shown, bytes::Bytes), Refusal>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Unpin + 'static,
    B: Buf,
{
    let begun = Instant::now();
    let asked = head.ask(body, Lane::Interactive, &front.predictor).await.map_err(as_before)?;
    let Asked { ask, file_name, .. } = asked;
    let bad = |message: &str| Refusal::from(Failure::new(FailureCode::BadRequest, message));
    match file_name.as_deref() {
        None | Some("") => return Err(bad("No file provided")),
        Some(name) if !is_image_name(name) => return Err(bad("File type is not supported.")),
        Some(_) => {}
    }
    let image = ask.image.clone();
    let mut answered = front.predictor.predict(ask).await?;
    front.predictor.took(&mut answered, begun);
    let shown = shown(&answered);
    front.keeper.keep(&head.caller.owner, &shown.file, &image);
    Ok((shown, image))
}

/// A form without the field was unprocessable there.
fn as_before(refusal: Refusal) -> Refusal {
    match refusal.failure.code {
        FailureCode::MissingField => Failure::new(FailureCode::Invalid, refusal.failure.message).into(),
        _ => refusal,
    }
}

fn shown(answered: &Answered) -> Shown {
    let success = predict::body(answered, Some(1), Default::default());
    Shown { label: success.prediction, score: success.score, file: success.image_file_name.unwrap_or_default() }
}

fn is_image_name(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// The form without a script: a page with the answer, or back with what was wrong.
async fn form<S, B>(head: &Head, body: S, front: &Front) -> Response
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Unpin + 'static,
    B: Buf,
{
    match ask(head, body, front).await {
        Ok((shown, image)) => page::answer(&page::Answer {
            prediction: &shown.label,
            score: shown.score,
            image_file_name: &shown.file,
            image: &image,
        }),
        Err(refusal) => page::back(&refusal.failure.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides_as_it_did() {
        for name in ["dog.png", "dog.JPG", "a.b.jpeg", "x.gif"] {
            assert!(is_image_name(name), "{name}");
        }
        for name in ["dog", "dog.txt", "png", "dog.webp", ""] {
            assert!(!is_image_name(name), "{name}");
        }
    }
}
