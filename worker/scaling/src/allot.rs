//! Which worker keeps which model loaded, when not all of them fit into each: [`divide`] says how many
//! workers each model gets, and here as few of them as possible change theirs.

use std::collections::BTreeMap;

use crate::divide::{Demand, divide};

/// A worker and the models it has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The worker.
    pub worker: String,
    /// The model it was told to keep.
    pub keeps: Option<String>,
    /// Models that it has loaded.
    pub loaded: Vec<String>,
}

/// Whether a worker is one for a model.
type Suits<'a> = dyn Fn(&Holding, &str) -> bool + 'a;

/// A model for each worker that is to have one. `memory_bytes` is what one worker may use: a model that is
/// larger gets none. `ready` of the demands is counted here.
pub fn allot(workers: &[Holding], demands: &[Demand], memory_bytes: u64) -> BTreeMap<String, String> {
    let keeping = |model: &str| workers.iter().filter(|worker| worker.keeps.as_deref() == Some(model)).count();
    let fitting = demands.iter().map(|demand| Demand {
        wanted: if demand.memory_bytes <= memory_bytes { demand.wanted } else { 0.0 },
        ready: keeping(&demand.model),
        ..demand.clone()
    });
    let fitting: Vec<Demand> = fitting.collect();
    // Each worker is one model's, so memory is respected one by one.
    let shares = divide(workers.len(), &fitting, u64::MAX).shares;
    let mut allotted = BTreeMap::new();
    let mut left: Vec<(&str, usize)> = shares.iter().map(|share| (share.model.as_str(), share.workers)).collect();
    // Those who keep a model go on, then those who have it loaded; the rest move.
    let keeps = |worker: &Holding, model: &str| worker.keeps.as_deref() == Some(model);
    let has = |worker: &Holding, model: &str| worker.loaded.iter().any(|loaded| loaded == model);
    let any = |_: &Holding, _: &str| true;
    let rounds: [&Suits; 3] = [&keeps, &has, &any];
    for suits in rounds {
        for (model, open) in &mut left {
            for worker in workers {
                if *open > 0 && !allotted.contains_key(&worker.worker) && suits(worker, model) {
                    allotted.insert(worker.worker.clone(), (*model).to_owned());
                    *open -= 1;
                }
            }
        }
    }
    allotted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &str, keeps: Option<&str>, loaded: &[&str]) -> Holding {
        let loaded = loaded.iter().map(|model| (*model).to_owned()).collect();
        Holding { worker: name.into(), keeps: keeps.map(str::to_owned), loaded }
    }

    fn demand(model: &str, wanted: f64, memory_bytes: u64) -> Demand {
        Demand { model: model.into(), wanted, memory_bytes, ready: 0 }
    }

    fn allotted(workers: &[Holding], demands: &[Demand], memory: u64) -> Vec<(String, String)> {
        allot(workers, demands, memory).into_iter().collect()
    }

    fn pair(worker: &str, model: &str) -> (String, String) {
        (worker.into(), model.into())
    }

    #[test]
    fn whoever_has_a_model_keeps_it() {
        let workers = [worker("1", Some("b"), &["b"]), worker("2", None, &["a"]), worker("3", None, &["b"])];
        let demands = [demand("a", 1.0, 1), demand("b", 2.0, 1)];
        assert_eq!(allotted(&workers, &demands, 1), [pair("1", "b"), pair("2", "a"), pair("3", "b")]);
    }

    #[test]
    fn demand_moves_a_worker_and_idle_models_hold_none() {
        let workers = [worker("1", Some("a"), &["a"]), worker("2", Some("a"), &["a"])];
        assert_eq!(
            allotted(&workers, &[demand("a", 3.0, 1), demand("b", 0.4, 1)], 1),
            [pair("1", "a"), pair("2", "b")]
        );
        assert_eq!(allotted(&workers, &[demand("a", 0.0, 1), demand("b", 0.4, 1)], 1), [pair("1", "b")]);
        assert_eq!(allotted(&workers, &[demand("a", 1.0, 1), demand("b", 9.0, 2)], 1), [pair("1", "a")]);
    }

    #[test]
    fn asked_again_it_says_the_same() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..2000 {
            let demands: Vec<Demand> = (0..random.usize(1..5))
                .map(|i| demand(&format!("m{i}"), random.f64() * 4.0, random.u64(1..9)))
                .collect();
            let count = random.usize(0..8);
            let mut workers: Vec<Holding> = (0..count).map(|i| worker(&i.to_string(), None, &[])).collect();
            let first = allot(&workers, &demands, 6);
            for worker in &mut workers {
                worker.keeps = first.get(&worker.worker).cloned();
            }
            assert_eq!(allot(&workers, &demands, 6), first, "{demands:?}");
        }
    }
}
