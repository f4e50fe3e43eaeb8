//! `compare` and `report`: from reports that were written before.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::run::Output;
use crate::compare::{group, markdown};
use crate::render::comparison;
use crate::report::{FORMAT, Report};

#[derive(Args)]
pub(super) struct Compare {
    /// report.json of each run; runs with the same label are repetitions
    #[arg(required = true, num_args = 2..)]
    reports: Vec<PathBuf>,
    /// Also write a page
    #[arg(long)]
    html: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Render {
    /// report.json of a run
    report: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub(super) fn compare(compare: Compare) -> anyhow::Result<u8> {
    let reports: anyhow::Result<Vec<Report>> = compare.reports.iter().map(|path| read(path)).collect();
    let groups = group(reports?);
    if let Some(path) = compare.html {
        std::fs::write(&path, comparison(&groups)).with_context(|| path.display().to_string())?;
    }
    print!("{}", markdown(&groups));
    Ok(0)
}

pub(super) fn render(render: Render) -> anyhow::Result<u8> {
    render.output.deliver(&read(&render.report)?)
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let value: serde_json::Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    if value["format"] != FORMAT {
        bail!("{}: no report of this release (format {}, not {FORMAT})", path.display(), value["format"]);
    }
    serde_json::from_value(value).with_context(|| path.display().to_string())
}
