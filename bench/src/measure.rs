//! What is made of what was counted in a round.

use crate::client::Counts;
use crate::client::Stats;
use crate::cluster::Cluster;
use crate::process::Usage;
use crate::results::RoundResult;
use hdrhistogram::Histogram;
use raftyard::HostMetrics;
use std::time::{Duration, Instant};

/// Everything that only grows, read at one moment.
pub(crate) struct Reading {
    at: Instant,
    counts: Counts,
    usage: Usage,
    did: HostMetrics,
}

/// What happened between two readings.
pub(crate) struct Span {
    pub(crate) seconds: f64,
    pub(crate) counts: Counts,
    /// Of all nodes and the clients; `None` where the system does not tell.
    pub(crate) cpu: Option<Duration>,
    pub(crate) clients_cpu: Option<Duration>,
    pub(crate) wakeups: Option<u64>,
    /// All nodes together.
    pub(crate) did: HostMetrics,
}

impl Reading {
    pub(crate) fn take(cluster: &Cluster, stats: &Stats) -> Self {
        Self {
            at: Instant::now(),
            counts: stats.counts(),
            usage: Usage::read(),
            did: cluster.metrics(),
        }
    }

    /// From here to `end`.
    pub(crate) fn until(&self, end: &Self) -> Span {
        let (now, then) = (&end.counts, &self.counts);
        let more = |now: Option<Duration>, then: Option<Duration>| Some(now?.saturating_sub(then?));
        Span {
            seconds: end.at.duration_since(self.at).as_secs_f64(),
            counts: Counts {
                answered: now.answered - then.answered,
                retried: now.retried - then.retried,
                unknown: now.unknown - then.unknown,
            },
            cpu: more(end.usage.cpu, self.usage.cpu),
            clients_cpu: more(end.usage.clients_cpu, self.usage.clients_cpu),
            wakeups: (end.usage.wakeups.zip(self.usage.wakeups)).map(|(now, then)| now.saturating_sub(then)),
            did: end.did.since(&self.did),
        }
    }
}

impl Span {
    /// Figures of operations that took this long, in microseconds.
    pub(crate) fn round(&self, latency_us: &Histogram<u64>) -> RoundResult {
        let ops = self.counts.answered;
        let mut round = RoundResult {
            ops,
            seconds: self.seconds,
            ops_per_s: ratio(count(ops), self.seconds).unwrap_or_default(),
            cpu_us_per_op: self.cpu.and_then(|cpu| ratio(micros(cpu), count(ops))),
            ..RoundResult::default()
        };
        set_latencies(&mut round, latency_us);
        let did = &self.did;
        let per_op = [
            ("cpu_clients_us_per_op", self.clients_cpu.map(micros)),
            (
                "cpu_nodes_us_per_op",
                (self.cpu.zip(self.clients_cpu)).map(|(all, clients)| micros(all.saturating_sub(clients))),
            ),
            ("fsyncs_per_op", Some(count(did.fsyncs))),
            ("messages_per_op", Some(count(did.messages_sent))),
            ("tarpc_calls_per_op", Some(count(did.frames_sent))),
            ("turns_per_op", Some(count(did.turns))),
            ("group_turns_per_op", Some(count(did.group_turns))),
            ("wakeups_per_op", self.wakeups.map(count)),
            ("sent_bytes_per_op", Some(count(did.bytes_sent))),
        ];
        for (name, sum) in per_op {
            add(&mut round, name, sum.and_then(|sum| ratio(sum, count(ops))));
        }
        add(
            &mut round,
            "entries_per_fsync",
            ratio(count(did.entries_written), count(did.fsyncs)),
        );
        self.add_per_second(&mut round);
        for (name, number) in [
            ("retried", self.counts.retried),
            ("outcome_unknown", self.counts.unknown),
        ] {
            add(&mut round, name, Some(count(number)));
        }
        round
    }

