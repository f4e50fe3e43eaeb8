//! Predictions in flight, divided fairly: alone, a tenant may use everything; as soon as others ask
//! and it gets tight, each holds at most its share by weight. Pure: time comes from outside.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A tenant counts as asking for this long after it was last seen.
const ACTIVE: Duration = Duration::from_secs(5);

/// On whose behalf a request comes: the name of a key, or an address. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The owner of a configured key.
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// Somebody without a key, known by address only.
    pub fn at(address: IpAddr) -> Self {
        Self(format!("at {address}").into())
    }

    /// A request that came through NATS.
    pub fn on_nats() -> Self {
        Self("on nats".into())
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

struct Presence {
    held: usize,
    seen: Instant,
}

/// Who holds how many places.
pub(super) struct Tenants {
    weights: HashMap<Tenant, f64>,
    present: HashMap<Tenant, Presence>,
    total: usize,
}

/// A tenant is over its share.
#[derive(Debug, PartialEq)]
pub(super) struct Excess {
    pub(super) held: usize,
    pub(super) share: usize,
}

impl Excess {
    /// How long the share takes to have a free place, when the whole room is worked off at `rate`.
    pub(super) fn until_back_in_share(&self, rate: f64, room: usize) -> Duration {
        let excess = (self.held + 1).saturating_sub(self.share) as f64;
        let part = self.share as f64 / room.max(1) as f64;
        Duration::from_secs_f64((excess / (rate * part).max(1e-3)).min(600.0))
    }
}

impl Tenants {
    pub(super) fn new(weights: HashMap<Tenant, f64>) -> Self {
        Self { weights, present: HashMap::new(), total: 0 }
    }

    /// Places held by all.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Whether `tenant` may have one more of `room` places.
    pub(super) fn may_enter(&mut self, tenant: &Tenant, room: usize, now: Instant) -> Result<(), Excess> {
        let held = self.see(tenant, now).held;
        if self.total * 2 < room || self.present.len() == 1 {
            return Ok(());
        }
        self.present.retain(|_, presence| presence.held > 0 || now.duration_since(presence.seen) < ACTIVE);
        if self.present.len() == 1 {
            return Ok(());
        }
        let weight = |tenant: &Tenant| self.weights.get(tenant).copied().unwrap_or(1.0);
        let all: f64 = self.present.keys().map(weight).sum();
        let share = ((room as f64 * weight(tenant) / all) as usize).max(1);
        if held < share { Ok(()) } else { Err(Excess { held, share }) }
    }

    /// Takes a place.
    pub(super) fn enter(&mut self, tenant: &Tenant, now: Instant) {
        self.see(tenant, now).held += 1;
        self.total += 1;
    }

    /// Gives a place back.
    pub(super) fn leave(&mut self, tenant: &Tenant, now: Instant) {
        let presence = self.see(tenant, now);
        presence.held = presence.held.saturating_sub(1);
        self.total = self.total.saturating_sub(1);
        // Many passers-by, few regulars: the map is swept when it grows.
        if self.present.len() > 1024 {
            self.present.retain(|_, presence| presence.held > 0 || now.duration_since(presence.seen) < ACTIVE);
        }
    }

    fn see(&mut self, tenant: &Tenant, now: Instant) -> &mut Presence {
        let presence = self.present.entry(tenant.clone()).or_insert(Presence { held: 0, seen: now });
        presence.seen = now;
        presence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter_as_many_as_allowed(tenants: &mut Tenants, tenant: &Tenant, room: usize, now: Instant) -> usize {
        let mut entered = 0;
        while tenants.total() < room && tenants.may_enter(tenant, room, now).is_ok() {
            tenants.enter(tenant, now);
            entered += 1;
        }
        entered
    }

    #[test]
    fn alone_a_tenant_may_fill_the_room() {
        let (mut tenants, now) = (Tenants::new(HashMap::new()), Instant::now());
        assert_eq!(enter_as_many_as_allowed(&mut tenants, &Tenant::named("a"), 100, now), 100);
    }

    #[test]
    fn what_the_first_gives_back_goes_to_the_second_until_the_shares_are_even() {
        let (mut tenants, now) = (Tenants::new(HashMap::new()), Instant::now());
        let (greedy, late) = (Tenant::named("greedy"), Tenant::named("late"));
        enter_as_many_as_allowed(&mut tenants, &greedy, 100, now);
        // The room is full: the late one is refused for want of room, and seen.
        let _ = tenants.may_enter(&late, 100, now);
        for _ in 0..50 {
            tenants.leave(&greedy, now);
            assert!(tenants.may_enter(&greedy, 100, now).is_err());
            tenants.may_enter(&late, 100, now).unwrap();
            tenants.enter(&late, now);
        }
        assert_eq!(tenants.may_enter(&late, 100, now), Err(Excess { held: 50, share: 50 }));
    }

    #[test]
    fn shares_follow_weights_and_who_went_away_has_none() {
        let (heavy, light) = (Tenant::named("heavy"), Tenant::named("light"));
        let mut tenants = Tenants::new(HashMap::from([(heavy.clone(), 3.0)]));
        let now = Instant::now();
        let _ = tenants.may_enter(&light, 80, now);
        assert_eq!(enter_as_many_as_allowed(&mut tenants, &heavy, 80, now), 60);
        assert_eq!(enter_as_many_as_allowed(&mut tenants, &light, 80, now), 20);
        (0..20).for_each(|_| tenants.leave(&light, now));
        let later = now + ACTIVE + Duration::from_secs(1);
        assert_eq!(enter_as_many_as_allowed(&mut tenants, &heavy, 80, later), 20);
    }

    #[test]
    fn the_pause_is_what_the_excess_takes_at_the_shares_rate() {
        let excess = Excess { held: 59, share: 50 };
        assert_eq!(excess.until_back_in_share(10.0, 100), Duration::from_secs(2));
    }
}
