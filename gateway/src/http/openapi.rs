//! The contract: `GET /openapi.json` and `.yaml`, written by hand in `openapi.yaml` and held to by
//! schemathesis in the tests. Also says which methods a path takes.

use std::sync::LazyLock;

use serde_json::Value;
use shoal_shared::process::VERSION;
use warp::Filter;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::{Route, any_of, json};

const YAML: &str = include_str!("../openapi.yaml");

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document: Value = serde_norway::from_str(YAML).unwrap_or_default();
    document["info"]["version"] = VERSION.into();
    document
});

/// `GET /openapi.json`, `GET /openapi.yaml`.
pub(super) fn routes() -> Route {
    let as_json = warp::path!("openapi.json").and(warp::get()).map(|| json(StatusCode::OK, &*DOCUMENT));
    let as_yaml = warp::path!("openapi.yaml").and(warp::get()).map(|| {
        let mut response = Response::new(YAML.into());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
        response
    });
    any_of([as_json.boxed(), as_yaml.boxed()])
}

/// The methods of a path, as in `GET, POST`; empty where none is known.
pub(super) fn methods_of(path: &str) -> String {
    let Some(paths) = DOCUMENT["paths"].as_object() else { return String::new() };
    // `/jobs/list` is no `/jobs/{id}` when both are there: the longest literal wins.
    let matching = paths.iter().filter(|(template, _)| matches(template, path));
    let Some((_, item)) = matching.min_by_key(|(template, _)| template.matches('{').count()) else {
        return String::new();
    };
    let known = ["get", "put", "post", "delete", "head", "options", "patch"];
    let methods = known.iter().filter(|method| item.get(method).is_some());
    methods.map(|method| method.to_uppercase()).collect::<Vec<_>>().join(", ")
}

fn matches(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given || (wanted.starts_with('{') && !given.is_empty()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_there_and_says_what_a_path_takes() {
        assert_eq!(DOCUMENT["openapi"], "3.1.0");
        assert_eq!(methods_of("/predict"), "POST");
        assert_eq!(methods_of("/jobs/abc"), "GET, PUT, DELETE");
        assert_eq!(methods_of("/jobs/abc/events"), "GET");
        assert_eq!(methods_of("/nowhere"), "");
    }

    /// In YAML's short form a comma ends a text that is not quoted, and what follows becomes a key.
    #[test]
    fn no_text_was_cut_at_a_comma() {
        fn cut(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.iter().filter(|(_, value)| value.is_null()).map(|(key, _)| key.clone()));
                    fields.values().for_each(|field| cut(field, found));
                }
                Value::Array(items) => items.iter().for_each(|item| cut(item, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        cut(&DOCUMENT, &mut found);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(reference)) = fields.get("$ref") {
                        found.push(reference.clone());
                    }
                    fields.values().for_each(|field| references(field, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        references(&DOCUMENT, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(DOCUMENT.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }
}
