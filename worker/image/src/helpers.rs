//! More than one core for a single large image, while nothing else is to be decoded.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

/// Decode threads that have nothing to do: as many may help the one that has a large image. Cheap to clone; the default
/// never has any.
///
/// What is lent are cores and not the waiting threads themselves: a helper is a thread of its own that lives for one
/// piece of work, which costs a hundredth of what it saves.
#[derive(Debug, Clone, Default)]
pub struct Helpers(Arc<AtomicIsize>);

/// Somebody who waits for work; no longer when dropped.
#[derive(Debug)]
pub struct Idle<'a>(&'a Helpers);

/// Helpers on loan; given back when dropped.
#[derive(Debug)]
pub(super) struct Team<'a> {
    helpers: &'a Helpers,
    lent: usize,
}

impl Helpers {
    /// So many, and nobody else asks for them.
    pub fn of(count: usize) -> Self {
        Self(Arc::new(AtomicIsize::new(count as isize)))
    }

    /// The caller waits for work as long as it keeps what it gets here.
    pub fn idle(&self) -> Idle<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Idle(self)
    }

    /// Whoever has nothing to do now, `most` at most.
    pub(super) fn team(&self, most: usize) -> Team<'_> {
        let take = |free: isize| Some(free - free.clamp(0, most as isize));
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let lent = before.unwrap_or_default().clamp(0, most as isize) as usize;
        Team { helpers: self, lent }
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Team<'_> {
    /// How many there are, with the caller.
    pub(super) fn size(&self) -> usize {
        self.lent + 1
    }

    /// Does every part, one for each of the team, at the same time; `None` when one of them came to nothing.
    pub(super) fn share<T: Send>(
        &self,
        parts: impl IntoIterator<Item = T>,
        work: impl Fn(T) -> Option<()> + Sync,
    ) -> Option<()> {
        let mut parts = parts.into_iter();
        let own = parts.next()?;
        std::thread::scope(|scope| {
            let work = &work;
            let others: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
            let own = work(own);
            others.into_iter().fold(own, |all, other| match other.join() {
                Ok(other) => all.and(other),
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }
}

impl Drop for Team<'_> {
    fn drop(&mut self) {
        self.helpers.0.fetch_add(self.lent as isize, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_lent_twice_and_all_come_back() {
        let helpers = Helpers::of(3);
        let (first, second) = (helpers.team(2), helpers.team(2));
        assert_eq!((first.size(), second.size(), helpers.team(2).size()), (3, 2, 1));
        // Whoever is lent may get work of its own meanwhile: then there are fewer than none.
        let idle = helpers.idle();
        assert_eq!(helpers.team(9).size(), 2);
        drop((idle, first, second));
        assert_eq!(helpers.team(9).size(), 4);
        assert_eq!(Helpers::default().team(9).size(), 1);
    }

    #[test]
    fn every_part_is_done_and_a_failed_one_is_told() {
        let helpers = Helpers::of(2);
        let team = helpers.team(2);
        let mut parts = [1, 2, 3];
        let doubled = team.share(&mut parts, |part| {
            *part *= 2;
            Some(())
        });
        assert_eq!((doubled, parts), (Some(()), [2, 4, 6]));
        assert_eq!(team.share(0..3, |part| (part != 2).then_some(())), None);
    }

    #[test]
    #[should_panic(expected = "of a helper")]
    fn a_helpers_panic_is_the_callers() {
        Helpers::of(1).team(1).share(0..2, |part| if part == 1 { panic!("of a helper") } else { Some(()) });
    }
}
