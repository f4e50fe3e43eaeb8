//! A receiver of spans: takes what exporters post, and keeps the bodies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

/// Everything that was posted to `/v1/traces`. Lives as long as the test's process.
pub struct Collector {
    /// Where to post.
    pub url: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Collector {
    /// Listens on a port of the system's choice.
    #[expect(clippy::new_without_default, reason = "it opens a port")]
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let collected = bodies.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let collected = collected.clone();
                thread::spawn(move || serve(stream, &collected));
            }
        });
        Self { url, bodies }
    }

    /// Whether one body holds all of these byte sequences.
    pub fn has(&self, needles: &[&[u8]]) -> bool {
        let holds = |body: &[u8], needle: &[u8]| body.windows(needle.len()).any(|window| window == needle);
        self.bodies.lock().iter().any(|body| needles.iter().all(|needle| holds(body, needle)))
    }
}

fn serve(stream: TcpStream, collected: &Mutex<Vec<Vec<u8>>>) {
    let mut reader = BufReader::new(stream);
    while let Some((path, body)) = request(&mut reader) {
        if path == "/v1/traces" {
            collected.lock().push(body);
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        if reader.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, body))
}
