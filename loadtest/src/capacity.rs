//! The highest rate that holds a promise: a search that does not know how a rate is tried.

/// Where the search is.
#[derive(Debug, Clone)]
pub struct Search {
    bounds: Bounds,
    /// Highest rate that held.
    held: Option<f64>,
    /// Lowest rate that did not.
    broken: Option<f64>,
    /// Results of confirming runs at `held`.
    confirmations: Vec<bool>,
    /// Whether the search has narrowed the rate down.
    confirming: bool,
    tries: usize,
}

/// What bounds a search.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Where it begins, requests a second.
    pub from: f64,
    /// Rates beyond are not tried.
    pub most: f64,
    /// How near the highest rate that held and the lowest that did not are brought: 0.05 for 5 %.
    pub precision: f64,
    /// Longer runs that confirm the rate; more than half must hold.
    pub confirmations: usize,
}

/// What is to be tried next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// A short run.
    Probe(f64),
    /// A long run.
    Confirm(f64),
    /// The highest rate that holds; so many of so many long runs held.
    Found(f64, usize, usize),
    /// It holds at the highest rate that may be tried.
    BeyondMost(f64),
    /// Nothing holds, down to this rate.
    Nothing(f64),
}

/// A rate below which nothing is tried.
const LEAST: f64 = 0.2;
/// Runs after which a search that does not settle ends.
const MAX_TRIES: usize = 60;

impl Search {
    /// Nothing tried yet.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, held: None, broken: None, confirmations: Vec::new(), confirming: false, tries: 0 }
    }

    /// What to try next.
    pub fn ask(&mut self) -> Next {
        let Bounds { from, most, precision, confirmations } = self.bounds;
        let narrow = |held: f64, broken: f64| broken <= held * (1.0 + precision);
        match (self.held, self.broken) {
            _ if self.tries >= MAX_TRIES => self.held.map_or(Next::Nothing(LEAST), |held| self.found(held)),
            (None, None) => Next::Probe(from.clamp(LEAST, most)),
            (None, Some(broken)) if broken <= LEAST => Next::Nothing(broken),
            (None, Some(broken)) => Next::Probe((broken / 2.0).max(LEAST)),
            (Some(held), None) if held >= most => Next::BeyondMost(held),
            (Some(held), None) => Next::Probe((held * 2.0).min(most)),
            (Some(held), Some(broken)) if !self.confirming && !narrow(held, broken) => {
                Next::Probe((held * broken).sqrt())
            }
            (Some(held), _) => {
                self.confirming = true;
                let held_so_far = self.confirmations.iter().filter(|held| **held).count();
                let failed = self.confirmations.len() - held_so_far;
                if 2 * failed >= confirmations.max(1) && failed > 0 {
                    // Chance carried it in a short run: a step down, and confirmed anew.
                    self.broken = Some(held);
                    self.held = Some((held * (1.0 - precision)).max(LEAST));
                    self.confirmations.clear();
                    return self.ask();
                }
                if self.confirmations.len() >= confirmations { self.found(held) } else { Next::Confirm(held) }
            }
        }
    }

    fn found(&self, held: f64) -> Next {
        let count = self.confirmations.iter().filter(|held| **held).count();
        Next::Found(held, count, self.confirmations.len())
    }

    /// What came of the run that [`Search::ask`] asked for.
    pub fn tell(&mut self, run: Next, holds: bool) {
        self.tries += 1;
        match (run, holds) {
            (Next::Probe(rate), true) => self.held = Some(rate),
            (Next::Probe(rate), false) => self.broken = Some(rate),
            (Next::Confirm(_), _) => self.confirmations.push(holds),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { from: 10.0, most: 10_000.0, precision: 0.05, confirmations: 3 };

    fn search(bounds: Bounds, mut holds: impl FnMut(f64, bool) -> bool) -> (Next, usize) {
        let mut search = Search::new(bounds);
        for tries in 0.. {
            let next = search.ask();
            match next {
                Next::Probe(rate) => search.tell(next, holds(rate, false)),
                Next::Confirm(rate) => search.tell(next, holds(rate, true)),
                found => return (found, tries),
            }
        }
        unreachable!()
    }

    #[test]
    fn finds_the_limit_from_below_and_from_above() {
        for (limit, from) in [(137.0, 10.0), (3.3, 10.0), (9_000.0, 1.0), (0.5, 100.0)] {
            let (found, tries) = search(Bounds { from, ..BOUNDS }, |rate, _| rate <= limit);
            let Next::Found(rate, 3, 3) = found else { panic!("{found:?}") };
            assert!(rate <= limit && rate > limit / 1.06, "{rate} for {limit}");
            assert!(tries < 30, "{tries} runs");
        }
    }

    #[test]
    fn ends_where_nothing_or_everything_holds() {
        assert_eq!(search(BOUNDS, |_, _| true).0, Next::BeyondMost(10_000.0));
        assert!(matches!(search(BOUNDS, |_, _| false).0, Next::Nothing(_)));
    }

    #[test]
    fn what_only_short_runs_hold_is_not_believed() {
        let (found, _) = search(BOUNDS, |rate, long| rate <= if long { 80.0 } else { 100.0 });
        let Next::Found(rate, held, 3) = found else { panic!("{found:?}") };
        assert!((74.0..=80.0).contains(&rate) && held == 3, "{rate}, {held}");
    }

    #[test]
    fn a_target_that_wavers_does_not_keep_it_for_ever() {
        let mut rng = fastrand::Rng::with_seed(5);
        let (found, tries) = search(BOUNDS, |rate, _| rng.f64() > rate / 200.0);
        assert!(tries <= 61, "{found:?} after {tries}");
    }
}
