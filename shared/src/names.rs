//! Tokens that become part of a NATS subject: checked once, at the edge, then carried as types.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::interned::Interned;

/// Longest accepted token, as errors say: leaves room for prefixes inside NATS's subject limits.
const MAX_TOKEN: usize = 64;

/// Why a text is not a usable token.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{what} {text:?} must be {allowed}")]
pub struct InvalidToken {
    what: &'static str,
    text: String,
    allowed: &'static str,
}

fn check(
    what: &'static str,
    text: &str,
    allowed: &'static str,
    is_allowed: fn(char) -> bool,
) -> Result<(), InvalidToken> {
    let well_formed = !text.is_empty() && text.len() <= MAX_TOKEN && text.chars().all(is_allowed);
    if well_formed { Ok(()) } else { Err(InvalidToken { what, text: text.chars().take(MAX_TOKEN).collect(), allowed }) }
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident($text:ty), $what:literal, $characters:literal, $is_allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name($text);

        impl $name {
            /// The token as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            fn checked(text: &str) -> Result<(), InvalidToken> {
                check($what, text, concat!("1 to 64 characters out of ", $characters), $is_allowed)
            }
        }

        impl FromStr for $name {
            type Err = InvalidToken;

            fn from_str(text: &str) -> Result<Self, InvalidToken> {
                Self::checked(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidToken;

            fn try_from(text: String) -> Result<Self, InvalidToken> {
                Self::checked(&text)?;
                Ok(Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(token: $name) -> String {
                token.0.into()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <$text>::deserialize(deserializer)?;
                Self::checked(&text).map_err(D::Error::custom)?;
                Ok(Self(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

token!(
    /// The name of a model, as in `jobs.<model>.<lane>` and `?model=`.
    ModelName(Interned),
    "model name",
    "a-z, 0-9, '-' and '_'",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_'
);

token!(
    /// A version of a model, as in `?version=`: a number unless somebody chose a word.
    Version(Interned),
    "version",
    "a-z, 0-9 and '-'",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);

token!(
    /// Identity of one job: minted by the gateway, chosen by the publisher, or the stream sequence.
    JobId(String),
    "job id",
    "A-Z, a-z, 0-9, '-' and '_'",
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_'
);

token!(
    /// Identity of one running process of the fleet (gateway, worker), part of its reply subjects.
    NodeId(String),
    "node id",
    "A-Z, a-z, 0-9, '-' and '_'",
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_'
);

token!(
    /// Who jobs, feedback and kept images belong to: an account, or everybody without one.
    Owner(Interned),
    "owner",
    "A-Z, a-z, 0-9, '-' and '_'",
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_'
);

impl Owner {
    /// Everybody who asks without credentials.
    pub fn public() -> Self {
        Self("public".into())
    }

    /// An account.
    pub fn user(id: u64) -> Self {
        Self(format!("u{id}").into())
    }
}

impl ModelName {
    /// The name under which one version of this model has its queue, its workers and its metrics, as in
    /// `resnet50_v2`. A version has no underscore, so two versions never share a name.
    pub fn served(&self, version: &Version) -> Result<Self, InvalidToken> {
        format!("{self}_v{version}").parse()
    }
}

impl JobId {
    /// A fresh, globally unique id.
    pub fn mint() -> Self {
        Self(nuid::next().to_string())
    }

    /// The id of a job published without one: its sequence in the stream.
    pub fn from_sequence(sequence: u64) -> Self {
        Self(sequence.to_string())
    }
}

impl NodeId {
    /// A fresh id that starts with what the process is, as in `gateway-Zk3…`.
    pub fn mint(role: &str) -> Self {
        Self(format!("{role}-{}", nuid::next()))
    }
}

/// Priority class of a job; the last token of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Somebody waits for the answer.
    Interactive,
    /// Throughput matters, latency does not.
    Bulk,
}

impl Lane {
    /// Every lane, the most urgent first.
    pub const ALL: [Lane; 2] = [Lane::Interactive, Lane::Bulk];

    /// The lane's subject token and label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Interactive => "interactive",
            Lane::Bulk => "bulk",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Lane {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        Lane::ALL.into_iter().find(|lane| lane.as_str() == text).ok_or_else(|| InvalidToken {
            what: "lane",
            text: text.chars().take(MAX_TOKEN).collect(),
            allowed: "interactive or bulk",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_name_cannot_smuggle_subject_tokens() {
        for bad in ["", "a.b", "a*", ">", "ResNet", "a b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad:?}");
        }
        assert_eq!("resnet50-int8_v2".parse::<ModelName>().unwrap().as_str(), "resnet50-int8_v2");
    }

    #[test]
    fn every_version_has_a_name_of_its_own() {
        let served = |model: &str, version: &str| {
            let model: ModelName = model.parse().unwrap();
            model.served(&version.parse().unwrap()).map(String::from)
        };
        assert_eq!(served("resnet50", "2").unwrap(), "resnet50_v2");
        assert_ne!(served("a_v1", "2").unwrap(), served("a", "1-v2").unwrap());
        assert!("1_v2".parse::<Version>().is_err());
        assert!(served(&"x".repeat(63), "1").is_err());
    }

    #[test]
    fn the_same_rule_holds_when_deserialising() {
        assert!(serde_json::from_str::<JobId>("\"a.b\"").is_err());
        assert_eq!(serde_json::from_str::<JobId>("\"42\"").unwrap(), JobId::from_sequence(42));
    }

    #[test]
    fn minted_ids_are_valid_and_distinct() {
        let (a, b) = (JobId::mint(), JobId::mint());
        assert_ne!(a, b);
        assert!(a.as_str().parse::<JobId>().is_ok());
    }
}
