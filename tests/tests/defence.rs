//! Clients that mean harm, or are merely broken: refused early, in bounded memory and time.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::{http, images};

/// A fleet with short patience.
fn wary_fleet(gateway: &str) -> (Fleet, String) {
    let config =
        format!("[gateway]\nheader_timeout = \"700ms\"\nreceive_timeout = \"700ms\"\nmax_connections = 60\n{gateway}");
    let fleet = Fleet::start(FleetPlan { config, ..FleetPlan::default() });
    let address = fleet.url("").trim_start_matches("http://").to_owned();
    (fleet, address)
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Whatever the server says before it closes. Being cut off in the middle of a flood is fine.
fn rest_of(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// Sends raw bytes and gives the status answered: 0 when the server closes without a word.
fn status_of(address: &str, request: &[u8]) -> u16 {
    let mut stream = connect(address);
    let _ = stream.write_all(request);
    rest_of(stream).split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

fn answers(fleet: &Fleet) {
    let answer = http::post(&fleet.url("/predict"), &[], &images::digit(4));
    assert_eq!(answer.json()["prediction"], "4", "{answer:?}");
}

#[test]
fn those_who_never_finish_are_cut_off_and_others_get_in() {
    let (fleet, address) = wary_fleet("");
    // As many as there are places; each sends a piece of its headers, or of its body, and stops.
    let idle: Vec<TcpStream> = (0..60)
        .map(|number| {
            let mut stream = connect(&address);
            let piece = match number % 3 {
                0 => "POST /predict HTTP/1.1\r\nHost: x\r\nX-Slow: ",
                1 => "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n\u{1}PNG",
                _ => "",
            };
            stream.write_all(piece.as_bytes()).unwrap();
            stream
        })
        .collect();
    answers(&fleet);
    for (number, stream) in idle.into_iter().enumerate() {
        let said = rest_of(stream);
        if number % 3 == 1 {
            assert!(said.starts_with("HTTP/1.1 408"), "{number}: {said}");
        }
    }
    // A drop every 100 ms does not help: the time is that of the whole upload.
    let mut dripping = connect(&address);
    dripping.write_all(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n").unwrap();
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(100));
        if dripping.write_all(b"x").is_err() {
            break;
        }
    }
    assert!(rest_of(dripping).contains("408"));
    answers(&fleet);
}

#[test]
fn heads_that_are_too_much_or_make_no_sense_are_refused() {
    let (fleet, address) = wary_fleet("");
    let with = |headers: &str| format!("POST /predict HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\nxx").into_bytes();
    let one_huge = with(&format!("X-Huge: {}", "a".repeat(1 << 20)));
    assert!([0, 431].contains(&status_of(&address, &one_huge)));
    let many: Vec<String> = (0..10_000).map(|number| format!("X-{number}: a")).collect();
    assert!([0, 431].contains(&status_of(&address, &with(&many.join("\r\n")))));
    let endless_line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20));
    assert!([0, 414, 431].contains(&status_of(&address, endless_line.as_bytes())));
    for nonsense in [
        with("Content-Length: -1"),
        with("Content-Length: 18446744073709551616"),
        with("Content-Length: 2\r\nContent-Length: 3"),
        with("Content-Length: 2\r\nTransfer-Encoding: chunked"),
        with("Transfer-Encoding: chunked\r\nX: y"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS, by mistake".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
    ] {
        let status = status_of(&address, &nonsense);
        assert!([0, 400, 505].contains(&status), "{status}: {}", String::from_utf8_lossy(&nonsense));
    }
    // Announces more than it sends, and less.
    let image = images::digit(4);
    let sends = |length: usize| {
        let mut request = format!("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        request.extend_from_slice(&image);
        request
    };
    assert!([0, 400, 408].contains(&status_of(&address, &sends(image.len() + 1000))));
    assert_eq!(status_of(&address, &sends(image.len() - 5)), 400);
    answers(&fleet);
}

#[test]
fn bodies_without_an_end_end_at_the_limit() {
    let (mut fleet, address) = wary_fleet("max_in_flight_bytes = 33554432\n");
    let before = fleet.gateways[0].0.peak_memory();
    // Ten thousand parts; a form that never gets to its file; chunks without end.
    let part = "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n";
    let form = |body: &str| {
        let head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=XX\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    assert_eq!(status_of(&address, &form(&part.repeat(10_000))), 400);
    let endless = |content: &[u8]| {
        let mut stream = connect(&address);
        let head = "POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n";
        let kind = "Content-Type: multipart/form-data; boundary=XX\r\n\r\n";
        let mut open = stream.write_all(format!("{head}{kind}").as_bytes()).is_ok();
        let mut sent = 0;
        while open && sent < 200 << 20 {
            let chunk = [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat();
            open = stream.write_all(&chunk).is_ok();
            sent += content.len();
        }
        (sent, rest_of(stream))
    };
    let (sent, said) = endless(part.repeat(1000).as_bytes());
    assert!(sent < 200 << 20 && (said.is_empty() || said.contains(" 400 ")), "{sent} bytes: {said}");
    let (sent, said) = endless(&vec![b'a'; 1 << 16]);
    assert!(sent < 200 << 20 && !said.contains(" 200 "), "{sent} bytes: {said}");

    // Fifty uploads of 2 MB at once, where 32 MB are allowed in all.
    let body = vec![0x89; 2 << 20];
    std::thread::scope(|scope| {
        let asking: Vec<_> =
            (0..50).map(|_| scope.spawn(|| http::try_post(&fleet.url("/predict"), &[], &body))).collect();
        for answer in asking.into_iter().flat_map(|asking| asking.join().unwrap()) {
            assert!([400, 408, 429].contains(&answer.status), "{answer:?}");
        }
    });
    let grown = fleet.gateways[0].0.peak_memory() - before;
    assert!(grown < 160 << 20, "the gateway grew by {} MiB", grown >> 20);
    assert!(fleet.gateways[0].0.is_running());
    answers(&fleet);
}

#[test]
fn no_name_leads_out_of_its_place() {
    let (fleet, address) = wary_fleet("");
    for name in ["../../../etc/passwd", "/etc/passwd", "..\\..\\x.png", "a\u{0}b.png", "con.png", "%2e%2e%2fx.png"] {
        let answer = http::post_file(&fleet.url("/predict"), "file", name, &images::digit(4));
        let kept = answer.json()["image_file_name"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == 400 || kept.len() == 36 && kept.ends_with(".png"), "{name}: {answer:?}");
    }
    for path in ["/../../etc/passwd", "/jobs/../../etc/passwd", "/predictions/..%2f..%2fx", "/jobs/%00", "/jobs/a.b.>"]
    {
        // By hand: a client library would tidy the path up.
        let mut stream = connect(&address);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let said = rest_of(stream);
        assert!(["400", "404"].iter().any(|status| said.starts_with(&format!("HTTP/1.1 {status}"))), "{path}: {said}");
    }
    for model in ["../digits", "*", "%3E", "digits.bulk", "a%20b"] {
        let answer = http::post(&fleet.url(&format!("/predict?model={model}")), &[], &images::digit(4));
        assert!([400, 404].contains(&answer.status), "{model}: {answer:?}");
    }
    answers(&fleet);
}
