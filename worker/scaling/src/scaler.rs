//! The policy: from signals to a decision, one look at a time. Pure: time is part of the signals.
//!
//! The order of the questions is the policy. An operator's number comes first, then the bounds; who
//! cannot see holds; then come the undoing of what brought nothing, sleep, growth, shrinking.

use std::time::Duration;

use super::decision::{Action, Cause, Decision, Inputs};
use super::demand::{Load, whole_workers};
use super::evidence::{Evidence, View};
use super::gain::{Ceiling, Gain, Look};
use super::room::{self, Room};
use super::settings::Settings;
use super::signals::Signals;
use super::window::Highest;

/// Tolerance after a step down, times the usual.
const DOUBT: f64 = 3.0;

/// Decides how many workers one model's fleet should have.
#[derive(Debug)]
pub struct Scaler {
    settings: Settings,
    fixed: Option<usize>,
    ordered: Option<usize>,
    evidence: Evidence,
    gain: Gain,
    highest: Highest,
    last: Option<(Action, Cause, usize)>,
    /// When the fleet last became smaller because less would do.
    quiet_at: Option<Duration>,
}

/// What to do and why.
type Step = (Action, Cause, String);

impl Scaler {
    /// A policy that takes the fleet as it finds it. Settings are expected to be checked.
    pub fn new(settings: Settings) -> Self {
        let (evidence, gain, highest) = (Evidence::default(), Gain::default(), Highest::default());
        Self { settings, fixed: None, ordered: None, evidence, gain, highest, last: None, quiet_at: None }
    }

    /// Keeps the fleet at `workers`, from 0 to max, until `auto`. An operator may go below min.
    pub fn fix(&mut self, workers: usize) -> Result<(), String> {
        if workers > self.settings.max {
            return Err(format!("{workers} workers: max is {}", self.settings.max));
        }
        self.fixed = Some(workers);
        Ok(())
    }

    /// Back to deciding.
    pub fn auto(&mut self) {
        self.fixed = None;
    }

    /// Decides. To be called about once a second, and at once on the first job for a stopped fleet.
    pub fn decide(&mut self, signals: &Signals) -> Decision {
        let mut view = self.evidence.read(signals, &self.settings);
        let from = *self.ordered.get_or_insert(view.inputs.ready + view.inputs.coming);
        let (action, cause, reason) = self.choose(signals, &mut view, from);
        let to = match action {
            Action::Up { to } | Action::Down { to } => to,
            Action::Hold | Action::Refuse => from,
        };
        self.ordered = Some(to);
        if cause == Cause::Quiet {
            self.quiet_at = Some(signals.at);
        }
        let inputs = Inputs { gain: self.gain.last, ..view.inputs };
        // Full cores and busy cores are one piece of news: at the limit they alternate.
        let news = if cause == Cause::CoresTaken { Cause::CpuSaturated } else { cause };
        let state = Some((action, news, inputs.written_off));
        let changed = std::mem::replace(&mut self.last, state) != state;
        let threads = inputs.cores.map_or(0, |cores| room::threads(cores, to));
        Decision {
            at: signals.at,
            action,
            cause,
            from,
            to,
            threads,
            written_off: inputs.written_off,
            reason,
            changed,
            inputs,
        }
    }

    fn choose(&mut self, signals: &Signals, view: &mut View, from: usize) -> Step {
        if let Some(step) = self.fixed_or_bounded(from) {
            return step;
        }
        let undone = self.gain.observe(view.look, self.settings.least_gain);
        let unheard = view.inputs.unheard;
        if signals.queue.is_none() {
            self.highest.interrupt();
            return hold(Cause::BrokerSilent, format!("the broker did not answer: {from} stay"));
        }
        if unheard > 0 && unheard == signals.ready {
            self.highest.interrupt();
            return hold(Cause::HeartbeatsLost, format!("no heartbeat from any of {unheard} workers: {from} stay"));
        }
        self.aim(view, signals.at, from);
        if let Some(ceiling) = undone.filter(|ceiling| ceiling.workers < from) {
            return self.undo(ceiling, from);
        }
        if let Some(step) = self.sleep(signals.at, &view.inputs, from) {
            return step;
        }
        if view.inputs.target > from {
            return self.grow(signals, view, from);
        }
        let step = self.shrink(signals.at, &view.inputs, from);
        match self.evidence.belief.unmoved(signals.at) {
            Some(time) if !matches!(step.0, Action::Down { .. }) => unmoved(&view.inputs, time),
            _ => step,
        }
    }

