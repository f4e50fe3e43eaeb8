//! Which part of the fleet is the bottleneck, by a rule that is written down.
//!
//! [`Situation`] is what was measured over a window, [`attribute`] names the part whose saturation
//! explains the delay, and says in words what would help and by how much. Pure: whoever measures hands
//! the numbers in, so the rule is tested by examples. `docs/bottleneck.md` has it in prose, and
//! `grafana/prometheus/rules.yml` in PromQL.

mod advice;
mod report;
mod rule;
mod situation;

pub use advice::{Advice, INT8_GAIN};
pub use report::{Report, Saturation, StageMs, attribute};
pub use rule::{Bottleneck, CPU_SATURATED, SATURATED};
pub use situation::{HostUse, Resource, STAGES, Situation, StageTimes, Use};
