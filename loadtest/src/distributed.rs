//! One run from several machines or addresses: agents that each drive a part of the load, and a
//! coordinator that starts them at the same moment and adds up what they see.

pub mod agent;
mod clock;
pub mod coordinator;
mod roster;
mod words;
