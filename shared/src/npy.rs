//! Tensors as payloads: numpy's `.npy` format, versions 1.0 to 3.0, 32-bit floats in row order.
//!
//! A tensor takes the place of an image whose preprocessing is done already. The format describes
//! itself, so a job still needs nothing but its payload.

use crate::failure::{Failure, FailureCode};

/// What every such payload begins with.
pub const MAGIC: &[u8] = b"\x93NUMPY";
/// The header is a line of text: shapes of a few axes, however padded.
const MAX_HEADER: usize = 16 * 1024;
/// Most axes: an image has three, a batch of them four.
const MAX_AXES: usize = 8;

/// A tensor's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorHeader {
    /// Length of every axis.
    pub shape: Vec<usize>,
    /// Where the values begin.
    pub offset: usize,
}

impl TensorHeader {
    /// Number of values.
    pub fn values(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Whether the first bytes announce a tensor.
pub fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads the header and holds it against the payload's length and a bound on the values.
pub fn header(bytes: &[u8], max_values: u64) -> Result<TensorHeader, Failure> {
    let (text, offset) = header_text(bytes)?;
    let fields = Fields::parse(text).ok_or_else(|| corrupt("its header is no description of an array"))?;
    if fields.descr != "<f4" {
        let message = format!("the tensor's type is {:?}: send little-endian 32-bit floats, '<f4'", fields.descr);
        return Err(Failure::new(FailureCode::UnsupportedFormat, message));
    }
    if fields.fortran_order {
        let message = "the tensor is in column order: send it in row order (numpy.ascontiguousarray)";
        return Err(Failure::new(FailureCode::UnsupportedFormat, message));
    }
    let shape = fields.shape;
    let values = shape.iter().try_fold(1u64, |product, &axis| product.checked_mul(axis as u64));
    let Some(values) = values.filter(|&values| values <= max_values) else {
        let message = format!("the tensor's shape is {shape:?}: the limit is {max_values} values");
        return Err(Failure::new(FailureCode::DimensionsTooLarge, message));
    };
    let (expected, found) = (values * 4, (bytes.len() - offset) as u64);
    if expected != found {
        let message = format!("the shape {shape:?} needs {expected} bytes of values, there are {found}");
        return Err(corrupt(&message));
    }
    Ok(TensorHeader { shape, offset })
}

/// The header that stands before the values of a tensor of this shape (version 1.0, padded as
/// numpy does it).
pub fn header_for(shape: &[usize]) -> Vec<u8> {
    let axes: String = shape.iter().map(|axis| format!("{axis}, ")).collect();
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", axes.trim_end());
    let before = MAGIC.len() + 4;
    let padding = (before + text.len() + 1).next_multiple_of(64) - before - text.len() - 1;
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [MAGIC, &[1, 0], &length.to_le_bytes(), text.as_bytes()].concat()
}

fn header_text(bytes: &[u8]) -> Result<(&str, usize), Failure> {
    let cut = || corrupt("its header is cut off");
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| corrupt("it does not begin like a .npy file"))?;
    let (length, before) = match rest {
        [1, 0, a, b, ..] => (usize::from(u16::from_le_bytes([*a, *b])), MAGIC.len() + 4),
        [2 | 3, 0, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, MAGIC.len() + 6),
        [1..=3, 0, ..] | [] | [_] => return Err(cut()),
        [major, minor, ..] => {
            let message = format!(".npy version {major}.{minor} is not served: send 1.0, 2.0 or 3.0");
            return Err(Failure::new(FailureCode::UnsupportedFormat, message));
        }
    };
    if length > MAX_HEADER {
        return Err(corrupt(&format!("its header says that it has {length} bytes")));
    }
    let text = bytes.get(before..before + length).ok_or_else(cut)?;
    let text = std::str::from_utf8(text).map_err(|_| corrupt("its header is no text"))?;
    Ok((text, before + length))
}

fn corrupt(what: &str) -> Failure {
    Failure::new(FailureCode::CorruptImage, format!("the tensor is damaged or cut off: {what}"))
}

/// The header's three fields.
struct Fields<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl<'a> Fields<'a> {
    /// Reads the Python dictionary that the header is, in any order of its keys.
    fn parse(text: &'a str) -> Option<Self> {
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            let value = after.trim_start().strip_prefix(':')?.trim_start();
            rest = match key {
                "descr" => {
                    let (text, after) = quoted(value)?;
                    descr = Some(text);
                    after
                }
                "fortran_order" => {
                    let (word, after) = value.split_at(value.find([',', '}', ' ']).unwrap_or(value.len()));
                    fortran_order = Some(match word {
                        "True" => true,
                        "False" => false,
                        _ => return None,
                    });
                    after
                }
                "shape" => {
                    let (axes, after) = value.strip_prefix('(')?.split_once(')')?;
                    shape = Some(tuple(axes)?);
                    after
                }
                _ => return None,
            };
            rest = rest.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(after) => after.trim_start(),
                None if rest.is_empty() => rest,
                None => return None,
            };
        }
        Some(Self { descr: descr?, fortran_order: fortran_order?, shape: shape? })
    }
}

