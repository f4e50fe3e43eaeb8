//! The files in `deploy/`, held against what reads them: our own binaries, nats-server, HAProxy, and the tools of
//! compose and Kubernetes where they are.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_norway::Value;
use shoal_shared::locate;
use shoal_testkit::process::{Process, binary, repository};
use shoal_testkit::{eventually, guarded, haproxy};

fn read(path: &str) -> Value {
    let text = std::fs::read_to_string(repository().join(path)).unwrap();
    let mut value: Value = serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    value.apply_merge().unwrap();
    value
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output: Output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A tool that is not needed to run Shoal: in `.tools/bin`, where `make validate` puts it, or on the PATH.
fn tool(name: &str) -> Option<PathBuf> {
    let here = repository().join(".tools/bin").join(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(here).chain(std::env::split_paths(&path).map(|dir| dir.join(name)));
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: no {name} here (`make validate` fetches it where it can)");
    }
    found
}

/// What compose gives a service is configuration that the binary knows: an unknown key would be an error.
#[test]
fn the_binaries_take_what_compose_gives_them() {
    let compose = read("deploy/compose.yaml");
    for (service, program, args) in
        [("gateway", "shoal-gateway", &["--print-config"][..]), ("worker", "shoal-worker", &["run", "--print-config"])]
    {
        let mut command = Command::new(binary(program));
        for (key, value) in compose["services"][service]["environment"].as_mapping().unwrap() {
            command.env(key.as_str().unwrap(), interpolated(value.as_str().unwrap()));
        }
        let config = succeeds(command.args(args));
        assert!(config.contains(&format!("_INBOX_{service}")) && config.contains("/run/secrets/"), "{config}");
    }
}

/// `${NAME:-default}` as its default.
fn interpolated(value: &str) -> String {
    let Some((before, rest)) = value.split_once("${") else { return value.to_owned() };
    let (variable, after) = rest.split_once('}').unwrap();
    let default = variable.split_once(":-").map_or("", |(_, default)| default);
    format!("{before}{default}{}", interpolated(after))
}

/// The same for the configuration file of Kubernetes.
#[test]
fn the_binaries_take_what_kubernetes_gives_them() {
    let config = read("deploy/kubernetes/base/config.yaml");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shoal.toml");
    std::fs::write(&file, config["data"]["shoal.toml"].as_str().unwrap()).unwrap();
    for (program, args) in [("shoal-gateway", &["--print-config"][..]), ("shoal-worker", &["run", "--print-config"])] {
        let shown = succeeds(Command::new(binary(program)).args(args).env("SHOAL_CONFIG", &file));
        assert!(shown.contains("/etc/shoal/keys/") && shown.contains("replicas = 3"), "{shown}");
    }
}

/// The first process of a container gets no signal that it has not asked for: one that still looks for NATS has to
/// have asked, or it is killed at the end of the grace period.
#[test]
fn a_worker_that_still_starts_heeds_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary("shoal-worker"));
    command.args(["run", "--nats-url", "nats://127.0.0.1:1"]).env("SHOAL_WORKER_STARTUP_PATIENCE", "10m");
    let mut worker = Process::start(command.current_dir(repository()), &dir.path().join("worker.log"));
    eventually("the library is loaded", || worker.log().contains("ONNX Runtime loaded"));
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().code(), Some(0), "it ended by the signal's default action");
}

#[test]
fn every_nats_configuration_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let nats = repository().join("nats");
    guarded::keys(&["new", dir.path().join("conf").to_str().unwrap()]);
    for file in
        std::fs::read_dir(&nats).unwrap().flatten().filter(|file| file.path().extension().is_some_and(|e| e == "conf"))
    {
        std::fs::copy(file.path(), dir.path().join("conf").join(file.file_name())).unwrap();
    }
    // production.conf starts in tests/roles/, with certificates.
    for config in ["server.conf", "single.conf", "cluster.conf", "cluster-accounts.conf"] {
        let mut command = Command::new(locate::nats_server().expect("nats-server: run `make setup` first"));
        command.arg("-t").arg("-c").arg(dir.path().join("conf").join(config));
        succeeds(command.env("NODE", "n1").env("DATA", dir.path()));
    }
}

#[test]
fn haproxy_takes_its_configuration() {
    let Some(program) = haproxy::program() else {
        return eprintln!("skipped: no haproxy here");
    };
    for balance in ["round_robin", "by_image"] {
        let mut command = Command::new(&program);
        command.args(["-c", "-f"]).arg(repository().join("deploy/haproxy.cfg")).env("SHOAL_BALANCE", balance);
        succeeds(command.env("SHOAL_LISTEN", "127.0.0.1:8000").env("SHOAL_STATS", "127.0.0.1:8404"));
    }
}

