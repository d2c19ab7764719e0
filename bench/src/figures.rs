//! What is made of a round's counts, and of the figures of several rounds.

use hdrhistogram::Histogram;
use raftyard::HostMetrics;
use std::time::Duration;

/// What was counted in a round.
pub(crate) struct Round {
    /// How long was measured.
    pub(crate) seconds: f64,
    /// Writes acknowledged.
    pub(crate) writes: u64,
    /// Writes refused, surely not applied, and asked again.
    pub(crate) retried: u64,
    /// Writes of which nobody knows whether they were applied. Not among `writes`.
    pub(crate) unknown: u64,
    pub(crate) latency_us: Histogram<u64>,
    /// Of all three nodes and the clients; `None` where the system does not tell.
    pub(crate) cpu: Option<Duration>,
    /// All three nodes together.
    pub(crate) did: HostMetrics,
}

/// One number that is reported of each round.
pub(crate) struct Figure {
    /// In JSON, with its unit.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) label: &'static str,
    pub(crate) unit: &'static str,
    /// How many of what JSON counts in make one of the unit people see.
    pub(crate) scale: f64,
    pub(crate) decimals: usize,
    /// `None` where it can't be told.
    pub(crate) of: fn(&Round) -> Option<f64>,
}

const fn figure(
    name: &'static str,
    label: &'static str,
    (unit, scale, decimals): (&'static str, f64, usize),
    of: fn(&Round) -> Option<f64>,
) -> Figure {
    Figure {
        name,
        label,
        unit,
        scale,
        decimals,
        of,
    }
}

const MILLIS: (&str, f64, usize) = ("ms", 1e3, 2);
const PER_WRITE: (&str, f64, usize) = ("per write", 1.0, 5);

/// In the order they are shown.
pub(crate) const FIGURES: [Figure; 12] = [
    figure("writes_per_second", "throughput", ("writes/s", 1.0, 0), |round| {
        ratio(count(round.writes), round.seconds)
    }),
    figure("latency_p50_us", "latency p50", MILLIS, |round| quantile(round, 0.5)),
    figure("latency_p99_us", "latency p99", MILLIS, |round| quantile(round, 0.99)),
    figure("latency_p999_us", "latency p99.9", MILLIS, |round| {
        quantile(round, 0.999)
    }),
    figure("latency_max_us", "latency max", MILLIS, |round| quantile(round, 1.0)),
    figure(
        "cpu_us_per_write",
        "CPU, nodes and clients",
        ("us per write", 1.0, 2),
        |round| ratio(round.cpu?.as_secs_f64() * 1e6, count(round.writes)),
    ),
    figure("cpu_cores", "CPU, nodes and clients", ("cores", 1.0, 2), |round| {
        ratio(round.cpu?.as_secs_f64(), round.seconds)
    }),
    figure("fsyncs_per_write", "fsyncs", PER_WRITE, |round| {
        ratio(count(round.did.fsyncs), count(round.writes))
    }),
    figure(
        "fsyncs_per_second",
        "fsyncs, all nodes",
        ("per second", 1.0, 0),
        |round| ratio(count(round.did.fsyncs), round.seconds),
    ),
    figure("entries_per_fsync", "entries", ("per fsync", 1.0, 1), |round| {
        ratio(count(round.did.entries_written), count(round.did.fsyncs))
    }),
    figure("tarpc_calls_per_write", "tarpc calls", PER_WRITE, |round| {
        ratio(count(round.did.frames_sent), count(round.writes))
    }),
    figure("messages_per_write", "messages", PER_WRITE, |round| {
        ratio(count(round.did.messages_sent), count(round.writes))
    }),
];

#[expect(clippy::cast_precision_loss, reason = "for ratios, shown with few digits")]
fn count(count: u64) -> f64 {
    count as f64
}

/// `None` if there is nothing to relate to.
fn ratio(of: f64, to: f64) -> Option<f64> {
    (to > 0.0).then(|| of / to)
}

fn quantile(round: &Round, quantile: f64) -> Option<f64> {
    (!round.latency_us.is_empty()).then(|| count(round.latency_us.value_at_quantile(quantile)))
}

/// The same figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of the rounds for which it could be told; `None` if there is none.
    pub(crate) fn of(figure: &Figure, rounds: &[Round]) -> Option<Self> {
        let mut values: Vec<f64> = rounds.iter().filter_map(figure.of).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        // The middle one, or the mean of the two in the middle.
        let (low, high) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Self {
            median: low.midpoint(*high),
            min,
            max,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    /// A round of two seconds with so many writes, each of which took a millisecond.
    pub(crate) fn round(writes: u64) -> Round {
        let mut latency_us = Histogram::new_with_max(60_000_000, 3).unwrap();
        latency_us.record_n(1_000, writes).unwrap();
        Round {
            seconds: 2.0,
            writes,
            retried: 0,
            unknown: 0,
            latency_us,
            cpu: Some(Duration::from_secs(3)),
            did: HostMetrics {
                fsyncs: 10,
                entries_written: 3 * writes,
                frames_sent: 40,
                messages_sent: 80,
                ..HostMetrics::default()
            },
        }
    }

    fn value(name: &str, round: &Round) -> Option<f64> {
        let figure = FIGURES.iter().find(|figure| figure.name == name).unwrap();
        (figure.of)(round)
    }

    #[test]
    fn figures_relate_counts_to_writes_and_time() {
        let round = round(100);
        for (name, expected) in [
            ("writes_per_second", 50.0),
            ("latency_p50_us", 1_000.0),
            ("cpu_us_per_write", 30_000.0),
            ("cpu_cores", 1.5),
            ("fsyncs_per_write", 0.1),
            ("fsyncs_per_second", 5.0),
            ("entries_per_fsync", 30.0),
            ("tarpc_calls_per_write", 0.4),
            ("messages_per_write", 0.8),
        ] {
            assert_eq!(value(name, &round), Some(expected), "{name}");
        }
    }

    #[test]
    fn without_writes_there_is_no_cost_of_one() {
        let round = round(0);
        assert_eq!(value("writes_per_second", &round), Some(0.0));
        for name in ["fsyncs_per_write", "cpu_us_per_write", "latency_p99_us"] {
            assert_eq!(value(name, &round), None, "{name}");
        }
    }

    #[test]
    fn a_spread_is_the_middle_and_both_ends() {
        let spread = |writes: &[u64]| {
            let rounds: Vec<Round> = writes.iter().copied().map(round).collect();
            Spread::of(&FIGURES[0], &rounds).map(|spread| (spread.median, spread.min, spread.max))
        };
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[20]), Some((10.0, 10.0, 10.0)));
        assert_eq!(spread(&[20, 200, 40]), Some((20.0, 10.0, 100.0)));
        assert_eq!(spread(&[20, 200, 40, 60]), Some((25.0, 10.0, 100.0)));
    }

    #[test]
    fn no_two_figures_have_one_name() {
        let mut names: Vec<_> = FIGURES.iter().map(|figure| figure.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIGURES.len());
    }
}
