//! Several models share a budget of workers: who gets how many.
//!
//! Largest remainder (Hamilton's method): each model's quota is its part of the budget, workers are
//! dealt one by one to the largest unmet quota. Each model with demand gets one first where budget
//! and memory allow. A worker that runs already counts a little more than one that would have to
//! start, so that remainders close to each other do not swap workers on every look.

/// What a running worker's claim is worth beyond that of one not started, in workers.
const KEEP: f64 = 0.2;

/// What one model asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// The model's name.
    pub model: String,
    /// Workers wanted, not rounded. What is not over 0 is no demand.
    pub wanted: f64,
    /// Memory that one worker with this model takes.
    pub memory_bytes: u64,
    /// Workers that have this model loaded.
    pub ready: usize,
}

/// How many workers a model gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The model's name.
    pub model: String,
    /// Its workers.
    pub workers: usize,
}

/// A worker that should load another model, which is cheaper than to start one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The model it leaves.
    pub from: String,
    /// The model it loads.
    pub to: String,
}

/// A division of the budget and the way to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// In the order of the demands.
    pub shares: Vec<Share>,
    /// Workers to move.
    pub moves: Vec<Move>,
    /// Models to start a worker for, once for each worker.
    pub starts: Vec<String>,
    /// Models to stop a worker of, once for each worker.
    pub stops: Vec<String>,
}

/// Divides `budget_workers` and `memory_bytes` among models. No model gets more than it wants,
/// rounded up.
pub fn divide(budget_workers: usize, demands: &[Demand], memory_bytes: u64) -> Assignment {
    let mut table = Table::new(budget_workers, demands, memory_bytes);
    table.deal_one_each();
    while let Some(next) = table.largest_claim() {
        table.give(next);
    }
    table.assignment()
}

struct Table<'a> {
    demands: &'a [Demand],
    quotas: Vec<f64>,
    given: Vec<usize>,
    workers: usize,
    memory: u64,
}

impl<'a> Table<'a> {
    fn new(budget_workers: usize, demands: &'a [Demand], memory: u64) -> Self {
        let wanted: f64 = demands.iter().map(positive).sum();
        let scale = if wanted > budget_workers as f64 { budget_workers as f64 / wanted } else { 1.0 };
        let quotas = demands.iter().map(|demand| positive(demand) * scale).collect();
        Self { demands, quotas, given: vec![0; demands.len()], workers: budget_workers, memory }
    }

    /// One for every model with demand: by claim if all fit, or else the smallest first, so that as
    /// many models as possible have one.
    fn deal_one_each(&mut self) {
        let mut order: Vec<usize> = (0..self.demands.len()).filter(|i| positive(&self.demands[*i]) > 0.0).collect();
        let together = order.iter().fold(0u64, |sum, i| sum.saturating_add(self.demands[*i].memory_bytes));
        if together > self.memory {
            order.sort_by_key(|i| self.demands[*i].memory_bytes);
        } else {
            order.sort_by(|a, b| self.claim(*b).total_cmp(&self.claim(*a)));
        }
        for next in order {
            if self.fits(next) {
                self.give(next);
            }
        }
    }

    fn fits(&self, i: usize) -> bool {
        self.workers > 0 && self.demands[i].memory_bytes <= self.memory
    }

    /// The part of a model's quota that is not met.
    fn claim(&self, i: usize) -> f64 {
        let keep = if self.given[i] < self.demands[i].ready { KEEP } else { 0.0 };
        self.quotas[i] - self.given[i] as f64 + keep
    }

    fn largest_claim(&self) -> Option<usize> {
        (0..self.demands.len())
            .filter(|i| (self.given[*i] as f64) < positive(&self.demands[*i]).ceil() && self.fits(*i))
            // The first of equals.
            .max_by(|a, b| self.claim(*a).total_cmp(&self.claim(*b)).then(b.cmp(a)))
    }

    fn give(&mut self, i: usize) {
        self.given[i] += 1;
        self.workers -= 1;
        self.memory -= self.demands[i].memory_bytes;
    }

