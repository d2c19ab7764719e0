//! Many writes: a node that missed 200,000 keys comes back, and overwriting the same keys over and over lets neither
//! data directories nor memory grow.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::{Connection, ServerCluster, Value, encode, eventually};

/// Commands that are on their way at once.
const PIPELINED: usize = 500;

/// Carries out `SET` for every pair through one node, which forwards what it does not lead; all must succeed.
fn set_all(connection: &mut Connection, pairs: impl Iterator<Item = (String, String)>) {
    let mut pairs = pairs.peekable();
    while pairs.peek().is_some() {
        let (mut batch, mut sent) = (Vec::new(), 0);
        for (key, value) in pairs.by_ref().take(PIPELINED) {
            batch.extend(encode(&["SET", &key, &value]));
            sent += 1;
        }
        connection.send(&batch).unwrap();
        for _ in 0..sent {
            assert_eq!(connection.receive().unwrap(), Value::ok());
        }
    }
}

/// Bytes that the files below `path` take on the disk.
fn disk_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    let sizes = entries.map_while(Result::ok).map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
        // A file may have been removed meanwhile.
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

/// A number that the environment may set.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn a_node_that_missed_200_000_keys_serves_follower_reads_that_see_the_last_write() {
    const KEYS: usize = 200_000;
    const GROUPS: u16 = 4;
    let mut cluster = ServerCluster::steady_with_proxy(3, GROUPS, true);
    // Several snapshots of each group while the node is away.
    cluster.configure("snapshot_entries = 10000");
    cluster.start_all();
    // The others lead all groups, and go on leading them.
    for group in 1..=GROUPS {
        let to = (group % 2 + 1).to_string();
        cluster.ctl(1, &["transfer", &group.to_string(), &to]);
    }
    let mut writer = Connection::open(&cluster.resp(1)).unwrap();
    let pair = |number: usize| (format!("key-{number}"), format!("value-{number}"));
    // Of all groups: what is pipelined does not wait for a leader.
    for (key, value) in (0..40).map(pair) {
        eventually("the node knows who leads", || {
            (writer.command(&["SET", &key, &value]).unwrap() == Value::ok()).then_some(())
        });
    }
    cluster.kill(3);
    set_all(&mut writer, (0..KEYS).map(pair));

    cluster.start(3);
    cluster.wait_ready(3);
    // What it serves from now on it serves itself, as a follower.
    let mut reader = Connection::open(&cluster.resp(3)).unwrap();
    assert_eq!(reader.command(&["RAFTYARD", "DIRECT"]).unwrap(), Value::ok());
    assert_eq!(reader.command(&["READONLY"]).unwrap(), Value::ok());
    let mut numbers: Vec<usize> = (0..KEYS).step_by(97).collect();
    numbers.push(KEYS - 1);
    for number in numbers {
        let (key, value) = pair(number);
        // Until its node has caught up a read may be refused, but never answered from an old state.
        let read = eventually("the read is served", || match reader.command(&["GET", &key]).unwrap() {
            Value::Error(_) => None,
            served => Some(served),
        });
        assert_eq!(read, Value::bulk(&value), "{key}");
    }
    for number in 0..200 {
        let (key, value) = (format!("key-{number}"), format!("newer-{number}"));
        assert_eq!(writer.command(&["SET", &key, &value]).unwrap(), Value::ok());
        assert_eq!(reader.command(&["GET", &key]).unwrap(), Value::bulk(&value), "{key}");
    }
    let snapshots = std::fs::read_dir(cluster.data_dir(3).join("snapshots"))
        .unwrap()
        .count();
    assert!(
        snapshots >= usize::from(GROUPS),
        "{snapshots} snapshots for {GROUPS} groups"
    );
}

/// What a data directory may take beside a small multiple of what lives in it: logs lie in segments of 8 MiB, of which
/// the oldest goes when the next but one begins; each is longer than that by what was written last, and by zeros ahead.
const SEGMENTS_MAX: u64 = 27 << 20;
/// Logs since the last snapshot, their tails, and up to two snapshots of each group.
const LIVE_FACTOR: u64 = 8;

/// The full run takes ten million writes: `RAFTYARD_WRITES=10000000 cargo test --release -p sharded-kv --test e2e
/// overwriting -- --nocapture`.
#[test]
fn overwriting_the_same_keys_lets_nothing_grow() {
    const KEYS: u64 = 1_000;
    let writes = setting("RAFTYARD_WRITES", 150_000);
    let value = "v".repeat(100);
    let live = KEYS * (value.len() as u64 + 8);
    let mut cluster = ServerCluster::steady_with_proxy(3, 4, true);
    cluster.start_all();
    let mut writer = Connection::open(&cluster.resp(1)).unwrap();
    let mut largest = 0;
    let rounds = 10;
    for round in 1..=rounds {
        let pairs = (0..writes / rounds).map(|number| (format!("key-{}", number % KEYS), value.clone()));
        set_all(&mut writer, pairs);
        let sizes: Vec<u64> = (1..=3).map(|node| disk_bytes(&cluster.data_dir(node))).collect();
        let memory: Vec<u64> = (1..=3).map(|node| cluster.memory_bytes(node)).collect();
        println!(
            "{} writes, {} KiB live; KiB per node: disk {:?}, memory {:?}",
            writes / rounds * round,
            live >> 10,
            sizes.iter().map(|bytes| bytes >> 10).collect::<Vec<_>>(),
            memory.iter().map(|bytes| bytes >> 10).collect::<Vec<_>>(),
        );
        largest = largest.max(*sizes.iter().max().unwrap());
    }
    println!(
        "largest data directory: {} KiB, {} times the live data",
        largest >> 10,
        largest / live
    );
    assert!(largest <= SEGMENTS_MAX + LIVE_FACTOR * live);
}
