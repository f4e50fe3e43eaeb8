//! A tensor in the place of an image: its values are the model's input, nothing is done to them.

use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::npy;
use shoal_shared::sniff::{ImageLimits, sniff};

/// Largest magnitude of an input: far beyond any normalised pixel, and far from where a model's sums
/// overflow, which would look like the model's own fault.
const MAX_VALUE: f32 = 65_504.0;

/// Copies the values into `row`. `shape` is that of one image in the model's input; the tensor may
/// have a batch axis of one before it.
pub(super) fn fill(bytes: &[u8], limits: &ImageLimits, shape: &[usize], row: &mut [f32]) -> Result<(), Failure> {
    // The same bounds as at the gateway: jobs also come from elsewhere.
    sniff(bytes, limits)?;
    let tensor = npy::header(bytes, u64::MAX)?;
    let one = tensor.shape.strip_prefix(&[1]).filter(|rest| rest.len() == shape.len()).unwrap_or(&tensor.shape);
    if one != shape {
        let message = format!("the tensor's shape is {:?}: this model takes {shape:?}", tensor.shape);
        return Err(Failure::new(FailureCode::BadRequest, message));
    }
    let values = bytes[tensor.offset..].as_chunks::<4>().0;
    for (index, (value, bytes)) in row.iter_mut().zip(values).enumerate() {
        *value = f32::from_le_bytes(*bytes);
        if value.is_nan() || value.abs() > MAX_VALUE {
            let message =
                format!("value {index} of the tensor is {value}: numbers from -{MAX_VALUE} to {MAX_VALUE} are taken");
            return Err(Failure::new(FailureCode::BadRequest, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(shape: &[usize], values: &[f32]) -> Vec<u8> {
        let mut bytes = npy::header_for(shape);
        values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        bytes
    }

    fn filled(shape: &[usize], values: &[f32]) -> Result<Vec<f32>, Failure> {
        let mut row = vec![0.0; 4];
        fill(&payload(shape, values), &ImageLimits::default(), &[1, 2, 2], &mut row).map(|()| row)
    }

    #[test]
    fn the_values_come_through_with_and_without_a_batch_axis() {
        let values = [0.25, -1.5, 3.0e-9, 7.0];
        assert_eq!(filled(&[1, 2, 2], &values).unwrap(), values);
        assert_eq!(filled(&[1, 1, 2, 2], &values).unwrap(), values);
    }

    #[test]
    fn another_shape_and_what_is_no_number_are_refused() {
        for shape in [&[2, 2, 1][..], &[4], &[2, 2], &[1, 1, 1, 2, 2]] {
            let message = filled(shape, &[0.0; 4]).unwrap_err().message;
            assert!(message.contains("[1, 2, 2]"), "{message}");
        }
        let error = filled(&[1, 2, 2], &[0.0, 0.0, f32::NAN, 0.0]).unwrap_err();
        assert!(error.message.contains("value 2") && error.code == FailureCode::BadRequest, "{error}");
        assert!(filled(&[1, 2, 2], &[f32::INFINITY, 0.0, 0.0, 0.0]).is_err());
    }
}