    fn fixed_or_bounded(&self, from: usize) -> Option<Step> {
        let Settings { min, max, .. } = self.settings;
        let (to, cause, reason) = match self.fixed {
            Some(fixed) => (fixed, Cause::Manual, format!("fixed at {fixed} until auto")),
            None => (from.clamp(min, max), Cause::Bounds, format!("there are to be {min} to {max}")),
        };
        match to.cmp(&from) {
            std::cmp::Ordering::Greater => Some((Action::Up { to }, cause, reason)),
            std::cmp::Ordering::Less => Some((Action::Down { to }, cause, reason)),
            std::cmp::Ordering::Equal => (cause == Cause::Manual).then(|| hold(cause, reason)),
        }
    }

    /// Works out the target and keeps the highest of the window.
    fn aim(&mut self, view: &mut View, at: Duration, from: usize) {
        let Settings { min, max, tolerance, target_utilisation, target_delay, stabilisation, .. } = self.settings;
        let Load { arrivals, backlog, .. } = view.load;
        let wanted = match view.inputs.service {
            _ if from == 0 && !view.active => 0.0,
            Some(_) => view.load.wanted(target_utilisation, target_delay.as_secs_f64()),
            // Nobody has measured yet: one worker tells.
            None => f64::from(u8::from(arrivals > 0.0 || backlog > 0.0)),
        };
        // Only a long rest stops the last worker; see `sleep`. A stopped fleet wakes for any job.
        let least = min.max(usize::from(from > 0 || view.active));
        view.inputs.wanted = wanted;
        view.inputs.target = whole_workers(wanted, tolerance * self.doubt(at)).clamp(least, max);
        view.inputs.highest = self.highest.observe(at, view.inputs.target, stabilisation);
    }

    /// How much more than the tolerance a load must exceed the fleet by: after a step down, chance
    /// alone must not undo it. A true rise is far above either, and is not delayed.
    fn doubt(&self, at: Duration) -> f64 {
        let lately = self.quiet_at.is_some_and(|quiet| at.saturating_sub(quiet) < self.settings.stabilisation);
        if lately { DOUBT } else { 1.0 }
    }

    fn undo(&self, ceiling: Ceiling, from: usize) -> Step {
        let to = ceiling.workers.max(self.settings.min).max(1);
        let gain = ceiling.gain * 100.0;
        let reason = format!("{from} workers bring no more than {to}: each new one brought {gain:.0} % of a worker");
        (Action::Down { to }, Cause::NoGain, reason)
    }

    fn sleep(&self, at: Duration, inputs: &Inputs, from: usize) -> Option<Step> {
        let idle = at.saturating_sub(self.evidence.active_at?);
        let asleep = self.settings.min == 0 && from > 0 && inputs.unheard == 0;
        (asleep && idle >= self.settings.idle_before_zero).then(|| {
            let reason = format!("no job for {} s", idle.as_secs());
            (Action::Down { to: 0 }, Cause::Idle, reason)
        })
    }