    fn assignment(self) -> Assignment {
        let repeated = |count: &dyn Fn(&Demand, usize) -> usize| -> Vec<String> {
            let counted = self.demands.iter().zip(&self.given);
            counted.flat_map(|(demand, given)| vec![demand.model.clone(); count(demand, *given)]).collect()
        };
        let mut stops = repeated(&|demand, given| demand.ready.saturating_sub(given));
        let mut starts = repeated(&|demand, given| given.saturating_sub(demand.ready));
        let moved = stops.len().min(starts.len());
        let moves = stops.drain(..moved).zip(starts.drain(..moved)).map(|(from, to)| Move { from, to }).collect();
        let share = |(demand, workers): (&Demand, &usize)| Share { model: demand.model.clone(), workers: *workers };
        Assignment { shares: self.demands.iter().zip(&self.given).map(share).collect(), moves, starts, stops }
    }
}

fn positive(demand: &Demand) -> f64 {
    if demand.wanted.is_finite() { demand.wanted.max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demands(of: &[(f64, u64, usize)]) -> Vec<Demand> {
        let demand = |(i, (wanted, memory_bytes, ready)): (usize, &(f64, u64, usize))| Demand {
            model: format!("m{i}"),
            wanted: *wanted,
            memory_bytes: *memory_bytes,
            ready: *ready,
        };
        of.iter().enumerate().map(demand).collect()
    }

    fn counts(budget: usize, of: &[(f64, u64, usize)], memory: u64) -> Vec<usize> {
        divide(budget, &demands(of), memory).shares.iter().map(|share| share.workers).collect()
    }

    #[test]
    fn remainders_decide() {
        // Quotas 4.7, 3.1, 2.2 of ten.
        assert_eq!(counts(10, &[(9.4, 1, 0), (6.2, 1, 0), (4.4, 1, 0)], 100), [5, 3, 2]);
        // Enough for all: what is wanted, rounded up, and no more.
        assert_eq!(counts(10, &[(1.2, 1, 0), (0.01, 1, 0), (0.0, 1, 0)], 100), [2, 1, 0]);
    }

    #[test]
    fn a_small_model_keeps_its_one() {
        assert_eq!(counts(4, &[(100.0, 1, 0), (0.1, 1, 0)], 100), [3, 1]);
        assert_eq!(counts(1, &[(0.1, 1, 0), (5.0, 1, 0)], 100), [0, 1]);
    }

    #[test]
    fn memory_is_respected() {
        assert_eq!(counts(8, &[(4.0, 40, 0), (4.0, 10, 0)], 100), [2, 2]);
        assert_eq!(counts(8, &[(4.0, 200, 0), (f64::NAN, 1, 0)], 100), [0, 0]);
    }

    #[test]
    fn what_runs_is_kept_and_moving_comes_before_starting() {
        assert_eq!(counts(3, &[(1.55, 1, 1), (1.45, 1, 2)], 100), [1, 2]);
        let moved = divide(4, &demands(&[(3.0, 1, 1), (1.0, 1, 2)]), 100);
        assert_eq!(moved.moves, [Move { from: "m1".into(), to: "m0".into() }]);
        assert_eq!((moved.starts, moved.stops), (vec!["m0".to_owned()], vec![]));
    }

    #[test]
    fn always_within_bounds_and_stable() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..5_000 {
            let (budget, memory) = (random.usize(0..20), random.u64(0..400));
            let of: Vec<_> = (0..random.usize(0..6))
                .map(|_| (random.f64() * 8.0 - 1.0, random.u64(1..60), random.usize(0..5)))
                .collect();
            let mut demands = demands(&of);
            let first = divide(budget, &demands, memory);
            let given: Vec<usize> = first.shares.iter().map(|share| share.workers).collect();
            assert!(given.iter().sum::<usize>() <= budget);
            assert!(
                given.iter().zip(&demands).map(|(n, demand)| *n as u64 * demand.memory_bytes).sum::<u64>() <= memory
            );
            let asking = demands.iter().filter(|demand| demand.wanted > 0.0);
            if asking.clone().count() <= budget && asking.map(|demand| demand.memory_bytes).sum::<u64>() <= memory {
                assert!(given.iter().zip(&demands).all(|(n, demand)| *n > 0 || demand.wanted <= 0.0));
            }
            demands.iter_mut().zip(&given).for_each(|(demand, n)| demand.ready = *n);
            let again = divide(budget, &demands, memory);
            assert_eq!(again.shares, first.shares, "{demands:?}");
            assert!(again.moves.is_empty() && again.starts.is_empty() && again.stops.is_empty());
        }
    }
}
