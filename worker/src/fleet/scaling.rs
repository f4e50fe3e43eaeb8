//! How many workers: every supervisor writes down how its host stands, one of them decides for the whole
//! fleet, and all do as the record says. While the broker is silent everybody keeps what there is.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::Serialize;
use shoal_nats::Bus;
use shoal_nats::catalog::{Catalog, CatalogView};
use shoal_nats::presence::Fleet as Presence;
use shoal_nats::supervision::{Read, Supervision};
use shoal_scaling::{Action, Cause, Cpu, Decision, Heartbeat, Scaler, Settings, Signals, Threads};
use shoal_shared::names::{ModelName, NodeId};
use shoal_shared::presence::{ModelStatus, WorkerStatus};
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::process::{available_cores, host, host_name};
use shoal_shared::supervision::{FleetRecord, LEASE, Member, SupervisorStatus};

use super::division::Division;
use super::queues::Queues;
use super::roster::Roster;
use crate::config::WorkerConfig;
use crate::model::ModelStore;

/// How often the fleet is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same while there is no worker: somebody may be waiting.
const ASLEEP: Duration = Duration::from_millis(200);
/// A member not heard of for this long gets no more workers, though it keeps what it has until its lease
/// is over.
const SILENT: Duration = Duration::from_secs(3);

/// Decisions kept for the next look.
const MOST_UNSENT: usize = 16;

/// One supervisor's part in scaling.
pub(super) struct Scaling {
    me: NodeId,
    model: ModelName,
    bus: Bus,
    supervision: Supervision,
    presence: Presence,
    queues: Queues,
    division: Division,
    scaler: Scaler,
    max: usize,
    min: usize,
    /// The models as far as their files tell, for gateways that are asked before any worker has run.
    on_disk: HashMap<ModelName, ModelStatus>,
    started: Instant,
    meter: Meter,
    /// What each member wrote last, and when that was seen to change: clocks of hosts may differ.
    seen: HashMap<NodeId, (u64, Instant)>,
    /// When the record was read last.
    looked: Option<Instant>,
    fixed: Option<usize>,
    recommended: usize,
    /// Decisions of looks that somebody else's came before.
    unsent: Vec<Vec<u8>>,
    /// Whether this supervisor waits for a job to wake the fleet.
    sleeps: bool,
    /// The last thing that went wrong, so that it is said once.
    trouble: Option<String>,
}

/// A decision as an event.
#[derive(Serialize)]
struct Event<'a> {
    model: &'a ModelName,
    supervisor: &'a NodeId,
    /// Workers that found no place on any host.
    homeless: usize,
    #[serde(flatten)]
    decision: &'a Decision,
}

impl Scaling {
    /// Connects and listens.
    pub(super) async fn connect(config: &WorkerConfig, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let me = NodeId::mint("supervisor");
        let bus = Bus::connect(&config.nats, me.as_str(), config.startup_patience).await?;
        let supervision = Supervision::open(&bus).await?;
        let presence = Presence::watch(&bus, shutdown).await?;
        let catalog = Catalog::open(&bus).await?.follow(shutdown).await?;
        let on_disk = if config.scaling.min == 0 { describe(config, &catalog).await? } else { HashMap::new() };
        let queues = Queues::new(config.served_models(), catalog);
        let settings = Settings {
            threads: if config.threads == 0 { Threads::Split } else { Threads::Fixed },
            ..config.scaling.settings()
        };
        Ok(Self {
            me,
            model: config.model.clone(),
            bus,
            supervision,
            presence,
            queues,
            division: Division::new(config),
            max: settings.max,
            min: settings.min,
            on_disk,
            scaler: Scaler::new(settings),
            started: Instant::now(),
            meter: Meter::default(),
            seen: HashMap::new(),
            looked: None,
            fixed: None,
            recommended: 0,
            unsent: Vec::new(),
            sleeps: false,
            trouble: None,
        })
    }

