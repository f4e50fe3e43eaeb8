//! Credentials from elsewhere, and HTTPS.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::http;

/// A provider's two documents, served until the test ends.
fn provider(keys: impl Fn(&str) -> Value + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let of = issuer.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let asked = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let document = if asked.contains("/.well-known/openid-configuration") {
                json!({ "issuer": of, "jwks_uri": format!("{of}/keys") })
            } else {
                keys(&asked)
            };
            let body = document.to_string();
            let _ =
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        }
    });
    issuer
}

fn signing_key() -> EncodingKey {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    EncodingKey::from_ec_der(&key.serialize_der())
}

#[test]
fn tokens_of_a_provider_are_taken_when_it_signed_them_for_us() {
    let (ours, strangers) = (signing_key(), signing_key());
    let mut published = Jwk::from_encoding_key(&ours, Algorithm::ES256).unwrap();
    published.common.key_id = Some("one".into());
    let keys = serde_json::to_value(JwkSet { keys: vec![published] }).unwrap();
    let issuer = provider(move |_| keys.clone());
    let config = format!(
        "[gateway.auth]\nmode = \"required\"\n[gateway.auth.oidc]\nissuer = \"{issuer}\"\naudience = \"shoal\"\n"
    );
    let fleet = Fleet::start(FleetPlan { config, ..FleetPlan::default() });
    let status = |key: &EncodingKey, id: &str, claims: Value| {
        let header = Header { kid: Some(id.into()), ..Header::new(Algorithm::ES256) };
        let bearer = format!("Bearer {}", encode(&header, &claims, key).unwrap());
        http::request("GET", &fleet.url("/models"), &[("authorization", &bearer)], None).status
    };
    let later = get_current_timestamp() + 600;
    let good = json!({ "iss": issuer, "aud": "shoal", "sub": "ada", "exp": later });
    assert_eq!(status(&ours, "one", good.clone()), 200);
    assert_eq!(status(&strangers, "one", good.clone()), 401);
    assert_eq!(status(&ours, "two", good.clone()), 401);
    for (name, value) in [("aud", json!("other")), ("iss", json!("https://evil.example.com")), ("exp", json!(1))] {
        let mut bad = good.clone();
        bad[name] = value;
        assert_eq!(status(&ours, "one", bad), 401, "{name}");
    }
    // Signed with the public key as if it were a secret.
    let header = Header { kid: Some("one".into()), ..Header::new(Algorithm::HS256) };
    let forged = encode(&header, &good, &EncodingKey::from_secret(b"public")).unwrap();
    let bearer = format!("Bearer {forged}");
    assert_eq!(http::request("GET", &fleet.url("/models"), &[("authorization", &bearer)], None).status, 401);
}

#[test]
fn https_with_a_certificate_of_one_s_own() {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let mut fleet = Fleet::start(FleetPlan::default());
    let file = |path: &std::path::Path| path.display().to_string();
    fleet.gateway_env("SHOAL_GATEWAY_TLS_CERT_FILE", &file(&certificate));
    fleet.gateway_env("SHOAL_GATEWAY_TLS_KEY_FILE", &file(&key));
    fleet.add_gateway();
    let port = fleet.gateways[1].1.rsplit(':').next().unwrap().to_owned();

    let root = ureq::tls::Certificate::from_pem(cert.pem().as_bytes()).unwrap().to_owned();
    let roots = ureq::tls::RootCerts::Specific(Arc::new(vec![root]));
    let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls).build().into();
    let answer = agent.get(format!("https://localhost:{port}/healthz")).call().unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("strict-transport-security"));
    // Plain words on the encrypted door get no answer, and harm nobody.
    assert!(!http::is_ok(&format!("http://localhost:{port}/healthz")));
    assert_eq!(agent.get(format!("https://localhost:{port}/healthz")).call().unwrap().status(), 200);
}
