//! The input of a request, as one payload for each image.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use shoal_shared::digest::DigestKind;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::presence::ModelStatus;

use super::metadata::IMAGE;
use super::parameters::Parameters;
use super::{encoded, tensors};
use crate::admission::Charge;

/// What an input is held against.
pub(super) struct Terms {
    pub(super) model: ModelStatus,
    /// Most images of one request.
    pub(super) max_items: usize,
    /// Most values of one image's tensor.
    pub(super) max_values: u64,
    /// How images are identified.
    pub(super) digest: DigestKind,
}

/// An input in the request's head.
#[derive(Deserialize)]
pub(super) struct Input<'a> {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Where the values are.
pub(super) enum Source<'a> {
    /// In the head.
    Json(&'a RawValue),
    /// Behind it.
    Binary(Bytes),
}

impl Input<'_> {
    /// One payload for each image. `behind` is what follows the JSON in the request's body.
    pub(super) fn images(&self, behind: Bytes, terms: &Terms, charge: &mut Charge) -> Result<Vec<Bytes>, Failure> {
        let own = &terms.model.input_name;
        if self.name != IMAGE && (own.is_empty() || &self.name != own) {
            return Err(bad(format!("there is no input `{}`; there is: {IMAGE}", self.name)));
        }
        let (source, count) = (self.source(behind)?, self.count(terms)?);
        match self.datatype.as_str() {
            "BYTES" if matches!(self.shape[1..], [] | [1]) => encoded::images(source, count, charge),
            "BYTES" => Err(bad(format!("the shape is {:?}: encoded images come as [N] or [N, 1]", self.shape))),
            "FP32" => tensors::payloads(source, count, &self.shape[1..], (terms, charge)),
            other => Err(bad(format!(
                "input `{}` is {other}: it takes BYTES (encoded images) or FP32 {}",
                self.name,
                tensors::batch_of(&terms.model)
            ))),
        }
    }

    fn source(&self, behind: Bytes) -> Result<Source<'_>, Failure> {
        self.parameters.only("an input", &["binary_data_size", "content_type"])?;
        if let Some(kind) = self.parameters.text("content_type")?.filter(|&kind| kind != "base64") {
            return Err(bad(format!("parameter `content_type` is {kind:?}: texts are base64")));
        }
        let size = self.parameters.number("binary_data_size", 0, u64::MAX)?;
        match (size, self.data) {
            (Some(size), None) if size == behind.len() as u64 => Ok(Source::Binary(behind)),
            (Some(size), None) => {
                Err(bad(format!("`binary_data_size` is {size}, {} bytes follow the JSON", behind.len())))
            }
            (Some(_), Some(_)) => Err(bad("the input has both `data` and `binary_data_size`".into())),
            (None, Some(_)) if !behind.is_empty() => {
                Err(bad(format!("{} bytes follow the JSON that belong to no input", behind.len())))
            }
            (None, Some(data)) => Ok(Source::Json(data)),
            (None, None) => Err(bad("the input has neither `data` nor `binary_data_size`".into())),
        }
    }

    /// Number of images by the first axis.
    fn count(&self, terms: &Terms) -> Result<usize, Failure> {
        match self.shape.first().map(|&first| usize::try_from(first).unwrap_or(usize::MAX)) {
            Some(count) if (1..=terms.max_items).contains(&count) => Ok(count),
            _ => Err(bad(format!("the shape is {:?}: the first axis must be 1 to {}", self.shape, terms.max_items))),
        }
    }
}

fn bad(message: String) -> Failure {
    Failure::new(FailureCode::BadRequest, message)
}
