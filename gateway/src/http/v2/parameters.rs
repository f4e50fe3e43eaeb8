//! What may stand under `parameters`: known names with values of the right kind, nothing else.

use serde::Deserialize;
use serde_json::{Map, Value};
use shoal_shared::failure::{Failure, FailureCode};

/// The `parameters` of a request, an input or an output.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Parameters(Map<String, Value>);

impl Parameters {
    /// Refuses names beyond `known`.
    pub(super) fn only(&self, owner: &str, known: &[&str]) -> Result<(), Failure> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) if name.starts_with("shared_memory") => {
                Err(bad(format!("{owner}: shared memory is not served: send the data in the body")))
            }
            Some(name) => Err(bad(format!("{owner} has no parameter `{name}`; there are: {}", known.join(", ")))),
        }
    }

    /// A whole number of at least `least`.
    pub(super) fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Failure> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => {
                Err(bad(format!("parameter `{name}` is {}: it must be a number from {least} to {most}", shown(value))))
            }
        }
    }

    /// Yes or no.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(value) => Err(bad(format!("parameter `{name}` is {}: it must be true or false", shown(value)))),
        }
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(bad(format!("parameter `{name}` is {}: it must be a string", shown(value)))),
        }
    }
}

/// As much of a value as a person reads.
fn shown(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

fn bad(message: String) -> Failure {
    Failure::new(FailureCode::BadRequest, message)
}
