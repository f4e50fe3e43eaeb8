//! Exemplars: beside a bucket of a histogram, the trace of one request that fell into it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// The newest traced request of each bucket of one histogram with one label.
pub struct Exemplars {
    family: &'static str,
    label: &'static str,
    bounds: Vec<f64>,
    newest: Mutex<HashMap<(String, String), Exemplar>>,
}

struct Exemplar {
    trace_id: String,
    seconds: f64,
    at: f64,
}

impl Exemplars {
    /// For the histogram `family` with `label` and these buckets.
    pub fn new(family: &'static str, label: &'static str, bounds: &[f64]) -> Self {
        Self { family, label, bounds: bounds.to_vec(), newest: Mutex::default() }
    }

    /// Remembers a traced request. The label's values must come from a small closed set.
    pub fn record(&self, value: &str, took: Duration, trace_id: &str) {
        let seconds = took.as_secs_f64();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let bound = self.bounds.iter().find(|bound| seconds <= **bound);
        let bucket = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
        let exemplar = Exemplar { trace_id: trace_id.to_owned(), seconds, at };
        self.newest.lock().insert((value.to_owned(), bucket), exemplar);
    }

    /// What to add to a line of the text form.
    pub(super) fn of_line(&self, line: &str) -> Option<String> {
        let labels = line.strip_prefix(self.family)?.strip_prefix("_bucket{")?.split_once("} ")?.0;
        let value_of = |name: &str| {
            let found = labels.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix("=\""));
            found?.strip_suffix('"')
        };
        let bucket = (value_of(self.label)?.to_owned(), value_of("le")?.to_owned());
        let newest = self.newest.lock();
        let Exemplar { trace_id, seconds, at } = newest.get(&bucket)?;
        Some(format!(" # {{trace_id=\"{trace_id}\"}} {seconds} {at:.3}"))
    }
}
