//! Killing everything at random under load, and accounting for every job afterwards.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`load`] | clients of three kinds: held requests, accepted jobs, plain publishes |
//! | [`trouble`] | a seeded schedule of kills and pauses |
//! | [`collect`] | waiting for the outcome of everything |
//! | [`ledger`] | what was accepted, what became of it, and the balance sheet |

pub mod collect;
pub mod ledger;
pub mod load;
pub mod trouble;
