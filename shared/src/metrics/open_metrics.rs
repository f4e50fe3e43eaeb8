//! The OpenMetrics text form, which can carry exemplars: made from the older one, line by line, because
//! the `prometheus` crate writes only that.

use super::Exemplars;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Rewrites Prometheus's text format. A counter's family is named without `_total`; a bucket may end
/// in an exemplar; the end is marked.
pub(super) fn from_text(text: &str, exemplars: Option<&Exemplars>) -> String {
    let mut open = String::with_capacity(text.len() + 1024);
    let mut help = None;
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            // Written with the type: only that says whether it is a counter.
            help = Some(line);
            continue;
        }
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let counter = family.strip_suffix(" counter").and_then(|name| name.strip_suffix("_total"));
            for header in help.take().into_iter().chain([line]) {
                open.push_str(&without_total(header, counter));
                open.push('\n');
            }
            continue;
        }
        open.push_str(line);
        if let Some(exemplar) = exemplars.and_then(|exemplars| exemplars.of_line(line)) {
            open.push_str(&exemplar);
        }
        open.push('\n');
    }
    open.push_str("# EOF\n");
    open
}

fn without_total(header: &str, counter: Option<&str>) -> String {
    match counter {
        Some(name) => header.replacen(&format!("{name}_total"), name, 1),
        None => header.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::{HistogramOpts, HistogramVec, IntCounter, Registry};

    use super::super::{Exemplars, scrape};

    const FAMILY: &str = "shoal_test_seconds";

    #[test]
    fn counters_lose_their_suffix_in_the_headers_and_buckets_gain_exemplars() {
        let registry = Registry::new();
        let counter = IntCounter::new("shoal_test_jobs_total", "Jobs").unwrap();
        let options = HistogramOpts::new(FAMILY, "Time").buckets(vec![0.1, 1.0]);
        let times = HistogramVec::new(options, &["route"]).unwrap();
        registry.register(Box::new(counter)).unwrap();
        registry.register(Box::new(times.clone())).unwrap();
        times.with_label_values(&["/a"]).observe(0.5);
        let exemplars = Exemplars::new(FAMILY, "route", &[0.1, 1.0]);
        exemplars.record("/a", Duration::from_millis(500), "0af7651916cd43dd8448eb211c80319c");

        let open = scrape(&registry, Some(&exemplars), Some("application/openmetrics-text; version=1.0.0"));
        assert!(open.body.contains("# TYPE shoal_test_jobs counter\nshoal_test_jobs_total 0\n"), "{}", open.body);
        assert!(open.body.contains("# HELP shoal_test_jobs Jobs\n"));
        let bucket =
            r#"shoal_test_seconds_bucket{route="/a",le="1"} 1 # {trace_id="0af7651916cd43dd8448eb211c80319c"} 0.5 "#;
        assert!(open.body.contains(bucket), "{}", open.body);
        assert!(open.body.ends_with("# EOF\n"));
        let plain = scrape(&registry, Some(&exemplars), Some("text/plain"));
        assert!(!plain.body.contains("trace_id") && plain.body.contains("# TYPE shoal_test_jobs_total counter"));
    }
}
