//! `shoal up` as a person uses it: one command, clear complaints, nothing left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use shoal_testkit::clients::Clients;
use shoal_testkit::fleet::metric;
use shoal_testkit::http::Client;
use shoal_testkit::process::{Process, binary, repository};
use shoal_testkit::{eventually, http, images};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn shoal_up(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary("shoal"));
    command.args(["up", "--nats-port", "0", "--data-dir"]).arg(data).args(args).current_dir(repository());
    // No network for `--model auto`: nothing listens on the discard port.
    command.env("SHOAL_MODELS_MIRROR", "http://127.0.0.1:9");
    command
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Processes whose command line mentions the folder.
fn processes_of(data: &Path) -> Vec<String> {
    let mention = data.to_str().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(mention)).collect()
}

#[test]
fn comes_up_answers_and_leaves_nothing_behind() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().canonicalize().unwrap();
    let port = free_port();
    let log = data.join("up.log");
    let mut up = Process::start(&mut shoal_up(&data, &["--port", &port.to_string(), "--workers", "2"]), &log);
    eventually("the banner is printed", || up.log().contains("Ctrl-C"));
    assert!(up.log().contains("digits") && up.log().contains("could not be fetched"), "{}", up.log());
    let base = format!("http://127.0.0.1:{port}");
    let answer = http::post_file(&format!("{base}/predict"), "file", "8.png", &images::digit(8));
    assert_eq!(answer.json()["prediction"], "8");
    assert!(http::get(&format!("{base}/metrics")).body.starts_with(b"# HELP"));
    assert_eq!(http::get(&base).status, 200);
    // What monitors ask.
    for path in ["/", "/metrics", "/healthz"] {
        let head = http::request("HEAD", &format!("{base}{path}"), &[], None);
        assert!(head.status == 200 && head.body.is_empty(), "{path}: {head:?}");
    }

    // Draining, it waits for whoever is being served, and nobody else gets in.
    let mut served = TcpStream::connect(("127.0.0.1", port)).unwrap();
    served.write_all(b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\nno").unwrap();
    eventually("its request has arrived", || metric(&format!("{base}/metrics"), "shoal_gateway_in_flight_bytes") > 0.0);
    up.signal(Signal::INT);
    eventually("clients are refused", || {
        TcpStream::connect(("127.0.0.1", port)).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    served.write_all(b"ne").unwrap();
    let mut answer = String::new();
    served.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("connection: close"), "{answer}");
    assert!(up.wait().success());
    assert!(up.log().contains("Stopped."));
    assert_eq!(processes_of(&data), Vec::<String>::new());
}

#[test]
fn everything_is_replaced_under_load_and_no_request_fails() {
    const ROUNDS: usize = 3;
    let data = tempfile::tempdir().unwrap();
    let data = data.path().canonicalize().unwrap();
    let mut up = Process::start(&mut shoal_up(&data, &["--port", "0", "--workers", "2"]), &data.join("up.log"));
    eventually("the banner is printed", || up.log().contains("Ctrl-C"));
    let address = up.log().lines().find_map(|line| line.trim().strip_prefix("predict")).unwrap().trim().to_owned();
    let url = format!("{address}?timeout_ms=60000");
    // Half of them keep their connections, half connect anew each time.
    let ask = |kept: &Client, client, number: u32| {
        let image = images::digit_variant((number % 10) as u8, number % 65536);
        let fresh = Client::new();
        if client % 2 == 0 { kept } else { &fresh }.post(&url, &image)
    };
    let asked = Clients::during(8, ask, |clients| {
        for round in 1..=ROUNDS {
            up.signal(Signal::USR2);
            clients.until("gateway and workers are replaced", || {
                let workers = std::fs::read_to_string(data.join("logs/workers.log")).unwrap();
                let done = (up.log().matches("gateway replaced").count(), workers.matches("worker replaced").count());
                done == (round, 2 * round)
            });
        }
    });
    println!("{asked} requests, {ROUNDS} replacements of everything, none failed");
    up.signal(Signal::INT);
    assert!(up.wait().success());
    assert_eq!(processes_of(&data), Vec::<String>::new());
}

#[test]
fn killed_without_a_chance_it_still_leaves_nothing_behind() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().canonicalize().unwrap();
    let mut up = Process::start(&mut shoal_up(&data, &["--port", &free_port().to_string()]), &data.join("up.log"));
    eventually("the banner is printed", || up.log().contains("Ctrl-C"));
    assert!(!processes_of(&data).is_empty());
    up.kill();
    eventually("every child ends with it", || processes_of(&data).is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_part_starts_with_the_timers_it_is_given() {
    let told = Command::new(binary("shoal"))
        .args(["follow", "--timer-slack=1000us", "cat", "/proc/self/timerslack_ns"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), "1000000", "{told:?}");
}

#[test]
fn complaints_are_one_sentence() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = complaint(&shoal_up(data.path(), &["--port", &port]).output().unwrap());
    assert!(said.contains(&format!("port {port} is in use")) && said.lines().count() == 1, "{said}");

    let port = free_port().to_string();
    let file = data.path().join("a-file");
    std::fs::write(&file, b"").unwrap();
    let said = complaint(&shoal_up(&file.join("below"), &["--port", &port]).output().unwrap());
    assert!(said.contains("data folder"), "{said}");

    let said = complaint(&shoal_up(data.path(), &["--port", &port, "--model", "nonesuch"]).output().unwrap());
    assert!(said.contains("no model `nonesuch`"), "{said}");
    let said = complaint(&shoal_up(data.path(), &["--port", &port, "--model", "digits,digits"]).output().unwrap());
    assert!(said.contains("names digits twice"), "{said}");
    let said = complaint(&shoal_up(data.path(), &["--port", &port, "--workers", "99999999999"]).output().unwrap());
    assert!(said.contains("at most 4096"), "{said}");

    let closed = free_port();
    let nats = format!("nats://127.0.0.1:{closed}");
    let said = complaint(&shoal_up(data.path(), &["--port", &port, "--nats-url", &nats]).output().unwrap());
    assert!(said.contains("NATS is not reachable"), "{said}");

    // No library anywhere: the search upwards from here must not find the project's own.
    let alone = data.path().join("bin");
    std::fs::create_dir(&alone).unwrap();
    std::fs::copy(binary("shoal"), alone.join("shoal")).unwrap();
    let mut command = Command::new(alone.join("shoal"));
    command.args(["up", "--port", &port, "--data-dir", "x"]).current_dir(data.path());
    command.env_remove("ORT_DYLIB_PATH");
    let said = complaint(&command.output().unwrap());
    assert!(said.contains("ONNX Runtime was not found"), "{said}");
}

#[test]
fn a_reader_who_leaves_is_no_reason_to_panic() {
    for args in [&["models", "list"][..], &["completions", "bash"], &["up", "--help"]] {
        let mut command = Command::new(binary("shoal"));
        let mut child =
            command.args(args).current_dir(repository()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    // A fleet goes on: `shoal up | head -2`.
    let data = tempfile::tempdir().unwrap();
    let data = data.path().canonicalize().unwrap();
    let port = free_port();
    let mut command = shoal_up(&data, &["--port", &port.to_string()]);
    let mut up = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((up.stdout.take(), up.stderr.take()));
    eventually("the fleet answers", || http::is_ok(&format!("http://127.0.0.1:{port}/readyz")));
    rustix::process::kill_process(rustix::process::Pid::from_child(&up), Signal::TERM).unwrap();
    assert!(up.wait().unwrap().success());
    assert_eq!(processes_of(&data), Vec::<String>::new());
}

#[test]
fn what_a_part_said_in_earlier_runs_is_not_shown_again() {
    let data = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let config = data.path().join("shoal.toml");
    let complain = |text: &str| {
        std::fs::write(&config, text).unwrap();
        let args = ["--port", &port, "--model", "digits", "--config", config.to_str().unwrap()];
        complaint(&shoal_up(data.path(), &args).output().unwrap())
    };
    let first = complain("[gateway]\nmax_connections = 0\n");
    assert!(first.contains("max_connections"), "{first}");
    let second = complain("[gateway]\nreceive_timeout = \"no time\"\n");
    assert!(second.contains("receive_timeout") && !second.contains("max_connections"), "{second}");
}
