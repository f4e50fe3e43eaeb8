//! Jobs that are submitted twice, followed, and told about.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::http::{self, Response};
use shoal_testkit::{eventually, images};

fn put(fleet: &Fleet, id: &str, digit: u8) -> Response {
    http::request("PUT", &fleet.url(&format!("/jobs/{id}")), &[], Some(&images::digit(digit)))
}

#[test]
fn the_same_job_twice_is_one_job() {
    let mut fleet = Fleet::start(FleetPlan::default());
    assert_eq!(put(&fleet, "mine", 4).status, 202);
    let again = put(&fleet, "mine", 4);
    assert_eq!((again.status, again.json()["id"].as_str()), (200, Some("mine")));
    assert_eq!(put(&fleet, "%6Dine", 4).json()["id"], "mine");
    let other = put(&fleet, "mine", 5);
    assert_eq!((other.status, other.json()["error"]["code"].as_str()), (409, Some("conflict")));
    let done = http::get(&fleet.url("/jobs/mine?wait=30")).json();
    assert_eq!((&done["state"], &done["result"]["prediction"]), (&json!("done"), &json!("4")));
    // By another gateway, after the outcome.
    fleet.add_gateway();
    let elsewhere = format!("{}/jobs/mine", fleet.gateways[1].1);
    let again = http::request("PUT", &elsewhere, &[], Some(&images::digit(4)));
    assert_eq!((again.status, again.json()["state"].as_str()), (200, Some("done")));

    let keyed = |digit| http::post(&fleet.url("/jobs"), &[("idempotency-key", "order 7")], &images::digit(digit));
    let (first, second) = (keyed(6), keyed(6));
    assert_eq!((first.status, second.status), (202, 200));
    assert_eq!(first.json()["id"], second.json()["id"]);
    assert_eq!(keyed(7).status, 409);

    let preferred = http::post(&fleet.url("/predict"), &[("prefer", "respond-async")], &images::digit(8));
    assert_eq!((preferred.status, preferred.header("preference-applied")), (202, Some("respond-async")));
    let place = preferred.header("location").unwrap();
    assert_eq!(http::get(&fleet.url(&format!("{place}?wait=30"))).json()["result"]["prediction"], "8");
    let listed = http::get(&fleet.url("/jobs?limit=2")).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[0]["id"], preferred.json()["id"]);
}

/// Reads server-sent events until there are `count`; each as (id, event, data).
fn events(fleet: &Fleet, id: &str, last: Option<&str>, count: usize) -> Vec<(String, String, Value)> {
    let address = fleet.gateways[0].1.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let last = last.map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
    write!(stream, "GET /jobs/{id}/events HTTP/1.1\r\nHost: {address}\r\n{last}\r\n").unwrap();
    let (mut told, mut event) = (Vec::new(), (String::new(), String::new(), Value::Null));
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        match line.split_once(':') {
            Some(("id", value)) => event.0 = value.trim().into(),
            Some(("event", value)) => event.1 = value.trim().into(),
            Some(("data", value)) => event.2 = serde_json::from_str(value.trim()).unwrap(),
            None if line.is_empty() && !event.1.is_empty() => told.push(std::mem::take(&mut event)),
            _ => {}
        }
        if told.len() == count {
            break;
        }
    }
    told
}

#[test]
fn a_job_is_followed_and_nothing_is_told_twice() {
    let mut fleet = Fleet::start(FleetPlan::default());
    fleet.workers[0].kill();
    eventually("the gateway notices", || http::get(&fleet.url("/readyz")).json()["workers"] == 0);
    assert_eq!(put(&fleet, "slow", 2).status, 202);
    let told = events(&fleet, "slow", None, 1);
    assert_eq!((told[0].0.as_str(), told[0].1.as_str()), ("1", "accepted"));
    fleet.add_worker();
    // Comes back and hears the rest only.
    let told = events(&fleet, "slow", Some("1"), 1);
    assert_eq!((told[0].0.as_str(), told[0].1.as_str()), ("2", "done"));
    assert_eq!(told[0].2["result"]["prediction"], "2");
    let headers = [("last-event-id", "2")];
    assert_eq!(http::request("GET", &fleet.url("/jobs/slow/events"), &headers, None).status, 204);
    assert_eq!(events(&fleet, "slow", None, 2).len(), 2);
    assert_eq!(http::get(&fleet.url("/jobs/nobodys/events")).status, 404);
}