    /// What the nodes do per second, whatever for.
    pub(crate) fn add_per_second(&self, round: &mut RoundResult) {
        let did = &self.did;
        for (name, sum) in [
            ("cpu_cores", self.cpu.map(|cpu| cpu.as_secs_f64())),
            ("fsyncs_per_s", Some(count(did.fsyncs))),
            ("messages_per_s", Some(count(did.messages_sent))),
            ("tarpc_calls_per_s", Some(count(did.frames_sent))),
            ("turns_per_s", Some(count(did.turns))),
            ("ticks_per_s", Some(count(did.ticks))),
            ("timers_per_s", Some(count(did.timers))),
            ("wakeups_per_s", self.wakeups.map(count)),
        ] {
            add(round, name, sum.and_then(|sum| ratio(sum, self.seconds)));
        }
        add(round, "messages_dropped", Some(count(did.messages_dropped)));
    }
}

/// Percentiles, if there is anything of which.
pub(crate) fn set_latencies(round: &mut RoundResult, latency_us: &Histogram<u64>) {
    let quantile = |quantile| (!latency_us.is_empty()).then(|| count(latency_us.value_at_quantile(quantile)));
    round.p50_us = quantile(0.5);
    round.p99_us = quantile(0.99);
    round.p999_us = quantile(0.999);
    round.max_us = quantile(1.0);
}

/// Adds a figure, if it can be told.
pub(crate) fn add(round: &mut RoundResult, name: &str, value: Option<f64>) {
    round.extra.extend(value.map(|value| (name.to_owned(), value)));
}

#[expect(clippy::cast_precision_loss, reason = "for ratios, shown with few digits")]
pub(crate) fn count(count: u64) -> f64 {
    count as f64
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// `None` if there is nothing to relate to.
pub(crate) fn ratio(of: f64, to: f64) -> Option<f64> {
    (to > 0.0).then(|| of / to)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Two seconds with so many operations, each of which took a millisecond.
    fn round(ops: u64) -> RoundResult {
        let mut latency_us = Histogram::new_with_max(60_000_000, 3).unwrap();
        latency_us.record_n(1_000, ops).unwrap();
        let span = Span {
            seconds: 2.0,
            counts: Counts {
                answered: ops,
                retried: 1,
                unknown: 2,
            },
            cpu: Some(Duration::from_secs(3)),
            clients_cpu: Some(Duration::from_secs(1)),
            wakeups: Some(20),
            did: HostMetrics {
                fsyncs: 10,
                entries_written: 3 * ops,
                frames_sent: 40,
                messages_sent: 80,
                timers: 6,
                ..HostMetrics::default()
            },
        };
        span.round(&latency_us)
    }

    #[test]
    fn figures_relate_counts_to_operations_and_time() {
        let round = round(100);
        assert_eq!((round.ops, round.seconds, round.ops_per_s), (100, 2.0, 50.0));
        assert_eq!((round.p50_us, round.max_us), (Some(1_000.0), Some(1_000.0)));
        assert_eq!(round.cpu_us_per_op, Some(30_000.0));
        for (name, expected) in [
            ("cpu_clients_us_per_op", 10_000.0),
            ("cpu_nodes_us_per_op", 20_000.0),
            ("cpu_cores", 1.5),
            ("fsyncs_per_op", 0.1),
            ("fsyncs_per_s", 5.0),
            ("entries_per_fsync", 30.0),
            ("tarpc_calls_per_op", 0.4),
            ("messages_per_op", 0.8),
            ("wakeups_per_op", 0.2),
            ("timers_per_s", 3.0),
            ("retried", 1.0),
            ("outcome_unknown", 2.0),
        ] {
            assert_eq!(round.extra.get(name), Some(&expected), "{name}");
        }
    }

    #[test]
    fn without_operations_there_is_no_cost_of_one() {
        let round = round(0);
        assert_eq!(round.ops_per_s, 0.0);
        assert_eq!((round.cpu_us_per_op, round.p99_us), (None, None));
        assert!(!round.extra.contains_key("fsyncs_per_op"));
    }
}
