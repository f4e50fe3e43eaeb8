//! A whole fleet of real processes: nats-server, gateways, workers.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::eventually;
use crate::http;
use crate::nats::NatsServer;
use crate::process::{Process, binary, repository};

/// How a fleet is to be.
#[derive(Clone)]
pub struct FleetPlan {
    /// The model served.
    pub model: String,
    /// Models served beside it, by the same workers.
    pub also: Vec<String>,
    /// Folder with models; none: only the embedded one.
    pub models_dir: Option<PathBuf>,
    /// Number of workers.
    pub workers: usize,
    /// Threads of each.
    pub threads: usize,
    /// Way to NATS that gateways and workers take, when it is not the straight one.
    pub nats_url: Option<String>,
    /// Whether NATS is a cluster of three.
    pub cluster: bool,
    /// nats-server of another release that the cluster starts with.
    pub nats_before: Option<PathBuf>,
    /// Configuration file that all share.
    pub config: String,
    /// Workers are children of a supervisor, which restarts them.
    pub supervised: bool,
    /// The supervisor decides, between these numbers of workers.
    pub scale: Option<(usize, usize)>,
    /// Folder with the gateway's binary, when it is of another release.
    pub gateway_binaries: Option<PathBuf>,
    /// Folder with the workers' binary, when it is of another release.
    pub worker_binaries: Option<PathBuf>,
    /// Environment of the gateway.
    pub gateway_env: Vec<(String, String)>,
    /// Environment of the workers.
    pub worker_env: Vec<(String, String)>,
}

impl Default for FleetPlan {
    fn default() -> Self {
        let (gateway_env, worker_env) = (Vec::new(), Vec::new());
        Self {
            model: "digits".into(),
            also: Vec::new(),
            models_dir: None,
            workers: 1,
            threads: 1,
            nats_url: None,
            cluster: false,
            nats_before: None,
            config: String::new(),
            supervised: false,
            scale: None,
            gateway_binaries: None,
            worker_binaries: None,
            gateway_env,
            worker_env,
        }
    }
}

/// A running fleet; gone when dropped.
pub struct Fleet {
    /// Gateways with their base addresses.
    pub gateways: Vec<(Process, String)>,
    /// Workers.
    pub workers: Vec<Process>,
    /// The bus.
    pub nats: NatsServer,
    plan: FleetPlan,
    started: usize,
}

impl Fleet {
    /// Starts a fleet and waits until it is ready.
    pub fn start(plan: FleetPlan) -> Self {
        let nats = if plan.cluster { NatsServer::cluster_of(plan.nats_before.clone()) } else { NatsServer::start() };
        Self::start_on(nats, plan)
    }

    /// Starts a fleet on servers that run already.
    pub fn start_on(nats: NatsServer, plan: FleetPlan) -> Self {
        std::fs::write(nats.dir().join("shoal.toml"), &plan.config).unwrap();
        provision(&nats, &plan.model);
        plan.also.iter().for_each(|model| provision(&nats, model));
        let mut fleet = Self { gateways: Vec::new(), workers: Vec::new(), nats, plan, started: 0 };
        if fleet.plan.supervised || fleet.plan.scale.is_some() {
            fleet.add_supervisor();
        } else {
            (0..fleet.plan.workers).for_each(|_| fleet.add_worker());
        }
        fleet.add_gateway();
        fleet.wait_ready(fleet.plan.scale.map_or(fleet.plan.workers, |(min, _)| min));
        fleet
    }

