//! The page: static files carried by the binary, under a strict content security policy.

use warp::Filter;
use warp::http::{HeaderValue, header};

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
