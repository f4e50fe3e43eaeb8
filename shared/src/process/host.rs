//! How busy the machine is, or the container: read from the kernel, for everybody who divides cores.

use std::fs;
use std::path::PathBuf;

/// Where version 2 of control groups is mounted.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Ticks a second in `/proc/stat`; fixed by the kernel's interface.
const TICKS: f64 = 100.0;

/// CPU used and waited for since some moment in the past, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuTimes {
    /// Used by all processes, all cores together.
    pub used: f64,
    /// In which at least one process waited for a core (pressure stall information, `some`).
    pub pressure: f64,
}

/// Reads [`CpuTimes`]: of the nearest control group with a CPU limit, or of the machine's cores that this
/// process may use. `None` where the kernel does not tell; the pressure is 0 where it tells none.
pub fn cpu_times() -> Option<CpuTimes> {
    let group = limited_group();
    let used = match &group {
        Some(group) => usage_of(&read(group.join("cpu.stat"))?)?,
        None => used_of(&read("/proc/stat")?, may_use)?,
    };
    let pressure = group.map_or("/proc/pressure/cpu".into(), |group| group.join("cpu.pressure"));
    Some(CpuTimes { used, pressure: read(pressure).and_then(|text| pressure_of(&text)).unwrap_or_default() })
}

/// Whether this process may run on a core.
fn may_use(core: usize) -> bool {
    #[cfg(target_os = "linux")]
    {
        rustix::thread::sched_getaffinity(None).is_ok_and(|set| set.is_set(core))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = core;
        true
    }
}

/// CPU that this process has used, in seconds.
pub fn process_cpu() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// The nearest control group around this process whose CPU is limited.
fn limited_group() -> Option<PathBuf> {
    let groups = read("/proc/self/cgroup")?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let group = PathBuf::from(CGROUPS).join(path.trim_start_matches('/'));
    let around = group.ancestors().take_while(|group| group.starts_with(CGROUPS));
    let is_limited =
        |group: &&std::path::Path| read(group.join("cpu.max")).is_some_and(|limit| !limit.starts_with("max"));
    around.into_iter().find(is_limited).map(PathBuf::from)
}

fn read(path: impl AsRef<std::path::Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// `usage_usec` of a group's `cpu.stat`.
fn usage_of(text: &str) -> Option<f64> {
    let micros: f64 = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()?;
    Some(micros / 1e6)
}

/// A line of `/proc/stat` for each core: user, nice, system, idle, iowait, irq, softirq, steal. What is
/// stolen by the host of a virtual machine is not used by us.
fn used_of(text: &str, may_use: impl Fn(usize) -> bool) -> Option<f64> {
    let used = |line: &str| {
        let (core, fields) = line.strip_prefix("cpu")?.split_once(' ')?;
        if !may_use(core.parse().ok()?) {
            return None;
        }
        let ticks: Vec<f64> = fields.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
        Some((user + nice + system + irq + softirq) / TICKS)
    };
    text.lines().filter_map(used).reduce(|sum, core| sum + core)
}

/// `total` of the line `some`, in microseconds.
fn pressure_of(text: &str) -> Option<f64> {
    let some = text.lines().find(|line| line.starts_with("some "))?;
    let micros: f64 = some.split("total=").nth(1)?.trim().parse().ok()?;
    Some(micros / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let stat = "cpu  200 40 60 8000 100 12 14 16 18 0\ncpu0 100 20 30 4000 50 6 7 8 9 0\n\
                    cpu1 100 20 30 4000 50 6 7 8 9 0\nintr 1 2\n";
        assert_eq!(used_of(stat, |_| true), Some(3.26));
        assert_eq!(used_of(stat, |core| core == 1), Some(1.63));
        assert_eq!(usage_of("usage_usec 2500000\nuser_usec 1\n"), Some(2.5));
        let pressure = "some avg10=0.09 avg60=1.86 avg300=7.01 total=2879021\nfull avg10=0.00 total=0\n";
        assert_eq!(pressure_of(pressure), Some(2.879021));
        assert_eq!(used_of("nonsense", |_| true), None);
    }

    #[test]
    fn work_is_seen() {
        let before = (process_cpu(), cpu_times());
        let begun = std::time::Instant::now();
        while begun.elapsed().as_millis() < 100 {
            std::hint::black_box(0);
        }
        assert!(process_cpu() > before.0);
        #[cfg(target_os = "linux")]
        assert!(cpu_times().unwrap().used > before.1.unwrap().used);
    }
}
