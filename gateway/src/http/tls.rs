//! HTTPS: the certificate and key, read again when their files change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use shoal_shared::process::shutdown::Shutdown;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::GatewayConfig;

/// How often the files are looked at: renewals come days before the end.
const LOOK: Duration = Duration::from_secs(60);
/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Encrypts connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    acceptor: Arc<RwLock<TlsAcceptor>>,
}

impl Tls {
    /// From the configured files; `None` when there are none.
    pub(crate) fn load(config: &GatewayConfig) -> anyhow::Result<Option<Self>> {
        let (Some(certificate), Some(key)) = (&config.tls_cert_file, &config.tls_key_file) else { return Ok(None) };
        let acceptor = Arc::new(RwLock::new(read(certificate, key)?));
        Ok(Some(Self { certificate: certificate.clone(), key: key.clone(), acceptor }))
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = self.acceptor.read().clone();
        tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Follows the files until shutdown is ordered.
    pub(crate) async fn follow(self, shutdown: Shutdown) {
        let mut seen = self.changed();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.ordered() => return,
            }
            let now = self.changed();
            if now == seen {
                continue;
            }
            seen = now;
            match read(&self.certificate, &self.key) {
                Ok(acceptor) => {
                    *self.acceptor.write() = acceptor;
                    tracing::info!(file = %self.certificate.display(), "new certificate taken");
                }
                Err(error) => tracing::warn!(%error, "the new certificate cannot be used; the old one stays"),
            }
        }
    }

    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| fs::metadata(path).and_then(|data| data.modified()).ok())
    }
}

fn read(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate).with_context(|| certificate.display().to_string())?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().with_context(|| certificate.display().to_string())?;
    anyhow::ensure!(!chain.is_empty(), "{} holds no certificate", certificate.display());
    let secret = PrivateKeyDer::from_pem_file(key).with_context(|| key.display().to_string())?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, secret)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
