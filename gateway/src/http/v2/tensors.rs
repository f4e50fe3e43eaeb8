//! Tensors: the model's own input for each image, as the payload that a job takes (`.npy`).

use bytes::{BufMut, Bytes, BytesMut};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::npy;
use shoal_shared::presence::ModelStatus;

use super::flat;
use super::input::{Source, Terms};
use crate::admission::Charge;

/// Bytes of a value.
const FP32: usize = size_of::<f32>();

/// `count` tensors, each of this shape.
pub(super) fn payloads(
    source: Source<'_>,
    count: usize,
    shape: &[u64],
    (terms, charge): (&Terms, &mut Charge),
) -> Result<Vec<Bytes>, Failure> {
    let (shape, values) = checked(shape, terms)?;
    let total = count.saturating_mul(values);
    let bytes = match source {
        Source::Binary(bytes) => bytes,
        // A digit and a comma are the least that a value takes.
        Source::Json(data) if data.get().len() / 2 < total => {
            return Err(bad(format!("`data` has fewer than the {total} values that the shape says")));
        }
        Source::Json(data) => {
            charge.grow(2 * total * FP32)?;
            let mut bytes = BytesMut::with_capacity(total * FP32);
            flat::read::<f32>(data, total)?.into_iter().for_each(|value| bytes.put_f32_le(value));
            bytes.freeze()
        }
    };
    if bytes.len() != total.saturating_mul(FP32) {
        return Err(bad(format!("the shape says {total} values of 4 bytes, there are {} bytes", bytes.len())));
    }
    let header = npy::header_for(&shape);
    let length = count * header.len() + bytes.len();
    charge.grow(length)?;
    let mut payloads = BytesMut::with_capacity(length);
    let payload = |values: &[u8]| {
        payloads.extend_from_slice(&header);
        payloads.extend_from_slice(values);
        payloads.split().freeze()
    };
    Ok(bytes.chunks(values * FP32).map(payload).collect())
}

/// The shape of one image's tensor and its number of values, when the model takes it.
fn checked(shape: &[u64], terms: &Terms) -> Result<(Vec<usize>, usize), Failure> {
    // Not known while no worker of the model has ever run: the first one looks for itself.
    let expected = &terms.model.input_shape;
    if !expected.is_empty() && !shape.iter().copied().eq(expected.iter().map(|&axis| axis as u64)) {
        return Err(bad(format!("a tensor's shape is {shape:?}: this model takes {}", batch_of(&terms.model))));
    }
    let values = shape.iter().try_fold(1u64, |product, &axis| product.checked_mul(axis));
    let values = values.filter(|values| (1..=terms.max_values).contains(values)).ok_or_else(|| {
        let message = format!("a tensor's shape is {shape:?}: one image may have 1 to {} values", terms.max_values);
        Failure::new(FailureCode::DimensionsTooLarge, message)
    })?;
    Ok((shape.iter().map(|&axis| axis as usize).collect(), values as usize))
}

/// The model's own tensor with a batch axis, as a person writes it.
pub(super) fn batch_of(model: &ModelStatus) -> String {
    let axes: Vec<String> = model.input_shape.iter().map(i64::to_string).collect();
    format!("[N, {}]", axes.join(", "))
}

fn bad(message: String) -> Failure {
    Failure::new(FailureCode::BadRequest, message)
}
