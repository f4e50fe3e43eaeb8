//! Where more workers stop helping: the cores and devices of the host.

use super::decision::Cause;
use super::settings::{Device, Settings, Threads};
use super::signals::Signals;

/// From this part of the cores on, another worker only takes time from the others. The rest goes to
/// the kernel, the network and the sampling of the measurement itself.
const SATURATED: f64 = 0.92;

/// How far a fleet may grow on its host.
#[derive(Debug, PartialEq)]
pub(super) struct Room {
    /// Most workers; at least 1, as one worker is better than none on any host.
    pub(super) most: usize,
    /// Which limit that is.
    pub(super) cause: Cause,
    /// The limit in words with numbers.
    pub(super) reason: String,
}

/// The nearest limit for a fleet of `workers`; `None` when none is known.
pub(super) fn room(signals: &Signals, settings: &Settings, workers: usize) -> Option<Room> {
    let room = |most: usize, cause, reason| Some(Room { most: most.max(1), cause, reason });
    let cpu = signals.cores();
    if let Some(cpu) = cpu.filter(|cpu| cpu.busy >= SATURATED * cpu.cores) {
        let gain = (SATURATED * cpu.cores / cpu.busy - 1.0).max(0.0) * 100.0;
        let (busy, cores) = (cpu.busy, cpu.cores);
        let reason = format!("cpu saturated: {busy:.2} of {cores} cores; expected gain {gain:.0} %");
        return room(workers, Cause::CpuSaturated, reason);
    }
    match settings.device {
        Device::Gpu { devices } => {
            let reason = format!(
                "{devices} devices have one session each: a second session shares one; add decode threads instead"
            );
            room(devices, Cause::DevicesTaken, reason)
        }
        Device::Cpu => {
            let cores = cpu?.cores;
            let each = match settings.threads {
                Threads::Split => 1,
                Threads::Fixed => signals.threads.max(1),
            };
            let most = (cores / each as f64).floor() as usize;
            let threads = if each == 1 { "1 thread".to_owned() } else { format!("{each} threads") };
            room(most, Cause::CoresTaken, format!("{most} workers x {threads} fill {cores} cores; expected gain 0 %"))
        }
    }
}

/// Threads for each worker's session so that `workers` share the cores.
pub(super) fn threads(cores: f64, workers: usize) -> usize {
    ((cores / workers.max(1) as f64).floor() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::signals::Cpu;
    use super::*;

    fn host(cores: f64, busy: f64) -> Signals {
        Signals { cpu: Some(Cpu { cores, busy }), threads: 2, ..Signals::default() }
    }

    #[test]
    fn used_up_cores_are_the_end() {
        let room = room(&host(2.0, 1.97), &Settings::default(), 1).unwrap();
        assert_eq!((room.most, room.cause), (1, Cause::CpuSaturated));
        assert_eq!(room.reason, "cpu saturated: 1.97 of 2 cores; expected gain 0 %");
    }

    #[test]
    fn threads_that_fill_the_cores_are_the_end() {
        let most = |threads| room(&host(8.0, 3.0), &Settings { threads, ..Settings::default() }, 4).unwrap().most;
        assert_eq!(most(Threads::Fixed), 4);
        assert_eq!(most(Threads::Split), 8);
    }

    #[test]
    fn a_device_holds_one_session() {
        let settings = Settings { device: Device::Gpu { devices: 2 }, ..Settings::default() };
        let room = room(&host(16.0, 3.0), &settings, 2).unwrap();
        assert_eq!(room.most, 2);
        assert!(room.reason.contains("decode threads"));
    }

    #[test]
    fn cores_are_shared_out() {
        assert_eq!([1, 2, 3, 9].map(|workers| threads(8.0, workers)), [8, 4, 2, 1]);
        assert_eq!(room(&Signals::default(), &Settings::default(), 3), None);
    }
}
