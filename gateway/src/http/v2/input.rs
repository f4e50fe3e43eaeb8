//! The input of a request as one payload for each image: encoded images as they are, tensors as
//! `.npy`, from JSON or from the bytes behind it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use shoal_shared::digest::DigestKind;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::npy;
use shoal_shared::presence::ModelStatus;

use super::flat;
use super::metadata::IMAGE;
use super::parameters::Parameters;
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
enum Source<'a> {
    Json(&'a RawValue),
    Binary(Bytes),
}

impl Input<'_> {
    /// One payload for each image. `behind` is what follows the JSON in the request's body.
    pub(super) fn images(&self, behind: Bytes, terms: &Terms, charge: &mut Charge) -> Result<Vec<Bytes>, Failure> {
        let own = &terms.model.input_name;
        if self.name != IMAGE && (own.is_empty() || &self.name != own) {
            return Err(bad(format!("there is no input `{}`; there is: {IMAGE}", self.name)));
        }
        let source = self.source(behind)?;
        match self.datatype.as_str() {
            "BYTES" => self.encoded(source, terms, charge),
            "FP32" => self.tensors(source, terms, charge),
            other => Err(bad(format!(
                "input `{}` is {other}: it takes BYTES (encoded images) or FP32 {}",
                self.name,
                batch_of(&terms.model)
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

    fn encoded(&self, source: Source<'_>, terms: &Terms, charge: &mut Charge) -> Result<Vec<Bytes>, Failure> {
        let count = self.count(terms)?;
        if !matches!(self.shape[1..], [] | [1]) {
            return Err(bad(format!("the shape is {:?}: encoded images come as [N] or [N, 1]", self.shape)));
        }
        match source {
            Source::Binary(bytes) => cut(bytes, count),
            Source::Json(data) => {
                // The texts, and the images that they become.
                charge.grow(data.get().len() * 2)?;
                let decode = |(index, text): (usize, String)| {
                    let decoded = STANDARD.decode(text.trim());
                    decoded.map(Bytes::from).map_err(|error| bad(format!("image {index} is no base64: {error}")))
                };
                flat::read::<String>(data, count)?.into_iter().enumerate().map(decode).collect()
            }
        }
    }

    fn tensors(&self, source: Source<'_>, terms: &Terms, charge: &mut Charge) -> Result<Vec<Bytes>, Failure> {
        let count = self.count(terms)?;
        let expected = &terms.model.input_shape;
        let axis = |axis: &u64| usize::try_from(*axis).ok();
        let shape: Option<Vec<usize>> = self.shape[1..].iter().map(axis).collect();
        let fits =
            |shape: &[usize]| expected.is_empty() || shape.iter().map(|&axis| axis as i64).eq(expected.iter().copied());
        let shape = shape.filter(|shape| fits(shape)).ok_or_else(|| {
            bad(format!("the shape is {:?}: this model takes {}", self.shape, batch_of(&terms.model)))
        })?;
        let values = shape.iter().try_fold(1u64, |product, &axis| product.checked_mul(axis as u64));
        let values = values.filter(|values| (1..=terms.max_values).contains(values)).ok_or_else(|| {
            let message = format!("the shape is {:?}: one image may have 1 to {} values", self.shape, terms.max_values);
            Failure::new(FailureCode::DimensionsTooLarge, message)
        })? as usize;
        let total = count.saturating_mul(values);
        if let Source::Binary(bytes) = &source
            && Some(bytes.len()) != total.checked_mul(4)
        {
            return Err(bad(format!(
                "the shape {:?} needs {total} values of 4 bytes, there are {} bytes",
                self.shape,
                bytes.len()
            )));
        }
        if let Source::Json(data) = &source
            && data.get().len() / 2 < total
        {
            return Err(bad(format!("`data` has fewer than the {total} values that the shape says")));
        }
        let header = npy::header_for(&shape);
        charge.grow(
            count * (header.len() + values * 4) + if matches!(source, Source::Json(_)) { total * 4 } else { 0 },
        )?;
        let mut payloads = BytesMut::with_capacity(count * (header.len() + values * 4));
        let mut write = |row: &mut dyn FnMut(&mut BytesMut)| {
            payloads.extend_from_slice(&header);
            row(&mut payloads);
            payloads.split().freeze()
        };
        Ok(match source {
            Source::Binary(bytes) => bytes
                .chunks(values.max(1) * 4)
                .map(|row| write(&mut |payload| payload.extend_from_slice(row)))
                .collect(),
            Source::Json(data) => {
                let values_of_all = flat::read::<f32>(data, total)?;
                let one = |row: &[f32]| {
                    write(&mut |payload| row.iter().for_each(|value| payload.extend_from_slice(&value.to_le_bytes())))
                };
                values_of_all.chunks(values.max(1)).map(one).collect()
            }
        })
    }
}

/// Elements of a BYTES tensor: each has its length before it, four bytes, little-endian.
fn cut(mut bytes: Bytes, count: usize) -> Result<Vec<Bytes>, Failure> {
    let mut elements = Vec::new();
    while elements.len() < count {
        let index = elements.len();
        let Some(length) = bytes.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize) else {
            return Err(bad(format!("the binary data ends before element {index} of {count}")));
        };
        if bytes.len() - 4 < length {
            let left = bytes.len() - 4;
            return Err(bad(format!("element {index} says that it has {length} bytes, there are {left}")));
        }
        let _ = bytes.split_to(4);
        elements.push(bytes.split_to(length));
    }
    match bytes.len() {
        0 => Ok(elements),
        left => Err(bad(format!("{left} bytes follow the {count} elements that the shape says"))),
    }
}

/// The model's own tensor with a batch axis, as a person writes it.
fn batch_of(model: &ModelStatus) -> String {
    let axes: Vec<String> = model.input_shape.iter().map(i64::to_string).collect();
    format!("[N, {}]", axes.join(", "))
}

fn bad(message: String) -> Failure {
    Failure::new(FailureCode::BadRequest, message)
}
