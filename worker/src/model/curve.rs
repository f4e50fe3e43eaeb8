//! How long batches take, by their number of images, and what follows from it.

use std::time::{Duration, Instant};

use super::{Model, ModelSession};
use crate::serving::CpuBudget;

/// Each size is run at least twice, because the first run pays for its memory, unless that shows in nothing. Short ones are
/// run as often as fits into this, because whatever comes between is a large part of them.
const SHORT: Duration = Duration::from_millis(20);
/// A first run that took hardly longer an image than the best size so far has paid for nothing that matters.
const HARDLY: f64 = 1.05;
/// An image that takes longer gains nothing from more than the usual batch.
const LONG: Duration = Duration::from_millis(5);

/// Time of a run, by its number of images.
pub(super) type Curve = Vec<(usize, Duration)>;

/// Times of 1, 2, 4 … `most` images a session, all sessions at the same time; fewer where more would gain nothing.
pub(super) fn curve(
    sessions: &mut [ModelSession],
    most: usize,
    fixed: Option<usize>,
    budget: &CpuBudget,
) -> anyhow::Result<Curve> {
    let doubling = std::iter::successors(Some(1), |rows| Some(rows * 2)).take_while(|rows| *rows < most);
    // A model with a fixed batch takes as long for one image as for all.
    let sizes: Vec<usize> = if fixed.is_some() { vec![most] } else { doubling.chain([most]).collect() };
    run_all(sessions, 1, budget)?;
    let mut curve = Curve::new();
    for rows in sizes {
        let (begun, mut took) = (Instant::now(), run_all(sessions, rows, budget)?);
        let mut is_settled = begun.elapsed() >= SHORT && is_as_good(&curve, rows, took);
        while !is_settled {
            took = took.min(run_all(sessions, rows, budget)?);
            is_settled = begun.elapsed() >= SHORT;
        }
        curve.push((rows, took));
        if rows >= USUAL && took > LONG * rows as u32 {
            break;
        }
    }
    Ok(curve)
}

/// Whether so many images take hardly longer each than in the best size of a curve.
fn is_as_good(curve: &Curve, rows: usize, took: Duration) -> bool {
    let each = |rows: usize, took: Duration| took.as_secs_f64() / rows as f64;
    let best = curve.iter().map(|&(rows, took)| each(rows, took)).reduce(f64::min);
    best.is_some_and(|best| each(rows, took) <= best * HARDLY)
}

/// Lets go of the memory that measuring took, and takes what batches of `rows` need: the first job finds it there.
pub(super) fn settle(sessions: &mut [ModelSession], rows: usize, budget: &CpuBudget) -> anyhow::Result<()> {
    if sessions.is_empty() {
        return Ok(());
    }
    side_by_side(sessions, budget, ModelSession::shrink)?;
    run_all(sessions, rows, budget).map(drop)
}

/// Runs so many rows in every session at the same time.
pub(super) fn run_all(sessions: &mut [ModelSession], rows: usize, budget: &CpuBudget) -> anyhow::Result<Duration> {
    side_by_side(sessions, budget, |session| {
        let mut values = vec![0.0; rows * session.input().row_len()];
        session.run(&mut values, rows).map(drop)
    })
}

/// Does something with every session, each in a thread of its own. Gives the time until all are done.
fn side_by_side(
    sessions: &mut [ModelSession],
    budget: &CpuBudget,
    work: impl Fn(&mut ModelSession) -> Result<(), String> + Sync,
) -> anyhow::Result<Duration> {
    let _all = budget.lease(budget.threads());
    let (begun, work) = (Instant::now(), &work);
    std::thread::scope(|scope| {
        let running: Vec<_> = sessions.iter_mut().map(|session| scope.spawn(move || work(session))).collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done.map_err(|error| anyhow::anyhow!("warm-up: {error}")),
            Err(_) => Err(anyhow::anyhow!("warm-up: the session panicked")),
        })
    })?;
    Ok(begun.elapsed())
}

/// What twice the batch must gain to be worth the longer wait and the memory.
const WORTH_IT: f64 = 0.02;

/// The batch with most images a second, and that number, for so many sessions.
pub(super) fn best(curve: &Curve, sessions: usize) -> (usize, f64) {
    let speeds = curve.iter().map(|&(rows, took)| (rows, (rows * sessions) as f64 / took.as_secs_f64().max(1e-9)));
    let is_worth = |best: (usize, f64), next: (usize, f64)| {
        let doublings = (next.0 as f64 / best.0 as f64).log2();
        next.1 > best.1 * (1.0 + WORTH_IT * doublings)
    };
    speeds.reduce(|best, next| if is_worth(best, next) { next } else { best }).unwrap_or((1, 0.0))
}

