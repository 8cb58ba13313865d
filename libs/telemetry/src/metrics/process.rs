//! Memory, CPU, threads, descriptors and age of this process, read when scraped.
//!
//! The names are the ones every Prometheus dashboard knows, hence without the project's prefix.
//! Source: `proc_pid_status(5)`, `proc_pid_stat(5)`. Outside Linux only the age is reported.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

/// Clock ticks per second in `/proc/self/stat`: 100 on every Linux architecture we build for,
/// part of the kernel's user-space ABI (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Collector of the process metrics.
#[derive(Debug)]
pub(crate) struct ProcessCollector {
    started: Instant,
}

impl ProcessCollector {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name, help, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge(
            "process_uptime_seconds",
            "Age of the process",
            self.started.elapsed().as_secs_f64(),
        )?;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kibibytes) = status_field(&status, "VmRSS:") {
            gauge(
                "process_resident_memory_bytes",
                "Resident memory",
                kibibytes * 1024.0,
            )?;
        }
        if let Some(kibibytes) = status_field(&status, "VmHWM:") {
            gauge(
                "process_resident_memory_peak_bytes",
                "Highest resident memory so far",
                kibibytes * 1024.0,
            )?;
        }
        if let Some(threads) = status_field(&status, "Threads:") {
            gauge("process_threads", "Threads", threads)?;
        }
        if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
            gauge(
                "process_open_fds",
                "Open file descriptors",
                descriptors.count() as f64,
            )?;
        }
        if let Some(seconds) = fs::read_to_string("/proc/self/stat")
            .ok()
            .and_then(|stat| cpu_seconds(&stat))
        {
            let metric = ConstCounter::new(seconds);
            metric.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                "User and system CPU time",
                None,
                MetricType::Counter,
            )?)?;
        }
        Ok(())
    }
}

fn status_field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The program name in field 2 may hold spaces and brackets: count from its closing bracket.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let user: f64 = fields.nth(11)?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_survives_a_hostile_program_name() {
        let stat = "42 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
    }
}
