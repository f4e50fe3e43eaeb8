//! The images of a form, as they arrive.

use std::time::{Duration, Instant};

use futures_util::Stream;
use shoal_shared::failure::{Failure, FailureCode};

use crate::admission::Admission;
use crate::http::upload::{Bounds, Collected, File, Files, Upload, too_slow};

/// Longest part of a file's name that is told back.
const MAX_NAME: usize = 255;

/// What came next in a form.
pub(super) enum Arrival {
    /// An image, or why it could not be taken; the form goes on after it.
    File { name: Option<String>, read: Result<Upload, Failure> },
    /// Nothing more can be read.
    Broken(Failure),
}

impl Arrival {
    /// Bytes of the image.
    pub(super) fn len(&self) -> usize {
        match self {
            Arrival::File { read: Ok(upload), .. } => upload.image.len(),
            _ => 0,
        }
    }
}

/// Reads at most `most` images. Nothing is read ahead of being asked for.
pub(super) fn arrivals(
    files: Files,
    bounds: Bounds,
    admission: Admission,
    most: usize,
) -> impl Stream<Item = Arrival> + Send {
    let reader = Reader { files, bounds, admission, left: most };
    futures_util::stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(file)) => Some((file, Some(reader))),
            Ok(None) => None,
            Err(failure) => Some((Arrival::Broken(failure), None)),
        }
    })
}

struct Reader {
    files: Files,
    bounds: Bounds,
    admission: Admission,
    left: usize,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Arrival>, Failure> {
        let begun = Instant::now();
        let patience = self.bounds.timeout;
        let next = tokio::time::timeout(patience, self.files.next()).await;
        let Some(file) = next.map_err(|_| too_slow(patience))?? else { return Ok(None) };
        let Some(left) = self.left.checked_sub(1) else {
            let message = "the form has more images than one batch may: send the rest in another";
            return Err(Failure::new(FailureCode::TooLarge, message));
        };
        self.left = left;
        let name = file.name().map(|name| name.chars().take(MAX_NAME).collect());
        let collected = self.collect(file, begun + patience).await?;
        Ok(Some(Arrival::File { name, read: collected.map(|collected| collected.finish(begun.elapsed())) }))
    }

    /// Reads a file to its end, also when it is refused midway: the next one comes after it.
    async fn collect(&self, mut file: File, deadline: Instant) -> Result<Result<Collected, Failure>, Failure> {
        let patience = self.bounds.timeout;
        let mut collected = Ok(Collected::new(self.bounds, self.admission.charge()));
        let mut waited = Duration::ZERO;
        loop {
            // The time that memory was short is not the client's.
            let chunk = tokio::time::timeout_at((deadline + waited).into(), file.chunk()).await;
            let Some(chunk) = chunk.map_err(|_| too_slow(patience))?? else { return Ok(collected) };
            let Ok(taking) = &mut collected else { continue };
            let pushed = Instant::now();
            if let Err(failure) = taking.push_patiently(chunk, pushed + patience).await {
                collected = Err(failure);
            }
            waited += pushed.elapsed();
        }
    }
}
