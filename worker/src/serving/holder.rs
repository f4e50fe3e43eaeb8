//! Holds the models of this process: follows what is wished, loads the next before it lets the last go, and
//! stays within the memory budget.

mod farewell;
mod look;
mod tell;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shoal_nats::bundles::BundleName;
use shoal_nats::catalog::CatalogView;
use shoal_shared::names::ModelName;
use shoal_shared::presence::{HoldState, ModelStatus};
use shoal_shared::process::shutdown::Shutdown;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::loader::{Loaded, Loader};
use super::residency::{Candidate, Claim, Stand, Step, next_step};
use super::roll::{Line, Roll};
use super::served::{Means, ServedModel};
use super::wishes::{Assigned, Identity, Wish};
use farewell::Stranded;

/// How often it is looked whether jobs wait for a model that is not loaded, and whether one has broken.
const INTERVAL: Duration = Duration::from_millis(250);
/// A model that could not be loaded is tried again after this long: what was missing may be there.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// Every model of this process.
pub(crate) struct Holder {
    means: Means,
    loader: Arc<Loader>,
    catalog: CatalogView,
    assigned: Assigned,
    /// The model that the fleet wants here, beside those that are pinned.
    ordered: watch::Receiver<Option<ModelName>>,
    roll: Roll,
    changed: Arc<Notify>,
    budget: u64,
    held: Vec<Held>,
    barred: HashMap<ModelName, Barred>,
    waited: HashSet<ModelName>,
    stranded: Stranded,
    /// Models of the local folder that were not loaded yet, as far as their files tell.
    described: HashMap<ModelName, ModelStatus>,
    events: (mpsc::UnboundedSender<Event>, mpsc::UnboundedReceiver<Event>),
}

/// What others say that concerns the models here.
pub(crate) struct Followed {
    pub(crate) catalog: CatalogView,
    pub(crate) ordered: watch::Receiver<Option<ModelName>>,
}

/// A model on its way in, in, or on its way out.
struct Held {
    identity: Identity,
    since: Duration,
    /// Since when nobody wishes it any more.
    unwished: Option<Instant>,
    phase: Phase,
}

enum Phase {
    /// With the memory it will take, reckoned.
    Loading(u64),
    Serving(Box<ServedModel>),
    Leaving(Box<Line>),
}

/// A model that cannot be served.
struct Barred {
    identity: Identity,
    reason: String,
    until: Instant,
}

enum Event {
    Loaded(Identity, anyhow::Result<Box<ServedModel>>),
    Left(ModelName),
}

impl Holder {
    /// Nothing held yet.
    pub(crate) fn new(means: Means, loader: Loader, followed: Followed, roll: Roll, changed: Arc<Notify>) -> Self {
        let Followed { catalog, ordered } = followed;
        let config = &means.config;
        let assigned = Assigned { models: config.served_models(), pinned: config.pinned.clone() };
        let budget = config.memory();
        Self {
            means,
            loader: Arc::new(loader),
            catalog,
            assigned,
            ordered,
            roll,
            changed,
            budget,
            held: Vec::new(),
            barred: HashMap::new(),
            waited: HashSet::new(),
            stranded: Stranded::default(),
            described: HashMap::new(),
            events: mpsc::unbounded_channel(),
        }
    }

    /// Loads the first model, without which there is no use in starting: the live version, or the one before
    /// when that cannot be served. The others come when it runs.
    pub(crate) async fn load_first(&mut self) -> anyhow::Result<First> {
        loop {
            let wishes = self.wishes();
            let open = |wish: &&Wish| wish.claim >= Claim::OnDemand && !self.barred.contains_key(&wish.identity.name);
            let Some(wish) = wishes.iter().find(open) else { break };
            let identity = wish.identity.clone();
            match self.loader.clone().load(identity.clone(), self.known()).await {
                Ok(loaded) => return Ok(First { identity, loaded }),
                Err(error) => self.bar(identity, format!("{error:#}")),
            }
        }
        let reasons: Vec<&str> = self.barred.values().map(|barred| barred.reason.as_str()).collect();
        anyhow::bail!("no model can be served: {}", reasons.join("; "))
    }

