//! A report as people and programs read it.

mod capacity;
mod chart;
mod comparison;
mod csv;
mod html;
mod markdown;
mod series;
mod tables;

pub(crate) use capacity::capacity_page;
pub use comparison::comparison;
pub use csv::csv;
pub use html::html;
pub use markdown::{markdown, text};
