//! How a request ended.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// How a request ended. A refusal says honestly when to come back; it is no failure, and no answer
/// either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// 2xx or 304, and the right label where it is checked.
    Answered,
    /// 429 or 503 with `Retry-After`.
    Refused,
    /// 2xx with a label that is not the image's.
    Wrong,
    /// Any other status.
    Status(u16),
    /// Nobody accepted the connection.
    Unreachable,
    /// The connection ended before the answer did.
    Closed,
    /// No answer in time.
    Timeout,
    /// No answer when the run ended.
    Unfinished,
}

impl Outcome {
    /// In a table.
    pub fn title(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Outcome::Answered => "answered",
            Outcome::Refused => "refused (Retry-After)",
            Outcome::Wrong => "wrong answer",
            Outcome::Status(status) => return Cow::Owned(format!("status {status}")),
            Outcome::Unreachable => "connection refused",
            Outcome::Closed => "connection closed",
            Outcome::Timeout => "timeout",
            Outcome::Unfinished => "unfinished at the end",
        })
    }

    /// In the short summary: `ok`, `refused`, `status_500`, `transport` …
    pub fn key(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Outcome::Answered => "ok",
            Outcome::Refused => "refused",
            Outcome::Wrong => "wrong",
            Outcome::Status(status) => return Cow::Owned(format!("status_{status}")),
            Outcome::Unreachable | Outcome::Closed => "transport",
            Outcome::Timeout => "timeout",
            Outcome::Unfinished => "unfinished",
        })
    }
}
