//! The threads that own a session each: take a batch, run it, rank.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use shoal_shared::prediction::Prediction;

use super::decoding::DecodePool;
use super::ready::{Kind, Ready};
use super::streak::FailureStreak;
use super::{Decoded, Finished, FinishedSender, Held, Shared, Verdict, micros_since};
use crate::model::{ModelSession, rank};
use crate::serving::CpuBudget;

/// What a session thread works with.
#[derive(Clone)]
pub struct SessionWork {
    /// What every stage shares.
    pub shared: Shared,
    /// Decoded jobs.
    pub decoded: Ready<Decoded>,
    /// Answers.
    pub finished: FinishedSender,
    /// Where used rows go.
    pub pool: DecodePool,
    /// Notices a session that fails everything.
    pub streak: FailureStreak,
    /// Where threads are leased from for each run.
    pub budget: CpuBudget,
}

/// One session and the buffer of its batch.
pub struct SessionThread {
    work: SessionWork,
    kind: Kind,
    /// Threads that it computes with.
    threads: usize,
    session: ModelSession,
    values: Vec<f32>,
}

impl SessionThread {
    /// For a warmed-up session that computes with so many threads.
    pub fn new(work: SessionWork, kind: Kind, threads: usize, session: ModelSession) -> Self {
        Self { work, kind, threads, session, values: Vec::new() }
    }

    /// Runs batches until the decode threads have ended.
    pub fn run(mut self) {
        let mut batch = Vec::new();
        while let Some((turn, release)) = self.work.decoded.take(self.kind, &mut batch) {
            if batch.is_empty() {
                // While this session waited for more, another one took what there was.
                continue;
            }
            self.work.shared.metrics.released(release);
            let live = self.drop_moot(&mut batch);
            if !live.is_empty() {
                self.run_batch(live);
            }
            drop(turn);
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

    fn run_batch(&mut self, mut batch: Vec<Decoded>) {
        let rows = batch.len();
        if self.work.streak.is_broken() {
            batch.into_iter().for_each(|decoded| self.give_back(decoded));
            return;
        }
        let lease = self.work.budget.lease(self.threads);
        let begun = Instant::now();
        let scores = match &mut batch[..] {
            // Its row is the tensor.
            [alone] if self.session.input().fixed_batch.is_none() => self.session.run(&mut alone.row, 1),
            batch => {
                self.values.clear();
                batch.iter().for_each(|decoded| self.values.extend_from_slice(&decoded.row));
                self.session.run(&mut self.values, rows)
            }
        };
        let (metrics, share, took) = (&self.work.shared.metrics, self.work.decoded.share(self.kind), begun.elapsed());
        drop(lease);
        metrics.session_ran(rows, took, share);
        self.work.shared.tally.ran(rows, took.mul_f64(share));
        match scores {
            Ok(scores) => {
                self.work.streak.succeeded();
                self.hand_out(batch, &scores, begun);
            }
            Err(error) if rows > 1 => {
                metrics.session_failures.inc();
                tracing::warn!(error, rows, "a batch failed; its images are tried one by one");
                batch.into_iter().for_each(|decoded| self.run_batch(vec![decoded]));
            }
            Err(error) => {
                metrics.session_failures.inc();
                tracing::error!(error, "the session failed");
                self.work.streak.failed();
                for Decoded { held, row } in batch {
                    self.work.pool.give_back(row);
                    self.finish(held, Verdict::Retry(format!("the session failed: {error}")), rows);
                }
            }
        }
    }

    fn give_back(&self, Decoded { held, row }: Decoded) {
        self.work.pool.give_back(row);
        self.finish(held, Verdict::Returned("this worker's session is broken".into()), 0);
    }

    fn hand_out(&self, batch: Vec<Decoded>, scores: &[f32], begun: Instant) {
        let (rows, infer_us) = (batch.len(), micros_since(begun));
        let computed_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        for (decoded, scores) in batch.into_iter().zip(scores.chunks_exact(scores.len() / rows)) {
            let Decoded { mut held, row } = decoded;
            self.work.pool.give_back(row);
            held.timings.batch_wait = begun.saturating_duration_since(held.entered).as_micros() as u32;
            held.timings.infer = infer_us;
            let model = &self.work.shared.model;
            let verdict = match rank(model, scores) {
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
