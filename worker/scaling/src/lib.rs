//! How many workers there should be: a pure state machine in virtual time, and what it is made of.
#![forbid(unsafe_code)]

mod allot;
mod batching;
mod belief;
mod counter;
mod decision;
mod demand;
mod divide;
mod erlang;
mod evidence;
mod gain;
mod plan;
mod rate;
mod room;
mod scaler;
mod settings;
mod signals;
mod startup;
mod window;

pub use allot::{Holding, allot};
pub use batching::BatchCurve;
pub use decision::{Action, Cause, Decision, Inputs};
pub use demand::{Load, whole_workers};
pub use divide::{Assignment, Demand, Move, Share, divide};
pub use erlang::erlang_c;
pub use plan::{Ask, Plan, Saturates, plan};
pub use scaler::Scaler;
pub use settings::{Device, Settings, Threads};
pub use signals::{Cpu, Heartbeat, Queue, Signals};