    fn grow(&mut self, signals: &Signals, view: &View, from: usize) -> Step {
        let Settings { max, remember, .. } = self.settings;
        let wanted = view.inputs.wanted.ceil();
        let nearest = [self.remembered(view.look, remember), room::room(signals, &self.settings, from)]
            .into_iter()
            .flatten()
            .min_by_key(|room| room.most);
        if let Some(room) = nearest.as_ref().filter(|room| room.most <= from && from > 0) {
            return (Action::Refuse, room.cause, format!("{wanted:.0} wanted, {from} stay: {}", room.reason));
        }
        let to = view.inputs.target.min(2 * from + 1).min(nearest.map_or(max, |room| room.most));
        let cause = if from == 0 { Cause::Wake } else { Cause::Load };
        (Action::Up { to }, cause, self.sum(&view.inputs))
    }

    /// The ceiling of an undone scale-up.
    fn remembered(&mut self, look: Look, remember: Duration) -> Option<Room> {
        let ceiling = self.gain.ceiling(look, remember)?;
        let ago = look.at.saturating_sub(ceiling.since);
        let (most, gain) = (ceiling.workers.max(1), ceiling.gain * 100.0);
        let left = remember.saturating_sub(ago).as_secs();
        let reason = format!("each worker over {most} brought {gain:.0} % of one; not again for {left} s");
        Some(Room { most, cause: Cause::NoGain, reason })
    }

    fn shrink(&self, at: Duration, inputs: &Inputs, from: usize) -> Step {
        let Settings { max, target_utilisation, tolerance, stabilisation, .. } = self.settings;
        if inputs.highest >= from || from == 0 {
            if from == max && whole_workers(inputs.wanted, tolerance) > max {
                return (Action::Refuse, Cause::AtMax, format!("{}; max is {max}", self.sum(inputs)));
            }
            let cause = if inputs.target < from { Cause::Stabilising } else { Cause::Enough };
            return hold(cause, self.sum(inputs));
        }
        if !self.highest.is_whole(at, stabilisation) {
            return hold(
                Cause::Stabilising,
                format!("not seen for {} s yet; {}", stabilisation.as_secs(), self.sum(inputs)),
            );
        }
        if inputs.coming + inputs.draining > 0 {
            let (coming, draining) = (inputs.coming, inputs.draining);
            return hold(Cause::Moving, format!("{coming} coming, {draining} draining; {}", self.sum(inputs)));
        }
        let to = from - 1;
        let then = inputs.busy.unwrap_or(0.0) * inputs.ready as f64 / to.max(1) as f64;
        if inputs.unheard > 0 || then > target_utilisation / (1.0 - tolerance) {
            let unheard = inputs.unheard;
            return hold(Cause::Unsure, format!("{to} would be {:.0} % busy, {unheard} not heard", then * 100.0));
        }
        let reason =
            format!("at most {} wanted for {} s; {}", inputs.highest, stabilisation.as_secs(), self.sum(inputs));
        (Action::Down { to }, Cause::Quiet, reason)
    }

    /// The sum behind a target, in words.
    fn sum(&self, inputs: &Inputs) -> String {
        let Inputs { arrivals, believed, wanted, ready, coming, .. } = *inputs;
        let service = inputs.service.map_or("unmeasured".to_owned(), |service| format!("{:.1} ms", service * 1000.0));
        let wait = inputs.backlog_seconds.map_or(String::new(), |seconds| format!(" ({seconds:.1} s)"));
        let utilisation = self.settings.target_utilisation;
        format!(
            "{arrivals:.1}/s x {service} at {utilisation} busy and a backlog of {believed}{wait} want {wanted:.1} workers; \
             {ready} ready, {coming} coming"
        )
    }
}

fn hold(cause: Cause, reason: String) -> Step {
    (Action::Hold, cause, reason)
}

fn unmoved(inputs: &Inputs, time: Duration) -> Step {
    let (backlog, seconds) = (inputs.backlog.unwrap_or(0), time.as_secs());
    let busy = inputs.busy.unwrap_or(0.0) * 100.0;
    let reason = format!(
        "backlog does not move though workers are idle: {backlog} pending, {busy:.0} % busy, none settled in {seconds} s"
    );
    (Action::Refuse, Cause::Unmoved, reason)
}
