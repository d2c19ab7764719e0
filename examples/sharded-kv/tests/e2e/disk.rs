//! Keys on disk: what is compacted is not written a second time, and replays begin where the state on disk ends.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fjall::{Database, KeyspaceCreateOptions, PersistMode};

use crate::snapshots::{Writer, snapshots};
use crate::store_check::check;
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
        // Who lags by more than the log's tail is rightly sent what it lacks.
        writer.await_everywhere(&cluster);
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
    fs::remove_dir_all(&state).unwrap();
    fs::create_dir(&state).unwrap();
    cluster.start(3);
    cluster.wait_ready(3);
    eventually("it was sent its keys", || (installed(&cluster, 3) >= 2).then_some(()));
    // Now a majority is impossible without it.
    cluster.kill(2);
    writer.check();
    writer.write(ENTRIES);
    writer.check();
}

/// As after damage that the database does not notice.
fn lose_a_key(state: &Path) {
    let database = Database::builder(state).open().unwrap();
    let rows = database.keyspace("state", KeyspaceCreateOptions::default).unwrap();
    let first = rows.prefix([b'c']).next().expect("there are keys");
    rows.remove(first.key().unwrap()).unwrap();
    database.persist(PersistMode::SyncAll).unwrap();
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let here = files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap()));
    here.chain(dirs.iter().flat_map(|dir| self::files(dir))).collect()
}

#[test]
fn a_node_that_lost_a_key_says_so_and_gets_all_from_its_peers() {
    let (mut cluster, mut writer) = on_disk();
    cluster.start_all();
    writer.write(ENTRIES * 12);
    cluster.kill(3);
    let dir = cluster.data_dir(3);
    let (code, said) = check(&dir);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("keys whole: 2 groups\n"), "{said}");

    lose_a_key(&dir.join("state"));
    let before = files(&dir);
    for _ in 0..2 {
        let (code, said) = check(&dir);
        assert_eq!(code, Some(1), "{said}");
        for part in [
            ": its keys are damaged: it has ",
            "keys damaged: 1 of 2 groups are whole",
        ] {
            assert!(said.contains(part), "no {part} in: {said}");
        }
    }
    assert!(files(&dir) == before, "it was changed");

    cluster.start(3);
    cluster.wait_ready(3);
    assert!(cluster.stderr(3).contains("the keys of a group are damaged"));
    eventually("it was sent its keys", || (installed(&cluster, 3) >= 1).then_some(()));
    // Now a majority is impossible without it.
    cluster.kill(2);
    writer.check();
    writer.write(ENTRIES);
    writer.check();
    assert!(cluster.terminate(3).success());
    let (code, said) = check(&dir);
    assert_eq!(code, Some(0), "{said}");

    let journal = dir.join("state/0.jnl");
    let whole = fs::read(&journal).unwrap();
    let mut bytes = whole.clone();
    // The number of the first batch.
    bytes[12] ^= 64;
    fs::write(&journal, bytes).unwrap();
    let (code, said) = check(&dir);
    assert_eq!(code, Some(1), "{said}");
    for part in ["0.jnl at ", "a batch is numbered out of order", "its keys end with "] {
        assert!(said.contains(part), "no {part} in: {said}");
    }
    fs::write(&journal, whole).unwrap();
    fs::write(dir.join("state/version"), "another").unwrap();
    let (code, said) = check(&dir);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the node will not start: "), "{said}");
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
