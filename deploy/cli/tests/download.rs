//! Downloads against a local server that breaks off, ignores ranges, and lies.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};
use shoal_cli::models::download::{DownloadError, Wanted, agent, fetch};

/// How the server behaves towards the next request.
#[derive(Clone, Copy)]
enum Manner {
    /// Sends what was asked for.
    Good,
    /// Sends this many bytes and closes.
    BreaksOffAfter(usize),
    /// Ignores the range and sends everything.
    IgnoresRanges,
}

struct Server {
    url: String,
    ranges: Arc<Mutex<Vec<String>>>,
}

fn serve(content: Vec<u8>, manners: Vec<Manner>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/model.onnx", listener.local_addr().unwrap());
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let seen = ranges.clone();
    std::thread::spawn(move || {
        for manner in manners {
            let (mut stream, _) = listener.accept().unwrap();
            let lines: Vec<String> = BufReader::new(stream.try_clone().unwrap())
                .lines()
                .map_while(Result::ok)
                .take_while(|l| !l.is_empty())
                .collect();
            let range =
                lines.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
            seen.lock().unwrap().push(range.clone().unwrap_or_default());
            let from = match (manner, range) {
                (Manner::IgnoresRanges, _) | (_, None) => 0,
                (_, Some(range)) => range.trim_end_matches('-').parse().unwrap(),
            };
            let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
            let body = &content[from..];
            let sent = if let Manner::BreaksOffAfter(count) = manner { &body[..count] } else { body };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
        }
    });
    Server { url, ranges }
}

fn content() -> Vec<u8> {
    (0..300_000u32).map(|i| ((i * 7919) >> 5) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let content = content();
    let server =
        serve(content.clone(), vec![Manner::BreaksOffAfter(100_000), Manner::BreaksOffAfter(50_000), Manner::Good]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("model.onnx");
    let digest = sha256(&content);
    let wanted = Wanted { url: &server.url, bytes: content.len() as u64, sha256: &digest };
    let agent = agent(Duration::from_secs(5));
    for _ in 0..2 {
        let error = fetch(&agent, &wanted, &target, false).unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(!target.exists(), "half a file must not get the name");
    }
    fetch(&agent, &wanted, &target, false).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), content);
    assert_eq!(*server.ranges.lock().unwrap(), ["", "100000-", "150000-"]);
}

#[test]
fn a_server_without_ranges_starts_over() {
    let content = content();
    let server = serve(content.clone(), vec![Manner::BreaksOffAfter(100_000), Manner::IgnoresRanges]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("model.onnx");
    let digest = sha256(&content);
    let wanted = Wanted { url: &server.url, bytes: content.len() as u64, sha256: &digest };
    let agent = agent(Duration::from_secs(5));
    fetch(&agent, &wanted, &target, false).unwrap_err();
    fetch(&agent, &wanted, &target, false).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), content);
}

#[test]
fn a_tampered_file_is_thrown_away() {
    let mut content = content();
    let digest = sha256(&content);
    content[1234] ^= 1;
    let longer = [content.as_slice(), b"more"].concat();
    for (served, what) in [(content.clone(), "SHA-256"), (longer, "size")] {
        let server = serve(served, vec![Manner::Good]);
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model.onnx");
        let wanted = Wanted { url: &server.url, bytes: content.len() as u64, sha256: &digest };
        let error = fetch(&agent(Duration::from_secs(5)), &wanted, &target, false).unwrap_err();
        assert!(matches!(&error, DownloadError::Tampered { .. }) && error.to_string().contains(what), "{error}");
        assert!(!error.is_transient());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left to be taken for the model");
    }
}

#[test]
fn nobody_there_is_found_out_quickly_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = Wanted { url: "http://127.0.0.1:9/model.onnx", bytes: 1, sha256: "00" };
    let error = fetch(&agent(Duration::from_secs(1)), &wanted, &folder.path().join("m"), false).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("127.0.0.1:9"), "{error}");
}
