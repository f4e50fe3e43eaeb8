//! What every process tells: its build, its own use of the machine, and how busy the machine is.

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGaugeVec, Opts, Registry};

use crate::process::{VERSION, available_cores, host};

/// Registers what is told by every process; `part` is its role, such as `gateway`.
pub fn register_process(registry: &Registry, part: &str) -> prometheus::Result<()> {
    let build = IntGaugeVec::new(Opts::new("shoal_build_info", "1, by part and release"), &["part", "version"])?;
    build.with_label_values(&[part, VERSION]).set(1);
    registry.register(Box::new(build))?;
    registry.register(Box::new(HostCpu::new()?))?;
    #[cfg(target_os = "linux")]
    registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
    Ok(())
}

/// Reads the kernel's counters when it is scraped.
struct HostCpu {
    used: Counter,
    pressure: Counter,
    cores: Gauge,
    reading: Mutex<()>,
}

impl HostCpu {
    fn new() -> prometheus::Result<Self> {
        Ok(Self {
            used: Counter::new(
                "shoal_host_cpu_seconds_total",
                "CPU used on this host, or in this container when it has a limit, by all processes",
            )?,
            pressure: Counter::new(
                "shoal_host_cpu_pressure_seconds_total",
                "Time in which something waited for a core on this host or in this container",
            )?,
            cores: Gauge::new("shoal_host_cpu_cores", "Cores that this process may use")?,
            reading: Mutex::new(()),
        })
    }
}

impl Collector for HostCpu {
    fn desc(&self) -> Vec<&Desc> {
        [self.used.desc(), self.pressure.desc(), self.cores.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let _one_at_a_time = self.reading.lock();
        if let Some(times) = host::cpu_times() {
            for (counter, value) in [(&self.used, times.used), (&self.pressure, times.pressure)] {
                // Cores that come and go make the kernel's sum fall; a counter does not.
                counter.inc_by((value - counter.get()).max(0.0));
            }
        }
        self.cores.set(available_cores() as f64);
        [self.used.collect(), self.pressure.collect(), self.cores.collect()].concat()
    }
}