#[test]
fn compose_takes_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let here = repository().join("deploy");
    let docker =
        Command::new("docker").args(["compose", "version"]).output().is_ok_and(|output| output.status.success());
    for profiles in ["single,observe,gpu", "cluster,observe"] {
        let mut command = if docker {
            let mut command = Command::new("docker");
            command.args(["compose", "-f"]).arg(here.join("compose.yaml")).arg("config");
            command
        } else {
            let Some(program) = tool("compose-go") else { return };
            let mut command = Command::new(program);
            command.arg(here.join("compose.yaml"));
            command
        };
        let shown = succeeds(command.env("COMPOSE_PROFILES", profiles).current_dir(dir.path()));
        assert!(shown.contains("worker.nk"), "{shown}");
    }
}

/// Every overlay builds, and every object is what Kubernetes knows under that name; an object with a wrong field is not.
#[test]
fn kubernetes_takes_its_files() {
    succeeds(Command::new("python3").arg(repository().join("deploy/kubernetes/generate.py")).arg("--check"));
    let Some(kustomize) = tool("kustomize") else { return };
    let dir = tempfile::tempdir().unwrap();
    let deploy = repository().join("deploy/kubernetes");
    let mut built = Vec::new();
    for overlay in
        ["base", "overlays/single", "overlays/gpu", "overlays/observe", "overlays/keda", "overlays/keda-nats"]
    {
        let text = succeeds(Command::new(&kustomize).arg("build").arg(deploy.join(overlay)));
        check_objects(&text, overlay);
        let path = dir.path().join(overlay.replace('/', "-") + ".yaml");
        std::fs::write(&path, text).unwrap();
        built.push(path);
    }
    let Some(validate) = tool("kubernetes-validate") else { return };
    let strict = |path: &Path| Command::new(&validate).args(["-k", "1.30", "--strict"]).arg(path).output().unwrap();
    for path in &built {
        let said = strict(path);
        let said = String::from_utf8(said.stdout).unwrap() + &String::from_utf8(said.stderr).unwrap();
        // Objects of operators have schemas of their own, which it has not.
        let wrong = said.lines().filter(|line| {
            !line.starts_with("INFO") && !line.contains("find schema for kind") && !line.trim().is_empty()
        });
        assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&str>::new(), "{}", path.display());
    }
    let spoiled = std::fs::read_to_string(&built[0]).unwrap().replace("terminationGracePeriodSeconds", "gracePeriod");
    std::fs::write(&built[0], spoiled).unwrap();
    assert!(!strict(&built[0]).status.success(), "a wrong field was not noticed");
}

/// What the schemas do not say.
fn check_objects(text: &str, overlay: &str) {
    let objects: Vec<Value> = serde::Deserialize::deserialize(Value::Sequence(
        serde_norway::Deserializer::from_str(text).map(|one| serde::Deserialize::deserialize(one).unwrap()).collect(),
    ))
    .unwrap();
    let of = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    assert_eq!(of("Deployment").count(), 2, "{overlay}");
    for deployment in of("Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        let name = deployment["metadata"]["name"].as_str().unwrap();
        // A drain takes drain_grace, 30 s, and the pause before it.
        assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= 45, "{overlay}: {name}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{overlay}: {name}");
        assert_eq!(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true, "{overlay}: {name}");
        // Of two who decide on a number, one must not say one.
        let scaled = of("ScaledObject").any(|object| object["spec"]["scaleTargetRef"]["name"] == name);
        let scaled =
            scaled || of("HorizontalPodAutoscaler").any(|object| object["spec"]["scaleTargetRef"]["name"] == name);
        assert_eq!(deployment["spec"]["replicas"].is_null(), scaled, "{overlay}: {name}");
    }
    for trigger in of("ScaledObject").flat_map(|object| object["spec"]["triggers"].as_sequence().unwrap()) {
        let known: &[&str] = match trigger["type"].as_str().unwrap() {
            "prometheus" => {
                &["serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues", "timeout"]
            }
            "nats-jetstream" => &[
                "natsServerMonitoringEndpoint",
                "account",
                "stream",
                "consumer",
                "lagThreshold",
                "activationLagThreshold",
                "useHttps",
            ],
            other => panic!("{overlay}: trigger {other}"),
        };
        for (key, value) in trigger["metadata"].as_mapping().unwrap() {
            assert!(known.contains(&key.as_str().unwrap()) && value.is_string(), "{overlay}: {key:?}: {value:?}");
        }
    }
}