/// Batch that narrow sessions have unless something else is clearly better: from there on nearly all models gain
/// nothing, and with less, large ones lose a tenth.
const USUAL: usize = 4;
/// What may be chance when each size was run twice, on a machine with neighbours.
const CHANCE: f64 = 0.2;

/// As [`best`], when little was measured: what is usual, unless another batch is faster by more than chance.
pub(super) fn likely_best(curve: &Curve, sessions: usize) -> (usize, f64) {
    let speed = |&(rows, took): &(usize, Duration)| (rows, (rows * sessions) as f64 / took.as_secs_f64().max(1e-9));
    let usual = curve.iter().rfind(|(rows, _)| *rows <= USUAL).or(curve.first()).map_or((1, 0.0), speed);
    let fastest = curve.iter().map(speed).max_by(|one, other| one.1.total_cmp(&other.1)).unwrap_or(usual);
    if fastest.1 > usual.1 * (1.0 + CHANCE) { fastest } else { usual }
}

/// Images up to which the wide session has answered before the narrow ones would have.
pub(super) fn crossover(wide: &Curve, narrow: &Curve, sessions: usize) -> usize {
    let narrow_time = |rows: usize| {
        let share = rows.div_ceil(sessions);
        narrow.iter().find(|(size, _)| *size >= share).map(|(_, took)| *took)
    };
    let quicker = wide.iter().take_while(|(rows, took)| narrow_time(*rows).is_none_or(|narrow| *took <= narrow));
    quicker.last().map_or(0, |(rows, _)| *rows)
}

pub(super) fn per_image_ms(speed: f64) -> f32 {
    (1e3 / speed.max(1e-9)) as f32
}

pub(super) fn log_curve(model: &Model, kind: &str, sessions: usize, threads: usize, curve: &Curve) {
    let text: Vec<String> =
        curve.iter().map(|(rows, took)| format!("{rows}: {:.2}", took.as_secs_f64() * 1e3)).collect();
    tracing::info!(
        model.name = %model.manifest.name, kind, sessions, threads, batch_ms = text.join(", "),
        "sessions measured"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve_of(ms: &[(usize, u64)]) -> Curve {
        ms.iter().map(|&(rows, ms)| (rows, Duration::from_millis(ms))).collect()
    }

    #[test]
    fn the_wide_session_has_what_it_answers_sooner() {
        let wide = curve_of(&[(1, 10), (2, 20), (4, 40), (8, 80)]);
        // Two at a time: one image each in 18 ms, so that from two on they are quicker.
        let narrow = curve_of(&[(1, 18), (2, 34), (4, 66)]);
        assert_eq!(crossover(&wide, &narrow, 2), 1);
        // Wide scales perfectly, narrow badly: wide is quicker for all.
        assert_eq!(crossover(&wide, &curve_of(&[(1, 40), (2, 80), (4, 160)]), 2), 8);
    }

    #[test]
    fn what_is_usual_holds_against_chance() {
        let likely = |ms: &[(usize, u64)]| likely_best(&curve_of(ms), 2).0;
        // Seven percent either way.
        assert_eq!(likely(&[(1, 25), (2, 46), (4, 98), (8, 184)]), 4);
        // Little work an image: the run itself is what counts.
        assert_eq!(likely(&[(1, 10), (2, 11), (4, 13), (8, 17)]), 8);
        // More than the caches hold.
        assert_eq!(likely(&[(1, 10), (2, 21), (4, 60), (8, 130)]), 1);
        assert_eq!((likely(&[(1, 10), (3, 30)]), likely(&[(8, 50)])), (3, 8));
    }

    #[test]
    fn a_first_run_is_enough_when_a_second_could_change_nothing() {
        let known = curve_of(&[(1, 25), (2, 46)]);
        let is_enough = |rows, ms| is_as_good(&known, rows, Duration::from_millis(ms));
        assert_eq!((is_enough(4, 90), is_enough(4, 96), is_enough(4, 99)), (true, true, false));
        assert!(!is_as_good(&Curve::new(), 1, Duration::from_millis(25)));
    }

    #[test]
    fn a_larger_batch_must_be_worth_it() {
        assert_eq!(best(&curve_of(&[(1, 10), (2, 19), (4, 38), (8, 76)]), 1).0, 2);
        assert_eq!(best(&curve_of(&[(1, 10), (8, 81)]), 2), (1, 200.0));
    }
}
