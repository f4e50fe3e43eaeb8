//! Model files in the object store: a bundle for each version, written once, fetched by workers.

use async_nats::jetstream::object_store::ObjectStore;
use shoal_shared::digest::ModelDigest;
use shoal_shared::names::ModelName;
use std::fmt;
use tokio::io::AsyncReadExt;

use crate::connect::{Bus, BusError};
use crate::topology::BUNDLES;

/// Largest file of a bundle: what a worker is ready to hold in memory while it loads.
pub const MAX_FILE: usize = 2 << 30;

/// The files of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// `manifest.toml`.
    pub manifest: Vec<u8>,
    /// The ONNX file.
    pub onnx: Vec<u8>,
    /// The labels, when there are any.
    pub labels: Option<Vec<u8>>,
}

impl Bundle {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        (self.manifest.len() + self.onnx.len() + self.labels.as_ref().map_or(0, Vec::len)) as u64
    }
}

const MANIFEST: &str = "manifest.toml";
const ONNX: &str = "model.onnx";
const LABELS: &str = "labels.txt";

/// What a bundle is called: by the name its version is served under, and by what it holds. So two people who
/// push at the same time never write into each other's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BundleName(String);

impl BundleName {
    /// Of a version's content.
    pub fn new(served: &ModelName, digest: &ModelDigest) -> Self {
        Self(format!("{served}-{digest}"))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BundleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The object store of bundles. Cheap to clone.
#[derive(Clone)]
pub struct Bundles(ObjectStore);

impl Bundles {
    /// Opens the provisioned object store.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        bus.lookup(&format!("object store {BUNDLES}"), || bus.js.get_object_store(BUNDLES)).await.map(Self)
    }

    /// Stores a bundle; the manifest last, so that a bundle is
    /// whole or not there.
    pub async fn put(&self, version: &BundleName, bundle: &Bundle) -> Result<(), BusError> {
        for (file, content) in [(ONNX, Some(&bundle.onnx)), (LABELS, bundle.labels.as_ref())] {
            let Some(content) = content else { continue };
            if content.len() > MAX_FILE {
                let reason = format!("{} bytes, the limit is {MAX_FILE}", content.len());
                return Err(BusError::request(format!("storing {file} of {version}"), reason));
            }
            self.store(version, file, content).await?;
        }
        self.store(version, MANIFEST, &bundle.manifest).await
    }

    async fn store(&self, version: &BundleName, file: &str, content: &[u8]) -> Result<(), BusError> {
        let mut content = content;
        let stored = self.0.put(object(version, file).as_str(), &mut content).await;
        stored.map(drop).map_err(|error| BusError::request(format!("storing {file} of {version}"), error))
    }

    /// Fetches a bundle. The client library holds every file against the digest written with it.
    pub async fn get(&self, version: &BundleName) -> Result<Bundle, BusError> {
        let missing = |file: &str| BusError::request(format!("fetching {file} of {version}"), "it is not there");
        Ok(Bundle {
            manifest: self.fetch(version, MANIFEST).await?.ok_or_else(|| missing(MANIFEST))?,
            onnx: self.fetch(version, ONNX).await?.ok_or_else(|| missing(ONNX))?,
            labels: self.fetch(version, LABELS).await?,
        })
    }

    async fn fetch(&self, version: &BundleName, file: &str) -> Result<Option<Vec<u8>>, BusError> {
        use async_nats::jetstream::object_store::GetErrorKind;
        let failed = |reason: String| BusError::request(format!("fetching {file} of {version}"), reason);
        let mut object = match self.0.get(object(version, file)).await {
            Ok(object) => object,
            Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error.to_string())),
        };
        let size = object.info().size;
        if size > MAX_FILE {
            return Err(failed(format!("{size} bytes, the limit is {MAX_FILE}")));
        }
        let mut content = Vec::with_capacity(size);
        object.read_to_end(&mut content).await.map_err(|error| failed(error.to_string()))?;
        Ok(Some(content))
    }

    /// Removes a bundle; that it is gone already is fine.
    pub async fn remove(&self, version: &BundleName) {
        for file in [MANIFEST, ONNX, LABELS] {
            if let Err(error) = self.0.delete(object(version, file)).await {
                tracing::debug!(%error, "a file of a bundle was gone before it could be removed");
            }
        }
    }
}

fn object(version: &BundleName, file: &str) -> String {
    format!("{version}/{file}")
}
