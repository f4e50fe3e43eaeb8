//! What must hold: `p95 < 300ms`, `errors < 1%`, `predict.rps > 100`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::report::{KEPT, TaskReport};

/// A condition on the figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Threshold {
    /// Of one task; without it, of all together.
    pub task: Option<String>,
    /// Which figure.
    pub metric: Metric,
    /// Whether it is to be above the bound, not below.
    above: bool,
    /// Milliseconds, a share, or a number.
    bound: f64,
    text: String,
}

/// A figure of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// Latency that so many percent of the answered requests are within, milliseconds.
    Percentile(f64),
    /// Mean latency of answered requests, milliseconds.
    Average,
    /// Slowest answered request, milliseconds.
    Max,
    /// Share of requests that failed: neither answered nor refused.
    Errors,
    /// Share of requests that were refused with `Retry-After`.
    Refused,
    /// Share of requests without an answer: failed or refused.
    Unanswered,
    /// Answers a second.
    Rps,
}

impl Threshold {
    /// The figure, and whether it is where it should be. A latency without answers holds nothing.
    pub fn judge(&self, report: &TaskReport) -> (Option<f64>, bool) {
        let share = |count: u64| (report.requests > 0).then(|| count as f64 / report.requests as f64);
        let stats = report.latency.as_ref();
        let value = match self.metric {
            Metric::Percentile(percent) => stats.and_then(|stats| stats.at(percent)),
            Metric::Average => stats.map(|stats| stats.mean_ms),
            Metric::Max => stats.map(|stats| stats.max_ms),
            Metric::Errors => share(report.failed),
            Metric::Refused => share(report.refused),
            Metric::Unanswered => share(report.failed + report.refused),
            Metric::Rps => Some(report.rps),
        };
        let holds = |value: f64| if self.above { value > self.bound } else { value < self.bound };
        (value, value.is_some_and(holds))
    }

    /// A figure of this kind, for people.
    pub fn show(&self, value: f64) -> String {
        match self.metric {
            Metric::Percentile(_) | Metric::Average | Metric::Max => format!("{value:.1} ms"),
            Metric::Errors | Metric::Refused | Metric::Unanswered => format!("{:.2} %", 100.0 * value),
            Metric::Rps => format!("{value:.1}/s"),
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |reason: String| format!("threshold `{text}`: {reason}");
        let at = text.find(['<', '>']).ok_or_else(|| bad("`<` or `>` is missing".into()))?;
        let (name, bound) = (text[..at].trim(), text[at + 1..].trim());
        let (task, metric) = match name.rsplit_once('.').filter(|(_, metric)| Metric::named(metric).is_some()) {
            Some((task, metric)) => (Some(task.to_owned()), metric),
            None => (None, name),
        };
        let metric = Metric::named(metric).ok_or_else(|| {
            bad(format!("`{metric}` is none of p50, p90, p95, p99, p99.9, avg, max, errors, refused, unanswered, rps"))
        })?;
        let bound = metric.bound(bound).map_err(bad)?;
        Ok(Self { task, metric, above: text.as_bytes()[at] == b'>', bound, text: text.to_owned() })
    }
}

impl Metric {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "avg" => Metric::Average,
            "max" => Metric::Max,
            "errors" => Metric::Errors,
            "refused" => Metric::Refused,
            "unanswered" => Metric::Unanswered,
            "rps" => Metric::Rps,
            _ => {
                let percent: f64 = name.strip_prefix('p')?.parse().ok()?;
                return KEPT.contains(&percent).then_some(Metric::Percentile(percent));
            }
        })
    }

    fn bound(self, text: &str) -> Result<f64, String> {
        match self {
            Metric::Percentile(_) | Metric::Average | Metric::Max => humantime::parse_duration(text)
                .map(|bound| bound.as_secs_f64() * 1e3)
                .map_err(|_| format!("`{text}` is no duration such as 300ms")),
            Metric::Errors | Metric::Refused | Metric::Unanswered => text
                .strip_suffix('%')
                .and_then(|percent| percent.trim().parse::<f64>().ok())
                .map(|percent| percent / 100.0)
                .ok_or_else(|| format!("`{text}` is no percentage such as 1%")),
            Metric::Rps => text.parse().map_err(|_| format!("`{text}` is no number")),
        }
    }
}

impl TryFrom<String> for Threshold {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Threshold> for String {
    fn from(threshold: Threshold) -> Self {
        threshold.text
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Stats, TaskReport};

    #[test]
    fn holds_or_does_not() {
        let report = TaskReport {
            requests: 200,
            answered: 190,
            refused: 8,
            failed: 2,
            rps: 19.0,
            latency: Some(Stats { mean_ms: 100.0, max_ms: 900.0, p95_ms: 250.0, ..Stats::default() }),
            ..TaskReport::default()
        };
        let holds = |text: &str| text.parse::<Threshold>().unwrap().judge(&report).1;
        assert!(holds("p95 < 300ms") && !holds("p95 < 200ms") && holds("max<1s") && holds("avg > 99ms"));
        assert!(holds("errors < 1.5%") && !holds("errors < 1%") && holds("unanswered > 4.9%") && holds("refused<5%"));
        assert!(holds("rps > 18") && !holds("rps > 19"));
        assert!(!"p95 < 1s".parse::<Threshold>().unwrap().judge(&TaskReport::default()).1, "no answer, no latency");
        for bad in ["p95", "p95 < 3", "p101 < 3s", "errors < 0.1", "speed > 3", "rps > many"] {
            assert!(bad.parse::<Threshold>().is_err(), "{bad}");
        }
    }
}
