//! What people said of predictions: a stream with a subject for each account.

use shoal_shared::names::Owner;

use crate::connect::{Bus, BusError};
use crate::listing::Stored;
use crate::topology::FEEDBACK;

/// Most that one listing gives.
const MAX_LISTED: usize = 1000;

impl Bus {
    /// Keeps a piece of feedback; gives its number.
    pub async fn keep_feedback(&self, owner: &Owner, feedback: Vec<u8>) -> Result<u64, BusError> {
        let failed = |error| BusError::request("keeping feedback", error);
        let kept = async {
            let published = self.js.publish(format!("feedback.{owner}"), feedback.into()).await.map_err(failed)?;
            published.await.map_err(failed)
        };
        Ok(self.ask(kept).await?.sequence)
    }

    /// The feedback of an account, oldest first.
    pub async fn feedback_of(&self, owner: &Owner) -> Result<Vec<Stored>, BusError> {
        self.list(FEEDBACK, format!("feedback.{owner}"), MAX_LISTED).await
    }

    /// Everybody's feedback, oldest first.
    pub async fn all_feedback(&self) -> Result<Vec<Stored>, BusError> {
        self.list(FEEDBACK, "feedback.*".into(), MAX_LISTED).await
    }
}
