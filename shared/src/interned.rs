//! Text that is written again and again: labels, names of models, their digests.
//!
//! Every prediction carries a dozen such texts, and a gateway keeps a hundred thousand predictions. Equal texts that
//! one thread makes are one piece of memory. Each thread remembers so many and no more, in a slot each by their hash: a
//! text that finds another in its slot takes its place, which costs a copy and nothing else.

use std::cell::RefCell;
use std::fmt;
use std::hash::BuildHasher;
use std::ops::Deref;
use std::sync::Arc;

use foldhash::fast::FixedState;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Texts that a thread remembers: several models of a thousand classes.
const SLOTS: usize = 4096;

/// Longer texts are not remembered; no label is that long.
const MAX_REMEMBERED: usize = 128;

thread_local! {
    static KNOWN: RefCell<Box<[Option<Arc<str>>]>> = RefCell::new(vec![None; SLOTS].into());
}

/// A text that shares its memory with those like it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Interned(Arc<str>);

impl Interned {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Interned {
    fn from(text: &str) -> Self {
        if text.len() > MAX_REMEMBERED {
            return Self(text.into());
        }
        let hash = FixedState::default().hash_one(text);
        let shared = KNOWN.try_with(|known| {
            let mut known = known.borrow_mut();
            let slot = &mut known[hash as usize % SLOTS];
            match slot {
                Some(same) if **same == *text => same.clone(),
                _ => slot.insert(text.into()).clone(),
            }
        });
        // A thread that is ending has forgotten everything.
        Self(shared.unwrap_or_else(|_| text.into()))
    }
}

impl From<String> for Interned {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Interned> for String {
    fn from(text: Interned) -> Self {
        text.as_str().to_owned()
    }
}

impl Default for Interned {
    fn default() -> Self {
        "".into()
    }
}

impl Deref for Interned {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Interned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Interned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl Serialize for Interned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Interned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Interned;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Interned, E> {
                Ok(text.into())
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_their_memory() {
        let (one, other) = (Interned::from("Eskimo dog"), Interned::from("Eskimo dog".to_owned()));
        assert!(Arc::ptr_eq(&one.0, &other.0));
        let read: Interned = serde_json::from_str("\"Eskimo dog\"").unwrap();
        assert!(Arc::ptr_eq(&one.0, &read.0));
        assert_eq!(serde_json::to_string(&read).unwrap(), "\"Eskimo dog\"");
    }

    #[test]
    fn more_texts_than_are_remembered_stay_what_they_are() {
        let texts: Vec<Interned> = (0..3 * SLOTS).map(|i| Interned::from(format!("label {i}"))).collect();
        assert!(texts.iter().enumerate().all(|(i, text)| **text == format!("label {i}")));
        let long = "x".repeat(MAX_REMEMBERED + 1);
        assert_eq!(*Interned::from(long.as_str()), long);
    }

    #[test]
    fn a_text_outlives_its_thread() {
        let text = std::thread::spawn(|| Interned::from("tench")).join().unwrap();
        assert_eq!(text, Interned::from("tench"));
    }
}
