//! Bytes as hexadecimal digits, written at once: every request shows several digests and ids.

use std::fmt;

/// Longest value that is written: a SHA-256.
const LONGEST: usize = 32;

/// Writes at most [`LONGEST`] bytes as lower-case digits.
pub(crate) fn write(bytes: &[u8], to: &mut impl fmt::Write) -> fmt::Result {
    let mut digits = [0; 2 * LONGEST];
    let digits = digits.get_mut(..2 * bytes.len()).ok_or(fmt::Error)?;
    hex::encode_to_slice(bytes, digits).map_err(|_| fmt::Error)?;
    to.write_str(std::str::from_utf8(digits).map_err(|_| fmt::Error)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_lower_case_and_bounded() {
        let mut text = String::new();
        write(&[0, 0x1f, 0xab, 0xff], &mut text).unwrap();
        assert_eq!(text, "001fabff");
        assert!(write(&[0; 33], &mut text).is_err());
    }
}
