//! What a caller is told when the bus cannot do what a request needs: that it is so, and not how it is built.

use shoal_nats::BusError;
use shoal_shared::failure::{Failure, FailureCode};

pub(crate) fn unavailable(error: BusError) -> Failure {
    let message = match error {
        BusError::Silent => error.to_string(),
        error => {
            tracing::warn!(%error, "a request could not be served");
            "what this request needs cannot be read or written at the moment: try again".to_owned()
        }
    };
    Failure::new(FailureCode::NoCapacity, message)
}
