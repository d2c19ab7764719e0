//! Snapshots that find no room, of a group whose log may not grow without them.

use super::lives::G;
use super::support::hooked_snapshots::{Fate, HookedSnapshots, Operation};
use super::support::{Cluster, Journal, PATIENCE, eventually, propose, read, slot};
use raftyard::{GroupLimits, GroupOptions, NodeId, OverloadReason, ProposeError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// Nothing is proposed any more, so nothing is applied that could be the reason for another snapshot.
#[tokio::test]
async fn a_group_whose_log_is_too_long_goes_on_once_its_snapshot_finds_room() {
    const ONE: NodeId = NodeId(1);
    const LOG_BYTES: u64 = 20_000;
    let mut cluster = Cluster::closed(1);
    let (is_full, refused) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let hook = {
        let (is_full, refused) = (is_full.clone(), refused.clone());
        move |operation| {
            if operation != Operation::Write || !is_full.load(Ordering::SeqCst) {
                return Fate::Done;
            }
            refused.fetch_add(1, Ordering::SeqCst);
            Fate::Refused(io::ErrorKind::StorageFull.into())
        }
    };
    let snapshots = HookedSnapshots::new(cluster.snapshots[slot(ONE)].clone(), hook);
    let builder = cluster.builder(ONE).log_store(cluster.disk(ONE));
    let host = builder.snapshot_store(snapshots).open().await.unwrap();
    cluster.put(ONE, host.clone());
    let options = GroupOptions::default().limits(GroupLimits {
        log_bytes_max: Some(LOG_BYTES),
        ..GroupLimits::default()
    });
    let created = host.create_group_with(G, [ONE], options, Journal::default).await;
    let group = [created.unwrap()];
    group[0].wait_for_leader().await.unwrap();
    let mut expected = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the log has no limit");
        let line = format!("{} {}", expected.len(), "x".repeat(500));
        match group[0].propose(line.clone()).await {
            Ok(_) => expected.push(line),
            Err(ProposeError::Overloaded { reason, .. }) => {
                assert_eq!(reason, OverloadReason::LogBytes(LOG_BYTES));
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    eventually("a snapshot found no room", || refused.load(Ordering::SeqCst) > 0).await;
    is_full.store(false, Ordering::SeqCst);
    propose(&group, "after").await;
    expected.push("after".to_owned());
    assert_eq!(read(&group).await, expected);
    assert!(host.metrics().snapshots_taken > 0);
    drop(host);
    cluster.stop_all().await;
}
