#![allow(clippy::unwrap_used)]

use super::*;
use crate::figures::tests::round;
use std::time::Duration;

fn report(rounds: Vec<Round>) -> Report {
    let plan = Plan {
        load: "write48",
        groups: 48,
        clients: 96,
        depth: 64,
        measure: Duration::from_secs(2),
        rounds: rounds.len() as u64,
        value_bytes: 8,
        workers: 1,
        client_threads: 1,
        data: None,
        json: None,
    };
    let machine = System {
        cpu_model: Some("Some CPU".to_owned()),
        cores: Some(2),
        kernel: None,
        data_filesystem: Some("ext4".to_owned()),
        date_utc: "2026-01-01T00:00:00Z".to_owned(),
    };
    Report::new(&plan, machine, rounds)
}

#[test]
fn one_round_is_a_table_of_one_column() {
    let expected = "\
write48: 3 nodes, 48 groups, 96 clients x 64 in flight, 16 B, durable on a quorum
  on Some CPU, 2 cores, kernel unknown, data on ext4, 2026-01-01T00:00:00Z
  throughput                      1000 writes/s
  latency p50                     1.00 ms
  latency p99                     1.00 ms
  latency p99.9                   1.00 ms
  latency max                     1.00 ms
  CPU, nodes and clients       1500.00 us per write
  CPU, nodes and clients          1.50 cores
  fsyncs                       0.00500 per write
  fsyncs, all nodes                  5 per second
  entries                        600.0 per fsync
  tarpc calls                  0.02000 per write
  messages                     0.04000 per write
";
    assert_eq!(report(vec![round(2_000)]).to_string(), expected);
}

#[test]
fn several_rounds_show_median_and_spread() {
    let shown = report(vec![round(600), round(200), round(400)]).to_string();
    let mut lines = shown.lines().skip(2);
    assert_eq!(
        lines.next().unwrap(),
        "                                median         min         max"
    );
    assert_eq!(
        lines.next().unwrap(),
        "  throughput                       200         100         300 writes/s"
    );
}

#[test]
fn failures_are_shown_and_counted() {
    let mut bad = round(100);
    (bad.retried, bad.unknown, bad.did.messages_dropped) = (3, 2, 1);
    let line = round_line(2, 2, &bad);
    assert!(
        line.contains("3 retried") && line.contains("2 OUTCOME UNKNOWN"),
        "{line}"
    );
    let report = report(vec![round(100), bad]);
    let shown = report.to_string();
    for what in ["3 writes were refused", "2 writes FAILED", "1 messages"] {
        assert!(shown.contains(what), "{shown}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["retried"], 3);
    assert_eq!(json["outcome_unknown"], 2);
    assert_eq!(json["messages_dropped"], 1);
    assert_eq!(json["rounds"][1]["outcome_unknown"], 2);
}

#[test]
fn a_round_without_writes_has_no_cost_per_write() {
    let report = report(vec![round(0)]);
    assert!(report.to_string().contains("n/a per write"), "{report}");
    let json = serde_json::to_value(&report).unwrap();
    assert!(json["figures"].get("fsyncs_per_write").is_none());
    assert_eq!(json["figures"]["writes_per_second"]["median"], 0.0);
}
