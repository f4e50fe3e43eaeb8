//! HTTP's words for caching: `Cache-Control`, `ETag`, `If-None-Match`, `Age`, `X-Cache`.

use std::time::{SystemTime, UNIX_EPOCH};

use warp::http::{HeaderMap, HeaderValue, header};

use crate::predict::{Answered, Caching, Source};

/// What the request says about caching.
pub(super) fn wishes(headers: &HeaderMap) -> Caching {
    let directives = headers.get_all(header::CACHE_CONTROL);
    let says = |word: &str| {
        directives
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|directive| directive.trim().eq_ignore_ascii_case(word))
    };
    Caching { no_cache: says("no-cache"), no_store: says("no-store") }
}

/// The entity tag: the cache key, which names model, preprocessing and image.
pub(super) fn entity_tag(answered: &Answered) -> String {
    format!("\"{}\"", answered.key)
}

/// Whether the client already has this answer.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim().trim_start_matches("W/") == tag || known.trim() == "*")
}

/// Says where the answer came from.
pub(super) fn describe(response: &mut warp::reply::Response, answered: &Answered, tag: &str) {
    let headers = response.headers_mut();
    let source = HeaderValue::from_static(match answered.source {
        Source::Hit => "HIT",
        Source::Shared => "SHARED",
        Source::Coalesced => "COALESCED",
        Source::Miss => "MISS",
    });
    headers.insert("x-cache", source);
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let age = now.saturating_sub(answered.entry.prediction.computed_at) / 1000;
    if matches!(answered.source, Source::Hit | Source::Shared) {
        headers.insert(header::AGE, HeaderValue::from(age));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn directives_are_found_among_others() {
        let caching = wishes(&headers(header::CACHE_CONTROL, "max-age=0, No-Store"));
        assert_eq!(caching, Caching { no_cache: false, no_store: true });
        assert_eq!(wishes(&HeaderMap::new()), Caching::default());
    }

    #[test]
    fn entity_tags_match_in_lists_weak_or_strong() {
        for value in ["\"a\"", "\"b\", \"a\"", "W/\"a\"", "*"] {
            assert!(is_known(&headers(header::IF_NONE_MATCH, value), "\"a\""), "{value}");
        }
        assert!(!is_known(&headers(header::IF_NONE_MATCH, "\"ab\""), "\"a\""));
    }
}
