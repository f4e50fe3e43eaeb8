//! How often each version has failed lately: a sliding window, pure, and the bound beyond which a version
//! is taken out of service.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use shoal_shared::names::ModelName;

/// Versions that are counted at once; the ones beyond are not judged.
const MOST: usize = 256;

/// Beyond which a version is withdrawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// What counts is so recent.
    pub window: Duration,
    /// With fewer answers nothing is said.
    pub min_answers: u64,
    /// The part of them that may be errors.
    pub max_error_rate: f64,
}

/// What was counted of one version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Answers of workers, errors among them.
    pub answers: u64,
    /// Of these, errors that are the model's or our fault.
    pub errors: u64,
}

impl Counted {
    fn rate(self) -> f64 {
        if self.answers == 0 { 0.0 } else { self.errors as f64 / self.answers as f64 }
    }
}

/// Outcomes of versions, by second.
#[derive(Debug, Default)]
pub struct Outcomes(HashMap<ModelName, VecDeque<(u64, Counted)>>);

impl Outcomes {
    /// A worker's answer, or the lack of one.
    pub fn record(&mut self, served: &ModelName, at: Duration, is_error: bool) {
        if !self.0.contains_key(served) && self.0.len() >= MOST {
            return;
        }
        let seconds = self.0.entry(served.clone()).or_default();
        let second = at.as_secs();
        if seconds.back().is_none_or(|(last, _)| *last != second) {
            seconds.push_back((second, Counted::default()));
        }
        if let Some((_, counted)) = seconds.back_mut() {
            counted.answers += 1;
            counted.errors += u64::from(is_error);
        }
    }

    /// What was counted within the window.
    pub fn counted(&mut self, served: &ModelName, now: Duration, window: Duration) -> Counted {
        let Some(seconds) = self.0.get_mut(served) else { return Counted::default() };
        let begins = now.saturating_sub(window).as_secs();
        while seconds.front().is_some_and(|(second, _)| *second < begins) {
            seconds.pop_front();
        }
        seconds.iter().fold(Counted::default(), |sum, (_, one)| Counted {
            answers: sum.answers + one.answers,
            errors: sum.errors + one.errors,
        })
    }

    /// Why a version is to be withdrawn: too many errors, and more than twice as often as the version that
    /// would answer instead, which may have the same trouble.
    pub fn verdict(&mut self, served: &ModelName, instead: &ModelName, bound: &Bound, now: Duration) -> Option<String> {
        let counted = self.counted(served, now, bound.window);
        let reference = self.counted(instead, now, bound.window);
        let is_bad = counted.answers >= bound.min_answers
            && counted.rate() > bound.max_error_rate
            && counted.rate() > 2.0 * reference.rate();
        is_bad.then(|| {
            let Counted { answers, errors } = counted;
            let percent = 100.0 * bound.max_error_rate;
            format!("{errors} of {answers} answers in {:?} were errors: more than {percent:.0} %", bound.window)
        })
    }

    /// Forgets versions that are not served any more.
    pub fn retain(&mut self, is_served: impl Fn(&ModelName) -> bool) {
        self.0.retain(|served, _| is_served(served));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound = Bound { window: Duration::from_secs(60), min_answers: 10, max_error_rate: 0.1 };

    fn names() -> (ModelName, ModelName) {
        ("m_v2".parse().unwrap(), "m_v1".parse().unwrap())
    }

    fn record(outcomes: &mut Outcomes, served: &ModelName, (answers, errors): (u64, u64), second: u64) {
        (0..answers).for_each(|one| outcomes.record(served, Duration::from_secs(second), one < errors));
    }

    #[test]
    fn too_many_errors_of_enough_answers() {
        let ((bad, good), mut outcomes) = (names(), Outcomes::default());
        record(&mut outcomes, &bad, (9, 9), 1);
        assert_eq!(outcomes.verdict(&bad, &good, &BOUND, Duration::from_secs(2)), None);
        record(&mut outcomes, &bad, (1, 0), 2);
        let why = outcomes.verdict(&bad, &good, &BOUND, Duration::from_secs(2)).unwrap();
        assert!(why.starts_with("9 of 10 answers"), "{why}");
        // A minute later it is forgotten.
        assert_eq!(outcomes.verdict(&bad, &good, &BOUND, Duration::from_secs(70)), None);
    }

    #[test]
    fn a_few_errors_are_life_and_shared_ones_are_no_fault() {
        let ((new, old), mut outcomes) = (names(), Outcomes::default());
        record(&mut outcomes, &new, (100, 10), 1);
        assert_eq!(outcomes.verdict(&new, &old, &BOUND, Duration::from_secs(1)), None);
        record(&mut outcomes, &new, (100, 60), 1);
        assert!(outcomes.verdict(&new, &old, &BOUND, Duration::from_secs(1)).is_some());
        record(&mut outcomes, &old, (100, 30), 1);
        assert_eq!(outcomes.verdict(&new, &old, &BOUND, Duration::from_secs(1)), None);
    }

    #[test]
    fn strangers_do_not_grow_it() {
        let mut outcomes = Outcomes::default();
        (0..2 * MOST).for_each(|one| outcomes.record(&format!("m{one}").parse().unwrap(), Duration::ZERO, false));
        assert_eq!(outcomes.0.len(), MOST);
        outcomes.retain(|_| false);
        assert!(outcomes.0.is_empty());
    }
}
