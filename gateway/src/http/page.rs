//! The pages: static files carried by the binary, under a strict content security policy.

use std::sync::LazyLock;

use base64::Engine;
use shoal_shared::digest::ImageSha256;
use shoal_shared::failure::{Failure, FailureCode};
use warp::Filter;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::{Query, Route, any_of, error, json, with};
use crate::predict::Predictor;

/// Scripts and styles from here only; images also from the visitor's own files.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                      media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        /// What pages are made of.
        const ASSETS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../page/", $name)))),*];
    };
}

assets!(
    "announce.js",
    "answer.css",
    "answer.js",
    "answers.js",
    "asking.js",
    "bars.js",
    "base.css",
    "cache_state.js",
    "call.js",
    "camera.js",
    "card.js",
    "cards.css",
    "confidence.js",
    "countdown.js",
    "docs.css",
    "docs.js",
    "docs_operation.js",
    "docs_schema.js",
    "element.js",
    "feedback.js",
    "history.js",
    "history_panel.js",
    "intake.js",
    "kept.js",
    "live.js",
    "main.js",
    "mark.svg",
    "models.js",
    "page.css",
    "preview.js",
    "refusal.js",
    "samples.js",
    "session.js",
    "sign_in.js",
    "sparkline.js",
    "theme.js",
    "theme_button.js",
    "thumbnail.js",
    "upload.js",
    "waterfall.js",
    "wording.js",
);

/// Folder of this release's assets: its name changes with them, so that browsers may keep them for ever.
static FOLDER: LazyLock<String> = LazyLock::new(|| {
    let whole: String = ASSETS.iter().map(|(_, content)| *content).collect();
    format!("/assets/{}", &ImageSha256::of(whole.as_bytes()).to_string()[..12])
});

const INDEX: &str = include_str!("../page/index.html");
const DOCS: &str = include_str!("../page/docs.html");
const ANSWER: &str = include_str!("../page/answer.html");

/// `GET /`, `GET /docs`, and what they are made of.
pub(super) fn routes(predictor: &Predictor) -> Route {
    let index = warp::path::end().and(warp::get()).and(warp::query::<Query>()).map(|query: Query| {
        let message = query
            .get("message")
            .map(|message| format!("<p class=\"panel message\" role=\"status\">{}</p>", escaped(message)));
        html(&INDEX.replace("{{assets}}", &FOLDER).replace("{{message}}", &message.unwrap_or_default()))
    });
    let docs = warp::path!("docs").and(warp::get()).map(|| html(&DOCS.replace("{{assets}}", &FOLDER)));
    let asset = warp::path!("assets" / String / String).and(warp::get()).map(|folder: String, name: String| {
        let is_current = FOLDER.rsplit('/').next() == Some(folder.as_str());
        let known = ASSETS.iter().find(|(known, _)| *known == name);
        match known.filter(|_| is_current) {
            Some((_, content)) => asset(&name, content),
            None => error::response(&Failure::new(FailureCode::NotFound, "there is no such file")),
        }
    });
    any_of([index.boxed(), docs.boxed(), asset.boxed(), samples(predictor)])
}

fn asset(name: &str, content: &'static str) -> Response {
    let kind = match name.rsplit_once('.') {
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    let mut response = Response::new(content.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    response
}

fn html(text: &str) -> Response {
    let mut response = Response::new(text.to_owned().into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// What the page without a script shows.
pub(super) struct Answer<'a> {
    pub(super) prediction: &'a str,
    pub(super) score: f64,
    pub(super) image_file_name: &'a str,
    pub(super) image: &'a [u8],
}

/// The page with an answer, for those without a script.
pub(super) fn answer(answer: &Answer<'_>) -> Response {
    let kind = shoal_shared::sniff::format_of(answer.image).map_or("jpeg", |format| format.extension());
    let encoded = base64::engine::general_purpose::STANDARD.encode(answer.image);
    html(&fill(
        ANSWER,
        &[
            ("assets", &FOLDER),
            ("prediction", answer.prediction),
            ("score", &format!("{:.4}", answer.score)),
            ("percent", &format!("{:.1}", answer.score * 100.0)),
            ("image_file_name", answer.image_file_name),
            ("image", &format!("data:image/{kind};base64,{encoded}")),
        ],
    ))
}

/// Back to the page, which shows a message.
pub(super) fn back(message: &str) -> Response {
    let message: String = form_urlencoded::byte_serialize(message.as_bytes()).collect();
    let mut response = Response::default();
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
        filled.push_str(&escaped(value));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// A text that is no markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character => escaped.push(character),
        }
    }
    escaped
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
fn samples(predictor: &Predictor) -> Route {
    let list = warp::path!("samples").and(warp::get()).and(with(predictor.clone())).map(|predictor: Predictor| {
        let serves = predictor.models().fleet().models().iter().any(|model| model.name.as_str() == SAMPLES_MODEL);
        let samples = if serves { SAMPLES.iter().map(|(name, _)| *name).collect() } else { Vec::new() };
        json(StatusCode::OK, &SampleList { samples })
    });
    let picture = warp::path!("samples" / String).and(warp::get()).map(|wanted: String| {
        match SAMPLES.iter().find(|(name, _)| *name == wanted) {
            Some((_, bytes)) => {
                let mut response = Response::new((*bytes).into());
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("image/png"));
                response
            }
            None => error::response(&Failure::new(FailureCode::NotFound, "there is no such sample")),
        }
    });
    any_of([list.boxed(), picture.boxed()])
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