/// A quoted text at the beginning, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|&c| c == '\'' || c == '"')?;
    text[1..].split_once(quote)
}

fn tuple(axes: &str) -> Option<Vec<usize>> {
    let axes = axes.trim();
    if axes.is_empty() {
        return Some(Vec::new());
    }
    let axes = axes.strip_suffix(',').unwrap_or(axes).split(',');
    let axes: Option<Vec<usize>> = axes.take(MAX_AXES + 1).map(|axis| axis.trim().parse().ok()).collect();
    axes.filter(|axes| axes.len() <= MAX_AXES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(shape: &[usize], values: usize) -> Vec<u8> {
        let mut bytes = header_for(shape);
        bytes.resize(bytes.len() + values * 4, 0);
        bytes
    }

    fn with_header(version: u8, text: &str, values: usize) -> Vec<u8> {
        let length = match version {
            1 => (text.len() as u16).to_le_bytes().to_vec(),
            _ => (text.len() as u32).to_le_bytes().to_vec(),
        };
        let mut bytes = [MAGIC, &[version, 0], &length, text.as_bytes()].concat();
        bytes.resize(bytes.len() + values * 4, 0);
        bytes
    }

    fn failure(bytes: &[u8]) -> FailureCode {
        header(bytes, 1000).unwrap_err().code
    }

    #[test]
    fn what_is_written_is_read() {
        for shape in [vec![], vec![7], vec![1, 8, 8], vec![1, 3, 4, 5]] {
            let bytes = npy(&shape, shape.iter().product());
            let read = header(&bytes, 1000).unwrap();
            assert_eq!((read.offset % 64, &read.shape), (0, &shape));
            assert_eq!(read.offset + read.values() * 4, bytes.len());
        }
    }

    #[test]
    fn keys_come_in_any_order_and_version() {
        let text = "{'shape': (2,3), \"fortran_order\": False, 'descr': '<f4'}\n";
        for version in 1..=3 {
            assert_eq!(header(&with_header(version, text, 6), 1000).unwrap().shape, [2, 3]);
        }
    }

    #[test]
    fn each_fault_has_its_own_code() {
        let text = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
        };
        assert_eq!(failure(&with_header(1, &text("<f8", "False", "(2,)"), 4)), FailureCode::UnsupportedFormat);
        assert_eq!(failure(&with_header(1, &text(">f4", "False", "(2,)"), 2)), FailureCode::UnsupportedFormat);
        assert_eq!(failure(&with_header(1, &text("<f4", "True", "(2,)"), 2)), FailureCode::UnsupportedFormat);
        assert_eq!(failure(&with_header(4, &text("<f4", "False", "(2,)"), 2)), FailureCode::UnsupportedFormat);
        assert_eq!(failure(&with_header(1, &text("<f4", "False", "(2,)"), 3)), FailureCode::CorruptImage);
        assert_eq!(failure(&with_header(1, &text("<f4", "False", "(-2,)"), 2)), FailureCode::CorruptImage);
        assert_eq!(failure(&with_header(1, "[1, 2]", 2)), FailureCode::CorruptImage);
        assert_eq!(failure(&npy(&[1001], 0)), FailureCode::DimensionsTooLarge);
        assert_eq!(failure(&npy(&[usize::MAX, usize::MAX], 0)), FailureCode::DimensionsTooLarge);
    }

    #[test]
    fn no_prefix_panics() {
        let whole = npy(&[1, 8, 8], 64);
        for cut in 0..whole.len() {
            assert!(header(&whole[..cut], 1000).is_err());
        }
    }
}
