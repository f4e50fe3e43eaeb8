//! The decode threads: check the digest, decode, resize. One thread's failure is one
//! image's failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use shoal_shared::digest::{CacheKey, ImageKey};
use shoal_shared::failure::{Failure, FailureCode};

use super::lanes::Lanes;
use super::{Decoded, DecodedSender, Finished, FinishedSender, Held, Shared, Verdict, micros_since};
use crate::image::{Helpers, Preprocessor, Row};

/// Rows that have been used and may be filled again.
#[derive(Clone)]
pub struct DecodePool {
    give: Sender<Row>,
    take: Receiver<Row>,
}

impl DecodePool {
    /// Keeps at most `rows` unused rows.
    pub fn new(rows: usize) -> Self {
        let (give, take) = bounded(rows);
        Self { give, take }
    }

    fn take(&self) -> Row {
        self.take.try_recv().unwrap_or_default()
    }

    /// Returns a row; beyond the bound it is freed.
    pub fn give_back(&self, row: Row) {
        let _ = self.give.try_send(row);
    }
}

/// Decodes until the lanes are closed and empty. While it waits, it counts among the helpers of the others.
pub fn run_decode_thread(
    shared: &Shared,
    mut preprocessor: Preprocessor,
    pool: &DecodePool,
    (lanes, helpers): (&Arc<Lanes<Held>>, &Helpers),
    (decoded, finished): (DecodedSender, FinishedSender),
) {
    let next = || {
        let _idle = helpers.idle();
        lanes.pop()
    };
    while let Some(mut held) = next() {
        let begun = Instant::now();
        held.timings.fetch = begun.saturating_duration_since(held.entered).as_micros() as u32;
        let coming = decoded.announce();
        let mut row = pool.take();
        let result = work(shared, &mut preprocessor, &mut held, &mut row);
        held.place = None;
        held.timings.decode = micros_since(begun);
        held.entered = Instant::now();
        shared.metrics.decode_busy.inc_by(begun.elapsed().as_secs_f64());
        match result {
            Ok(()) => coming.push(Decoded { held, row }),
            Err(verdict) => {
                drop(coming);
                pool.give_back(row);
                let _ = finished.send(vec![Finished { held, verdict, batch: 0 }]);
            }
        }
    }
}

fn work(shared: &Shared, preprocessor: &mut Preprocessor, held: &mut Held, row: &mut Row) -> Result<(), Verdict> {
    if let Some(verdict) = shared.is_moot(held, "the image was decoded") {
        return Err(verdict);
    }
    check_digest(shared, held)?;
    let image = held.image.clone();
    match catch_unwind(AssertUnwindSafe(|| preprocessor.read(&image, row))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failure)) => Err(Verdict::Failed(failure)),
        Err(_) => Err(Verdict::Retry("decoding panicked".into())),
    }
}

fn check_digest(shared: &Shared, held: &mut Held) -> Result<(), Verdict> {
    let image = match &held.key {
        Some(key) => key.image,
        None => ImageKey::of(shared.digest, &held.image),
    };
    if let Some(expected) = held.delivery.wishes.digest {
        let found = image.sha256(&held.image);
        if found != expected {
            let message = format!("the image's SHA-256 is {found}, the job says {expected}");
            return Err(Verdict::Failed(Failure::new(FailureCode::DigestMismatch, message)));
        }
    }
    if held.key.is_none() {
        held.key = Some(CacheKey { model: shared.model.digest.clone(), image });
    }
    Ok(())
}
