//! Keys on disk: what is compacted is not written a second time, and replays begin where the state on disk ends.

use crate::snapshots::{Writer, snapshots};
use crate::support::{ClusterClient, ON_DISK, Process, STATES, ServerCluster, eventually, free_dev_port, run_to_end};

/// Writes to a group after which its log is compacted.
const ENTRIES: usize = 40;

fn on_disk() -> (ServerCluster, Writer) {
    let cluster = ServerCluster::new(3, 2);
    cluster.configure(ON_DISK);
    cluster.configure(&format!("snapshot_entries = {ENTRIES}"));
    let writer = Writer {
        client: ClusterClient::new(&cluster.all_resp()),
        written: 0,
    };
    (cluster, writer)
}

fn installed(cluster: &ServerCluster, node: usize) -> usize {
    cluster.stderr(node).matches("snapshot installed").count()
}

#[test]
fn logs_are_compacted_without_snapshots_and_a_node_that_was_away_is_sent_one() {
    let (mut cluster, mut writer) = on_disk();
    cluster.start_all();
    for _ in 0..24 {
        writer.write(ENTRIES / 2);
        for node in 1..=3 {
            assert_eq!(snapshots(&cluster, node), Vec::<String>::new(), "node {node}");
        }
    }
    // What the logs don't hold any more is not lost when all nodes are gone.
    for node in 1..=3 {
        cluster.kill(node);
    }
    cluster.start_all();
    writer.check();
    assert_eq!([1, 2, 3].map(|node| installed(&cluster, node)), [0; 3]);

    cluster.kill(3);
    writer.write(ENTRIES * 12);
    cluster.start(3);
    cluster.wait_ready(3);
    // The logs of the others begin later.
    eventually("it was sent both groups", || {
        (installed(&cluster, 3) >= 2).then_some(())
    });
    for node in 1..=3 {
        eventually("what was sent is removed", || {
            snapshots(&cluster, node).is_empty().then_some(())
        });
    }
    // Now a majority is impossible without it.
    cluster.kill(1);
    writer.check();
    writer.write(ENTRIES);
    // Nor is what it was sent lost with the process.
    cluster.kill(3);
    cluster.start(3);
    cluster.wait_ready(3);
    writer.check();
    assert_eq!(installed(&cluster, 3), 0);
    for node in [2, 3] {
        assert!(cluster.terminate(node).success());
    }
}

#[test]
fn a_node_that_leaves_forgets_and_is_sent_all_when_it_comes_back() {
    let (mut cluster, mut writer) = on_disk();
    cluster.start_all();
    writer.write(ENTRIES * 12);
    let leaves = |cluster: &ServerCluster| {
        cluster.ctl(1, &["remove", "3"]);
        let status = cluster.ctl(1, &["status"]);
        assert!(
            status.contains(&format!("resp={} groups=0", cluster.resp(3))),
            "{status}"
        );
    };
    let comes_back = |cluster: &ServerCluster| {
        cluster.ctl(1, &["add-learner", "3", "--all"]);
        cluster.ctl(1, &["promote", "3", "--all"]);
    };
    leaves(&cluster);
    writer.write(ENTRIES);
    comes_back(&cluster);
    writer.write(ENTRIES);
    leaves(&cluster);
    cluster.kill(3);
    cluster.start(3);
    cluster.wait_ready(3);
    comes_back(&cluster);
    assert!(installed(&cluster, 3) >= 2, "it had nothing left");
    // Now a majority is impossible without it.
    cluster.kill(2);
    writer.check();
    writer.write(ENTRIES);
    writer.check();
}

/// Without the state no replica can go on, because its log does not reach back: its peers send it what it lacks.
#[test]
fn a_node_whose_keys_are_gone_gets_them_from_its_peers() {
    let (mut cluster, mut writer) = on_disk();
    cluster.start_all();
    writer.write(ENTRIES * 12);
    cluster.kill(3);
    let state = cluster.data_dir(3).join("state");
    for file in std::fs::read_dir(&state).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    cluster.start(3);
    cluster.wait_ready(3);
    eventually("it was sent its keys", || (installed(&cluster, 3) >= 2).then_some(()));
    // Now a majority is impossible without it.
    cluster.kill(2);
    writer.check();
    writer.write(ENTRIES);
    writer.check();
}

#[test]
fn keys_stay_where_they_are() {
    for (place, other) in [(0, 1), (1, 0)] {
        let data = tempfile::tempdir().unwrap();
        let port = free_dev_port(3).to_string();
        let arguments = ["dev", "--groups", "2", "--port", &port, "--data"];
        let arguments = [&arguments[..], &[data.path().to_str().unwrap()]].concat();
        let mut process = Process::spawn(&[&arguments, STATES[place]].concat());
        process.line("cluster ready");
        process.kill();
        let refused = run_to_end(&[&arguments, STATES[other]].concat());
        assert!(!refused.status.success());
        let text = String::from_utf8(refused.stderr).unwrap();
        let names = ["memory", "disk"];
        let problem = format!(
            "state: the data was written with state = \"{}\", \"{}\" is configured; it can't be changed",
            names[place], names[other]
        );
        assert!(text.contains(&problem), "{text}");
    }
}
