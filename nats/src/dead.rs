//! Dead letters: jobs that could not be done.
//!
//! | module | owns |
//! | --- | --- |
//! | `bury` | writing one |
//! | `undertaker` | jobs that the broker itself has given up |
//! | `sweeper` | jobs that are done and that the broker still keeps |
//! | `letters` | reading, replaying and forgetting them |

mod bury;
mod letters;
mod sweeper;
mod undertaker;

pub use bury::{ATTEMPTS, Epitaph, LAST_WORKER, REASON, SEQUENCE, dead_outcome};
pub use letters::Letter;
