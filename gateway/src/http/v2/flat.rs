//! A tensor's values in JSON: flat or nested as its shape is, read into one list without anything in
//! between.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;
use shoal_shared::failure::{Failure, FailureCode};

/// What a tensor is made of.
pub(super) trait Value: Sized {
    /// What one is called in errors.
    const WHAT: &'static str;

    /// From a number, where it may be one.
    fn number(_: f64) -> Option<Self> {
        None
    }

    /// From a text, where it may be one.
    fn text(_: &str) -> Option<Self> {
        None
    }
}

impl Value for f32 {
    const WHAT: &'static str = "a number";

    fn number(value: f64) -> Option<Self> {
        Some(value as f32)
    }
}

impl Value for String {
    const WHAT: &'static str = "a string";

    fn text(value: &str) -> Option<Self> {
        Some(value.to_owned())
    }
}

/// Reads exactly `count` values.
pub(super) fn read<T: Value>(data: &RawValue, count: usize) -> Result<Vec<T>, Failure> {
    let mut values = Vec::with_capacity(count.min(data.get().len() / 2 + 1));
    let mut json = serde_json::Deserializer::from_str(data.get());
    let read = Flat { into: &mut values, most: count }.deserialize(&mut json);
    read.map_err(|error| bad(format!("`data`: {error}")))?;
    if values.len() != count {
        return Err(bad(format!("`data` has {} values, the shape says {count}", values.len())));
    }
    Ok(values)
}

fn bad(message: String) -> Failure {
    Failure::new(FailureCode::BadRequest, message)
}

struct Flat<'a, T> {
    into: &'a mut Vec<T>,
    most: usize,
}

impl<T: Value> Flat<'_, T> {
    fn take<E: Error>(self, value: Option<T>) -> Result<(), E> {
        if self.into.len() == self.most {
            return Err(E::custom(format_args!("more than the {} values that the shape says", self.most)));
        }
        self.into.push(value.ok_or_else(|| E::custom(format_args!("expected {}", T::WHAT)))?);
        Ok(())
    }
}

impl<'de, T: Value> DeserializeSeed<'de> for Flat<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Value> Visitor<'de> for Flat<'_, T> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} or a list", T::WHAT)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Flat { into: self.into, most: self.most })?.is_some() {}
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.take(T::number(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.take(T::number(value as f64))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.take(T::number(value as f64))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.take(T::text(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(json: &str, count: usize) -> Result<Vec<f32>, Failure> {
        read(&RawValue::from_string(json.to_owned()).unwrap(), count)
    }

    #[test]
    fn flat_and_nested_are_the_same() {
        assert_eq!(numbers("[1, 2.5, -3]", 3).unwrap(), [1.0, 2.5, -3.0]);
        assert_eq!(numbers("[[[1], [2.5]], [[-3]]]", 3).unwrap(), [1.0, 2.5, -3.0]);
    }

    #[test]
    fn too_few_too_many_and_the_wrong_kind_are_told() {
        let message = |json: &str| numbers(json, 2).unwrap_err().message;
        assert!(message("[1]").contains("1 values"), "{}", message("[1]"));
        assert!(message("[1, 2, 3]").contains("more than the 2"));
        assert!(message("[1, \"2\"]").contains("expected a number"));
        assert!(message("{\"a\": 1}").contains("a number or a list"));
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        assert!(numbers(&deep, 2).is_err());
    }
}
