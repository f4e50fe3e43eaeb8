//! One model's door: shares between tenants, the wait against the deadline, promises kept. Pure: time
//! comes from outside.
//!
//! Whoever is refused gets a time to come back at which a place is kept for the same question: a
//! `Retry-After` that is obeyed is not refused again. Promises are made at the pace of the tenant's
//! share, so that a flood that never comes back delays nobody but itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use shoal_shared::digest::CacheKey;

use super::forecast::Forecast;
use super::margin::Margin;
use super::promises::Promises;
use super::tenants::{Tenant, Tenants};

/// A request for a place.
pub struct Knock<'a> {
    /// On whose behalf.
    pub tenant: &'a Tenant,
    /// What is asked: a promise to come back is kept for the same question.
    pub key: &'a CacheKey,
    /// Time left until the deadline.
    pub remaining: Duration,
}

/// Why there is no place, and when there will be.
#[derive(Debug, PartialEq)]
pub(super) struct Full {
    pub(super) reason: Reason,
    pub(super) retry_after: Duration,
}

/// The bound that would be broken.
#[derive(Debug, PartialEq)]
pub(super) enum Reason {
    /// The deadline would pass first.
    Wait { wait: Duration, usable: Duration },
    /// The tenant holds its share while others ask too.
    Share { held: usize, share: usize },
}

/// Who is in and who was told to come back, for one model.
pub(super) struct ModelQueue {
    pub(super) forecast: Forecast,
    pub(super) margin: Margin,
    tenants: Tenants,
    promises: Promises,
}

impl ModelQueue {
    pub(super) fn new(weights: HashMap<Tenant, f64>) -> Self {
        Self {
            forecast: Forecast::default(),
            margin: Margin::default(),
            tenants: Tenants::new(weights),
            promises: Promises::default(),
        }
    }

    /// Lets a request in that will meet its deadline within its tenant's share, or that was told to
    /// come back now. Gives whether the margin decided that.
    pub(super) fn enter(&mut self, knock: &Knock<'_>, now: Instant) -> Result<bool, Full> {
        self.tenants.see(knock.tenant, knock.remaining, now);
        let wait = self.forecast.wait(now);
        if let (Some(wait), Some(rate)) = (wait, self.forecast.rate())
            && !self.promises.redeem(knock, now)
        {
            self.check(knock, wait, rate, now)?;
        }
        self.forecast.enter();
        self.tenants.enter(knock.tenant, now);
        Ok(wait.is_some_and(|wait| Margin::decides(wait, knock.remaining)))
    }

    fn check(&mut self, knock: &Knock<'_>, wait: Duration, rate: f64, now: Instant) -> Result<(), Full> {
        let portion = self.tenants.portion(knock.tenant, rate, now);
        let usable = knock.remaining.mul_f64(self.margin.part());
        let (reason, earliest) = if let Some(excess) = portion.excess {
            let (held, share) = (excess.held, excess.share);
            (Reason::Share { held, share }, Duration::from_secs_f64((held + 1 - share) as f64 / portion.rate))
        } else if wait > usable {
            (Reason::Wait { wait, usable }, wait - usable)
        } else {
            return Ok(());
        };
        let retry_after = self.promises.make(knock, earliest, portion.rate, now);
        Err(Full { reason, retry_after })
    }

    /// Gives a place back.
    pub(super) fn leave(&mut self, tenant: &Tenant, now: Instant) {
        self.tenants.leave(tenant, now);
    }
}

#[cfg(test)]
mod tests {
    use shoal_shared::digest::{DigestKind, ImageKey, ModelDigest};

    use super::super::forecast::Observation;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(number: u32) -> CacheKey {
        let digest: ModelDigest = serde_json::from_str("\"00112233445566778899aabbccddeeff\"").unwrap();
        CacheKey { model: digest, image: ImageKey::of(DigestKind::Sha256, &number.to_le_bytes()) }
    }

    /// A model that is worked off at 100 jobs a second, in steps of 50 ms.
    struct Simulation {
        queue: ModelQueue,
        now: Instant,
        inside: std::collections::VecDeque<(Tenant, Instant)>,
        settled: u64,
        longest: Duration,
    }

    impl Simulation {
        fn new() -> Self {
            let queue = ModelQueue::new(HashMap::new());
            let mut simulation =
                Self { queue, now: Instant::now(), inside: Default::default(), settled: 0, longest: Duration::ZERO };
            simulation.observe();
            simulation
        }

