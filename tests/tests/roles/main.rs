//! `nats/accounts.conf`: each role can do its work, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

mod forbidden;

use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt;
use rustix::process::Signal;
use shoal_testkit::fleet::{Fleet, FleetPlan, metric};
use shoal_testkit::nats::NatsServer;
use shoal_testkit::process::binary;
use shoal_testkit::{eventually, guarded, http, images, models};
use tokio::sync::mpsc;

use forbidden::Attempt::{Publish, Subscribe};
use forbidden::FORBIDDEN;

/// A client of one role, and what the server complains about to it.
async fn connect(nats: &NatsServer, role: &str, inbox: &str) -> (Client, mpsc::UnboundedReceiver<String>) {
    let (sender, complaints) = mpsc::unbounded_channel();
    let options = ConnectOptions::new().nkey(guarded::seed(nats, role)).custom_inbox_prefix(inbox);
    let options = options.event_callback(move |event| {
        if let Event::ServerError(error) = event {
            let _ = sender.send(error.to_string());
        }
        std::future::ready(())
    });
    (options.connect(nats.url()).await.unwrap(), complaints)
}

fn violations(nats: &NatsServer) -> Vec<String> {
    nats.log(0).lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
}

/// Everything that gateways, workers, supervisors and the operator do, with the users of their roles; the
/// server's log would hold each thing that they lacked the permission for.
#[tokio::test(flavor = "multi_thread")]
async fn each_role_can_do_its_work() {
    let nats = guarded::server();
    let models_dir = tempfile::tempdir().unwrap();
    models::add_brittle(models_dir.path());
    let config = guarded::client_config(&nats)
        + "[nats.topology]\nack_wait = \"500ms\"\nmax_attempts = 2\nmax_deliver = 4\n[gateway]\ninline_bytes = 20000\nkeep_images = true\n";
    let plan = FleetPlan {
        config,
        model: "brittle".into(),
        models_dir: Some(models_dir.path().into()),
        scale: Some((1, 2)),
        ..FleetPlan::default()
    };
    let fleet = tokio::task::spawn_blocking(move || {
        let mut fleet = Fleet::start_on(nats, plan);
        fleet.add_gateway();
        fleet.wait_ready(1);
        fleet
    });
    let fleet = fleet.await.unwrap();
    let image = images::solid(200, 0);
    tokio::task::block_in_place(|| {
        over_http(&fleet, &image);
        as_operator(&fleet);
    });

    let (submitter, _) = connect(&fleet.nats, "submitter", "_INBOX.submitter").await;
    let answer = submitter.request("predict.brittle", image.clone().into()).await.unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&answer.payload).unwrap()["prediction"], "bright");
    let mut inbox = submitter.subscribe("_INBOX.submitter.mine").await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Shoal-Reply", "_INBOX.submitter.mine");
    let queue = async_nats::jetstream::new(submitter);
    let queued = queue.publish_with_headers("jobs.brittle.bulk", headers, images::solid(30, 5).into()).await.unwrap();
    queued.await.unwrap();
    let answer = inbox.next().await.unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&answer.payload).unwrap()["prediction"], "dark");
    // That an upload is not there counts only when the stream's leader says so.
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Shoal-Reply", "_INBOX.submitter.mine");
    headers.insert("Shoal-Object", "missing");
    queue.publish_with_headers("jobs.brittle.bulk", headers, "".into()).await.unwrap().await.unwrap();
    let answer = inbox.next().await.unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&answer.payload).unwrap()["error"]["code"], "not_found");

    let (exporter, _) = connect(&fleet.nats, "exporter", "_INBOX_exporter").await;
    let jobs = async_nats::jetstream::new(exporter).get_stream("JOBS").await.unwrap();
    let mut consumers = jobs.consumers();
    assert!(consumers.next().await.unwrap().unwrap().name.starts_with("brittle-"));

    give_up(&fleet, &queue).await;
    assert_eq!(violations(&fleet.nats), Vec::<String>::new());
}

/// A job that nobody settles: the gateway buries what the broker gives up, and looks for what it forgot.
async fn give_up(fleet: &Fleet, submitter: &Context) {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Shoal-Job", "given-up");
    let queued =
        submitter.publish_with_headers("jobs.another.bulk", headers, "no worker takes me".into()).await.unwrap();
    queued.await.unwrap();
    let (worker, _) = connect(&fleet.nats, "worker", "_INBOX_worker").await;
    let jobs = async_nats::jetstream::new(worker);
    let consumer: Consumer<pull::Config> = jobs.get_consumer_from_stream("another-bulk", "JOBS").await.unwrap();
    let (gateway, _) = connect(&fleet.nats, "gateway", "_INBOX_gateway").await;
    let gateway = async_nats::jetstream::new(gateway);
    // The sweeper looks at all of them while anything is in the stream.
    let mut consumers = gateway.get_stream("JOBS").await.unwrap().consumers();
    assert!(consumers.next().await.unwrap().is_ok());
    let results = gateway.get_stream_no_info("RESULTS").await.unwrap();
    until(async || {
        let mut dropped =
            consumer.fetch().max_messages(1).expires(Duration::from_millis(200)).messages().await.unwrap();
        while dropped.next().await.is_some() {}
        let outcome = results.get_last_raw_message_by_subject("results.given-up").await;
        outcome.is_ok_and(|outcome| String::from_utf8_lossy(&outcome.payload).contains("dead_lettered"))
    })
    .await;
}

