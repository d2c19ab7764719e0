//! The whole cluster is killed at once under load: what was acknowledged is there afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::support::{ClusterClient, Outcome, Process, ServerCluster, Value, eventually, free_dev_port};

const WRITERS: usize = 4;

/// Acknowledged writes to wait for before the kill.
const ACKNOWLEDGED_MIN: u64 = 600;

/// What one writer knows of its writes.
struct Written {
    /// Keys `w<writer>-0` up to here (not included) were acknowledged.
    keys: u64,
    /// Increments of its counter that were acknowledged.
    counted: i64,
    /// Increments that may have happened.
    unknown: i64,
}

#[test]
fn kill_9_loses_no_acknowledged_write() {
    kill_and_check("memory");
}

#[test]
fn kill_9_loses_no_acknowledged_write_with_keys_on_disk() {
    kill_and_check("disk");
}

fn kill_and_check(state: &str) {
    let data = tempfile::tempdir().unwrap();
    let mut written: Vec<Written> = Vec::new();
    for round in 0..2 {
        let port = free_dev_port(3);
        let nodes: Vec<String> = (0..3).map(|i| format!("127.0.0.1:{}", port + i)).collect();
        let mut process = Process::spawn(&[
            "dev",
            "--groups",
            "8",
            "--state",
            state,
            "--port",
            &port.to_string(),
            "--data",
            data.path().to_str().unwrap(),
        ]);
        process.line("cluster ready");
        check(&nodes, round, &written);
        if round == 0 {
            written = load_until_killed(&nodes, &mut process);
        }
    }
}

/// Writes with several clients at once, kills the process meanwhile, and returns what was acknowledged.
fn load_until_killed(nodes: &[String], process: &mut Process) -> Vec<Written> {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let killed = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (nodes, acknowledged) = (nodes.to_vec(), Arc::clone(&acknowledged));
            let killed = Arc::clone(&killed);
            thread::spawn(move || write(writer, &nodes, &acknowledged, &killed))
        })
        .collect();
    eventually("writes are acknowledged", || {
        (acknowledged.load(Ordering::Relaxed) >= ACKNOWLEDGED_MIN).then_some(())
    });
    process.kill();
    killed.store(true, Ordering::Relaxed);
    writers.into_iter().map(|w| w.join().unwrap()).collect()
}

fn write(writer: usize, nodes: &[String], acknowledged: &AtomicU64, killed: &AtomicBool) -> Written {
    let mut client = ClusterClient::new(nodes);
    let counter = format!("counter-{writer}");
    let mut written = Written {
        keys: 0,
        counted: 0,
        unknown: 0,
    };
    while !killed.load(Ordering::Relaxed) {
        let key = format!("w{writer}-{}", written.keys);
        if client.command(&key, &["SET", &key, &key]) == Outcome::Done(Value::ok()) {
            written.keys += 1;
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        match client.command(&counter, &["INCR", &counter]) {
            Outcome::Done(Value::Integer(_)) => {
                written.counted += 1;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Unknown(_) => written.unknown += 1,
            Outcome::Refused(_) => {}
            Outcome::Done(other) => panic!("{other:?}"),
        }
    }
    written
}

fn check(nodes: &[String], round: usize, written: &[Written]) {
    let mut client = ClusterClient::new(nodes);
    let mut get = |key: &str| {
        eventually(&format!("{key} is read"), || match client.command(key, &["GET", key]) {
            Outcome::Done(value) => Some(value),
            Outcome::Refused(_) | Outcome::Unknown(_) => None,
        })
    };
    for (writer, written) in written.iter().enumerate() {
        for key in (0..written.keys).map(|number| format!("w{writer}-{number}")) {
            assert_eq!(get(&key), Value::bulk(&key), "acknowledged and gone");
        }
        let count: i64 = get(&format!("counter-{writer}")).text().parse().unwrap();
        let most = written.counted + written.unknown;
        assert!(
            (written.counted..=most).contains(&count),
            "writer {writer}: {count} is not between {} and {most}",
            written.counted
        );
    }
    if round > 0 {
        let keys: u64 = written.iter().map(|w| w.keys).sum();
        println!("{keys} acknowledged keys are there");
        assert!(keys > 0);
    }
}

/// So many groups that a start takes a while, and none of them can have a leader: it is not ready before it is asked to end,
/// however late that is.
#[test]
fn a_node_ends_when_it_is_asked_to_while_it_starts() {
    let mut cluster = ServerCluster::new(2, 16_384);
    cluster.start(1);
    let data = cluster.data_dir(1);
    eventually("it has begun", || data.join("shard-map").exists().then_some(()));
    assert!(cluster.terminate(1).success());
}
