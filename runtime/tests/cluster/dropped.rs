//! Nodes that are dropped without a shutdown, while they are at work.

use super::snapshots::often;
use super::support::PATIENCE;
use super::support::hooked_store::Gate;
use raftyard::store::StoreError;
use raftyard::{GroupId, NodeId, OpenError, RaftHost, StateMachine, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Its snapshots wait at a gate while they are written.
#[derive(Clone, Default)]
struct Slow(Arc<Gated>);

#[derive(Default)]
struct Gated {
    gate: Gate,
    is_writing: AtomicBool,
}

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.is_writing.store(true, Ordering::SeqCst);
        self.0.gate.pass();
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        Ok(Self::default())
    }
}

impl StateMachine for Slow {
    type Command = ();
    type Response = ();
    type Query = ();
    type Answer = ();
    type Snapshot = Self;

    fn apply(&mut self, (): (), _: Timestamp) {}

    fn query(&self, (): ()) {}

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(&mut self, _: Self) {}
}

/// Two nodes would write the same files.
#[tokio::test]
async fn a_data_directory_is_in_use_while_a_snapshot_is_written_there() {
    let dir = tempfile::tempdir().unwrap();
    let open = || RaftHost::builder(dir.path()).compaction(often()).workers(1).open();
    let slow = Slow::default();
    slow.0.gate.close();
    let host = open().await.unwrap();
    let group = host
        .create_group(GroupId(1), [NodeId(1)], || slow.clone())
        .await
        .unwrap();
    group.wait_for_leader().await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !slow.0.is_writing.load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "no snapshot is taken");
        group.propose(()).await.unwrap();
    }
    drop((group, host));
    // All else of the node ends meanwhile.
    for _ in 0..50 {
        let opened = open().await.map(drop);
        assert!(
            matches!(opened, Err(OpenError::Store(StoreError::InUse(_)))),
            "{opened:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    slow.0.gate.open();
    loop {
        match open().await {
            Ok(host) => return host.shutdown().await,
            Err(error) => assert!(Instant::now() < deadline + PATIENCE, "never given up: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
