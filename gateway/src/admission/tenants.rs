//! Predictions in flight, divided fairly: alone, a tenant may use everything; as soon as others ask
//! and it gets tight, each holds at most its share by weight. Pure: time comes from outside.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A tenant counts as asking for this long after it was last seen.
const ACTIVE: Duration = Duration::from_secs(5);
/// A deadline tighter than this does not make the room smaller for others.
const TIGHTEST: Duration = Duration::from_secs(1);

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
    /// The deadline of its latest request.
    remaining: Duration,
}

/// Who holds how many places of one model.
pub(super) struct Tenants {
    weights: HashMap<Tenant, f64>,
    present: HashMap<Tenant, Presence>,
    total: usize,
}

/// A tenant's part of the whole.
#[derive(Debug, PartialEq)]
pub(super) struct Portion {
    /// Jobs a second that are its own while all who are present ask.
    pub(super) rate: f64,
    /// Set when it holds all that it may.
    pub(super) excess: Option<Excess>,
}

/// A tenant at its share.
#[derive(Debug, PartialEq)]
pub(super) struct Excess {
    pub(super) held: usize,
    pub(super) share: usize,
}

impl Tenants {
    pub(super) fn new(weights: HashMap<Tenant, f64>) -> Self {
        Self { weights, present: HashMap::new(), total: 0 }
    }

    /// A tenant asks.
    pub(super) fn see(&mut self, tenant: &Tenant, remaining: Duration, now: Instant) {
        let presence = self.present.entry(tenant.clone()).or_insert(Presence { held: 0, seen: now, remaining });
        (presence.seen, presence.remaining) = (now, remaining);
    }

    /// What belongs to a tenant of a queue that is worked off at `rate`. The room that is divided is
    /// what the tightest deadline of those present allows: with a longer queue, whoever has it would
    /// be starved by the patient ones.
    pub(super) fn portion(&mut self, tenant: &Tenant, rate: f64, now: Instant) -> Portion {
        self.forget_absent(now);
        let weight = |tenant: &Tenant| self.weights.get(tenant).copied().unwrap_or(1.0);
        let part = weight(tenant) / self.present.keys().map(weight).sum::<f64>();
        let tightest = self.present.values().map(|presence| presence.remaining).min().unwrap_or_default();
        let room = rate * tightest.max(TIGHTEST).as_secs_f64();
        let held = self.present.get(tenant).map_or(0, |presence| presence.held);
        let share = ((room * part) as usize).max(1);
        let is_tight = self.present.len() > 1 && self.total as f64 * 2.0 >= room;
        let excess = (is_tight && held >= share).then_some(Excess { held, share });
        Portion { rate: rate * part, excess }
    }

    fn forget_absent(&mut self, now: Instant) {
        self.present.retain(|_, presence| presence.held > 0 || now.duration_since(presence.seen) < ACTIVE);
    }

    /// Takes a place.
    pub(super) fn enter(&mut self, tenant: &Tenant, now: Instant) {
        if let Some(presence) = self.present.get_mut(tenant) {
            presence.held += 1;
            self.total += 1;
        }
        // Many passers-by, few regulars: the map is swept when it grows.
        if self.present.len() > 1024 {
            self.forget_absent(now);
        }
    }

    /// Gives a place back.
    pub(super) fn leave(&mut self, tenant: &Tenant, now: Instant) {
        if let Some(presence) = self.present.get_mut(tenant) {
            presence.held = presence.held.saturating_sub(1);
            presence.seen = now;
            self.total = self.total.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Enters while it may, at a hundred jobs a second.
    fn fill(tenants: &mut Tenants, tenant: &Tenant, now: Instant) -> usize {
        let mut entered = 0;
        while tenants.total < 100 {
            tenants.see(tenant, SECOND, now);
            if tenants.portion(tenant, 100.0, now).excess.is_some() {
                break;
            }
            tenants.enter(tenant, now);
            entered += 1;
        }
        entered
    }

    #[test]
    fn alone_a_tenant_may_fill_the_room() {
        let (mut tenants, now) = (Tenants::new(HashMap::new()), Instant::now());
        assert_eq!(fill(&mut tenants, &Tenant::named("a"), now), 100);
    }

    #[test]
    fn what_the_first_gives_back_goes_to_the_second_until_the_shares_are_even() {
        let (mut tenants, now) = (Tenants::new(HashMap::new()), Instant::now());
        let (greedy, late) = (Tenant::named("greedy"), Tenant::named("late"));
        fill(&mut tenants, &greedy, now);
        tenants.see(&late, SECOND, now);
        for _ in 0..50 {
            tenants.leave(&greedy, now);
            assert!(tenants.portion(&greedy, 100.0, now).excess.is_some());
            assert_eq!(tenants.portion(&late, 100.0, now).excess, None);
            tenants.enter(&late, now);
        }
        assert_eq!(tenants.portion(&late, 100.0, now).excess, Some(Excess { held: 50, share: 50 }));
    }

    #[test]
    fn shares_follow_weights_and_who_went_away_has_none() {
        let (heavy, light) = (Tenant::named("heavy"), Tenant::named("light"));
        let mut tenants = Tenants::new(HashMap::from([(heavy.clone(), 3.0)]));
        let now = Instant::now();
        tenants.see(&light, SECOND, now);
        assert_eq!(fill(&mut tenants, &heavy, now), 75);
        assert_eq!(fill(&mut tenants, &light, now), 25);
        (0..25).for_each(|_| tenants.leave(&light, now));
        assert_eq!(fill(&mut tenants, &heavy, now + ACTIVE), 25);
    }

    #[test]
    fn the_patient_leave_room_for_those_in_a_hurry() {
        let (mut tenants, now) = (Tenants::new(HashMap::new()), Instant::now());
        let (patient, hurried) = (Tenant::named("patient"), Tenant::named("hurried"));
        tenants.see(&patient, SECOND * 60, now);
        (0..5000).for_each(|_| tenants.enter(&patient, now));
        assert_eq!(tenants.portion(&patient, 100.0, now).excess, None);
        tenants.see(&hurried, SECOND * 2, now);
        assert_eq!(tenants.portion(&patient, 100.0, now).excess, Some(Excess { held: 5000, share: 100 }));
    }
}
