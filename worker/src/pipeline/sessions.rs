//! The thread that owns a session: batches, runs, ranks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::Receiver;
use shoal_shared::prediction::Prediction;

use super::batch::collect;
use super::decoding::DecodePool;
use super::{Decoded, Finished, FinishedSender, Held, Shared, Verdict, micros_since};
use crate::model::{ModelSession, rank};

/// What a session thread works with.
pub struct SessionWork {
    /// What every stage shares.
    pub shared: Shared,
    /// Decoded jobs.
    pub decoded: Receiver<Decoded>,
    /// Answers.
    pub finished: FinishedSender,
    /// Where used rows go.
    pub pool: DecodePool,
    /// Most images in one run.
    pub max_batch: usize,
    /// Longest wait for a batch to fill.
    pub max_delay: Duration,
}

/// One session and the buffer of its batch.
pub struct SessionThread {
    work: SessionWork,
    session: ModelSession,
    values: Vec<f32>,
}

impl SessionThread {
    /// For a warmed-up session.
    pub fn new(work: SessionWork, session: ModelSession) -> Self {
        Self { work, session, values: Vec::new() }
    }

    /// Runs batches until the decode threads have ended.
    pub fn run(mut self) {
        let mut batch = Vec::with_capacity(self.work.max_batch);
        loop {
            collect(&self.work.decoded, self.work.max_batch, self.work.max_delay, &mut batch);
            if batch.is_empty() {
                return;
            }
            let live = self.drop_moot(&mut batch);
            if !live.is_empty() {
                self.run_batch(live);
            }
        }
    }

    /// Leaves out what need not be worked on any more.
    fn drop_moot(&self, batch: &mut Vec<Decoded>) -> Vec<Decoded> {
        let mut live = Vec::with_capacity(batch.len());
        for decoded in batch.drain(..) {
            match self.work.shared.is_moot(&decoded.held, "the session was free") {
                None => live.push(decoded),
                Some(verdict) => {
                    self.work.pool.give_back(decoded.row);
                    self.finish(decoded.held, verdict, 0);
                }
            }
        }
        live
    }

    fn run_batch(&mut self, batch: Vec<Decoded>) {
        let rows = batch.len();
        self.values.clear();
        let mut jobs = Vec::with_capacity(rows);
        for Decoded { mut held, row } in batch {
            self.values.extend_from_slice(&row);
            self.work.pool.give_back(row);
            held.timings.batch_wait = micros_since(held.entered);
            jobs.push(held);
        }
        let begun = Instant::now();
        let scores = self.session.run(&mut self.values, rows);
        let metrics = &self.work.shared.metrics;
        metrics.session_ran(rows, begun.elapsed());
        match scores {
            Ok(scores) => self.hand_out(jobs, &scores, micros_since(begun)),
            Err(error) => {
                metrics.session_failures.inc();
                tracing::error!(%error, rows, "the session failed");
                for held in jobs {
                    self.finish(held, Verdict::Retry(format!("the session failed: {error}")), rows);
                }
            }
        }
    }

    fn hand_out(&self, jobs: Vec<Held>, scores: &[f32], infer_us: u32) {
        let rows = jobs.len();
        let computed_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        for (mut held, row) in jobs.into_iter().zip(scores.chunks_exact(scores.len() / rows)) {
            held.timings.infer = infer_us;
            let model = &self.work.shared.model;
            let verdict = match rank(model, row) {
                Ok(top) => Verdict::Predicted(Prediction {
                    model: model.manifest.name.clone(),
                    digest: model.digest.clone(),
                    top,
                    infer_us: infer_us / rows as u32,
                    computed_at,
                }),
                Err(error) => Verdict::Retry(error),
            };
            self.finish(held, verdict, rows);
        }
    }

    fn finish(&self, held: Held, verdict: Verdict, rows: usize) {
        // The settler ends after this stage, so the channel is open.
        let _ = self.work.finished.send(Finished { held, verdict, batch: rows as u16 });
    }
}
