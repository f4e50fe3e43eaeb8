//! The threads that own a session each: take a batch, run it, rank.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::prediction::Prediction;

use super::decoding::DecodePool;
use super::ready::{Kind, Ready, Taken};
use super::streak::FailureStreak;
use super::{Decoded, Finished, FinishedSender, Held, Shared, Verdict, micros_since};
use crate::image::Normaliser;
use crate::model::{ModelSession, rank};
use crate::serving::CpuBudget;

/// What a session thread works with.
#[derive(Clone)]
pub struct SessionWork {
    /// What every stage shares.
    pub shared: Shared,
    /// Decoded jobs.
    pub decoded: Ready<Decoded>,
    /// Puts images into the tensor.
    pub normaliser: Normaliser,
    /// Answers.
    pub finished: FinishedSender,
    /// Where used rows go.
    pub pool: DecodePool,
    /// Notices a session that fails everything.
    pub streak: FailureStreak,
    /// Where threads are leased from for each run.
    pub budget: CpuBudget,
}

/// One session and its input tensor.
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
        while let Some(Taken { mut turn, release, late }) = self.work.decoded.take(self.kind, &mut batch) {
            self.refuse(late);
            if batch.is_empty() {
                // While this session waited for more, another one took what there was; or all of it was late.
                continue;
            }
            self.work.shared.metrics.released(release);
            let live = self.drop_moot(&mut batch);
            if !live.is_empty() {
                turn.runs(live.len());
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
                    self.finish(vec![Finished { held: decoded.held, verdict, batch: 0 }]);
                }
            }
        }
        live
    }

    /// Ends what could not be done by its deadline any more.
    fn refuse(&self, late: Vec<Decoded>) {
        for Decoded { held, row } in late {
            let verdict = self.work.shared.is_moot(&held, "the session was free").unwrap_or_else(|| {
                let message = "the deadline is so near that the session could not be done by then";
                Verdict::Failed(Failure::new(FailureCode::DeadlineExceeded, message))
            });
            self.work.pool.give_back(row);
            self.finish(vec![Finished { held, verdict, batch: 0 }]);
        }
    }

    fn run_batch(&mut self, batch: Vec<Decoded>) {
        let rows = batch.len();
        if self.work.streak.is_broken() {
            return self.give_back(batch);
        }
        let lease = self.work.budget.lease(self.threads);
        let begun = Instant::now();
        let row_len = self.session.input().row_len();
        self.values.resize(rows * row_len, 0.0);
        for (decoded, values) in batch.iter().zip(self.values.chunks_exact_mut(row_len)) {
            self.work.normaliser.fill(&decoded.row, values);
        }
        let scores = self.session.run(&mut self.values, rows);
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
                self.finish_all(batch, rows, |_| Verdict::Retry(format!("the session failed: {error}")));
            }
        }
    }

    fn give_back(&self, batch: Vec<Decoded>) {
        self.finish_all(batch, 0, |_| Verdict::Returned("this worker's session is broken".into()));
    }

    fn hand_out(&self, batch: Vec<Decoded>, scores: &[f32], begun: Instant) {
        let (rows, infer_us) = (batch.len(), micros_since(begun));
        let computed_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let mut scores = scores.chunks_exact(scores.len() / rows);
        let model = &self.work.shared.model;
        self.finish_all(batch, rows, |held| {
            held.timings.batch_wait = begun.saturating_duration_since(held.entered).as_micros() as u32;
            held.timings.infer = infer_us;
            match rank(model, scores.next().unwrap_or_default()) {
                Ok(top) => Verdict::Predicted(Prediction {
                    model: model.manifest.name.clone(),
                    digest: model.digest.clone(),
                    top,
                    infer_us: infer_us / rows as u32,
                    computed_at,
                }),
                Err(error) => Verdict::Retry(error),
            }
        });
    }

    /// Finishes a batch that had so many rows; used rows go back.
    fn finish_all(&self, batch: Vec<Decoded>, rows: usize, mut verdict: impl FnMut(&mut Held) -> Verdict) {
        let finish = |Decoded { mut held, row }| {
            self.work.pool.give_back(row);
            let verdict = verdict(&mut held);
            Finished { held, verdict, batch: rows as u16 }
        };
        self.finish(batch.into_iter().map(finish).collect());
    }

    fn finish(&self, finished: Vec<Finished>) {
        // The settler ends after this stage, so the channel is open.
        let _ = self.work.finished.send(finished);
    }
}
