//! Logs are compacted: a node that was away for longer than the logs reach back comes back with everything.

use std::time::Instant;

use crate::support::{ClusterClient, Connection, DEADLINE, Outcome, ServerCluster, Value, eventually};

const GROUPS: u16 = 2;
const KEYS: usize = 12;
/// Writes to a group between two of its snapshots.
const SNAPSHOT_ENTRIES: usize = 40;

pub(crate) struct Writer {
    pub(crate) client: ClusterClient,
    pub(crate) written: usize,
}

impl Writer {
    fn key(number: usize) -> String {
        format!("key-{number}")
    }

    /// Overwrites the keys, round and round.
    pub(crate) fn write(&mut self, count: usize) {
        for _ in 0..count {
            let key = Self::key(self.written % KEYS);
            let value = format!("{}-{}", self.written, "x".repeat(1_000));
            let start = Instant::now();
            while self.client.command(&key, &["SET", &key, &value]) != Outcome::Done(Value::ok()) {
                assert!(
                    start.elapsed() < DEADLINE,
                    "write {} is never acknowledged",
                    self.written
                );
            }
            self.written += 1;
        }
    }

    /// Waits until every node has all that was written.
    pub(crate) fn await_everywhere(&self, cluster: &ServerCluster) {
        for address in cluster.all_resp() {
            let mut node = Connection::open(&address).unwrap();
            assert_eq!(node.command(&["READONLY"]).unwrap(), Value::ok());
            for number in self.written.saturating_sub(KEYS)..self.written {
                let key = Self::key(number % KEYS);
                let begin = format!("{number}-");
                eventually(&format!("{address} has {key}"), || {
                    let value = node.command(&["GET", &key]).unwrap();
                    (matches!(value, Value::Bulk(_)) && value.text().starts_with(&begin)).then_some(())
                });
            }
        }
    }

    /// Every key has what was written last.
    pub(crate) fn check(&mut self) {
        for number in self.written.saturating_sub(KEYS)..self.written {
            let key = Self::key(number % KEYS);
            let value = eventually(&format!("{key} is read"), || {
                match self.client.command(&key, &["GET", &key]) {
                    Outcome::Done(value) => Some(value),
                    Outcome::Refused(_) | Outcome::Unknown(_) => None,
                }
            });
            let text = value.text();
            assert!(
                text.starts_with(&format!("{number}-")),
                "{key}: {}",
                &text[..20.min(text.len())]
            );
        }
    }
}

/// The names of a node's snapshot files.
pub(crate) fn snapshots(cluster: &ServerCluster, node: usize) -> Vec<String> {
    let files = std::fs::read_dir(cluster.data_dir(node).join("snapshots")).unwrap();
    files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_node_that_was_away_comes_back_through_snapshots() {
    let mut cluster = ServerCluster::new(3, GROUPS);
    cluster.configure(&format!("snapshot_entries = {SNAPSHOT_ENTRIES}"));
    cluster.start_all();
    let mut writer = Writer {
        client: ClusterClient::new(&cluster.all_resp()),
        written: 0,
    };
    writer.write(SNAPSHOT_ENTRIES);
    cluster.kill(3);
    let before = snapshots(&cluster, 3);
    writer.write(SNAPSHOT_ENTRIES * 12);

    cluster.start(3);
    cluster.wait_ready(3);
    eventually("it was sent snapshots of all groups", || {
        let now = snapshots(&cluster, 3);
        let complete = now
            .iter()
            .filter(|name| name.ends_with(".snapshot") && !before.contains(name));
        (complete.count() >= GROUPS.into()).then_some(())
    });
    // Now a majority is impossible without it.
    cluster.kill(1);
    writer.check();
    writer.write(SNAPSHOT_ENTRIES);

    cluster.start(1);
    cluster.wait_ready(1);
    for node in 1..=3 {
        cluster.kill(node);
    }
    cluster.start_all();
    writer.check();
    writer.write(SNAPSHOT_ENTRIES);
    writer.check();
    for node in 1..=3 {
        eventually("older snapshots are removed", || {
            (snapshots(&cluster, node).len() <= usize::from(GROUPS) * 2).then_some(())
        });
        assert!(cluster.terminate(node).success());
    }
}
