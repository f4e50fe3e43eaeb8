//! Which model is loaded or let go next, so that all of them together stay within the memory budget. Pure:
//! one step at a time, asked again after each.

use std::time::Duration;

use shoal_shared::names::ModelName;

/// A model that jobs keep coming for stays at least so long before another one that is waited for may take
/// its place: loading has to pay.
pub(crate) const LEAST_STAY: Duration = Duration::from_secs(5);

/// How much a model is wanted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// It may stay as long as nobody needs its room: an earlier version.
    Kept,
    /// Beside the others where there is room: a canary, a shadow.
    Beside,
    /// When it is asked for.
    OnDemand,
    /// Always.
    Pinned,
}

/// One model and how it stands.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) name: ModelName,
    pub(crate) claim: Claim,
    /// Memory that it takes, reckoned.
    pub(crate) bytes: u64,
    pub(crate) stand: Stand,
}

/// How a model stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stand {
    /// In memory.
    Loaded {
        /// Since when.
        since: Duration,
        /// When a job came last.
        asked: Duration,
    },
    /// On its way out, its memory not yet free.
    Leaving,
    /// Not in memory; `waited` when jobs wait for it.
    Absent {
        /// Whether jobs wait for it.
        waited: bool,
    },
    /// It cannot be loaded at the moment.
    Barred,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Load this one; it fits, or must be there whether it fits or not.
    Load(ModelName),
    /// Let this one go.
    Unload(ModelName),
}

/// The next step, if there is one. The order of `candidates` decides between equals.
pub(crate) fn next_step(candidates: &[Candidate], budget: u64, now: Duration) -> Option<Step> {
    let in_memory = |one: &&Candidate| matches!(one.stand, Stand::Loaded { .. } | Stand::Leaving);
    let used: u64 = candidates.iter().filter(in_memory).map(|one| one.bytes).sum();
    let is_leaving = candidates.iter().any(|one| one.stand == Stand::Leaving);
    let mut absent: Vec<(bool, &Candidate)> = candidates
        .iter()
        .filter_map(|one| match one.stand {
            Stand::Absent { waited } if one.claim != Claim::Kept => Some((waited, one)),
            _ => None,
        })
        .collect();
    absent.sort_by_key(|(waited, one)| std::cmp::Reverse((one.claim == Claim::Pinned, *waited, one.claim)));
    for (waited, one) in absent {
        if used.saturating_add(one.bytes) <= budget {
            return Some(Step::Load(one.name.clone()));
        }
        // Room is on its way: whoever comes first in the order has it.
        if is_leaving && (waited || one.claim == Claim::Pinned) {
            return None;
        }
        let leaving = candidates.iter().filter(|other| may_go(other, one.claim, waited, now));
        // Nobody is let go in vain.
        let could_be = used.saturating_sub(leaving.clone().map(|other| other.bytes).sum());
        let is_worth_it = one.claim == Claim::Pinned || could_be.saturating_add(one.bytes) <= budget;
        if let Some(victim) = leaving.min_by_key(|other| (other.claim, last_asked(other))).filter(|_| is_worth_it) {
            return Some(Step::Unload(victim.name.clone()));
        }
        if one.claim == Claim::Pinned {
            return Some(Step::Load(one.name.clone()));
        }
    }
    None
}

/// Whether one may be let go for another; what is wanted least goes first, and of that what was asked for
/// longest ago.
fn may_go(one: &Candidate, by: Claim, waited: bool, now: Duration) -> bool {
    let Stand::Loaded { since, asked } = one.stand else { return false };
    let has_stayed = now.saturating_sub(since) >= LEAST_STAY || now.saturating_sub(asked) >= LEAST_STAY;
    match one.claim {
        Claim::Kept => true,
        Claim::Beside => by == Claim::Pinned || (by == Claim::OnDemand && waited),
        Claim::OnDemand => by == Claim::Pinned || (by == Claim::OnDemand && waited && has_stayed),
        Claim::Pinned => false,
    }
}

