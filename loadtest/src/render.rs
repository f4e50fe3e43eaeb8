//! A report as people and programs read it.

mod chart;
mod csv;
mod html;
mod markdown;
mod series;
mod tables;

pub use csv::csv;
pub use html::html;
pub use markdown::{markdown, text};
