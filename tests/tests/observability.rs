//! Where the time went, by request and in sum; and what an outsider cannot do to it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::collections::{BTreeMap, BTreeSet};

use shoal_testkit::fleet::{Fleet, FleetPlan, metric};
use shoal_testkit::load::LoadPlan;
use shoal_testkit::otlp::Collector;
use shoal_testkit::process::repository;
use shoal_testkit::{eventually, http, images};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn page(fleet: &Fleet, accept: &str) -> String {
    let answer = http::Client::new().try_get_with(&fleet.url("/metrics"), &[("Accept", accept)]).unwrap();
    String::from_utf8(answer.body).unwrap()
}

#[test]
fn one_id_from_the_request_to_the_workers_log_and_the_traces() {
    let collector = Collector::new();
    let debug = ("SHOAL_LOG".to_owned(), "info,shoal_gateway=debug,shoal_worker=debug".to_owned());
    let fleet = Fleet::start(FleetPlan {
        gateway_env: vec![debug.clone(), ("SHOAL_GATEWAY_OTLP_ENDPOINT".into(), collector.url.clone())],
        worker_env: vec![debug, ("SHOAL_WORKER_OTLP_ENDPOINT".into(), collector.url.clone())],
        ..FleetPlan::default()
    });
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let headers = [("traceparent", parent.as_str()), ("X-Request-Id", "order-17")];
    let answer = http::post(&fleet.url("/predict"), &headers, &images::digit(3));
    assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("order-17")));
    eventually("gateway and worker have logged it", || {
        let logged = |log: String| log.lines().any(|line| line.contains("order-17") && line.contains("request.id"));
        logged(fleet.gateways[0].0.log()) && logged(fleet.workers[0].log())
    });
    let trace = u128::from_str_radix(TRACE, 16).unwrap().to_be_bytes();
    eventually("both have sent their spans", || {
        let gateway = [&trace[..], b"shoal-gateway", b"/predict", b"publish", b"infer", b"order-17"];
        let worker = [&trace[..], b"shoal-worker", b"job", b"decode", b"order-17"];
        collector.has(&gateway) && collector.has(&worker)
    });
    // The request is an exemplar of the bucket it fell into, for whoever understands those.
    let open = page(&fleet, "application/openmetrics-text");
    let exemplar = format!("# {{trace_id=\"{TRACE}\"}}");
    assert!(open.lines().any(|line| line.contains("request_seconds_bucket") && line.contains(&exemplar)), "{open}");
    assert!(open.ends_with("# EOF\n"));
    assert!(!page(&fleet, "text/plain").contains("trace_id"));

    // Without an id of its own a request gets one; a failed one too.
    let failed = http::post(&fleet.url("/predict"), &[], b"no image");
    assert_eq!(failed.header("x-request-id").map(str::len), Some(32));
}

#[test]
fn the_stages_are_the_whole_time_of_ten_thousand_requests() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(FleetPlan::default());
    let image = dir.path().join("digit.png");
    std::fs::write(&image, images::digit(3)).unwrap();
    let url = fleet.url("/predict");
    // Computed, joined and remembered ones.
    let computed = LoadPlan { url: &url, image: &image, connections: 8, unique: true };
    let load = computed.start(&dir.path().join("computed.log"));
    let repeated = LoadPlan { url: &url, image: &image, connections: 1, unique: false };
    let other = repeated.start(&dir.path().join("repeated.log"));
    let metrics = fleet.url("/metrics");
    let computed = || metric(&metrics, "shoal_gateway_predictions_total{cache=\"miss\"}");
    eventually("ten thousand were computed", || computed() > 10_000.0);
    drop((load, other));
    let text = page(&fleet, "text/plain");
    let sum = |prefix: &str| -> f64 {
        text.lines()
            .filter(|line| line.starts_with(prefix))
            .map(|line| line.rsplit(' ').next().unwrap())
            .map(|value| value.parse::<f64>().unwrap())
            .sum()
    };
    let (stages, whole) = (sum("shoal_gateway_stage_seconds_sum"), sum("shoal_gateway_request_seconds_sum"));
    let share = stages / whole;
    println!(
        "{} requests, {whole:.2} s, of which the stages are {:.2} %",
        sum("shoal_gateway_request_seconds_count"),
        100.0 * share
    );
    assert!((share - 1.0).abs() < 0.02, "{share}");
}

