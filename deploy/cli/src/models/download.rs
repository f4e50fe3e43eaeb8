//! Fetching a file that is known by size and SHA-256: resumes, shows progress, verifies before
//! anybody sees it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// What is to be fetched.
pub struct Wanted<'a> {
    /// From where.
    pub url: &'a str,
    /// Exact size.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: &'a str,
}

/// Why a file could not be fetched.
#[derive(Debug, Error)]
pub enum DownloadError {
    /// The server cannot be reached or broke off; what arrived is kept and the next try goes on from there.
    #[error("{url}: {reason}")]
    Network {
        /// From where.
        url: String,
        /// What happened.
        reason: String,
    },
    /// What arrived is not what was asked for; it has been deleted.
    #[error("{url}: {what} is {found}, the catalogue says {expected}; the download was thrown away")]
    Tampered {
        /// From where.
        url: String,
        /// Size or SHA-256.
        what: &'static str,
        /// What arrived.
        found: String,
        /// What should have.
        expected: String,
    },
    /// The disk would not take it.
    #[error("{path}: {source}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DownloadError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, DownloadError::Network { .. })
    }
}

/// Fetches into `target`. What an earlier try left in `target.partial` is continued.
pub fn fetch(agent: &ureq::Agent, wanted: &Wanted<'_>, target: &Path, show: bool) -> Result<(), DownloadError> {
    let partial = target.with_extension("partial");
    let have = fs::metadata(&partial).map_or(0, |meta| meta.len());
    if have > wanted.bytes {
        fs::remove_file(&partial).map_err(disk(&partial))?;
        return fetch(agent, wanted, target, show);
    }
    if have < wanted.bytes {
        receive(agent, wanted, &partial, have, show)?;
    }
    verify(wanted, &partial)?;
    fs::rename(&partial, target).map_err(disk(target))
}

fn receive(
    agent: &ureq::Agent,
    wanted: &Wanted<'_>,
    partial: &Path,
    have: u64,
    show: bool,
) -> Result<(), DownloadError> {
    let network = |reason: String| DownloadError::Network { url: wanted.url.to_owned(), reason };
    let mut request = agent.get(wanted.url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let response = request.call().map_err(|error| network(error.to_string()))?;
    // A server that ignores the range sends everything: then the file starts over.
    let continues = response.status() == 206;
    let start = if continues { have } else { 0 };
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .append(continues)
        .truncate(!continues)
        .open(partial)
        .map_err(disk(partial))?;
    let progress = bar(wanted.bytes, start, show);
    let mut body = response.into_body().into_reader().take(wanted.bytes - start + 1);
    let mut buffer = vec![0; 64 * 1024];
    let mut received = start;
    loop {
        let read = body.read(&mut buffer).map_err(|error| network(error.to_string()))?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(disk(partial))?;
        received += read as u64;
        progress.set_position(received);
    }
    file.sync_all().map_err(disk(partial))?;
    progress.finish_and_clear();
    if received < wanted.bytes {
        return Err(network(format!("broke off after {received} of {} bytes", wanted.bytes)));
    }
    Ok(())
}

/// Size and digest, before the file gets its name.
fn verify(wanted: &Wanted<'_>, partial: &Path) -> Result<(), DownloadError> {
    let mut file = File::open(partial).map_err(disk(partial))?;
    let mut hasher = Sha256::new();
    let size = io::copy(&mut file, &mut HashWriter(&mut hasher)).map_err(disk(partial))?;
    let tampered = |what, found: String, expected: String| {
        let _ = fs::remove_file(partial);
        Err(DownloadError::Tampered { url: wanted.url.to_owned(), what, found, expected })
    };
    if size != wanted.bytes {
        return tampered("its size", size.to_string(), wanted.bytes.to_string());
    }
    let digest = hex::encode(hasher.finalize());
    if digest != wanted.sha256 {
        return tampered("its SHA-256", digest, wanted.sha256.to_owned());
    }
    Ok(())
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn bar(bytes: u64, start: u64, show: bool) -> ProgressBar {
    if !show {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(bytes).with_position(start);
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn disk(path: &Path) -> impl Fn(io::Error) -> DownloadError {
    let path = path.to_owned();
    move |source| DownloadError::Disk { path: path.clone(), source }
}

/// An agent that gives up connecting after `connect`, and reading after a minute of silence.
pub fn agent(connect: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_resolve(Some(connect))
        .timeout_connect(Some(connect))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .build()
        .into()
}