/// Somebody who is called: answers as told, in turn; passes on what it heard.
fn receiver(answers: &'static [u16]) -> (String, Receiver<(Vec<String>, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (heard, hears) = channel();
    std::thread::spawn(move || {
        for (stream, status) in listener.incoming().zip(answers.iter().chain(std::iter::repeat(&200))) {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = Vec::new();
            let length = loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    let length =
                        head.iter().find_map(|line: &String| line.strip_prefix("content-length: ")?.parse().ok());
                    break length.unwrap_or(0);
                }
                head.push(line.trim().to_lowercase());
            };
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if heard.send((head, String::from_utf8(body).unwrap())).is_err() {
                return;
            }
        }
    });
    (url, hears)
}

#[test]
fn a_call_is_signed_tried_again_and_survives_its_gateway() {
    let gateway_env = vec![("SHOAL_GATEWAY_WEBHOOKS_TO_PRIVATE_ADDRESSES".into(), "true".into())];
    let mut fleet = Fleet::start(FleetPlan { gateway_env, ..FleetPlan::default() });
    let (url, hears) = receiver(&[500]);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let submit = |fleet: &Fleet, query: &str, digit| {
        let url = fleet.url(&format!("/jobs?webhook={url}{query}"));
        let submitted = http::post(&url, &[("traceparent", trace)], &images::digit(digit));
        assert_eq!(submitted.status, 202, "{submitted:?}");
        submitted.json()["id"].as_str().unwrap().to_owned()
    };
    let id = submit(&fleet, "", 9);
    let (first, second) = (hears.recv().unwrap(), hears.recv().unwrap());
    assert_eq!(first.1, second.1, "the call that failed is made again");
    let (head, body) = second;
    let header = |name: &str| head.iter().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap().to_owned();
    let said: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&said["type"], &said["data"]["id"]), (&json!("job.done"), &json!(id)));
    assert_eq!(said["data"]["result"]["prediction"], "9");
    assert!(header("traceparent").contains("0af7651916cd43dd8448eb211c80319c"));

    let secret = http::get(&fleet.url("/webhooks/secret")).json()["secret"].as_str().unwrap().to_owned();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    assert_eq!(header("webhook-id"), id.to_lowercase());
    mac.update(format!("{id}.{}.{body}", header("webhook-timestamp")).as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())).to_lowercase();
    assert_eq!(header("webhook-signature"), expected);

    // Nobody is told what nobody wants to hear; and the gateway that took the job is killed.
    fleet.workers[0].kill();
    eventually("the gateway notices", || http::get(&fleet.url("/readyz")).json()["workers"] == 0);
    submit(&fleet, "&webhook_events=failed,cancelled", 1);
    let wanted = submit(&fleet, "&webhook_events=done", 2);
    fleet.gateways[0].0.kill();
    fleet.add_worker();
    fleet.add_gateway();
    let (_, body) = hears.recv_timeout(Duration::from_secs(90)).expect("another gateway calls");
    let said: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&said["type"], &said["data"]["id"]), (&json!("job.done"), &json!(wanted)));
}

#[test]
fn inside_addresses_and_nonsense_are_refused_at_once() {
    let fleet = Fleet::start(FleetPlan::default());
    for url in
        ["http://example.com/", "https://127.0.0.1:4222/", "https://169.254.169.254/latest", "https://[::1]/", "x"]
    {
        let refused = http::post(&fleet.url(&format!("/jobs?webhook={url}")), &[], &images::digit(1));
        assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (422, Some("invalid")), "{url}");
    }
    let unknown = "/jobs?webhook=https://example.com/&webhook_events=finished";
    assert_eq!(http::post(&fleet.url(unknown), &[], &images::digit(1)).status, 422);
}