    /// Starts the first model.
    pub(crate) async fn start_first(&mut self, First { identity, loaded }: First) -> anyhow::Result<()> {
        let served = ServedModel::start(identity.clone(), loaded, self.means.clone()).await?;
        let phase = Phase::Serving(Box::new(served));
        self.hold(identity, phase);
        self.describe().await;
        self.arrange().await;
        Ok(())
    }

    /// Follows wishes until shutdown is ordered and everything in hand is settled. An error when nothing can
    /// be served any more.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        let (mut changes, mut ordered) = (self.catalog.changes(), self.ordered.clone());
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ended = Ok(());
        while !shutdown.is_ordered() {
            let breaks = self.breaks();
            tokio::select! {
                _ = tick.tick() => {
                    self.look_for_jobs().await;
                    self.look_for_stranded_jobs().await;
                }
                _ = changes.changed() => {}
                Ok(()) = ordered.changed() => {}
                () = breaks => {}
                Some(event) = self.events.1.recv() => self.take(event),
                () = shutdown.ordered() => break,
            }
            self.arrange().await;
            if let Some(reason) = self.is_useless() {
                ended = Err(anyhow::anyhow!("{reason}: this worker is of no use"));
                break;
            }
        }
        shutdown.order();
        self.leave_all().await;
        ended
    }

    /// One round: what is wished against what is here.
    async fn arrange(&mut self) {
        let now = Instant::now();
        self.barred.retain(|_, barred| barred.until > now);
        self.drop_broken();
        let wishes = self.wishes();
        // What failed under another digest is another model.
        self.barred.retain(|_, barred| wishes.iter().any(|wish| wish.identity == barred.identity));
        self.hand_over(&wishes).await;
        self.let_go_of_the_unwished(&wishes).await;
        while let Some(step) = next_step(&self.candidates(&wishes), self.budget, self.means.origin.elapsed()) {
            match step {
                Step::Unload(name) if self.is_earlier(&name, &wishes) && self.jobs_wait(&name).await => break,
                Step::Unload(name) => self.unload(&name),
                // One at a time: loading takes all cores.
                Step::Load(_) if self.held.iter().any(|held| matches!(held.phase, Phase::Loading(_))) => break,
                Step::Load(name) => match wishes.iter().find(|wish| wish.identity.name == name) {
                    Some(wish) => self.load(wish.identity.clone()),
                    None => break,
                },
            }
        }
        self.tell(&wishes);
    }

    fn wishes(&self) -> Vec<Wish> {
        self.stranded.join(self.assigned_wishes())
    }

    fn assigned_wishes(&self) -> Vec<Wish> {
        let ordered = self.ordered.borrow().clone();
        self.assigned.wishes(&self.catalog, ordered.as_ref(), |name| self.barred.contains_key(name))
    }

    /// Jobs without a version go to the live one, as soon as it is there.
    async fn hand_over(&mut self, wishes: &[Wish]) {
        for wish in wishes.iter().filter(|wish| wish.is_live) {
            let is_here =
                self.held.iter().any(|held| held.identity == wish.identity && matches!(held.phase, Phase::Serving(_)));
            if !is_here {
                continue;
            }
            for held in self.held.iter_mut().filter(|held| held.identity.model == wish.identity.model) {
                if let Phase::Serving(served) = &mut held.phase {
                    match held.identity == wish.identity {
                        true => served.take_unversioned().await,
                        false => served.leave_unversioned(),
                    }
                }
            }
        }
    }

    /// Whether a model is an earlier version, which nobody asks any more.
    fn is_earlier(&self, name: &ModelName, wishes: &[Wish]) -> bool {
        wishes.iter().any(|wish| wish.identity.name == *name && wish.claim == Claim::Kept)
    }

    fn is_serving(&self, name: &ModelName) -> bool {
        self.held.iter().any(|held| held.identity.name == *name && matches!(held.phase, Phase::Serving(_)))
    }

    fn candidates(&self, wishes: &[Wish]) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = Vec::new();
        for wish in wishes {
            let name = wish.identity.name.clone();
            let held = self.held.iter().find(|held| held.identity.name == name);
            let live_is_here = || {
                let live = wishes.iter().find(|live| live.is_live && live.identity.model == wish.identity.model);
                live.is_some_and(|live| self.is_serving(&live.identity.name))
            };
            // The one before stays until the live one is here.
            let claim = if wish.claim == Claim::Kept && !live_is_here() { Claim::Pinned } else { wish.claim };
            // While another version of a model answers, its live one is waited for.
            let waited = self.waited.contains(&name) || (wish.is_live && self.answers_otherwise(wish));
            let (bytes, stand) = match held {
                Some(held) => self.stand(held),
                None if self.barred.contains_key(&name) => (0, Stand::Barred),
                // The one before is not loaded for its own sake.
                None if wish.claim == Claim::Kept => continue,
                None => (self.loader.reckon(&wish.identity), Stand::Absent { waited }),
            };
            candidates.push(Candidate { name, claim, bytes, stand });
        }
        for held in self.held.iter().filter(|held| wishes.iter().all(|wish| wish.identity.name != held.identity.name)) {
            let (bytes, stand) = self.stand(held);
            candidates.push(Candidate { name: held.identity.name.clone(), claim: Claim::Pinned, bytes, stand });
        }
        candidates
    }

    fn answers_otherwise(&self, wish: &Wish) -> bool {
        let other = |held: &Held| held.identity.model == wish.identity.model && held.identity != wish.identity;
        self.held.iter().any(|held| other(held) && matches!(held.phase, Phase::Serving(_)))
    }

    fn stand(&self, held: &Held) -> (u64, Stand) {
        let since = held.since;
        match &held.phase {
            Phase::Loading(bytes) => (*bytes, Stand::Loaded { since: self.means.origin.elapsed(), asked: since }),
            Phase::Serving(served) => (served.bytes(), Stand::Loaded { since, asked: served.last_asked() }),
            Phase::Leaving(line) => (line.memory_bytes, Stand::Leaving),
        }
    }

    fn load(&mut self, identity: Identity) {
        let (loader, means, known) = (self.loader.clone(), self.means.clone(), self.known());
        let (events, of) = (self.events.0.clone(), identity.clone());
        tracing::info!(model.name = %identity.name, "loading");
        tokio::spawn(async move {
            let loaded = match loader.load(of.clone(), known).await {
                Ok(loaded) => ServedModel::start(of.clone(), loaded, means).await.map(Box::new),
                Err(error) => Err(error),
            };
            let _ = events.send(Event::Loaded(of, loaded));
        });
        let phase = Phase::Loading(self.loader.reckon(&identity));
        self.hold(identity, phase);
        self.changed.notify_one();
    }

    fn hold(&mut self, identity: Identity, phase: Phase) {
        self.held.push(Held { identity, since: self.means.origin.elapsed(), unwished: None, phase });
    }

    fn unload(&mut self, name: &ModelName) {
        let Some(held) = self.held.iter_mut().find(|held| held.identity.name == *name) else { return };
        let Phase::Serving(served) = &held.phase else { return };
        let line = Box::new(Line { state: HoldState::Draining, ..served.line() });
        let Phase::Serving(served) = std::mem::replace(&mut held.phase, Phase::Leaving(line)) else { return };
        tracing::info!(model.name = %name, "unloading: no more pulls, finishing what is in hand");
        let (events, name) = (self.events.0.clone(), name.clone());
        tokio::spawn(async move {
            served.drain().await;
            let _ = events.send(Event::Left(name));
        });
        self.changed.notify_one();
    }

    fn take(&mut self, event: Event) {
        let metrics = &self.means.metrics;
        match event {
            Event::Loaded(identity, loaded) => {
                self.held.retain(|held| held.identity != identity || !matches!(held.phase, Phase::Loading(_)));
                match loaded {
                    Ok(served) => {
                        metrics.model_changes.with_label_values(&[identity.name.as_str(), "loaded"]).inc();
                        tracing::info!(model.name = %identity.name, took = ?served.line().loaded_in, "model ready");
                        self.waited.remove(&identity.name);
                        self.hold(identity, Phase::Serving(served));
                    }
                    Err(error) => self.bar(identity, format!("{error:#}")),
                }
            }
            Event::Left(name) => {
                metrics.model_changes.with_label_values(&[name.as_str(), "unloaded"]).inc();
                tracing::info!(model.name = %name, "model unloaded");
                let left = self.held.iter().find(|held| held.identity.name == name);
                if let Some(Phase::Leaving(line)) = left.map(|held| &held.phase) {
                    metrics.leaves(name.as_str(), line.status.digest.as_str());
                }
                self.held.retain(|held| held.identity.name != name || !matches!(held.phase, Phase::Leaving(_)));
            }
        }
        self.changed.notify_one();
    }

    fn bar(&mut self, identity: Identity, reason: String) {
        tracing::error!(model.name = %identity.name, reason, "the model cannot be served");
        self.means.metrics.model_changes.with_label_values(&[identity.name.as_str(), "failed"]).inc();
        self.barred.insert(identity.name.clone(), Barred { identity, reason, until: Instant::now() + TRY_AGAIN });
        self.changed.notify_one();
    }

    fn drop_broken(&mut self) {
        let broken = |held: &&Held| matches!(&held.phase, Phase::Serving(served) if served.is_broken());
        for identity in self.held.iter().filter(broken).map(|held| held.identity.clone()).collect::<Vec<_>>() {
            let failures = self.means.config.max_failures;
            let name = identity.name.clone();
            self.bar(identity, format!("the session failed {failures} images in a row"));
            self.unload(&name);
        }
    }

    /// Why nothing can be served any more: everything that answers is barred.
    fn is_useless(&self) -> Option<String> {
        let works = self.held.iter().any(|held| !matches!(held.phase, Phase::Leaving(_)));
        let wishes = self.wishes();
        let mut open = wishes.iter().filter(|wish| wish.claim >= Claim::OnDemand);
        let is_barred = |wish: &Wish| self.barred.contains_key(&wish.identity.name);
        if works || wishes.is_empty() || !open.all(is_barred) {
            return None;
        }
        self.barred.values().next().map(|barred| barred.reason.clone())
    }

    /// Files of versions that are worth keeping on disk.
    fn known(&self) -> BTreeSet<BundleName> {
        let records = self.catalog.records();
        let versions = records.iter().flat_map(|(model, record)| {
            record
                .versions
                .iter()
                .filter_map(|(version, pushed)| Some(BundleName::new(&model.served(version).ok()?, &pushed.digest)))
        });
        versions.collect()
    }

    async fn leave_all(&mut self) {
        let names: Vec<ModelName> = self.held.iter().map(|held| held.identity.name.clone()).collect();
        names.iter().for_each(|name| self.unload(name));
        // A model that is being loaded is not waited for: nobody has seen it yet.
        self.held.retain(|held| !matches!(held.phase, Phase::Loading(_)));
        while !self.held.is_empty() {
            match self.events.1.recv().await {
                Some(Event::Loaded(_, Ok(served))) => served.drain().await,
                Some(event) => self.take(event),
                None => return,
            }
        }
    }
}

/// The first model, loaded and not yet pulling.
pub(crate) struct First {
    identity: Identity,
    loaded: Loaded,
}
