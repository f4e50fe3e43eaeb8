//! The load generator: experiments on an HTTP predict service, and honest reports of them.
//!
//! | module | owns |
//! | --- | --- |
//! | [`scenario`] | what is to be asked, as TOML |
//! | [`schedule`] | when requests are due: pure functions of phases and time |
//! | [`users`], [`arrivals`] | the closed loop; the open loop |
//! | [`engine`], [`client`], [`body`] | one request, one connection, one body |
//! | [`pool`], [`photograph`], [`unique`], [`zipf`] | what is sent, and how often the same |
//! | [`check`], [`outcome`] | whether an answer is right; how a request ended |
//! | [`board`], [`slice`], [`ledger`] | what was seen: written down, a second of it, the sum |
//! | [`watch`] | what the target says of itself meanwhile |
//! | [`run`], [`measure`], [`view`] | one run, its report, what is shown meanwhile |
//! | [`render`] | a report as a page, as text, Markdown, and Locust's CSV |
//! | [`capacity`] | the highest rate that holds a promise |
//! | [`compare`], [`welch`] | runs side by side, and whether they differ |
//! | [`distributed`] | one run from several machines or addresses |
//! | [`practice`] | a server of known behaviour, to check all this against |
//! | [`command`] | the command line |
//! | [`report`], [`environment`], [`verdict`] | findings as data, where they hold, and in words |

pub mod arrivals;
pub mod board;
pub mod body;
pub mod capacity;
pub mod check;
pub mod client;
pub mod command;
pub mod compare;
pub mod distributed;
pub mod engine;
pub mod environment;
pub mod ledger;
pub mod measure;
pub mod outcome;
pub mod photograph;
pub mod pool;
pub mod practice;
pub mod render;
pub mod report;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod slice;
pub mod unique;
pub mod users;
pub mod verdict;
pub mod view;
pub mod watch;
pub mod welch;
pub mod zipf;