fn last_asked(one: &Candidate) -> Duration {
    match one.stand {
        Stand::Loaded { asked, .. } => asked,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn one(name: &str, claim: Claim, bytes: u64, stand: Stand) -> Candidate {
        Candidate { name: name.parse().unwrap(), claim, bytes, stand }
    }

    fn loaded(asked: u64) -> Stand {
        Stand::Loaded { since: Duration::ZERO, asked: Duration::from_secs(asked) }
    }

    fn absent(waited: bool) -> Stand {
        Stand::Absent { waited }
    }

    fn load(name: &str) -> Option<Step> {
        Some(Step::Load(name.parse().unwrap()))
    }

    fn unload(name: &str) -> Option<Step> {
        Some(Step::Unload(name.parse().unwrap()))
    }

    #[test]
    fn what_fits_is_loaded_and_what_does_not_waits_until_it_is_asked_for() {
        let two = |stand| [one("a", Claim::OnDemand, 60, loaded(99)), one("b", Claim::OnDemand, 60, stand)];
        assert_eq!(next_step(&two(absent(false)), 120, NOW), load("b"));
        assert_eq!(next_step(&two(absent(false)), 100, NOW), None);
        assert_eq!(next_step(&two(absent(true)), 100, NOW), unload("a"));
    }

    #[test]
    fn the_least_recently_asked_goes_and_pinned_ones_stay() {
        let held = [
            one("p", Claim::Pinned, 10, loaded(1)),
            one("a", Claim::OnDemand, 40, loaded(90)),
            one("b", Claim::OnDemand, 40, loaded(50)),
            one("c", Claim::OnDemand, 40, absent(true)),
        ];
        assert_eq!(next_step(&held, 100, NOW), unload("b"));
        // An earlier version goes before anything that answers.
        let mut with_old = held.to_vec();
        with_old.push(one("old", Claim::Kept, 5, loaded(99)));
        assert_eq!(next_step(&with_old, 100, NOW), unload("old"));
    }

    #[test]
    fn a_model_that_has_just_come_and_is_asked_for_is_not_pushed_out() {
        let fresh = Stand::Loaded { since: Duration::from_secs(98), asked: NOW };
        let both = [one("a", Claim::OnDemand, 60, fresh), one("b", Claim::OnDemand, 60, absent(true))];
        assert_eq!(next_step(&both, 100, NOW), None);
        assert_eq!(next_step(&both, 100, NOW + LEAST_STAY), unload("a"));
    }

    #[test]
    fn a_canary_pushes_nothing_out_that_answers() {
        let both = [one("live", Claim::Pinned, 60, loaded(99)), one("canary", Claim::Beside, 40, absent(true))];
        assert_eq!(next_step(&both, 90, NOW), None);
        assert_eq!(next_step(&both, 100, NOW), load("canary"));
        let three = [both[0].clone(), both[1].clone(), one("old", Claim::Kept, 30, loaded(0))];
        assert_eq!(next_step(&three, 100, NOW), unload("old"));
    }

    #[test]
    fn the_next_live_version_is_loaded_beside_the_old_one_even_beyond_the_budget() {
        let both = [one("v2", Claim::Pinned, 60, absent(false)), one("v1", Claim::Pinned, 60, loaded(99))];
        assert_eq!(next_step(&both, 100, NOW), load("v2"));
    }

    #[test]
    fn nobody_is_let_go_for_what_would_not_fit_all_the_same() {
        let held = [
            one("p", Claim::Pinned, 60, loaded(1)),
            one("a", Claim::OnDemand, 30, loaded(1)),
            one("b", Claim::OnDemand, 50, absent(true)),
        ];
        assert_eq!(next_step(&held, 100, NOW), None);
        assert_eq!(next_step(&held, 110, NOW), unload("a"));
    }

    #[test]
    fn while_room_is_made_nothing_else_is_let_go() {
        let three = [
            one("a", Claim::OnDemand, 60, Stand::Leaving),
            one("b", Claim::OnDemand, 60, absent(true)),
            one("c", Claim::OnDemand, 30, loaded(1)),
        ];
        assert_eq!(next_step(&three, 100, NOW), None);
        assert_eq!(next_step(&[one("x", Claim::Pinned, 1, Stand::Barred)], 100, NOW), None);
    }
}
