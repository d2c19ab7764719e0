//! The figures of a run: a table for people, JSON for tools.

use crate::cli::Plan;
use hdrhistogram::Histogram;
use raftyard::HostMetrics;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

#[derive(Serialize)]
pub(crate) struct Report {
    load: &'static str,
    nodes: u64,
    groups: u64,
    clients: u64,
    depth: usize,
    payload_bytes: usize,
    workers_per_node: usize,
    client_threads: usize,
    seconds: f64,
    writes: u64,
    writes_per_second: f64,
    latency_p50_us: u64,
    latency_p99_us: u64,
    latency_p999_us: u64,
    latency_max_us: u64,
    /// All three nodes and the clients; absent where the system does not tell.
    cpu_us_per_write: Option<f64>,
    fsyncs_per_write: f64,
    tarpc_calls_per_write: f64,
    messages_per_write: f64,
    entries_per_fsync: f64,
    fsyncs_per_second: f64,
    messages_dropped: u64,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "ratios, shown with few digits")]
    pub(crate) fn new(
        plan: &Plan,
        writes: u64,
        elapsed: Duration,
        latency_us: &Histogram<u64>,
        cpu: Option<Duration>,
        did: HostMetrics,
    ) -> Self {
        let seconds = elapsed.as_secs_f64();
        let per_write = |count: u64| count as f64 / writes.max(1) as f64;
        Self {
            load: plan.load,
            nodes: 3,
            groups: plan.groups,
            clients: plan.clients,
            depth: plan.depth,
            payload_bytes: plan.payload,
            workers_per_node: plan.workers,
            client_threads: plan.client_threads,
            seconds,
            writes,
            writes_per_second: writes as f64 / seconds,
            latency_p50_us: latency_us.value_at_quantile(0.5),
            latency_p99_us: latency_us.value_at_quantile(0.99),
            latency_p999_us: latency_us.value_at_quantile(0.999),
            latency_max_us: latency_us.max(),
            cpu_us_per_write: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / writes.max(1) as f64),
            fsyncs_per_write: per_write(did.fsyncs),
            tarpc_calls_per_write: per_write(did.frames_sent),
            messages_per_write: per_write(did.messages_sent),
            entries_per_fsync: did.entries_written as f64 / did.fsyncs.max(1) as f64,
            fsyncs_per_second: did.fsyncs as f64 / seconds,
            messages_dropped: did.messages_dropped,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1e3;
        writeln!(
            f,
            "{}: {} nodes, {} groups, {} clients x {} in flight, {} B, durable on a quorum",
            self.load, self.nodes, self.groups, self.clients, self.depth, self.payload_bytes
        )?;
        writeln!(f, "  throughput     {:>12.0} writes/s", self.writes_per_second)?;
        writeln!(f, "  latency p50    {:>12.2} ms", millis(self.latency_p50_us))?;
        writeln!(f, "  latency p99    {:>12.2} ms", millis(self.latency_p99_us))?;
        writeln!(f, "  latency p99.9  {:>12.2} ms", millis(self.latency_p999_us))?;
        match self.cpu_us_per_write {
            Some(cpu) => writeln!(f, "  CPU            {cpu:>12.2} us per write (3 nodes and the clients)")?,
            None => writeln!(f, "  CPU                     n/a")?,
        }
        writeln!(f, "  fsyncs         {:>12.5} per write", self.fsyncs_per_write)?;
        writeln!(f, "  tarpc calls    {:>12.5} per write", self.tarpc_calls_per_write)?;
        writeln!(f, "  messages       {:>12.5} per write", self.messages_per_write)?;
        writeln!(f, "  entries        {:>12.1} per fsync", self.entries_per_fsync)?;
        writeln!(
            f,
            "  fsyncs         {:>12.0} per second, all nodes",
            self.fsyncs_per_second
        )?;
        if self.messages_dropped > 0 {
            writeln!(f, "  dropped        {:>12} messages", self.messages_dropped)?;
        }
        Ok(())
    }
}