        fn observe(&mut self) {
            let waiting = self.inside.len() as u64;
            let (at, settled) = (self.now, self.settled);
            // Seventy of what they measure alone, and not a hundred: decoding takes its part too.
            let speed = 100.0 / 0.7;
            let now = Observation { at, ahead: waiting, waiting, bulk_waits: false, settled, speed, workers: 1 };
            self.queue.forecast.observe(now);
        }

        fn ask(&mut self, tenant: &Tenant, number: u32) -> Result<(), Full> {
            let knock = Knock { tenant, key: &key(number), remaining: SECOND };
            self.queue.enter(&knock, self.now)?;
            self.inside.push_back((tenant.clone(), self.now));
            Ok(())
        }

        fn step(&mut self) {
            self.now += Duration::from_millis(50);
            for _ in 0..5 {
                let Some((tenant, since)) = self.inside.pop_front() else { break };
                self.settled += 1;
                self.longest = self.longest.max(self.now - since);
                self.queue.leave(&tenant, self.now);
            }
            self.observe();
        }
    }

    #[test]
    fn without_news_everybody_is_let_in() {
        let mut queue = ModelQueue::new(HashMap::new());
        let tenant = Tenant::named("a");
        for number in 0..10_000 {
            let knock = Knock { tenant: &tenant, key: &key(number), remaining: Duration::ZERO };
            queue.enter(&knock, Instant::now()).unwrap();
        }
    }

    #[test]
    fn a_burst_is_let_in_as_far_as_the_deadline_reaches() {
        let mut simulation = Simulation::new();
        let entered = (0..500).filter(|&n| simulation.ask(&Tenant::named("a"), n).is_ok()).count();
        // 100 jobs a second and four fifths of a second: eighty, and the one that starts at once.
        assert_eq!(entered, 81);
    }

    #[test]
    fn whoever_obeys_is_let_in_though_newcomers_take_every_free_place() {
        let mut simulation = Simulation::new();
        let tenant = Tenant::named("a");
        let mut promised: Vec<(u32, Instant)> = Vec::new();
        for number in 0..300 {
            if let Err(full) = simulation.ask(&tenant, number) {
                promised.push((number, simulation.now + full.retry_after));
            }
        }
        assert!(promised.len() > 200);
        let mut newcomer = 1000;
        while !promised.is_empty() {
            simulation.step();
            // Ten newcomers a step: twice what is worked off.
            (0..10).for_each(|_| {
                newcomer += 1;
                let _ = simulation.ask(&tenant, newcomer);
            });
            let now = simulation.now;
            let (due, later): (Vec<_>, Vec<_>) = promised.into_iter().partition(|(_, at)| *at <= now);
            promised = later;
            for (number, _) in due {
                simulation.ask(&tenant, number).unwrap();
            }
        }
        assert!(simulation.longest <= SECOND, "{:?}", simulation.longest);
    }

    #[test]
    fn a_flood_that_never_obeys_delays_nobody_else() {
        let mut simulation = Simulation::new();
        let (flood, calm) = (Tenant::named("flood"), Tenant::named("calm"));
        let mut unique = 0;
        let mut flooding = |simulation: &mut Simulation| {
            for _ in 0..200 {
                unique += 1;
                let _ = simulation.ask(&flood, unique);
            }
        };
        for _ in 0..100 {
            flooding(&mut simulation);
            simulation.step();
        }
        // The calm one asks five times a second; refused, it comes back when it was told to.
        let (mut refused, mut asked) = (0, 0);
        let mut back: Vec<(u32, Instant)> = Vec::new();
        for round in 0..200u32 {
            flooding(&mut simulation);
            if round % 4 == 0 {
                asked += 1;
                if let Err(full) = simulation.ask(&calm, 1_000_000 + round) {
                    refused += 1;
                    assert!(full.retry_after <= SECOND, "{full:?}");
                    back.push((1_000_000 + round, simulation.now + full.retry_after));
                }
            }
            let now = simulation.now;
            back.retain(|&(number, at)| at > now || simulation.ask(&calm, number).is_err());
            simulation.step();
        }
        assert!(refused < asked / 4, "{refused} of {asked}");
        assert!(back.iter().all(|(_, at)| *at > simulation.now), "{back:?}");
    }
}