fn over_http(fleet: &Fleet, image: &[u8]) {
    let predict =
        |gateway: usize, image: &[u8]| http::post(&format!("{}/predict", fleet.gateways[gateway].1), &[], image).json();
    assert_eq!(predict(0, image)["prediction"], "bright");
    let digest = shoal_shared::digest::ImageSha256::of(image);
    let known = format!("{}/predictions/{digest}", fleet.gateways[1].1);
    eventually("the other gateway has heard of it", || http::get(&known).status == 200);
    assert_eq!(predict(1, image)["cache"], "shared");
    // Through the object store.
    assert_eq!(predict(1, &images::noise(100, 1))["success"], true);
    // Hashed once: the worker may ask the gateway for its key.
    let mut side = 60..;
    eventually("the worker takes the gateway's word for a digest", || {
        let side = side.next().unwrap();
        let bright = image::RgbImage::from_pixel(side, side, image::Rgb([200; 3]));
        assert_eq!(predict(0, &images::encode(&bright.into(), image::ImageFormat::Bmp))["prediction"], "bright");
        fleet.worker_metric("shoal_worker_digests_vouched_total") > 0.0
    });
    // Kept for display; what is not is looked for where it would be.
    let name = predict(0, image)["image_file_name"].as_str().unwrap().to_owned();
    eventually("the image is kept", || http::get(&fleet.url(&format!("/display/{name}"))).status == 200);
    assert_eq!(http::get(&fleet.url(&format!("/display/{}.png", "0".repeat(32)))).status, 404);
    let job = http::post(&fleet.url("/jobs"), &[], &images::solid(30, 4)).json()["id"].as_str().unwrap().to_owned();
    let job = http::get(&fleet.url(&format!("/jobs/{job}?wait=20"))).json();
    assert_eq!(job["result"]["prediction"], "dark", "{job}");
    let gone = http::post(&fleet.url("/jobs"), &[], &images::solid(30, 6)).json()["id"].as_str().unwrap().to_owned();
    assert!(http::delete(&fleet.url(&format!("/jobs/{gone}"))).status < 500);
    // Kills its worker: attempts are counted, and it ends in the dead letters.
    let deadly = http::post(&fleet.url("/jobs"), &[], &images::solid(255, 1)).json()["id"].as_str().unwrap().to_owned();
    let deadly = http::get(&fleet.url(&format!("/jobs/{deadly}?wait=50"))).json();
    assert_eq!(deadly["result"]["error"]["code"], "dead_lettered", "{deadly}");
    eventually("the gateway has asked how the streams stand", || {
        metric(&fleet.url("/metrics"), "shoal_stream_messages{stream=\"DEAD\"}") == 1.0
    });
}

fn as_operator(fleet: &Fleet) {
    assert!(fleet.shoal(&["dead", "list"]).contains("brittle"));
    fleet.shoal(&["dead", "replay", "--all"]);
    fleet.shoal(&["dead", "purge"]);
    fleet.shoal(&["cache", "stats"]);
    fleet.shoal(&["cache", "purge"]);
    fleet.shoal(&["scale", "2"]);
    eventually("the order was carried out", || fleet.shoal(&["fleet", "status"]).contains("2"));
    fleet.shoal(&["fleet", "explain"]);
    fleet.shoal(&["provision", "--model", "another"]);
}

#[tokio::test]
async fn no_role_can_do_anothers_work() {
    let nats = guarded::server();
    for (role, inbox, attempts) in FORBIDDEN {
        let (client, mut complaints) = connect(&nats, role, inbox).await;
        for attempt in attempts {
            let subject = match attempt {
                Publish(subject) => {
                    client.publish(*subject, "forged".into()).await.unwrap();
                    subject
                }
                Subscribe(subject) => {
                    drop(client.subscribe(*subject).await.unwrap());
                    subject
                }
            };
            client.flush().await.unwrap();
            let complaint = tokio::time::timeout(Duration::from_secs(20), complaints.recv()).await;
            let complaint = complaint.unwrap_or_else(|_| panic!("{role} may {attempt:?}")).unwrap();
            assert!(complaint.contains("Permissions Violation") && complaint.contains(subject), "{role}: {complaint}");
        }
    }
}

#[tokio::test]
async fn nobody_gets_in_without_a_key_that_the_server_knows() {
    let nats = guarded::server();
    let anonymous = ConnectOptions::new().connect(nats.url()).await;
    assert!(anonymous.unwrap_err().to_string().contains("authorization violation"));
    let other = guarded::server();
    let stranger = ConnectOptions::new().nkey(guarded::seed(&other, "gateway")).connect(nats.url()).await;
    assert!(stranger.unwrap_err().to_string().contains("authorization violation"));
}

