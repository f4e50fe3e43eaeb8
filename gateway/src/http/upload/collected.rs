//! What has arrived of an upload, counted and hashed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use shoal_shared::digest::Hasher;
use shoal_shared::failure::Failure;

use super::{Bounds, Upload, too_large};
use crate::admission::Charge;

/// How often room for more bytes is looked for while other uploads take it all.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(20);

/// Chunks of an upload so far.
pub(in crate::http) struct Pieces {
    chunks: Vec<Bytes>,
    length: usize,
    max_bytes: usize,
    charge: Charge,
}

impl Pieces {
    /// Nothing so far, and `max_bytes` at most.
    pub(in crate::http) fn new(max_bytes: usize, charge: Charge) -> Self {
        Self { chunks: Vec::new(), length: 0, max_bytes, charge }
    }

    /// Takes the next piece, unless the upload becomes too large or memory is short.
    pub(in crate::http) fn push(&mut self, chunk: Bytes) -> Result<(), Failure> {
        let length = self.length + chunk.len();
        if length > self.max_bytes {
            return Err(too_large(length as u64, self.max_bytes));
        }
        self.charge.grow(chunk.len())?;
        self.length = length;
        self.chunks.push(chunk);
        Ok(())
    }

    /// All of it.
    pub(in crate::http) fn finish(mut self) -> (Bytes, Charge) {
        let whole = match self.chunks.len() {
            1 => self.chunks.swap_remove(0),
            _ => {
                let mut whole = BytesMut::with_capacity(self.length);
                // Each is given back once it is copied.
                self.chunks.into_iter().for_each(|chunk| whole.extend_from_slice(&chunk));
                whole.freeze()
            }
        };
        (whole, self.charge)
    }
}

/// Chunks of an image and their digest so far.
pub(in crate::http) struct Collected {
    /// What the file is called, in a form.
    pub(super) file_name: Option<String>,
    pieces: Pieces,
    hasher: Hasher,
    hashing: Duration,
}

impl Collected {
    /// Nothing so far.
    pub(in crate::http) fn new(bounds: Bounds, charge: Charge) -> Self {
        let pieces = Pieces::new(bounds.max_bytes, charge);
        Self { file_name: None, pieces, hasher: Hasher::new(bounds.digest), hashing: Duration::ZERO }
    }

    /// Takes the next piece, unless the image becomes too large or memory is short.
    pub(in crate::http) fn push(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.pieces.push(chunk.clone())?;
        let begun = Instant::now();
        self.hasher.update(&chunk);
        self.hashing += begun.elapsed();
        Ok(())
    }

    /// The same, waiting for memory until `deadline`: the sender is slowed down meanwhile.
    pub(in crate::http) async fn push_patiently(&mut self, chunk: Bytes, deadline: Instant) -> Result<(), Failure> {
        loop {
            match self.push(chunk.clone()) {
                Err(failure) if !failure.code.is_clients_fault() && Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_FOR_ROOM).await;
                }
                pushed => return pushed,
            }
        }
    }

    /// The image is complete, after `receive`.
    pub(in crate::http) fn finish(self, receive: Duration) -> Upload {
        let (image, charge) = self.pieces.finish();
        Upload {
            image,
            file_name: self.file_name,
            digest: self.hasher.finish(),
            receive,
            hash: self.hashing,
            charge: Arc::new(charge),
        }
    }
}
