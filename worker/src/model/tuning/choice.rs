//! From what was measured to what is used. Pure.

use serde::{Deserialize, Serialize};

use super::combination::{Combination, Row};
use crate::model::crew::WORTH_HAVING;
use crate::model::curve::{crossover, per_image_ms};
use crate::model::engine::{Engine, Library};

/// What is less in the standard way must be so much faster to be worth it: measurements are never still.
const WORTH_IT: f64 = 1.03;
/// What is a little slower is as good when it is better otherwise.
const AS_GOOD: f64 = 0.97;

/// Sessions of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// How many, and how they compute.
    #[serde(flatten)]
    pub of: Combination,
    /// Most images in one run.
    pub batch: usize,
}

/// The sessions of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Images up to which the idle worker uses the wide session.
    pub wide_rows: usize,
    /// Milliseconds for an image at full speed.
    pub image_ms: f32,
    /// The one session that answers soonest, for a worker that is idle.
    pub wide: Part,
    /// Those that work off a queue fastest, when they are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrow: Option<Part>,
}

impl Choice {
    /// The library that it needs.
    pub fn library(&self) -> Library {
        self.wide.of.engine.library()
    }

    /// Images a second under load.
    pub fn speed(&self) -> f64 {
        1e3 / f64::from(self.image_ms).max(1e-6)
    }
}

/// The best sessions of those whose engine `passes`; `None` when none does. Earlier rows are preferred to later
/// ones that are hardly faster.
pub fn choose(rows: &[Row], passes: impl Fn(Engine) -> bool) -> Option<Choice> {
    let of_library = |library| {
        let usable = rows.iter().filter(|row| row.of.engine.library() == library && passes(row.of.engine));
        best_of(&usable.collect::<Vec<_>>())
    };
    let chosen = Library::ALL.into_iter().filter_map(of_library);
    let better = chosen.reduce(|standard, other| if is_worth_it(&standard, &other) { other } else { standard });
    better.map(|(choice, _)| choice)
}

/// Whether one with a library of its own is better than the other: under load, or as good there and sooner for one
/// image.
fn is_worth_it(standard: &(Choice, f64), other: &(Choice, f64)) -> bool {
    let (faster, sooner) = (other.0.speed() / standard.0.speed(), standard.1 / other.1);
    faster > WORTH_IT || (faster > AS_GOOD && sooner > WORTH_IT)
}

