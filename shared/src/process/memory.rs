//! How much memory there is, of the machine or of the container when that has less; and giving back what is not used.

use std::fs;
use std::hint::black_box;
use std::time::Duration;

use super::shutdown::Shutdown;

/// How often free memory is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Large enough that an allocator frees it by itself, bytes.
const LARGE: usize = 4 << 20;

/// Bytes of memory that this process could have at most; `None` where the kernel does not tell.
pub fn total() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let container = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(container).min()
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Has the allocator look, now and then, for what it can give back. It does so whenever something large is freed, and a
/// process that nobody asks frees nothing large: an idle worker kept the file of its model.
pub async fn give_back(shutdown: Shutdown) {
    while tokio::time::timeout(LOOK_EVERY, shutdown.ordered()).await.is_err() {
        drop(black_box(Vec::<u8>::with_capacity(LARGE)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_in_kilobytes() {
        assert_eq!(total_of("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16384 * 1024));
        assert_eq!(total_of(""), None);
    }
}
