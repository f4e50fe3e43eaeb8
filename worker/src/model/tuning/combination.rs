//! What is measured: engines, by sessions side by side and threads of each, by images in a batch.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::curve::{Curve, best};
use crate::model::engine::Engine;

/// Batches beyond this gain nothing on a CPU, and cost the queue latency.
const LARGEST_ON_CPU: usize = 8;

/// Sessions that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Combination {
    /// How they compute.
    #[serde(flatten)]
    pub engine: Engine,
    /// Sessions side by side.
    pub sessions: usize,
    /// Threads of each.
    pub threads: usize,
}

/// A combination and what was measured of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    #[serde(flatten)]
    pub of: Combination,
    /// Images in a batch.
    pub batches: Vec<usize>,
    /// Milliseconds for a batch of as many in every session at the same time.
    pub ms: Vec<f64>,
    /// Memory of the process after the runs, bytes; 0 where the kernel does not tell.
    pub memory: u64,
    /// Seconds to build and warm up the sessions.
    pub ready_s: f64,
}

impl Row {
    /// Milliseconds for a batch.
    pub fn ms_of(&self, batch: usize) -> Option<f64> {
        self.batches.iter().position(|size| *size == batch).and_then(|at| self.ms.get(at).copied())
    }

    /// The batch with most images a second, and that number.
    pub fn best(&self) -> (usize, f64) {
        best(&self.curve(), self.of.sessions)
    }

    /// Time of a run, by its number of images.
    pub(super) fn curve(&self) -> Curve {
        let time = |(batch, ms): (&usize, &f64)| (*batch, Duration::from_secs_f64(ms / 1e3));
        self.batches.iter().zip(&self.ms).map(time).collect()
    }

    /// The same measured again: of each batch the run that was disturbed least.
    pub fn merge(&mut self, again: &Row) {
        for (ms, other) in self.ms.iter_mut().zip(&again.ms) {
            *ms = ms.min(*other);
        }
        self.memory = self.memory.max(again.memory);
        self.ready_s = self.ready_s.min(again.ready_s);
    }
}

/// Every combination of these engines within so many threads; `several` says whether the model may be loaded more
/// than once.
pub fn combinations(engines: &[Engine], threads: usize, several: bool) -> Vec<Combination> {
    let halved = std::iter::successors(Some(threads), |threads| Some(threads / 2).filter(|threads| *threads > 0));
    let sizes: Vec<usize> = halved.collect();
    let mut all = Vec::new();
    for &engine in engines {
        all.push(Combination { engine, sessions: 1, threads });
        if engine.is_on_cpu() && several {
            let side_by_side = sizes.iter().filter(|size| threads / **size > 1);
            all.extend(side_by_side.map(|&size| Combination { engine, sessions: threads / size, threads: size }));
        }
    }
    all
}

/// 1, 2, 4 … `most` images. A model with a fixed batch takes as long for one image as for all.
pub fn batches(engine: Engine, most: usize, fixed: Option<usize>) -> Vec<usize> {
    let most = fixed.unwrap_or(if engine.is_on_cpu() { most.min(LARGEST_ON_CPU) } else { most }).max(1);
    let doubling = std::iter::successors(Some(1), |rows| Some(rows * 2)).take_while(|rows| *rows < most);
    if fixed.is_some() { vec![most] } else { doubling.chain([most]).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine::{Numbers, Provider};

    #[test]
    fn sessions_and_threads_stay_within_the_cores() {
        let shapes = |threads, several| {
            let all = combinations(&[Engine::CPU], threads, several);
            all.iter().map(|one| (one.sessions, one.threads)).collect::<Vec<_>>()
        };
        assert_eq!(shapes(1, true), [(1, 1)]);
        assert_eq!(shapes(2, true), [(1, 2), (2, 1)]);
        assert_eq!(shapes(6, true), [(1, 6), (2, 3), (6, 1)]);
        assert_eq!(shapes(8, false), [(1, 8)]);
        let cuda = Engine::new(Provider::Cuda, Numbers::File);
        assert_eq!(combinations(&[cuda], 8, true).len(), 1);
    }

    #[test]
    fn batches_double() {
        assert_eq!(batches(Engine::CPU, 6, None), [1, 2, 4, 6]);
        assert_eq!(batches(Engine::CPU, 64, None), [1, 2, 4, 8]);
        assert_eq!(batches(Engine::CPU, 1, None), [1]);
        assert_eq!(batches(Engine::CPU, 8, Some(4)), [4]);
        assert_eq!(batches(Engine::new(Provider::Cuda, Numbers::File), 16, None), [1, 2, 4, 8, 16]);
    }
}
