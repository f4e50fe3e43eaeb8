//! Whether an answer belongs to the image that was sent.

use parking_lot::Mutex;
use serde::Deserialize;

use crate::pool::Pool;

/// What right answers say, by image: known beforehand, or learned from the first one. Either way an
/// answer that belongs to another request is noticed.
pub struct Check {
    labels: Mutex<Vec<Option<String>>>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    success: Option<bool>,
    #[serde(default, borrow)]
    prediction: Option<std::borrow::Cow<'a, str>>,
}

impl Check {
    /// Knows the labels that the images came with.
    pub fn new(pool: &Pool) -> Self {
        let labels = (0..pool.len()).map(|image| pool.label(image).map(str::to_owned)).collect();
        Self { labels: Mutex::new(labels) }
    }

    /// Whether the answer's `prediction` is the image's label.
    pub fn is_right(&self, image: usize, body: &[u8]) -> bool {
        let Ok(Answer { success, prediction: Some(said) }) = serde_json::from_slice(body) else { return false };
        if success == Some(false) {
            return false;
        }
        let mut labels = self.labels.lock();
        match labels.get_mut(image) {
            Some(Some(label)) => *label == said,
            Some(unknown) => {
                *unknown = Some(said.into_owned());
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Generate, Images};

    #[test]
    fn mixed_up_answers_are_noticed() {
        let known = Check::new(&Pool::new(&Images::default(), 0).unwrap());
        assert!(known.is_right(3, br#"{"success":true,"prediction":"3","score":1.0}"#));
        assert!(!known.is_right(3, br#"{"success":true,"prediction":"4"}"#));
        assert!(!known.is_right(3, br#"{"success":false,"prediction":"3"}"#));
        assert!(!known.is_right(3, b"3"));

        let generate = Generate { width: 32, height: 32, bytes: 1000, count: 2, seed: 0 };
        let learned = Check::new(&Pool::new(&Images { generate: Some(generate), ..Images::default() }, 0).unwrap());
        assert!(
            learned.is_right(0, br#"{"prediction":"espresso"}"#) && learned.is_right(1, br#"{"prediction":"cup"}"#)
        );
        assert!(
            !learned.is_right(0, br#"{"prediction":"cup"}"#) && learned.is_right(0, br#"{"prediction":"espresso"}"#)
        );
    }
}
