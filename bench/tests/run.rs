//! The load generator as it is run: a short load, and command lines that must be refused before it begins.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
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

#[test]
fn a_short_load_has_sane_figures_and_leaves_nothing_but_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let (data_argument, json) = (data.to_str().unwrap(), dir.path().join("figures.json"));
    let output = bench(&[
        "write48",
        "--groups=6",
        "--clients=6",
        "--depth=64",
        "--seconds=1",
        "--rounds=2",
        "--data",
        data_argument,
        "--json",
        json.to_str().unwrap(),
    ]);
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{out}\n{err}");
    for shown in ["round 1 of 2:", "round 2 of 2:", "median", "throughput"] {
        assert!(out.contains(shown), "{shown} is missing:\n{out}");
    }
    assert_eq!(files_in(&data), 0, "the nodes' data is still there");

    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let figure = |name: &str| {
        let median = report["figures"][name]["median"].as_f64();
        median.unwrap_or_else(|| panic!("no {name}: {report:#}"))
    };
    assert!(figure("writes_per_second") > 0.0);
    assert!(figure("latency_p50_us") > 0.0);
    assert!(figure("latency_p50_us") <= figure("latency_p99_us"));
    // A quorum has each write on disk, so that there are fsyncs; with this many on their way they share them.
    assert!(figure("fsyncs_per_write") > 0.0);
    assert!(
        figure("fsyncs_per_write") < 1.0,
        "writes don't share fsyncs: {report:#}"
    );
    assert!(
        figure("tarpc_calls_per_write") < 1.0,
        "writes don't share frames: {report:#}"
    );
    assert_eq!(report["config"]["payload_bytes"], 16);
    assert_eq!(report["config"]["groups"], 6);
    assert_eq!(report["outcome_unknown"], 0);
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert!(report["machine"]["date_utc"].is_string());
    let rounds = report["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2);
    assert!(rounds.iter().all(|round| round["writes"].as_u64().unwrap() > 0));
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
        .args(["write1", "--clients=2", "--depth=4", "--seconds=3600"])
        .arg("--data")
        .arg(&data)
        .arg("--json")
        .arg(&json)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
    assert!(
        lines.by_ref().any(|line| line.unwrap().contains("writes/s")),
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
