//! No process of ours talks to anybody but its configured peers: ONNX Runtime's official builds
//! would, unless told not to.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use shoal_testkit::fleet::{Fleet, FleetPlan, provision};
use shoal_testkit::nats::NatsServer;
use shoal_testkit::process::{Process, binary, repository};
use shoal_testkit::{eventually, http, images};
use shoal_worker::model::tuning::{LibraryFile, Profile, choose};
use shoal_worker::model::{Library, Machine};

/// Remote ends of every socket of a process, and whether any is not on this machine.
fn strangers(pid: u32) -> Vec<String> {
    let sockets: HashSet<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let lines = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in lines.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (remote, inode) = (fields[2], fields[9]);
            if sockets.contains(inode) && !is_local(remote.split(':').next().unwrap()) {
                found.push(format!("{table} {remote}"));
            }
        }
    }
    found
}

/// `/proc/net` writes addresses as hexadecimal words in host byte order.
fn is_local(hex: &str) -> bool {
    match u32::from_str_radix(hex, 16) {
        Ok(word) => {
            let address = Ipv4Addr::from(word.swap_bytes());
            address.is_loopback() || address.is_unspecified()
        }
        Err(_) => hex.chars().all(|c| c == '0') || hex == "00000000000000000000000001000000",
    }
}

#[test]
fn a_working_fleet_has_no_connection_to_strangers() {
    let fleet = Fleet::start(FleetPlan::default());
    let pids: Vec<u32> = [fleet.workers[0].pid(), fleet.gateways[0].0.pid()].into();
    for number in 0..200 {
        let image = images::digit_variant((number % 10) as u8, number);
        assert_eq!(http::post(&fleet.url("/predict"), &[], &image).status, 200);
        for pid in &pids {
            assert_eq!(strangers(*pid), Vec::<String>::new(), "request {number}");
        }
    }
    let environment = std::fs::read(format!("/proc/{}/environ", pids[0])).unwrap();
    assert!(String::from_utf8_lossy(&environment).contains("ORT_DISABLE_TELEMETRY=1"));
}

fn strace() -> Option<PathBuf> {
    let paths = std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join("strace")).collect::<Vec<_>>();
    paths.into_iter().find(|path| path.metadata().is_ok_and(|meta| meta.mode() & 0o111 != 0))
}

/// The stronger form, where strace is installed: not one attempt, however short, and no look-up
/// of a host name.
#[test]
fn not_one_attempt_to_connect_elsewhere() {
    no_attempt(None);
}

/// The same with the library that has OpenVINO.
#[test]
fn not_one_attempt_of_openvino_either() {
    if LibraryFile::here(Library::OpenVino).is_none() {
        return eprintln!("skipped: no OpenVINO here: `deploy/setup.sh --fast` fetches it");
    }
    let models = tempfile::tempdir().unwrap();
    let samples = repository().join("worker/models/digits/samples");
    let mut command = Command::new(binary("shoal"));
    command.args(["tune", "digits", "--seconds", "1", "--threads", "1", "--images"]).arg(samples);
    command.arg("--models-dir").arg(models.path()).current_dir(repository());
    assert!(command.status().unwrap().success());
    let folder = models.path().join("digits");
    let profile = Profile::read(&Profile::path(&folder, &Machine::this(1))).unwrap();
    let choice = choose(&profile.measured, |engine| engine.library() == Library::OpenVino).unwrap();
    let library = LibraryFile::here(Library::OpenVino).unwrap();
    Profile { choice, library, ..profile }.write(&folder).unwrap();
    no_attempt(Some(models.path()));
}

/// Starts a worker under strace; with the profile in `models`, if given.
fn no_attempt(models: Option<&Path>) {
    let Some(strace) = strace() else { return eprintln!("skipped: no strace here") };
    let nats = NatsServer::start();
    provision(&nats, "digits");
    let trace = nats.dir().join("trace");
    let mut command = Command::new(strace);
    command.args(["-f", "-qq", "-e", "trace=connect,sendto", "-o"]).arg(&trace).arg(binary("shoal-worker"));
    command.args(["run", "--model", "digits", "--threads", "1", "--nats-url", &nats.url()]).current_dir(repository());
    if let Some(models) = models {
        command.arg("--models-dir").arg(models);
    }
    let mut worker = Process::start(&mut command, &nats.dir().join("worker.log"));
    let mut may_not_trace = false;
    eventually("the traced worker is ready", || {
        may_not_trace = !worker.is_running() && worker.log().contains("ptrace");
        may_not_trace || worker.log().contains("worker ready")
    });
    if may_not_trace {
        return eprintln!("skipped: strace may not trace here");
    }
    assert_eq!(models.is_some(), worker.log().contains("profile used"), "{}", worker.log());
    let port = nats.url().rsplit(':').next().unwrap().to_owned();
    let text = std::fs::read_to_string(&trace).unwrap();
    let reached: Vec<&str> =
        text.lines().filter(|line| line.contains("connect(") && line.contains("AF_INET")).collect();
    assert!(!reached.is_empty(), "the trace shows the connection to NATS:\n{text}");
    for line in reached {
        assert!(line.contains(&format!("htons({port})")) && line.contains("127.0.0.1"), "{line}");
    }
}
