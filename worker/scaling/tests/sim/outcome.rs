//! What came of a simulation, and the questions that scenarios ask of it.

use shoal_scaling::{Action, Decision};

#[derive(Default)]
pub struct Outcome {
    /// Decisions that were news or changed the count.
    pub decisions: Vec<Decision>,
    /// When each job came and how long it waited, seconds.
    pub waits: Vec<(f64, f64)>,
    /// Worker-seconds, from order to end.
    pub cost: f64,
    /// Worker-seconds of the oracle.
    pub oracle: f64,
    /// At each look: when, age of the oldest waiting job, workers ordered.
    pub looks: Vec<(f64, f64, usize)>,
}

impl Outcome {
    pub fn note(&mut self, now: f64, oldest: f64, decision: &Decision) {
        self.looks.push((now, oldest, decision.to));
    }

    /// Times at which the direction of scaling turned, and whether it turned up.
    fn turns(&self) -> Vec<(f64, bool)> {
        let direction = |decision: &Decision| match decision.action {
            Action::Up { .. } => Some((decision.at.as_secs_f64(), true)),
            Action::Down { .. } => Some((decision.at.as_secs_f64(), false)),
            Action::Hold | Action::Refuse => None,
        };
        let moves: Vec<(f64, bool)> = self.decisions.iter().filter_map(direction).collect();
        moves.windows(2).filter(|pair| pair[0].1 != pair[1].1).map(|pair| pair[1]).collect()
    }

    /// Most turns within any time of `window` seconds: in all, and from up to down.
    pub fn turns_within(&self, window: f64) -> (usize, usize) {
        let turns = self.turns();
        let within = |from: f64| turns.iter().filter(move |(at, _)| (from..from + window).contains(at));
        let all = turns.iter().map(|(from, _)| within(*from).count()).max().unwrap_or(0);
        let down = turns.iter().map(|(from, _)| within(*from).filter(|(_, up)| !up).count()).max().unwrap_or(0);
        (all, down)
    }

    /// Longest time in one go for which the oldest waiting job was older than `delay`, seconds.
    pub fn late(&self, delay: f64) -> f64 {
        let runs = self.looks.split(|(_, oldest, _)| *oldest <= delay).filter(|run| !run.is_empty());
        runs.map(|run| run[run.len() - 1].0 - run[0].0 + 1.0).fold(0.0, f64::max)
    }

    pub fn ratio(&self) -> f64 {
        self.cost / self.oracle
    }

    /// The wait that the part `quantile` of all jobs stayed under, seconds.
    pub fn wait(&self, quantile: f64) -> f64 {
        let mut waits: Vec<f64> = self.waits.iter().map(|(_, wait)| *wait).collect();
        waits.sort_by(f64::total_cmp);
        waits.get((waits.len() as f64 * quantile) as usize).copied().unwrap_or(0.0)
    }

    /// Fewest and most workers ordered from a second on.
    pub fn ordered(&self, from: f64) -> (usize, usize) {
        let counts = || self.looks.iter().filter(|(at, ..)| *at >= from).map(|(_, _, count)| *count);
        (counts().min().unwrap_or(0), counts().max().unwrap_or(0))
    }

    pub fn moves(&self) -> usize {
        self.decisions.iter().filter(|decision| decision.to != decision.from).count()
    }
}
