//! What is shown while a run goes on.

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::Second;
use crate::scenario::Scenario;

/// Shows a run while it goes on.
pub trait View: Send {
    /// It begins.
    fn begin(&mut self, scenario: &Scenario);
    /// A second is over.
    fn second(&mut self, second: &Second);
    /// It is over.
    fn end(&mut self);
}

/// Shows nothing.
pub struct Quiet;

impl View for Quiet {
    fn begin(&mut self, _: &Scenario) {}
    fn second(&mut self, _: &Second) {}
    fn end(&mut self) {}
}

/// One JSON object a second on standard output.
pub struct JsonLines;

impl View for JsonLines {
    fn begin(&mut self, _: &Scenario) {}

    fn second(&mut self, second: &Second) {
        if let Ok(line) = serde_json::to_string(second) {
            println!("{line}");
        }
    }

    fn end(&mut self) {}
}

/// A bar in a terminal; without one, a line every ten seconds.
#[derive(Default)]
pub struct Bar {
    bar: Option<ProgressBar>,
    phases: Vec<(u64, String)>,
    seen: Recent,
    is_terminal: bool,
}

/// Sums over the last seconds: one alone says little at a few requests a second.
#[derive(Default)]
struct Recent {
    last: Vec<Second>,
    answered: u64,
    refused: u64,
    failed: u64,
}

/// Seconds that figures on the bar are of.
const RECENT: usize = 5;
/// Seconds between lines without a terminal.
const LINE_EVERY: u32 = 10;

impl View for Bar {
    fn begin(&mut self, scenario: &Scenario) {
        use std::io::IsTerminal;
        self.is_terminal = std::io::stderr().is_terminal();
        let mut end = 0.0;
        for phase in &scenario.phases {
            end += phase.duration.as_secs_f64();
            self.phases.push((end.ceil() as u64, phase.title()));
        }
        eprintln!("{}: {} phases, {:.0} s, against {}", scenario.title, self.phases.len(), end, scenario.target.url);
        if self.is_terminal {
            let bar = ProgressBar::new(end.ceil() as u64);
            let style = ProgressStyle::with_template("{bar:24.cyan/blue} {pos:>4}/{len} s  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar = Some(bar);
        }
    }

    fn second(&mut self, second: &Second) {
        self.seen.add(second);
        let phase = self.phases.iter().position(|(end, _)| u64::from(second.at) < *end);
        let phase = phase.map_or("last answers".to_owned(), |index| {
            let (_, name) = &self.phases[index];
            if self.phases.len() > 1 { format!("{}/{} {name}", index + 1, self.phases.len()) } else { name.clone() }
        });
        let line = self.seen.line(&phase, second);
        match &self.bar {
            Some(bar) => {
                bar.set_position(u64::from(second.at) + 1);
                bar.set_message(line);
            }
            None if second.at % LINE_EVERY == LINE_EVERY - 1 => eprintln!("{:>5} s  {line}", second.at + 1),
            None => {}
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }
}

impl Recent {
    fn add(&mut self, second: &Second) {
        self.answered += second.answered;
        for (kind, count) in &second.kinds {
            *(if kind.starts_with("refused") { &mut self.refused } else { &mut self.failed }) += count;
        }
        if self.last.len() == RECENT {
            self.last.remove(0);
        }
        self.last.push(second.clone());
    }

    fn line(&self, phase: &str, now: &Second) -> String {
        let answered: u64 = self.last.iter().map(|second| second.answered).sum();
        let rps = answered as f64 / self.last.len().max(1) as f64;
        // The median of the seconds' percentiles: histograms of single seconds are not kept.
        let of = |figure: fn(&Second) -> Option<f64>| {
            let mut values: Vec<f64> = self.last.iter().filter_map(figure).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).map_or("–".to_owned(), |value| format!("{value:.0}"))
        };
        format!(
            "{phase} | {} users, {} open | {rps:.1}/s | p50 {} p95 {} p99 {} ms | {} refused, {} failed",
            now.users,
            now.outstanding,
            of(|second| second.p50_ms),
            of(|second| second.p95_ms),
            of(|second| second.p99_ms),
            self.refused,
            self.failed
        )
    }
}
