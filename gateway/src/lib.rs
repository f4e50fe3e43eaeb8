//! The gateway: HTTP and NATS front doors, the cache in front of the queue, and the wait for the
//! answer.
//!
//! | module | owns |
//! | --- | --- |
//! | [`predict`] | the use case: cache, join, publish, wait; knows no HTTP |
//! | [`admission`] | who may come in, and when those may come back who may not |
//! | [`attribution`] | which part is the bottleneck, judged every second |
//! | [`jobs`] | asynchronous jobs: accepted, waited for, cancelled |
//! | [`accounts`] | accounts, keys, tokens: who asks, and how much |
//! | [`keeper`] | images kept for display |
//! | [`webhooks`] | calls about jobs |
//! | [`cache`] | the memory tier, in front of the shared cache |
//! | [`flights`] | one job for all who ask the same at the same time |
//! | `md5_together` | the MD5 that answers name, of several images at once |
//! | [`models`] | which models exist, and who serves them |
//! | [`statistics`] | counts and times of each model |
//! | [`http`] | routes, bodies, errors, the page |
//! | [`micro`] | `predict.<model>` over NATS |
//! | [`app`] | one gateway, assembled |
//!
//! A gateway holds no truth: it can die at any point and another serves the next request.

pub mod accounts;
pub mod admission;
pub mod app;
pub mod attribution;
pub mod cache;
pub mod config;
pub mod flights;
pub mod http;
pub mod jobs;
pub mod keeper;
mod md5_together;
pub mod metrics;
pub mod micro;
pub mod models;
pub mod predict;
pub mod statistics;
mod unavailable;
pub mod webhooks;