    /// Scales until shutdown is ordered.
    pub(super) async fn run(mut self, mut roster: Roster, shutdown: Shutdown) {
        while !shutdown.is_ordered() {
            match self.look(&mut roster).await {
                Ok(()) => self.trouble = None,
                Err(error) => {
                    let text = error.to_string();
                    if self.trouble.as_ref() != Some(&text) {
                        tracing::warn!(%error, "the fleet stays as it is");
                        self.trouble = Some(text);
                    }
                }
            }
            let pause = if self.sleeps { ASLEEP } else { INTERVAL };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.ordered() => break,
            }
        }
        let _ = self.supervision.change(&self.model, |record| drop(record.members.remove(&self.me))).await;
        self.sleeps = false;
        self.fixed = Some(0);
        self.announce(0, None).await;
    }

    async fn look(&mut self, roster: &mut Roster) -> anyhow::Result<()> {
        let here = roster.describe(Instant::now());
        let mut read = self.supervision.read(&self.model).await?;
        self.see(&read.record);
        let is_first = !self.seen.contains_key(&self.me);
        read.record.settle(&self.me, |id, member| self.is_there(id, member));
        if is_first && read.record.members.is_empty() {
            // A person's word was for a fleet that is gone.
            read.record.fixed = None;
        }
        let known = read.record.members.get(&self.me).map(|member| member.ordered);
        let member = Member {
            host: host_name(),
            pid: std::process::id(),
            renewed: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
            busy: self.meter.busy(),
            // Nobody starts a worker before the record says so: that is how the maximum holds. Whoever had
            // workers and was forgotten keeps them until the leader says otherwise.
            ordered: known.unwrap_or(roster.active()),
            ..here
        };
        self.seen.insert(self.me.clone(), (member.renewed, Instant::now()));
        read.record.members.insert(self.me.clone(), member);
        self.fixed = read.record.fixed;
        let leads = read.record.leader.as_ref() == Some(&self.me);
        let event = if leads { self.lead(&mut read).await } else { None };
        if !leads {
            self.recommended = 0;
        }
        let ordered = read.record.members.get(&self.me).map_or(0, |member| member.ordered);
        self.sleeps = leads && read.record.ordered() == 0 && self.fixed != Some(0);
        if self.supervision.write(&self.model, &read).await? {
            roster.was_told();
            roster.set(ordered, &self.slowness());
            for event in self.unsent.drain(..).chain(event) {
                let _ = self.supervision.publish(&self.model, event).await;
            }
            self.announce(ordered, Some(read.record.ordered())).await;
        } else {
            // Somebody was faster: the same is decided again, and is no news then.
            self.unsent.extend(event);
            self.unsent.truncate(MOST_UNSENT);
        }
        Ok(())
    }

    /// Notes who has written since the last look. After a look that is long ago nobody could: everybody's
    /// time begins anew.
    fn see(&mut self, record: &FleetRecord) {
        let now = Instant::now();
        if self.looked.is_none_or(|looked| now.duration_since(looked) > SILENT) {
            self.seen.values_mut().for_each(|(_, at)| *at = now);
        }
        self.looked = Some(now);
        self.seen.retain(|id, _| record.members.contains_key(id) || *id == self.me);
        for (id, member) in &record.members {
            let seen = self.seen.entry(id.clone()).or_insert((member.renewed, now));
            if seen.0 != member.renewed {
                *seen = (member.renewed, now);
            }
        }
    }

    fn silence(&self, id: &NodeId) -> Duration {
        self.seen.get(id).map_or(Duration::ZERO, |(_, at)| at.elapsed())
    }

    /// Whether a member still has its lease. One on this host whose process has ended has not.
    fn is_there(&self, id: &NodeId, member: &Member) -> bool {
        let has_ended = member.host == host_name() && !is_running(member.pid);
        self.silence(id) <= LEASE && !has_ended
    }

    /// Decides for everybody; gives the decision when it is news.
    async fn lead(&mut self, read: &mut Read) -> Option<Vec<u8>> {
        let record = &mut read.record;
        record.max = self.max;
        match record.fixed {
            Some(workers) => drop(self.scaler.fix(workers.min(self.max))),
            None => self.scaler.auto(),
        }
        let signals = self.signals(record).await;
        if signals.queue.is_some() {
            let workers: Vec<WorkerStatus> = self.workers().into_iter().map(|(status, _)| status).collect();
            record.orders = self.division.orders(&self.queues, &workers, &record.orders);
        }
        let decision = self.scaler.decide(&signals);
        self.recommended = match decision.cause {
            // Nothing was reckoned.
            Cause::Manual | Cause::Bounds => self.recommended.max(decision.to),
            Cause::BrokerSilent | Cause::HeartbeatsLost => self.recommended,
            _ => decision.inputs.target,
        };
        let silent: Vec<NodeId> = record.members.keys().filter(|id| self.silence(id) > SILENT).cloned().collect();
        for id in silent {
            if let Some(member) = record.members.get_mut(&id) {
                member.most = member.ordered;
            }
        }
        let homeless = record.divide(decision.to);
        if !decision.changed && matches!(decision.action, Action::Hold | Action::Refuse) {
            return None;
        }
        let (from, to, cause) = (decision.from, decision.to, decision.cause);
        tracing::info!(model.name = %self.model, from, to, ?cause, reason = decision.reason, "scaling decision");
        serde_json::to_vec(&Event { model: &self.model, supervisor: &self.me, homeless, decision: &decision }).ok()
    }

    async fn signals(&mut self, record: &FleetRecord) -> Signals {
        let at = self.started.elapsed();
        let mut signals = Signals { at, queue: self.queues.look(&self.bus).await, ..Signals::default() };
        let (mut hosts, mut started_in) = (HashMap::new(), Vec::new());
        for (id, member) in &record.members {
            let silence = self.silence(id);
            if silence > SILENT {
                continue;
            }
            signals.ready += member.ready;
            signals.draining += member.draining;
            let ordered_at = |age: &f64| at.saturating_sub(Duration::from_secs_f64(age.max(0.0)));
            signals.starting.extend(member.starting.iter().map(ordered_at));
            signals.threads = signals.threads.max(member.threads);
            hosts.insert(&member.host, (member.cores, member.busy));
            // What was written before the last look was taken in then.
            if silence < INTERVAL {
                started_in.extend(member.started_in.iter().map(|seconds| Duration::from_secs_f64(seconds.max(0.0))));
            }
        }
        let (cores, busy) = hosts.values().fold((0.0, 0.0), |sum, host| (sum.0 + host.0, sum.1 + host.1));
        signals.cpu = (cores > 0.0).then_some(Cpu { cores, busy });
        signals.started_in = started_in;
        let workers = self.workers();
        signals.heartbeats = workers.iter().map(heartbeat).collect();
        let (images, batches) = workers.iter().fold((0, 0), |sum, (status, _)| {
            (sum.0 + status.images, sum.1 + status.used.batches * status.model.max_batch.max(1) as u64)
        });
        signals.batch_fill = (batches > 0).then(|| images as f64 / batches as f64);
        signals
    }

    fn workers(&self) -> Vec<(WorkerStatus, Duration)> {
        let mut heard = self.presence.heard();
        let names = self.queues.all_names();
        heard.retain(|(status, _)| names.iter().any(|name| status.serves(name)));
        heard
    }

    /// Time for an image by process, of the workers on this host.
    fn slowness(&self) -> HashMap<u32, f64> {
        let host = host_name();
        let here = self.workers().into_iter().filter(|(status, _)| status.host == host);
        here.map(|(status, _)| (status.pid, f64::from(status.model.image_ms))).collect()
    }

    async fn announce(&self, wanted: usize, wanted_in_all: Option<usize>) {
        for model in self.queues.models() {
            // One sign of life for each model, as if each had a supervisor of its own.
            let id = if *model == self.model { Ok(self.me.clone()) } else { format!("{}-{model}", self.me).parse() };
            let Ok(id) = id else { continue };
            let status = SupervisorStatus {
                id,
                model: model.clone(),
                wanted,
                wanted_in_all,
                recommended: self.recommended,
                wakes: self.min == 0 && self.fixed != Some(0),
                described: self.presence.model(model).or_else(|| self.on_disk.get(model).cloned()),
            };
            self.bus.announce_supervisor(&status).await;
        }
    }
}