/// Sessions of one library; a process has no two. Also the milliseconds of one image alone.
fn best_of(rows: &[&Row]) -> Option<(Choice, f64)> {
    let alone = |row: &Row| row.ms.first().copied().unwrap_or(f64::INFINITY);
    let single = rows.iter().filter(|row| row.of.sessions == 1).copied();
    let wide = single.reduce(|best, next| if alone(next) * WORTH_IT < alone(best) { next } else { best })?;
    let faster = |next: &Row, best: &Row| next.best().1 > best.best().1 * WORTH_IT;
    let others = rows.iter().filter(|row| row.of != wide.of).copied();
    let busy = others.reduce(|best, next| if faster(next, best) { next } else { best });
    let (wide_batch, wide_speed) = wide.best();
    let is_worth_it = |row: &&Row| {
        let needed = if row.of.sessions > 1 { WORTH_HAVING } else { WORTH_IT };
        row.best().1 >= wide_speed * needed
    };
    let choice = match busy.filter(is_worth_it) {
        None => Choice {
            wide_rows: 0,
            image_ms: per_image_ms(wide_speed),
            wide: Part { of: wide.of, batch: wide_batch },
            narrow: None,
        },
        Some(busy) => {
            let (batch, speed) = busy.best();
            Choice {
                wide_rows: crossover(&wide.curve(), &busy.curve(), busy.of.sessions),
                image_ms: per_image_ms(speed.max(wide_speed)),
                wide: Part { of: wide.of, batch: wide.batches.last().copied().unwrap_or(1) },
                narrow: Some(Part { of: busy.of, batch }),
            }
        }
    };
    Some((choice, alone(wide)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine::{Numbers, Provider};

    const F32: Engine = Engine::new(Provider::OpenVino, Numbers::F32);
    const BF16: Engine = Engine::new(Provider::OpenVino, Numbers::Bf16);

    fn row(engine: Engine, (sessions, threads): (usize, usize), ms: [f64; 3]) -> Row {
        let of = Combination { engine, sessions, threads };
        Row { of, batches: vec![1, 2, 4], ms: ms.to_vec(), memory: 0, ready_s: 0.0 }
    }

    /// A processor with instructions for bfloat16.
    fn rows() -> Vec<Row> {
        vec![
            row(Engine::CPU, (1, 2), [20.0, 38.0, 74.0]),
            row(Engine::CPU, (2, 1), [37.0, 72.0, 143.0]),
            row(F32, (1, 2), [19.9, 38.0, 74.0]),
            row(F32, (2, 1), [37.0, 72.0, 143.0]),
            row(BF16, (1, 2), [10.0, 19.0, 37.0]),
            row(BF16, (2, 1), [18.0, 35.0, 68.0]),
        ]
    }

    #[test]
    fn the_fastest_that_passes_is_chosen() {
        let fast = choose(&rows(), |_| true).unwrap();
        assert_eq!((fast.wide.of.engine, fast.wide.of.threads), (BF16, 2));
        let narrow = fast.narrow.unwrap();
        assert_eq!((narrow.of.engine, narrow.of.sessions, narrow.batch), (BF16, 2, 4));
        assert!((fast.speed() - 8.0 / 0.068).abs() < 0.1, "{fast:?}");
        let exact = choose(&rows(), |engine| engine != BF16).unwrap();
        assert_eq!((exact.wide.of.engine, exact.library()), (Engine::CPU, Library::Standard));
        assert_eq!(choose(&rows(), |_| false), None);
    }

    #[test]
    fn another_library_must_be_worth_it() {
        let mut rows = rows();
        rows.truncate(4);
        // Two percent faster under load, and no sooner: noise.
        rows[3].ms[2] = 140.0;
        assert_eq!(choose(&rows, |_| true).unwrap().library(), Library::Standard);
        // As fast under load, and much sooner for one image.
        rows[2].ms[0] = 17.9;
        assert_eq!(choose(&rows, |_| true).unwrap().library(), Library::OpenVino);
        // Slower under load: however soon.
        rows[3].ms = vec![60.0, 120.0, 200.0];
        rows[2].ms = vec![19.0, 60.0, 120.0];
        assert_eq!(choose(&rows, |_| true).unwrap().library(), Library::Standard);
    }

    #[test]
    fn one_session_does_everything_where_others_are_slower() {
        let rows = [row(BF16, (1, 2), [10.0, 19.0, 37.0]), row(BF16, (2, 1), [40.0, 80.0, 160.0])];
        let choice = choose(&rows, |_| true).unwrap();
        assert_eq!((choice.narrow, choice.wide.batch), (None, 4));
    }

    #[test]
    fn side_by_side_they_may_be_slower_while_nobody_else_wants_the_cores() {
        let rows = [row(Engine::CPU, (1, 2), [10.0, 19.0, 36.0]), row(Engine::CPU, (2, 1), [20.0, 38.0, 95.0])];
        assert_eq!(choose(&rows, |_| true).unwrap().narrow.unwrap().of.sessions, 2);
    }

    #[test]
    fn idle_and_busy_may_differ_in_their_engine() {
        let mut rows = rows();
        // One image alone is sooner in 32 bits.
        rows[2].ms[0] = 9.0;
        let choice = choose(&rows, |_| true).unwrap();
        assert_eq!((choice.wide.of.engine, choice.narrow.unwrap().of.engine), (F32, BF16));
        assert_eq!(choice.wide_rows, 1);
    }
}
