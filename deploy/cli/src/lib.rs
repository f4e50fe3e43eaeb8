//! The operator's command: bring a fleet up, look after its models.
//!
//! | module | command |
//! | --- | --- |
//! | [`up`] | `shoal up`: a whole fleet on this machine, from one command |
//! | [`why`] | `shoal why`: the bottleneck, in words |
//! | [`top`] | `shoal top`: the fleet in the terminal |
//! | [`ask`] | asking a gateway |
//! | [`cache`] | `shoal cache stats, purge` |
//! | [`connect`] | options about NATS, the same for all |
//! | [`dead`] | `shoal dead list, show, replay, purge` |
//! | [`scale`] | `shoal scale`: a number of workers, or `auto` |
//! | [`fleet`] | `shoal fleet status, explain` |
//! | [`tune`] | `shoal tune`: the fastest way to compute a model on this machine that keeps its answers |
//! | [`plan`] | `shoal plan`: how many workers a rate and a delay would need |
//! | [`users`] | `shoal users list, add, password, remove, rotate-secret` |
//! | [`keys`] | `shoal keys new, rotate, retire`: who may connect to NATS |
//! | [`models`] | `shoal models list, pull, add, show, synth, quantize, push, versions, promote, canary, shadow, rollback, remove` |
//! | [`release`] | `shoal completions`, `shoal man`: what a release carries beside the binaries |
//! | [`provision`] | `shoal provision`: streams, consumers and buckets on a server of your own |

pub mod ask;
pub mod cache;
pub mod connect;
pub mod dead;
pub mod fleet;
pub mod keys;
pub mod models;
pub mod plan;
pub mod provision;
pub mod release;
pub mod scale;
pub mod top;
pub mod tune;
pub mod up;
pub mod users;
pub mod why;
