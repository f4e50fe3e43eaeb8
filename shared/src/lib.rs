//! What gateway and worker must agree on, and the skeleton every Shoal process shares.
//!
//! | module | owns |
//! | --- | --- |
//! | [`names`] | job ids, model names, lanes: every token that ends up in a subject |
//! | [`headers`] | names of the job headers, and the deadline they carry |
//! | [`digest`] | SHA-256 and MD5 of an upload in one pass; cache keys |
//! | [`interned`] | text that is written again and again, kept once |
//! | [`npy`] | tensors as payloads: the header of numpy's format |
//! | [`sniff`] | image format and dimensions from the header, and the limits on them |
//! | [`prediction`] | what a model says about an image |
//! | [`failure`] | why there is no prediction, as a stable code |
//! | [`answer`] | the JSON that clients read |
//! | [`attribution`] | which part is the bottleneck, and what would help |
//! | [`catalog`] | the versions of a model, and which of them answers |
//! | [`codec`] | the versioned binary form of both |
//! | [`manifest`] | a model's pre- and post-processing, as data |
//! | [`presence`] | the heartbeat by which workers are known |
//! | [`trace`] | which request something belongs to |
//! | [`supervision`] | what supervisors on several hosts agree on |
//! | [`status`] | everything that is worth a look, in one answer |
//! | [`config`] | defaults, file, environment, flags: one rule for every binary |
//! | [`process`] | telemetry, shutdown, admin server: what every `main` needs |
//!
//! Nothing here talks to NATS, decodes pixels or knows a model runtime.

pub mod answer;
pub mod attribution;
pub mod catalog;
pub mod codec;
pub mod config;
pub mod digest;
pub mod failure;
pub mod headers;
mod hexadecimal;
pub mod interned;
pub mod locate;
pub mod manifest;
mod md5_lanes;
pub mod metrics;
pub mod names;
pub mod npy;
pub mod prediction;
pub mod presence;
pub mod process;
pub mod sniff;
pub mod status;
pub mod supervision;
pub mod trace;
pub mod vouch;
