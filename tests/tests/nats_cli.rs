//! The ways in for people at a shell: the real `nats` command.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::fs::File;
use std::process::{Command, Output};

use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::process::repository;
use shoal_testkit::{eventually, http, images};

struct Cli {
    program: std::path::PathBuf,
    url: String,
}

impl Cli {
    fn run(&self, args: &[&str], stdin: Option<&str>) -> Output {
        let mut command = Command::new(&self.program);
        command.args(["--server", &self.url, "--timeout", "20s"]).args(args);
        if let Some(path) = stdin {
            command.stdin(File::open(repository().join(path)).unwrap());
        }
        command.output().unwrap()
    }

    fn stdout(&self, args: &[&str], stdin: Option<&str>) -> String {
        String::from_utf8_lossy(&self.run(args, stdin).stdout).into_owned()
    }
}

const SAMPLE: &str = "worker/models/digits/samples/digit-3.jpg";

#[test]
fn request_and_publish_give_the_answer_that_http_gives() {
    let Some(program) = shoal_shared::locate::nats_cli() else {
        return eprintln!("skipped: no `nats` command here (`deploy/setup.sh --tests` builds it where Go is)");
    };
    let fleet = Fleet::start(FleetPlan::default());
    let cli = Cli { program, url: fleet.nats.url() };

    let request = cli.stdout(&["req", "predict.digits", "--force-stdin", "--no-templates", "--raw"], Some(SAMPLE));
    let request: serde_json::Value =
        serde_json::from_str(&request).unwrap_or_else(|error| panic!("{error}: {request}"));
    assert_eq!(request["prediction"], "3");

    let published = cli.run(&["pub", "-J", "jobs.digits.bulk", "--force-stdin", "--no-templates"], Some(SAMPLE));
    let said = String::from_utf8_lossy(&published.stderr).into_owned() + &String::from_utf8_lossy(&published.stdout);
    let sequence =
        said.split("Sequence: ").nth(1).unwrap_or_else(|| panic!("{said}")).split_whitespace().next().unwrap();
    let subject = format!("results.{sequence}");
    let mut result = String::new();
    eventually("the result is in the stream under the job's sequence", || {
        result = cli.stdout(&["stream", "get", "RESULTS", "--last-for", &subject], None);
        result.contains("\"success\":true")
    });
    let body: serde_json::Value =
        serde_json::from_str(result.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    let http = http::post(&fleet.url("/predict"), &[], &std::fs::read(repository().join(SAMPLE)).unwrap()).json();
    for answer in [&request, &body] {
        assert_eq!(answer["prediction"], http["prediction"]);
        assert_eq!(answer["top"], http["top"]);
    }
    assert_eq!(body["job"], sequence);

    // A lane that does not exist takes nothing: nobody would ever fetch it.
    let stray = cli.run(&["pub", "-J", "jobs.digits.urgent", "--force-stdin", "--no-templates"], Some(SAMPLE));
    assert!(!stray.status.success(), "{stray:?}");

    assert!(cli.stdout(&["micro", "ls"], None).contains("shoal"));
    let error = cli.stdout(&["req", "predict.digits", "no image", "--raw"], None);
    assert!(error.contains("not_an_image"), "{error}");
}

#[test]
fn a_result_may_be_sent_to_an_inbox_and_nowhere_else() {
    let Some(program) = shoal_shared::locate::nats_cli() else {
        return eprintln!("skipped: no `nats` command here");
    };
    let fleet = Fleet::start(FleetPlan::default());
    let cli = Cli { program, url: fleet.nats.url() };
    let image = images::digit(2);
    std::fs::write(fleet.nats.dir().join("two.png"), &image).unwrap();
    // A hostile reply subject would make the worker publish a job of its own.
    let publish = |id: &str, reply: &str| {
        let mut command = Command::new(&cli.program);
        command.args(["--server", &cli.url, "pub", "-J", "jobs.digits.bulk", "--force-stdin", "--no-templates"]);
        command.args(["-H", &format!("Shoal-Job:{id}"), "-H", &format!("Shoal-Reply:{reply}")]);
        assert!(
            command.stdin(File::open(fleet.nats.dir().join("two.png")).unwrap()).output().unwrap().status.success()
        );
    };
    publish("hostile", "jobs.digits.bulk");
    eventually("the result is stored under the job's own id", || {
        cli.stdout(&["stream", "get", "RESULTS", "--last-for", "results.hostile"], None)
            .contains("\"prediction\":\"2\"")
    });
    let jobs = cli.stdout(&["stream", "info", "JOBS", "--json"], None);
    let jobs: serde_json::Value = serde_json::from_str(&jobs).unwrap();
    assert_eq!(jobs["state"]["last_seq"], 1, "nothing was published on the stranger's behalf");
}