    /// The first gateway's address with a path behind it.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gateways[0].1)
    }

    /// Starts one more worker.
    pub fn add_worker(&mut self) {
        self.add_worker_for(&self.models());
    }

    fn models(&self) -> String {
        std::iter::once(&self.plan.model).chain(&self.plan.also).cloned().collect::<Vec<_>>().join(",")
    }

    /// Starts one more worker, for any provisioned model.
    pub fn add_worker_for(&mut self, model: &str) {
        let mut command = Command::new(of_release(self.plan.worker_binaries.as_deref(), "shoal-worker"));
        command.args(["run", "--model", model]);
        self.launch_worker(command);
    }

    /// Lets the stream take jobs of another model; workers that are added from now on serve it.
    pub fn serve_also(&mut self, model: &str) {
        provision(&self.nats, model);
        self.plan.model = model.to_owned();
    }

    /// Starts one more supervisor.
    pub fn add_supervisor(&mut self) {
        let mut command = Command::new(of_release(self.plan.worker_binaries.as_deref(), "shoal-worker"));
        command.args(["fleet", "--model", &self.models()]);
        match self.plan.scale {
            Some((min, max)) => command.args(["--min", &min.to_string(), "--max", &max.to_string()]),
            None => command.args(["--workers", &self.plan.workers.to_string()]),
        };
        self.launch_worker(command);
    }

    fn launch_worker(&mut self, mut command: Command) {
        self.started += 1;
        let threads = self.plan.threads.to_string();
        command.args(["--nats-url", &self.nats_url(), "--threads", &threads]).env("SHOAL_CONFIG", self.config());
        if let Some(dir) = &self.plan.models_dir {
            command.arg("--models-dir").arg(dir);
        }
        command.envs(self.plan.worker_env.iter().cloned()).current_dir(repository());
        let log = self.nats.dir().join(format!("worker-{}.log", self.started));
        self.workers.push(Process::start(&mut command, &log));
    }

    /// Sets a variable for gateways that are started from now on.
    pub fn gateway_env(&mut self, name: &str, value: &str) {
        self.plan.gateway_env.push((name.to_owned(), value.to_owned()));
    }

    /// Starts one more gateway.
    pub fn add_gateway(&mut self) {
        let gateway = self.launch_gateway("127.0.0.1:0");
        self.gateways.push(gateway);
    }

    /// A gateway that was ended starts again at the same address.
    pub fn restart_gateway(&mut self, index: usize) {
        let address = self.gateways[index].1.trim_start_matches("http://").to_owned();
        self.gateways[index].0.kill();
        self.gateways[index] = self.launch_gateway(&address);
    }

    fn launch_gateway(&mut self, listen: &str) -> (Process, String) {
        self.started += 1;
        let log = self.nats.dir().join(format!("gateway-{}.log", self.started));
        let mut command = Command::new(of_release(self.plan.gateway_binaries.as_deref(), "shoal-gateway"));
        command.args(["--listen", listen, "--nats-url", &self.nats_url(), "--default-model", &self.plan.model]);
        command.env("SHOAL_CONFIG", self.config());
        command.envs(self.plan.gateway_env.iter().cloned()).current_dir(repository());
        let process = Process::start(&mut command, &log);
        let mut address = None;
        eventually("the gateway says where it listens", || {
            address = listening_address(&process.log());
            address.is_some()
        });
        (process, format!("http://{}", address.unwrap()))
    }

    fn nats_url(&self) -> String {
        self.plan.nats_url.clone().unwrap_or_else(|| self.nats.url())
    }

    fn config(&self) -> PathBuf {
        self.nats.dir().join("shoal.toml")
    }

    /// Runs the operator's command against this fleet; gives what it printed.
    pub fn shoal(&self, args: &[&str]) -> String {
        let mut command = Command::new(binary("shoal"));
        let output = command.args(args).args(["--nats-url", &self.nats.url()]).env("SHOAL_CONFIG", self.config());
        let output = output.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until every gateway sees `workers` workers.
    pub fn wait_ready(&self, workers: usize) {
        for (_, base) in &self.gateways {
            let url = format!("{base}/readyz");
            eventually("the gateway is ready", || {
                let ready = http::get(&url).json();
                ready["workers"].as_u64() == Some(workers as u64) && (workers == 0 || http::is_ok(&url))
            });
        }
    }

    /// Sum of a counter over the workers that still run, by its exact series name.
    pub fn worker_metric(&self, series: &str) -> f64 {
        let list = http::get(&self.url("/models")).json();
        let admins = list["workers"].as_array().cloned().unwrap_or_default();
        admins
            .iter()
            .filter_map(|worker| worker["admin"].as_str())
            .map(|admin| metric(&format!("http://{admin}/metrics"), series))
            .sum()
    }
}

fn of_release(folder: Option<&Path>, name: &str) -> PathBuf {
    folder.map_or_else(|| binary(name), |folder| folder.join(name))
}

/// The value of one series of a metrics page; 0 when it is absent.
pub fn metric(url: &str, series: &str) -> f64 {
    let page = String::from_utf8(http::get(url).body).unwrap();
    let line = page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

/// Creates streams, consumers and buckets with the operator's command.
pub fn provision(nats: &NatsServer, model: &str) {
    let output = Command::new(binary("shoal"))
        .args(["provision", "--model", model, "--nats-url", &nats.url()])
        .envs(nats.config().map(|path| ("SHOAL_CONFIG", path)))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn listening_address(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("gateway listening"))?;
    let fields: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(fields["address"].as_str()?.to_owned())
}
