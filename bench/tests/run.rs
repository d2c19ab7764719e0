//! The load generator as it is run: every load in a tiny form, and command lines that must be refused before it
//! begins.
#![allow(clippy::unwrap_used, clippy::panic)]

use raftyard_bench::results::{RoundResult, RunResult};
use std::path::Path;
use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_raftyard-bench"))
        .args(arguments)
        .output()
        .unwrap()
}

fn files_in(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// Runs a load for a second per round and returns what it left; nothing else may be left.
fn run(arguments: &str) -> RunResult {
    let dir = tempfile::tempdir().unwrap();
    let (data, json) = (dir.path().join("data"), dir.path().join("figures.json"));
    std::fs::create_dir(&data).unwrap();
    let files = ["--data", data.to_str().unwrap(), "--json", json.to_str().unwrap()];
    let arguments: Vec<&str> = arguments
        .split_whitespace()
        .chain(["--seconds=1"])
        .chain(files)
        .collect();
    let output = bench(&arguments);
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{arguments:?}\n{out}\n{err}");
    assert_eq!(files_in(&data), 0, "the nodes' data is still there");
    let result: RunResult = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(result.load, arguments[0]);
    assert_eq!(result.system, "raftyard");
    assert!(!result.commit.is_empty() && result.date.ends_with('Z'));
    let first = out.lines().next().unwrap_or_default();
    assert!(first.starts_with(&result.load) || first.starts_with("round 1"), "{out}");
    result
}

/// The only round of a run.
fn one(result: &RunResult) -> &RoundResult {
    assert_eq!(result.rounds.len(), 1);
    &result.rounds[0]
}

fn extra(round: &RoundResult, name: &str) -> f64 {
    *round.extra.get(name).unwrap_or_else(|| panic!("no {name}: {round:#?}"))
}

/// What has to hold of every round in which something was asked.
fn assert_sane(round: &RoundResult) {
    assert!(
        round.ops > 0 && round.ops_per_s > 0.0 && round.seconds > 0.0,
        "{round:#?}"
    );
    let latencies = [round.p50_us, round.p99_us, round.p999_us, round.max_us].map(Option::unwrap);
    assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{round:#?}");
    if cfg!(target_os = "linux") {
        assert!(round.cpu_us_per_op.unwrap() > 0.0);
    }
}

#[test]
fn write48_shares_fsyncs_and_frames_and_leaves_nothing_but_its_figures() {
    let result = run("write48 --groups=6 --in-flight=384 --rounds=2");
    assert_eq!(result.rounds.len(), 2);
    for round in &result.rounds {
        assert_sane(round);
        // A quorum has each write on disk, so that there are fsyncs; with this many on their way they share them.
        assert!(extra(round, "fsyncs_per_op") > 0.0);
        assert!(
            extra(round, "fsyncs_per_op") < 1.0,
            "writes don't share fsyncs: {round:#?}"
        );
        assert!(
            extra(round, "tarpc_calls_per_op") < 1.0,
            "writes don't share frames: {round:#?}"
        );
        assert_eq!(round.extra.get("outcome_unknown"), Some(&0.0));
    }
    for (name, value) in [
        ("groups", "6"),
        ("value-bytes", "16"),
        ("store", "disk"),
        ("clients", "tasks"),
    ] {
        assert_eq!(result.options.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(result.machine.data_filesystem.is_some());
}

#[test]
fn write1_from_closures_on_the_workers() {
    let result = run("write1 --clients=workers --in-flight=64 --batch=8");
    assert_sane(one(&result));
}

#[test]
fn busy4096_from_plain_threads_in_memory() {
    let result = run("busy4096 --groups=200 --clients=threads --client-threads=2 --network=memory --store=memory");
    assert_sane(one(&result));
    assert_eq!(result.options.get("value-bytes").map(String::as_str), Some("128"));
}

#[test]
fn sleepers_with_an_open_loop() {
    let result = run("sleepers --sleepers=50 --groups=4 --rate=500");
    let round = one(&result);
    assert_sane(round);
    // What was due while it warmed up may be answered late.
    let due = 500.0 * (round.seconds + 2.0);
    let ops = f64::from(u32::try_from(round.ops).unwrap());
    assert!(ops <= due, "nobody asks more than was due: {round:#?}");
    assert_eq!(result.options.get("rate").map(String::as_str), Some("500"));
    assert!(!result.options.contains_key("in-flight"));
}

#[test]
fn idle_groups_cost_what_is_measured() {
    let result = run("idle --groups=40 --network=memory --store=memory");
    let round = one(&result);
    assert_eq!((round.ops, round.cpu_us_per_op), (0, None));
    assert_eq!(extra(round, "replicas"), 120.0);
    for name in ["messages_per_s", "turns_per_s", "timers_per_s"] {
        assert!(extra(round, name) >= 0.0);
    }
    if cfg!(target_os = "linux") {
        assert!(extra(round, "resident_bytes_per_replica") > 0.0);
        assert!(extra(round, "wakeups_per_s") > 0.0);
    }
    assert_eq!(result.machine.data_filesystem, None, "nothing is on a disk");
}

#[test]
fn reads_of_every_consistency() {
    for consistency in ["linearizable", "follower", "stale"] {
        let result = run(&format!(
            "read --groups=4 --in-flight=32 --network=memory --store=memory --consistency={consistency}"
        ));
        let round = one(&result);
        assert_sane(round);
        assert!(extra(round, "fsyncs_per_op") < 0.1, "reads are not written: {round:#?}");
        assert_eq!(result.options.get("consistency").map(String::as_str), Some(consistency));
    }
}

#[test]
fn after_a_failover_every_group_is_led_again() {
    let result = run("failover --groups=30 --network=memory --store=memory");
    let round = one(&result);
    // Those that the lost node led: about a third.
    assert!((1..=30).contains(&round.ops), "{round:#?}");
    assert!(extra(round, "all_led_after_ms") > 0.0);
    assert!(round.max_us.unwrap() > 0.0);
    assert!(extra(round, "probes") > 0.0);
    assert!(extra(round, "unavailable_worst_ms") >= extra(round, "unavailable_p50_ms"));
}

#[test]
fn a_write_alone_is_measured_beside_what_it_cannot_do_without() {
    let result = run("latency");
    let round = one(&result);
    assert_sane(round);
    let floors = ["floor_fsync_p50_us", "floor_call_p50_us", "floor_hops_p50_us"].map(|name| extra(round, name));
    assert!(floors.iter().all(|floor| *floor > 0.0), "{round:#?}");
    let sum: f64 = floors.iter().sum();
    assert!((extra(round, "floors_p50_us") - sum).abs() < 1e-6);
    let ratio = round.p50_us.unwrap() / sum;
    assert!((extra(round, "p50_to_floors") - ratio).abs() < 1e-6);
    assert_eq!(result.options.get("in-flight").map(String::as_str), Some("1"));
}

#[test]
fn a_hot_tenant_gets_its_share_and_no_more() {
    let result = run("hot-tenant --groups=5 --rate=400 --network=memory --store=memory");
    let round = one(&result);
    assert_sane(round);
    assert!(extra(round, "alone_p99_us") > 0.0 && extra(round, "p99_to_alone") > 0.0);
    // A hundred per second, and what it may save up in a second beside that.
    let hot = extra(round, "hot_ops_per_s");
    assert!(hot > 0.0 && hot <= 200.0, "{round:#?}");
    assert!(extra(round, "hot_asked_to_share") > 1.0, "nobody was hot: {round:#?}");
    assert_eq!(result.options.get("times").map(String::as_str), Some("10"));
}

#[test]
fn a_lagging_replica_is_fed_a_snapshot_beside_other_writes() {
    let result = run("snapshot --mib=8 --groups=2 --in-flight=16 --network=memory --store=memory");
    let round = one(&result);
    assert!(extra(round, "snapshots_installed") >= 1.0, "{round:#?}");
    assert!(extra(round, "snapshot_mib_sent") >= 1.0);
    assert!(extra(round, "caught_up_after_s") > 0.0);
    assert!(extra(round, "before_p99_us") > 0.0 && extra(round, "before_ops_per_s") > 0.0);
}

#[test]
fn a_report_is_made_of_what_runs_left() {
    let dir = tempfile::tempdir().unwrap();
    let (json, out) = (dir.path().join("figures.json"), dir.path().join("out"));
    let result = run("write1 --in-flight=16 --network=memory --store=memory");
    std::fs::write(&json, serde_json::to_vec(&result).unwrap()).unwrap();
    let output = bench(&["report", json.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<h2>write1</h2>") && page.contains("<svg"), "{page}");
    let output = bench(&["report", out.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "there is no run in it");
}

#[test]
fn what_cannot_be_written_to_is_refused_before_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let (data, json) = (missing.to_str().unwrap(), missing.join("figures.json"));
    for arguments in [["--data", data], ["--json", json.to_str().unwrap()]] {
        // With an hour to run, only a refusal before it ends in time.
        let output = bench(&["write1", "--seconds=3600", arguments[0], arguments[1]]);
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains(arguments[1]), "the path is not named: {err}");
        assert!(!err.contains("starting"), "it was run: {err}");
    }
    assert_eq!(files_in(dir.path()), 0);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let (data, json) = (dir.path().join("data"), dir.path().join("figures.json"));
    std::fs::create_dir(&data).unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_raftyard-bench"))
        .args(["write1", "--in-flight=8", "--seconds=3600"])
        .arg("--data")
        .arg(&data)
        .arg("--json")
        .arg(&json)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
    assert!(
        lines.by_ref().any(|line| line.unwrap().contains("ops/s")),
        "it ended before it was interrupted"
    );
    assert!(files_in(&data) > 0);
    let sent = Command::new("kill").args(["-INT", &run.id().to_string()]).status();
    assert!(sent.unwrap().success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(run.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.starts_with("interrupted")), "{rest:?}");
    assert_eq!(files_in(&data), 0);
    assert!(!json.exists());
}
