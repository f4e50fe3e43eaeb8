//! nats-servers that know their users: the configuration that ships, with keys made for the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::nats::{NatsServer, Setup};
use crate::process::{binary, repository};

/// One server with `accounts.conf`; what it runs with lies in `conf` under its folder.
pub fn server() -> NatsServer {
    let dir = TempDir::new().unwrap();
    let conf = prepare(dir.path(), &["accounts.conf", "server.conf", "single.conf"]);
    NatsServer::start_as(dir, Setup { config: conf.join("single.conf"), env: Vec::new(), program: None })
}

/// One server with `accounts.conf` that also asks every client for a certificate.
pub fn server_that_asks_for_certificates() -> NatsServer {
    let dir = TempDir::new().unwrap();
    let conf = prepare(dir.path(), &["accounts.conf", "server.conf", "single.conf"]);
    let config = conf.join("asking.conf");
    let tls = "tls { cert_file: $CERT, key_file: $KEY, ca_file: $CA, verify: true }";
    std::fs::write(&config, format!("include ./single.conf\n{tls}\n")).unwrap();
    NatsServer::start_as(dir, Setup { config, env: certificates(&conf), program: None })
}

/// Three servers with `production.conf`: accounts, TLS for clients, mutual TLS between servers.
pub fn cluster() -> NatsServer {
    let dir = TempDir::new().unwrap();
    let conf = prepare(dir.path(), &["accounts.conf", "production.conf"]);
    let env = certificates(&conf);
    NatsServer::cluster_as(dir, Setup { config: conf.join("production.conf"), env, program: None })
}

/// The configuration of gateways, workers and the operator's command that `shoal keys` wrote.
pub fn client_config(nats: &NatsServer) -> String {
    std::fs::read_to_string(conf(nats).join("shoal.toml")).unwrap()
}

/// Where configuration and keys are.
pub fn conf(nats: &NatsServer) -> PathBuf {
    nats.dir().join("conf")
}

/// A role's seed.
pub fn seed(nats: &NatsServer, role: &str) -> String {
    std::fs::read_to_string(conf(nats).join(format!("{role}.nk"))).unwrap().trim().to_owned()
}

/// Runs `shoal keys`.
pub fn keys(args: &[&str]) {
    let output = Command::new(binary("shoal")).arg("keys").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn prepare(dir: &Path, files: &[&str]) -> PathBuf {
    let conf = dir.join("conf");
    keys(&["new", conf.to_str().unwrap()]);
    for file in files {
        std::fs::copy(repository().join("nats").join(file), conf.join(file)).unwrap();
    }
    conf
}

/// An authority and a certificate for this machine, which servers also show each other.
fn certificates(dir: &Path) -> Vec<(&'static str, PathBuf)> {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["127.0.0.1", "localhost", "n1", "n2", "n3"].map(str::to_owned);
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    vec![
        ("CA", write("ca.pem", authority.pem())),
        ("CERT", write("cert.pem", certificate.pem())),
        ("KEY", write("key.pem", key.serialize_pem())),
    ]
}
