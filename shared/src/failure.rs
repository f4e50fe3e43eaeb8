//! Why there is no prediction: a stable code that programs match on, and a sentence for people.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A job or request that ended without a prediction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure.
    pub code: FailureCode,
    /// One sentence that says what was wrong and what would be right.
    pub message: String,
}

impl Failure {
    /// A failure of the given kind.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)*) => {
        /// The closed set of reasons.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum FailureCode {
            $($(#[$doc])* $name,)*
        }

        impl FailureCode {
            /// Every code.
            pub const ALL: &'static [FailureCode] = &[$(FailureCode::$name),*];

            /// The stable word in answers, metrics and logs.
            pub fn as_str(self) -> &'static str {
                match self { $(FailureCode::$name => $text,)* }
            }

            /// The HTTP status that says the same.
            pub fn http_status(self) -> u16 {
                match self { $(FailureCode::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// The request itself is malformed: wrong field, wrong parameter.
    BadRequest = "bad_request", 400;
    /// The bytes are no image of a known format.
    NotAnImage = "not_an_image", 400;
    /// The image starts well and then breaks off or turns to nonsense.
    CorruptImage = "corrupt_image", 400;
    /// The payload does not match the digest sent with it.
    DigestMismatch = "digest_mismatch", 400;
    /// Credentials are missing or wrong.
    Unauthorized = "unauthorized", 401;
    /// No such model.
    UnknownModel = "unknown_model", 404;
    /// No such route, job or prediction.
    NotFound = "not_found", 404;
    /// The client took too long to send its request.
    RequestTimeout = "request_timeout", 408;
    /// The upload exceeds the byte limit.
    TooLarge = "too_large", 413;
    /// An image, but of a format that is not served.
    UnsupportedFormat = "unsupported_format", 415;
    /// Width, height or pixel count exceed the limit.
    DimensionsTooLarge = "dimensions_too_large", 422;
    /// Workers exist, the queue is over its budget. Comes with `Retry-After`.
    Overloaded = "overloaded", 429;
    /// The client went away or cancelled.
    Cancelled = "cancelled", 499;
    /// Our fault: the model failed, or an invariant did not hold.
    Internal = "internal", 500;
    /// Tried as often as allowed without an answer; the job is in the dead-letter stream.
    DeadLettered = "dead_lettered", 500;
    /// No worker, or no NATS: nothing could answer.
    NoCapacity = "no_capacity", 503;
    /// The deadline passed before an answer was there.
    DeadlineExceeded = "deadline_exceeded", 504;
    // Appended, never inserted: the wire knows codes by their place.
    /// Known, and not allowed to do this.
    Forbidden = "forbidden", 403;
    /// A well-formed request with values that make no sense.
    Invalid = "invalid", 422;
    /// At odds with what is there already.
    Conflict = "conflict", 409;
    /// Too many requests of one caller. Comes with `Retry-After`.
    RateLimited = "rate_limited", 429;
    /// The route is there, and does not take this method.
    MethodNotAllowed = "method_not_allowed", 405;
    /// A form without the field that the route looks for.
    MissingField = "missing_field", 400;
    /// The body is of a type that the route does not take.
    UnsupportedMediaType = "unsupported_media_type", 415;
}

impl FailureCode {
    /// Whether the same bytes would fail again: the client's doing, not worth a second attempt.
    pub fn is_clients_fault(self) -> bool {
        matches!(self.http_status(), 400..=428)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_and_as_str_agree() {
        for code in FailureCode::ALL {
            assert_eq!(serde_json::to_string(code).unwrap(), format!("{:?}", code.as_str()));
        }
    }

    #[test]
    fn overload_and_faults_of_ours_are_not_the_clients() {
        assert!(FailureCode::CorruptImage.is_clients_fault());
        for code in [FailureCode::Overloaded, FailureCode::Internal, FailureCode::NoCapacity] {
            assert!(!code.is_clients_fault());
        }
    }
}