/// What our own processes say: at once, what is wrong, and where to set it right.
#[test]
fn a_process_with_no_or_the_wrong_user_says_so_and_leaves() {
    let nats = guarded::server();
    let run = |program: &str, args: &[&str], env: &[(&str, String)]| {
        let mut command = Command::new(binary(program));
        let output = command.args(args).args(["--nats-url", &nats.url()]).envs(env.iter().cloned()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap()
    };
    let said = run("shoal", &["provision", "--model", "digits"], &[]);
    assert!(said.contains("refuses the connection") && said.contains("nats.nkey_file"), "{said}");

    let user = |role: &str, inbox: &str| {
        let seed = guarded::conf(&nats).join(format!("{role}.nk")).display().to_string();
        [("SHOAL_NATS_NKEY_FILE", seed), ("SHOAL_NATS_INBOX_PREFIX", inbox.to_owned())]
    };
    let operator = user("operator", "_INBOX_operator");
    let mut provision = Command::new(binary("shoal"));
    provision.args(["provision", "--model", "digits", "--nats-url", &nats.url()]).envs(operator);
    assert!(provision.status().unwrap().success());

    let said = run("shoal-gateway", &["--listen", "127.0.0.1:0"], &user("exporter", "_INBOX_exporter"));
    assert!(said.contains("does not let this user"), "{said}");
    let said = run("shoal-worker", &["run", "--model", "digits"], &user("worker", "_INBOX"));
    assert!(said.contains("does not let this user subscribe to _INBOX"), "{said}");
    let said = run("shoal", &["dead", "list"], &[("SHOAL_NATS_NKEY_FILE", "/nowhere.nk".into())]);
    assert!(said.contains("/nowhere.nk"), "{said}");
}

#[tokio::test]
async fn a_key_is_changed_without_an_interruption() {
    let nats = guarded::server();
    let conf = guarded::conf(&nats);
    let dir = conf.to_str().unwrap();
    let before = guarded::seed(&nats, "submitter");
    guarded::keys(&["rotate", dir, "submitter"]);
    let after = guarded::seed(&nats, "submitter");
    let gets_in = async |seed: &str| ConnectOptions::new().nkey(seed.to_owned()).connect(nats.url()).await.is_ok();
    assert!(gets_in(&before).await && !gets_in(&after).await, "the server has not reloaded yet");

    nats.signal_node(0, Signal::HUP);
    until(async || gets_in(&after).await).await;
    assert!(gets_in(&before).await, "the key before is accepted until it is retired");

    guarded::keys(&["retire", dir, "submitter"]);
    nats.signal_node(0, Signal::HUP);
    until(async || !gets_in(&before).await).await;
    assert!(gets_in(&after).await);
}

async fn until(holds: impl AsyncFn() -> bool) {
    while !holds().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_certificate_is_shown_where_the_server_asks_for_one() {
    let nats = guarded::server_that_asks_for_certificates();
    let file = |name: &str| guarded::conf(&nats).join(name);
    let provision = |certificate: &[(&str, &str)]| {
        let mut command = Command::new(binary("shoal"));
        command.args(["provision", "--model", "digits", "--nats-url", &nats.url()]);
        command.env("SHOAL_CONFIG", file("shoal.toml")).env("SHOAL_NATS_CA_FILE", file("ca.pem"));
        command.envs(certificate.iter().map(|(key, name)| (*key, file(name)))).output().unwrap()
    };
    let certificate = [("SHOAL_NATS_CERT_FILE", "cert.pem"), ("SHOAL_NATS_KEY_FILE", "key.pem")];
    assert!(!provision(&[]).status.success());
    let half = provision(&certificate[..1]);
    assert!(String::from_utf8_lossy(&half.stderr).contains("nats.cert_file and nats.key_file go together"), "{half:?}");
    let whole = provision(&certificate);
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
}

/// `production.conf` as it ships: three servers, TLS, accounts.
#[test]
fn a_cluster_with_tls_and_accounts_answers() {
    let nats = guarded::cluster();
    let ca = guarded::conf(&nats).join("ca.pem");
    let config = guarded::client_config(&nats)
        .replace("nkey_file", &format!("ca_file = {:?}\nnkey_file", ca.display().to_string()))
        + "[nats.topology]\nreplicas = 3\n";
    let untrusting = Command::new(binary("shoal"))
        .args(["provision", "--model", "digits", "--nats-url", &nats.url()])
        .env("SHOAL_NATS_NKEY_FILE", guarded::conf(&nats).join("operator.nk"))
        .output()
        .unwrap();
    let said = String::from_utf8(untrusting.stderr).unwrap();
    assert!(!untrusting.status.success() && said.contains("nats.ca_file"), "{said}");

    let fleet = Fleet::start_on(nats, FleetPlan { config, ..FleetPlan::default() });
    let answer = http::post(&fleet.url("/predict"), &[], &images::digit(7)).json();
    assert_eq!(answer["prediction"], "7", "{answer}");
}
