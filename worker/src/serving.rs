//! The models in this process: fetched, loaded, served and let go, within one budget of CPU threads and one
//! of memory.
//!
//! | module | owns |
//! | --- | --- |
//! | `cpu` | the lease of CPU threads that every run of a session takes |
//! | `wishes` | which models are to be here: what was asked for, and the catalog's word on it |
//! | `orders` | the model that the fleet wants this worker to keep |
//! | `residency` | which of them is loaded or let go next: pure |
//! | `loader` | from a name to sessions that are warmed up |
//! | `served` | one model with its lanes, threads and pullers |
//! | `holder` | all of them: follows wishes, loads before it lets go |
//! | `roll` | what heartbeats tell of them |
//! | `heart` | the heartbeat |

mod cpu;
mod heart;
mod holder;
mod loader;
mod orders;
mod residency;
mod roll;
mod served;
mod wishes;

pub use cpu::{CpuBudget, CpuLease};
pub(crate) use heart::Heart;
pub(crate) use holder::{First, Followed, Holder};
pub(crate) use loader::Loader;
pub(crate) use orders::follow as follow_orders;
pub(crate) use roll::Roll;
pub use roll::Tally;
pub(crate) use served::Means;
