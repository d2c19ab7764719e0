//! The program as it is run: every load in small, so that none rots, and command lines that must be refused.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn peers(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_raftyard-peers"))
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs a load for two rounds of a second, and returns what it printed. Every system in `systems` left a file with sane
/// figures, and nothing else is left.
fn run(load: &str, arguments: &[&str], systems: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (data, json) = (dir.path().join("data"), dir.path().join("json"));
    std::fs::create_dir(&data).unwrap();
    let (data_argument, json_argument) = (data.to_str().unwrap(), json.to_str().unwrap());
    let common = [
        "--rounds=2",
        "--seconds=1",
        "--data",
        data_argument,
        "--json",
        json_argument,
    ];
    let output = peers(&[arguments, &common].concat());
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    for system in systems {
        assert!(out.contains(system), "{system} is missing:\n{out}");
        let file = json.join(format!("{load}-{system}.json"));
        let result: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!((&result["load"], &result["system"]), (&load.into(), &(*system).into()));
        assert!(!result["options"]["durability"].as_str().unwrap().is_empty());
        assert!(!result["commit"].as_str().unwrap().is_empty());
        let rounds = result["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 2);
        for round in rounds {
            let figure = |name: &str| round[name].as_f64().unwrap_or_else(|| panic!("no {name}: {result:#}"));
            assert!(figure("ops_per_s") > 0.0);
            assert!(figure("p50_us") <= figure("p99_us") && figure("p99_us") <= figure("max_us"));
        }
    }
    assert_eq!(files_in(&json), systems.len());
    assert_eq!(files_in(&data), 0, "data is still there");
    out.into_owned()
}

fn files_in(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn the_ceiling_is_measured() {
    let arguments = ["ceiling", "--loads=write48", "--in-flight=200"];
    run("write48", &arguments, &["raftyard", "ceiling-fjall", "ceiling-files"]);
}

#[test]
fn openraft_is_measured() {
    let arguments = ["openraft", "--groups=3", "--clients=12"];
    run("memory3", &arguments, &["raftyard", "raftyard-plain", "openraft"]);
}

/// With what is installed. `RAFTYARD_KV` names raftyard-kv, which is built in another workspace; without it only that
/// its absence is told, since there is nothing to compare with then.
#[test]
fn stores_are_measured_or_said_to_be_absent() {
    let installed = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let Ok(program) = std::env::var("RAFTYARD_KV") else {
        for load in ["kv", "all"] {
            let output = peers(&[load, "--raftyard-kv=/no/such/program"]);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && error.contains("cargo build"), "{error}");
        }
        return;
    };
    let arguments = ["kv", "--connections=4", "--depths=2", "--raftyard-kv", &program];
    let others = [("etcd", "etcd"), ("redis", "redis-server")];
    let mut there = vec!["raftyard-kv-16", "raftyard-kv-1"];
    there.extend(
        others
            .iter()
            .filter(|(_, program)| installed(program))
            .map(|(name, _)| *name),
    );
    let table = run("kv-set-2", &arguments, &there);
    for (name, program) in others {
        let line = table.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        assert_eq!(line.contains("absent"), !installed(program), "{line}");
    }
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    for (load, option) in [
        ("ceiling", "--loads=write49"),
        ("ceiling", "--in-flight=0"),
        ("openraft", "--groups=0"),
        ("openraft", "--payload=4"),
        ("kv", "--depths=1,0"),
        ("all", "--rounds=0"),
    ] {
        let output = peers(&[load, option]);
        let error = String::from_utf8_lossy(&output.stderr);
        let (name, _) = option.split_once('=').unwrap();
        assert!(!output.status.success() && error.contains(name), "{option}: {error}");
    }
    let output = peers(&["ceiling", "--data=/no/such/directory"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("/no/such/directory"),
        "{error}"
    );
}