#[test]
fn an_outsider_cannot_grow_the_metrics() {
    let fleet = Fleet::start(FleetPlan::default());
    let series = || -> BTreeSet<String> {
        let text = page(&fleet, "text/plain");
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
            .collect()
    };
    let ask = |number: u32| {
        http::post(&fleet.url(&format!("/predict?model=m{number}")), &[("X-API-Key", &number.to_string())], b"x");
        http::post(&fleet.url(&format!("/nowhere/{number}")), &[], b"x");
        http::get(&fleet.url(&format!("/jobs/{number}")));
        http::get(&fleet.url(&format!("/predictions/{number}")));
    };
    ask(0);
    let before = series();
    (1..50).for_each(ask);
    let grown: Vec<_> = series().difference(&before).cloned().collect();
    assert!(grown.is_empty(), "{grown:?}");
}

/// One line for each metric of a page: name, kind, labels, help.
fn described(page: &str) -> BTreeMap<String, String> {
    let mut metrics: BTreeMap<String, (String, String, BTreeSet<String>)> = BTreeMap::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            metrics.entry(name.to_owned()).or_default().1 = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            metrics.entry(name.to_owned()).or_default().0 = kind.to_owned();
        } else if let Some((name, rest)) = line.split_once('{') {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let family = family.filter(|family| metrics.contains_key(*family)).unwrap_or(name);
            let labels = rest.split("\",").filter_map(|label| label.split_once('=').map(|(label, _)| label.to_owned()));
            metrics.get_mut(family).unwrap().2.extend(labels.filter(|label| label != "le"));
        }
    }
    let line = |(name, (kind, help, labels)): (String, (String, String, BTreeSet<String>))| {
        let labels = labels.into_iter().collect::<Vec<_>>().join(", ");
        let text = format!("| `{name}` | {kind} | {labels} | {help} |");
        (name, text)
    };
    metrics.into_iter().map(line).collect()
}

#[test]
fn every_metric_is_documented() {
    let fleet = Fleet::start(FleetPlan::default());
    assert_eq!(http::post(&fleet.url("/predict"), &[], &images::digit(3)).status, 200);
    eventually("the queue and the streams were looked at", || {
        let text = page(&fleet, "text/plain");
        text.contains("shoal_stream_bytes{") && text.contains("shoal_queue_oldest_job_seconds{")
    });
    let gateway = described(&page(&fleet, "text/plain"));
    let admin = http::get(&fleet.url("/models")).json()["workers"][0]["admin"].as_str().unwrap().to_owned();
    let worker = String::from_utf8(http::get(&format!("http://{admin}/metrics")).body).unwrap();
    let worker = described(&worker);
    let head = "| metric | kind | labels | what |\n| --- | --- | --- | --- |";
    let table = |metrics: &dyn Fn(&str) -> bool, of: &BTreeMap<String, String>| {
        let rows: Vec<_> = of.iter().filter(|(name, _)| metrics(name)).map(|(_, row)| row.as_str()).collect();
        format!("{head}\n{}\n", rows.join("\n"))
    };
    let both = |name: &str| gateway.contains_key(name) && worker.contains_key(name);
    let text = format!(
        "# Metrics\n\nWritten by a test from a running fleet (`SHOAL_WRITE_DOCS=1 cargo test --workspace --test \
         observability documented`).\nEvery gateway tells the same of queue, streams and fleet: take the maximum, not the \
         sum. Times are seconds.\n\n## Gateway\n\n{}\n## Worker\n\n{}\n## Both\n\n{}",
        table(&|name| !both(name), &gateway),
        table(&|name| !both(name), &worker),
        table(&both, &worker),
    );
    let path = repository().join("docs/metrics.md");
    if std::env::var_os("SHOAL_WRITE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, text, "docs/metrics.md is stale");
}
