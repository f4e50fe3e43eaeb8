//! The load generator: connections that each send the next image when the last is answered.
//!
//! | module | owns |
//! | --- | --- |
//! | [`unique`] | making every body different without changing what the picture shows |
//! | [`closed`] | the closed loop: keep-alive connections, each one request at a time |
//! | [`photograph`] | photographs that nobody took, of any size |
//! | [`record`] | latencies and outcomes, and their summary |

pub mod closed;
pub mod photograph;
pub mod record;
pub mod unique;
