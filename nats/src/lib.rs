//! The bus: streams, consumers and buckets as data, and one typed API over JetStream.
//!
//! | module | owns |
//! | --- | --- |
//! | [`accounts`] | accounts, keys and the signing secret |
//! | [`attempts`] | what a job that came back has been through |
//! | [`bundles`] | model files, a bundle for each version |
//! | [`cancel`] | jobs that nobody waits for any more |
//! | [`catalog`] | versions of models, and which of them answers |
//! | [`claims`] | which gateway computes what, when there are several |
//! | [`connect`] | the connection: reconnects for ever, says when it is up |
//! | [`subjects`] | every subject, built and parsed |
//! | [`topology`] | every stream, consumer and bucket, field by field |
//! | [`ensure`] | applying the topology: idempotent, refuses unsafe changes |
//! | `identity` | who this process is to NATS |
//! | `denied` | what the server does not let this process do |
//! | `breaker` | refusing at once while the broker answers nobody |
//! | [`publish`] | putting a job into the queue, with the broker's verdict |
//! | [`puller`] | taking jobs on credits: never more than free slots |
//! | [`delivery`] | one job in one worker's hands; settled exactly once |
//! | `order` | acknowledgements in the order of delivery, for a moment |
//! | [`describe`] | a model in full, told by a worker that has it |
//! | [`register`] | accepted asynchronous jobs, by id |
//! | [`replies`] | a gateway's single inbox, a waiter per job |
//! | [`results`] | outcomes of asynchronous jobs |
//! | [`cache`] | the shared tier of the prediction cache |
//! | [`uploads`] | images too large for a message |
//! | [`dead`] | dead letters, and the broker's own word on exhausted jobs |
//! | [`peers`] | gateways that know of each other and share their flights |
//! | [`feedback`] | what people said of predictions |
//! | [`quota`] | requests counted by key and day |
//! | [`webhooks`] | calls to be made about jobs |
//! | [`listing`] | many messages of a stream at once |
//! | [`presence`] | worker heartbeats, sent and gathered |
//! | [`supervision`] | supervisors' common record, and their decisions |
//! | [`service`] | the NATS request front door |
//! | [`agents`] | load generators and whoever coordinates them |
//! | [`backlog`] | what waits in the queue |
//!
//! No other crate names a stream, consumer or bucket configuration.

pub mod accounts;
pub mod agents;
pub mod attempts;
pub mod backlog;
mod breaker;
pub mod bundles;
pub mod cache;
pub mod cancel;
pub mod catalog;
pub mod claims;
pub mod connect;
pub mod dead;
pub mod delivery;
mod denied;
pub mod describe;
pub mod ensure;
pub mod feedback;
mod identity;
pub mod listing;
mod order;
pub mod peers;
pub mod presence;
pub mod publish;
pub mod puller;

pub mod quota;
mod receipt;
pub mod register;
pub mod replies;
pub mod results;
pub mod service;
pub mod subjects;
pub mod supervision;
pub mod topology;
pub mod uploads;
pub mod vouched;
pub mod webhooks;

pub use connect::{Bus, BusConfig, BusError};
