//! From a model's name to sessions that are warmed up: fetched when it was pushed, read, held against its
//! digest, loaded, measured.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use parking_lot::Mutex;
use shoal_nats::bundles::{BundleName, Bundles};
use shoal_shared::digest::ModelDigest;

use super::cpu::CpuBudget;
use super::wishes::{Identity, PushedVersion};
use crate::model::tuning::{self, Found, LibraryFile, Looked};
use crate::model::{Crew, LARGEST_COPIED, Machine, Measured, Model, ModelStore, Runtime, Wanted};

/// Measurements that are remembered; the models beyond are measured each time.
const MOST_REMEMBERED: usize = 256;

/// Loads models, one at a time.
pub(crate) struct Loader {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) store: ModelStore,
    pub(crate) bundles: Bundles,
    pub(crate) budget: CpuBudget,
    pub(crate) wanted: Wanted,
    /// Models that were loaded here before: a model that comes back is not measured again.
    pub(crate) measured: Mutex<HashMap<ModelDigest, Measured>>,
}

/// A model that is ready to run.
pub(crate) struct Loaded {
    pub(crate) model: Model,
    pub(crate) crew: Crew,
    /// Memory that it takes, reckoned.
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

impl Loader {
    /// Loads a model. `known` are the versions whose files are worth keeping on disk.
    pub(crate) async fn load(
        self: Arc<Self>,
        identity: Identity,
        known: BTreeSet<BundleName>,
    ) -> anyhow::Result<Loaded> {
        let begun = Instant::now();
        if let Some(pushed) = &identity.pushed {
            self.fetch(&identity, pushed, &known).await?;
        }
        // The runtime of this process has one thread, and it is not for computing.
        let loading = tokio::task::spawn_blocking(move || self.assemble(&identity, begun));
        loading.await.context("loading a model ended early")?
    }

    async fn fetch(
        &self,
        identity: &Identity,
        pushed: &PushedVersion,
        known: &BTreeSet<BundleName>,
    ) -> anyhow::Result<()> {
        let name = BundleName::new(&identity.name, &pushed.digest);
        if self.store.has_pushed(&name) {
            return Ok(());
        }
        let begun = Instant::now();
        let bundle = self.bundles.get(&name).await?;
        let bytes = bundle.bytes();
        let files = [("model.onnx", Some(&bundle.onnx)), ("labels.txt", bundle.labels.as_ref())];
        let files: Vec<(&str, &[u8])> =
            files.into_iter().filter_map(|(name, content)| Some((name, content?.as_slice()))).collect();
        self.store.add_pushed(&name, &bundle.manifest, &files)?;
        self.store.forget_pushed_except(known);
        tracing::info!(model.name = %identity.name, bytes, took = ?begun.elapsed(), "model fetched");
        Ok(())
    }

    fn assemble(&self, identity: &Identity, begun: Instant) -> anyhow::Result<Loaded> {
        let mut model = match &identity.pushed {
            Some(pushed) => {
                let model = self.store.load_pushed(&identity.name, &BundleName::new(&identity.name, &pushed.digest))?;
                anyhow::ensure!(
                    model.digest == pushed.digest,
                    "the digest of {} is {}, the catalog says {}: it was damaged, or pushed by another release",
                    identity.name,
                    model.digest,
                    pushed.digest
                );
                model
            }
            None => self.store.load(&identity.name)?,
        };
        let crew = match self.by_profile(identity, &mut model) {
            Some(crew) => crew,
            None => self.by_measuring(&mut model)?,
        };
        let copies = if model.shares_weights() { 1 } else { crew.copies() };
        let bytes = (model.onnx.len() * copies) as u64;
        model.forget_weights();
        Ok(Loaded { model, crew, bytes, took: begun.elapsed() })
    }

    fn by_measuring(&self, model: &mut Model) -> anyhow::Result<Crew> {
        model.optimise(&self.runtime, &self.store.optimised_folder(), self.runtime.engine());
        let here = self.measured.lock().get(&model.digest).copied();
        let on_disk = || model.optimised.as_ref()?.measured(self.wanted);
        let crew = match here.or_else(on_disk) {
            Some(known) => {
                tracing::info!(model.name = %model.manifest.name, shape = ?known.shape, "sessions as measured before");
                Crew::reassemble(&self.runtime, model, self.wanted, &self.budget, known)?
            }
            None => {
                let crew = Crew::assemble(&self.runtime, model, self.wanted, &self.budget)?;
                if let Some(optimised) = &model.optimised {
                    optimised.remember(self.wanted, crew.measured());
                }
                crew
            }
        };
        self.remember(&model.digest, crew.measured());
        Ok(crew)
    }

    /// The sessions of the model's profile for this machine, if there is one and it can be used. It may lie beside
    /// the version's files, or beside the model it was pushed from.
    fn by_profile(&self, identity: &Identity, model: &mut Model) -> Option<Crew> {
        let machine = Machine::this(self.wanted.threads);
        let pushed = identity.pushed.as_ref();
        let pushed = pushed.map(|pushed| self.store.pushed_folder(&BundleName::new(&identity.name, &pushed.digest)));
        let folders: Vec<PathBuf> = pushed.into_iter().chain([self.store.folder(&identity.model)]).collect();
        let library = LibraryFile::here(self.runtime.library());
        let by = Looked { machine: &machine, digest: &model.digest, device: self.runtime.device(), library };
        let name = &identity.name;
        let (profile, path) = match tuning::look(&folders, &by) {
            Found::Fits(profile, path) => (profile, path),
            Found::Unusable(why) => {
                tracing::warn!(model.name = %name, why, "profile not used: sessions are measured at start");
                return None;
            }
            Found::Nothing if model.manifest.precision.is_exact() => return None,
            Found::Nothing => {
                tracing::warn!(
                    model.name = %name, machine = machine.digest(),
                    "precision \"fast\" and no profile for this machine: exact until `shoal tune` has written one"
                );
                return None;
            }
        };
        model.optimise(&self.runtime, &self.store.optimised_folder(), profile.choice.wide.of.engine);
        match Crew::chosen(&self.runtime, model, self.wanted, &self.budget, &profile.choice) {
            Ok(crew) => {
                tracing::info!(
                    model.name = %name, engine = crew.engines, precision = profile.precision.as_str(),
                    sessions = 1 + crew.narrow.len(), shape = ?crew.shape, path = %path.display(), "profile used"
                );
                Some(crew)
            }
            Err(error) => {
                let why = format!("{error:#}");
                tracing::warn!(model.name = %name, why, path = %path.display(), "profile not used: its sessions fail");
                None
            }
        }
    }

    fn remember(&self, digest: &ModelDigest, measured: Measured) {
        let mut known = self.measured.lock();
        if known.len() < MOST_REMEMBERED {
            known.insert(digest.clone(), measured);
        }
    }

    /// Memory that a model will take, before it was ever loaded: its file, for the wide session and the one that narrow ones share.
    pub(crate) fn reckon(&self, identity: &Identity) -> u64 {
        let file = match &identity.pushed {
            Some(pushed) => pushed.bytes,
            None => self.store.bytes(&identity.name),
        };
        let is_copied = self.budget.threads() > 1 && file <= LARGEST_COPIED as u64;
        if is_copied { 2 * file } else { file }
    }
}
