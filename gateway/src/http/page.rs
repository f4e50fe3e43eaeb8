//! The page: static files carried by the binary, under a strict content security policy.

use base64::Engine;
use shoal_shared::failure::{Failure, FailureCode};
use warp::Filter;
use warp::http::{HeaderValue, StatusCode, header};

use super::{error, json, with};
use crate::predict::Predictor;

const HTML: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/style.css");
const SCRIPT: &str = include_str!("../page/app.js");

/// Scripts and styles from here only; images also from the visitor's own files.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// `GET /` and its assets.
pub(super) fn routes() -> impl Filter<Extract = (warp::reply::Response,), Error = warp::Rejection> + Clone {
    let file = |body: &'static str, kind: &'static str| {
        warp::any().map(move || {
            let mut response = warp::reply::Response::new(body.into());
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            response
        })
    };
    let index = warp::path::end().and(warp::get()).and(file(HTML, "text/html; charset=utf-8"));
    let style = warp::path!("assets" / "style.css").and(warp::get()).and(file(STYLE, "text/css; charset=utf-8"));
    let script = warp::path!("assets" / "app.js").and(warp::get()).and(file(SCRIPT, "text/javascript; charset=utf-8"));
    index.or(style).unify().or(script).unify()
}

const ANSWER: &str = include_str!("../page/answer.html");

/// What the page without a script shows.
pub(super) struct Answer<'a> {
    pub(super) prediction: &'a str,
    pub(super) score: f64,
    pub(super) image_file_name: &'a str,
    pub(super) image: &'a [u8],
}

/// The page with an answer, for those without a script.
pub(super) fn answer(answer: &Answer<'_>) -> warp::reply::Response {
    let kind = shoal_shared::sniff::format_of(answer.image).map_or("jpeg", |format| format.extension());
    let encoded = base64::engine::general_purpose::STANDARD.encode(answer.image);
    let score = format!("{:.4}", answer.score);
    let filled = fill(
        ANSWER,
        &[
            ("prediction", answer.prediction),
            ("score", &score),
            ("image_file_name", answer.image_file_name),
            ("image", &format!("data:image/{kind};base64,{encoded}")),
        ],
    );
    let mut response = warp::reply::Response::new(filled.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Back to the page, which shows a message.
pub(super) fn back(message: &str) -> warp::reply::Response {
    let message: String = form_urlencoded::byte_serialize(message.as_bytes()).collect();
    let mut response = warp::reply::Response::default();
    *response.status_mut() = StatusCode::FOUND;
    if let Ok(place) = HeaderValue::from_str(&format!("/?message={message}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// Fills `{{name}}` with escaped text, in one pass: what is filled in is not looked at again.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let Some((name, after)) = after.split_once("}}") else { break };
        let value = values.iter().find(|(known, _)| *known == name.trim()).map_or("", |(_, value)| value);
        for character in value.chars() {
            match character {
                '&' => filled.push_str("&amp;"),
                '<' => filled.push_str("&lt;"),
                '>' => filled.push_str("&gt;"),
                '"' => filled.push_str("&quot;"),
                '\'' => filled.push_str("&#39;"),
                character => filled.push(character),
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

macro_rules! samples {
    ($($name:literal),*) => {
        /// Held-out pictures of the embedded model.
        const SAMPLES: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!("../../../worker/models/digits/samples/", $name)))),*];
    };
}

samples!(
    "digit-0.png",
    "digit-1.png",
    "digit-2.png",
    "digit-3.png",
    "digit-4.png",
    "digit-5.png",
    "digit-6.png",
    "digit-7.png",
    "digit-8.png",
    "digit-9.png"
);

/// The model that the samples are for.
const SAMPLES_MODEL: &str = "digits";

#[derive(serde::Serialize)]
struct SampleList {
    samples: Vec<&'static str>,
}

/// `GET /samples`: names of pictures to try, none when the served model is another.
/// `GET /samples/{name}`: one of them.
pub(super) fn samples(
    predictor: Predictor,
) -> impl Filter<Extract = (warp::reply::Response,), Error = warp::Rejection> + Clone {
    let list = warp::path!("samples").and(warp::get()).and(with(predictor)).map(|predictor: Predictor| {
        let serves = predictor.models().fleet().models().iter().any(|model| model.name.as_str() == SAMPLES_MODEL);
        let samples = if serves { SAMPLES.iter().map(|(name, _)| *name).collect() } else { Vec::new() };
        json(StatusCode::OK, &SampleList { samples })
    });
    let picture = warp::path!("samples" / String).and(warp::get()).map(|wanted: String| {
        match SAMPLES.iter().find(|(name, _)| *name == wanted) {
            Some((_, bytes)) => {
                let mut response = warp::reply::Response::new((*bytes).into());
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("image/png"));
                response
            }
            None => error::response(&Failure::new(FailureCode::NotFound, "there is no such sample")),
        }
    });
    list.or(picture).unify()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_names_are_text_never_markup() {
        let filled = fill("<b>{{a}}</b>{{ b }}{{c}}", &[("a", "<script>"), ("b", "{{a}}\"")]);
        assert_eq!(filled, "<b>&lt;script&gt;</b>{{a}}&quot;");
    }
}
