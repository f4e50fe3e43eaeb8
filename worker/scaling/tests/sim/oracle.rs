//! What a policy would pay that knew the arrivals.
//!
//! At each moment the oracle needs the smallest number of workers that keeps the utilisation at or
//! under the target, by the true rate of arrivals (the intensity of the process, not the jobs that
//! chance made of it) and the true mean service time, never under `min` nor under one (no scenario
//! but the sleeping one, which is not compared, idles long enough for zero), never over `max`. The
//! comparison is of foresight, not of rules, so the oracle keeps the same rules: it orders each worker
//! so that it is ready in time, and pays from the order on; and it goes down only to the highest need
//! of the last stabilisation window. It goes down at once, not by one at a time, and has no crashes.

use super::World;

/// Grid of the look-around, seconds.
const GRID: f64 = 0.5;

/// Workers needed at a second.
pub fn needed(world: &World, second: f64) -> usize {
    let load = (world.arrivals)(second.max(0.0)) * world.seconds_per_job() / world.settings.target_utilisation;
    ((load - 1e-9).ceil() as usize).clamp(world.settings.min.max(1), world.settings.max)
}

/// Workers paid for at a second.
pub fn paid(world: &World, second: f64) -> f64 {
    let from = (second - world.settings.stabilisation.as_secs_f64()).max(0.0);
    let steps = ((second + world.startup - from) / GRID) as usize;
    (0..=steps).map(|step| needed(world, from + step as f64 * GRID)).max().unwrap_or(0) as f64
}
