//! An inference request, read: a JSON head, and bytes behind it.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use shoal_shared::digest::ImageKey;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::Lane;
use shoal_shared::prediction::{DEFAULT_TOP_K, MAX_TOP_K};

use super::input::{Input, Terms};
use super::outputs::{Output, Wanted};
use super::parameters::Parameters;
use crate::admission::Charge;

/// Parameters that a request may have.
const KNOWN: [&str; 8] =
    ["top_k", "timeout", "priority", "lane", "binary_data_output", "sequence_id", "sequence_start", "sequence_end"];
/// Longest time that a request may ask for, in microseconds.
const LONGEST: u64 = 600_000_000;
/// Longest id that is told back.
const MAX_ID: usize = 1024;

/// What is asked.
pub(super) struct Call {
    pub(super) id: Option<String>,
    pub(super) images: Vec<(Bytes, ImageKey)>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) top_k: usize,
    pub(super) timeout: Option<Duration>,
    pub(super) lane: Lane,
}

#[derive(Deserialize)]
struct Head<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    #[serde(default)]
    outputs: Vec<Output>,
}

impl Call {
    /// Reads a body whose first `head_length` bytes are JSON; all of it when the client does not say.
    pub(super) fn read(
        body: Bytes,
        head_length: Option<usize>,
        terms: &Terms,
        charge: &mut Charge,
    ) -> Result<Self, Failure> {
        if head_length == Some(0) {
            // The protocol's raw request: no JSON, the body is the one image.
            return Self::of(vec![body], terms);
        }
        let head_length = head_length.unwrap_or(body.len());
        if head_length > body.len() {
            let message = format!("`Inference-Header-Content-Length` is {head_length}, the body has {}", body.len());
            return Err(bad(message));
        }
        let behind = body.slice(head_length..);
        let head: Head<'_> = serde_json::from_slice(&body[..head_length])
            .map_err(|error| bad(format!("the request is no inference request in JSON: {error}")))?;
        let [input] = &head.inputs[..] else {
            return Err(bad(format!("there are {} inputs: exactly one is taken, `image`", head.inputs.len())));
        };
        if let Some(id) = head.id.as_ref().filter(|id| id.len() > MAX_ID) {
            return Err(bad(format!("the id has {} bytes, the limit is {MAX_ID}", id.len())));
        }
        let parameters = &head.parameters;
        parameters.only("a request", &KNOWN)?;
        let (start, end) = (parameters.flag("sequence_start")?, parameters.flag("sequence_end")?);
        if start == Some(true) || end == Some(true) {
            return Err(bad("sequences are not served: no model here keeps a state".into()));
        }
        let binary = parameters.flag("binary_data_output")?.unwrap_or_default();
        Ok(Self {
            id: head.id.clone(),
            wanted: Wanted::read(&head.outputs, binary)?,
            top_k: parameters.number("top_k", 1, MAX_TOP_K as u64)?.map_or(DEFAULT_TOP_K, |k| k as usize),
            timeout: parameters.number("timeout", 1, LONGEST)?.map(Duration::from_micros),
            lane: lane(parameters)?,
            ..Self::of(input.images(behind, terms, charge)?, terms)?
        })
    }

    /// These images, and nothing said about them.
    fn of(images: Vec<Bytes>, terms: &Terms) -> Result<Self, Failure> {
        let identified = |image: Bytes| {
            let key = ImageKey::of(terms.digest, &image);
            (image, key)
        };
        Ok(Self {
            id: None,
            images: images.into_iter().map(identified).collect(),
            wanted: Wanted::read(&[], false)?,
            top_k: DEFAULT_TOP_K,
            timeout: None,
            lane: Lane::Interactive,
        })
    }

    /// Whether a part of the answer goes behind its JSON.
    pub(super) fn wants_bytes(&self) -> bool {
        self.wanted.iter().any(Wanted::is_binary)
    }
}

/// Priority 1 is the highest there is, and 0 says nothing: both wait in the interactive lane.
fn lane(parameters: &Parameters) -> Result<Lane, Failure> {
    let by_priority = match parameters.number("priority", 0, u64::MAX)? {
        None | Some(0 | 1) => Lane::Interactive,
        Some(_) => Lane::Bulk,
    };
    match parameters.text("lane")? {
        None => Ok(by_priority),
        Some(name) => name.parse().map_err(|error| bad(format!("parameter `lane`: {error}"))),
    }
}

fn bad(message: String) -> Failure {
    Failure::new(FailureCode::BadRequest, message)
}