/// Whether a process of this host lives.
fn is_running(pid: u32) -> bool {
    Pid::from_raw(pid as i32).is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Reads the files of models that were never pushed: their digests are part of every cache key.
async fn describe(config: &WorkerConfig, catalog: &CatalogView) -> anyhow::Result<HashMap<ModelName, ModelStatus>> {
    let (store, mut names) = (ModelStore::open(&config.models_dir), config.served_models());
    names.retain(|name| catalog.record(name).is_none());
    let reading = move || names.into_iter().map(|name| Ok((name.clone(), store.describe(&name)?))).collect();
    tokio::task::spawn_blocking(reading).await?
}

fn heartbeat((status, age): &(WorkerStatus, Duration)) -> Heartbeat {
    Heartbeat { age: *age, busy: f64::from(status.busy), seconds_per_image: f64::from(status.model.image_ms) / 1e3 }
}

/// How many of this host's cores are busy, since the last look.
#[derive(Default)]
struct Meter(Option<(Instant, f64, f64)>);

impl Meter {
    fn busy(&mut self) -> f64 {
        let now = Instant::now();
        let Some(used) = host::cpu_times().map(|times| times.used) else { return 0.0 };
        let busy = match self.0 {
            // Looks that follow each other closely would measure noise.
            Some((then, _, busy)) if now.duration_since(then) < INTERVAL / 2 => return busy,
            Some((then, before, _)) => (used - before).max(0.0) / now.duration_since(then).as_secs_f64(),
            None => 0.0,
        };
        let busy = busy.min(available_cores() as f64);
        self.0 = Some((now, used, busy));
        busy
    }
}
