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

/// Reads [`CpuTimes`]; of the container when it has a CPU limit, of the machine otherwise. Zeros where
/// the kernel tells nothing.
pub fn cpu_times() -> CpuTimes {
    match limited_group() {
        Some(group) => CpuTimes {
            used: read(group.join("cpu.stat")).and_then(|text| usage_of(&text)).unwrap_or_default(),
            pressure: read(group.join("cpu.pressure")).and_then(|text| pressure_of(&text)).unwrap_or_default(),
        },
        None => CpuTimes {
            used: read("/proc/stat").and_then(|text| used_of(&text)).unwrap_or_default(),
            pressure: read("/proc/pressure/cpu").and_then(|text| pressure_of(&text)).unwrap_or_default(),
        },
    }
}

/// CPU that this process has used, in seconds.
pub fn process_cpu() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// The control group of this process, when its CPU is limited.
fn limited_group() -> Option<PathBuf> {
    let groups = read("/proc/self/cgroup")?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let group = PathBuf::from(CGROUPS).join(path.trim_start_matches('/'));
    let limit = read(group.join("cpu.max"))?;
    (!limit.starts_with("max")).then_some(group)
}

fn read(path: impl AsRef<std::path::Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// `usage_usec` of a group's `cpu.stat`.
fn usage_of(text: &str) -> Option<f64> {
    let micros: f64 = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()?;
    Some(micros / 1e6)
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal. What is
/// stolen by the host of a virtual machine is not used by us.
fn used_of(text: &str) -> Option<f64> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = fields.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
    Some((user + nice + system + irq + softirq) / TICKS)
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
        let stat = "cpu  100 20 30 4000 50 6 7 8 9 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n";
        assert_eq!(used_of(stat), Some(1.63));
        assert_eq!(usage_of("usage_usec 2500000\nuser_usec 1\n"), Some(2.5));
        let pressure = "some avg10=0.09 avg60=1.86 avg300=7.01 total=2879021\nfull avg10=0.00 total=0\n";
        assert_eq!(pressure_of(pressure), Some(2.879021));
        assert_eq!(used_of("nonsense"), None);
    }

    #[test]
    fn work_is_seen() {
        let before = (process_cpu(), cpu_times().used);
        let begun = std::time::Instant::now();
        while begun.elapsed().as_millis() < 100 {
            std::hint::black_box(0);
        }
        assert!(process_cpu() > before.0);
        #[cfg(target_os = "linux")]
        assert!(cpu_times().used > before.1);
    }
}
