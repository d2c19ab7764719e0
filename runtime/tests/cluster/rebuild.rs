//! Groups that lost their quorum, rebuilt from one replica.

use super::lives::{G, fill, lines, often};
use super::support::hooked_store::{HookedStore, Operation};
use super::support::{Cluster, Journal, eventually, leader_of, propose, read, slot};
use raftyard::store::{SnapshotStore, StoreError};
use raftyard::{Compaction, CreateGroupError, NodeId, ProposeError, RaftHost, RebuildGroupError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// With a log that is compacted and one that is not, while it runs and when it does not.
#[tokio::test]
async fn a_group_is_rebuilt_from_one_survivor_with_all_that_it_held() {
    for compacts in [false, true] {
        for runs in [false, true] {
            let mut cluster = Cluster::closed(3);
            cluster.compaction = if compacts { often() } else { Compaction::default() };
            cluster.open_all().await;
            let replicas = cluster.create(1).await;
            let mut expected = lines("before", 45);
            fill(&replicas, &expected).await;
            let survivor = NodeId(2);
            let applied = replicas.iter().map(|replica| replica.status().applied).max().unwrap();
            eventually("the survivor holds all", || replicas[1].status().last >= applied).await;
            for id in [NodeId(1), NodeId(3)] {
                cluster.stop(id).await;
            }
            if !runs {
                cluster.stop(survivor).await;
                cluster.open(survivor).await;
            }
            let host = cluster.host(survivor).clone();
            let report = host.rebuild_group(G).await.unwrap();
            assert!(report.last.index.0 >= applied);
            assert_eq!(report.known_committed > 0, runs);
            assert_eq!(report.voters_before, cluster.ids());
            assert_eq!(replicas[1].propose("old".to_owned()).await, Err(ProposeError::Closed));
            let members = host.create_group(G, cluster.ids(), Journal::default).await;
            assert!(matches!(members, Err(CreateGroupError::OtherMembers { .. })));

            let open = async |cluster: &Cluster| {
                let created = cluster.host(survivor).create_group(G, [survivor], Journal::default);
                [created.await.unwrap()]
            };
            let rebuilt = open(&cluster).await;
            assert_eq!(rebuilt[0].incarnation(), report.incarnation);
            assert_eq!(read(&rebuilt).await, expected);
            for line in lines("after", 25) {
                propose(&rebuilt, &line).await;
                expected.push(line);
            }
            cluster.stop(survivor).await;
            cluster.open(survivor).await;
            let rebuilt = open(&cluster).await;
            assert_eq!(read(&rebuilt).await, expected);

            // The others come back in the life that is over: they have a quorum of it, and never meet the new one.
            cluster.open(NodeId(1)).await;
            cluster.open(NodeId(3)).await;
            let old = [
                cluster.create_on(NodeId(1), 1).await,
                cluster.create_on(NodeId(3), 1).await,
            ];
            propose(&old, "elsewhere").await;
            assert_eq!(read(&rebuilt).await, expected);
            // It can be destroyed, and rebuilt again.
            let again = cluster.host(survivor).rebuild_group(G).await.unwrap();
            assert!(again.incarnation > report.incarnation);
            assert_eq!(read(&open(&cluster).await).await, expected);
            cluster.host(survivor).destroy_group(G).await.unwrap();
            let unknown = cluster.host(survivor).rebuild_group(G).await;
            assert!(matches!(unknown, Err(RebuildGroupError::Unknown(G))));
            assert_eq!(cluster.snapshots[slot(survivor)].list().unwrap(), [] as [String; 0]);
            cluster.stop_all().await;
        }
    }
}

/// What was not known to be committed may have been acknowledged: it is kept.
#[tokio::test]
async fn an_uncommitted_end_counts_as_committed_after_a_rebuild() {
    let mut cluster = Cluster::start_steady(3).await;
    let replicas = cluster.create(1).await;
    propose(&replicas, "before").await;
    let leader = leader_of(&replicas, &cluster.ids()).await.clone();
    let id = leader.node();
    cluster.isolate(id);
    let last = cluster.on_disk(id, 1).last;
    drop(leader.propose("alone".to_owned()));
    eventually("it is in the log on disk", || cluster.on_disk(id, 1).last > last).await;
    let report = cluster.host(id).rebuild_group(G).await.unwrap();
    assert!(report.known_committed < report.last.index.0, "{report}");
    let created = cluster.host(id).create_group(G, [id], Journal::default);
    assert_eq!(read(&[created.await.unwrap()]).await, ["before", "alone"]);
    cluster.stop_all().await;
}

/// On a real disk: the log of the new life is found again.
#[tokio::test]
async fn a_rebuilt_group_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let open = || RaftHost::builder(dir.path()).compaction(often()).workers(1).open();
    let create = async |host: &RaftHost| {
        let created = host.create_group(G, [NodeId(1)], Journal::default);
        [created.await.unwrap()]
    };
    let host = open().await.unwrap();
    let mut expected = lines("before", 33);
    fill(&create(&host).await, &expected).await;
    let report = host.rebuild_group(G).await.unwrap();
    host.shutdown().await;
    drop(host);
    let host = open().await.unwrap();
    let group = create(&host).await;
    assert_eq!(group[0].incarnation(), report.incarnation);
    assert_eq!(read(&group).await, expected);
    propose(&group, "after").await;
    expected.push("after".to_owned());
    assert_eq!(read(&group).await, expected);
    host.shutdown().await;
}

/// The snapshot of a life that never began would be nobody's, and may be as large as the state.
#[tokio::test]
async fn a_rebuild_that_finds_no_room_for_its_note_leaves_nothing() {
    const ONE: NodeId = NodeId(1);
    let mut cluster = Cluster::closed(1);
    cluster.compaction = often();
    cluster.open_all().await;
    let replicas = cluster.create(1).await;
    let expected = lines("before", 45);
    fill(&replicas, &expected).await;
    cluster.stop_all().await;
    let is_full = Arc::new(AtomicBool::new(true));
    let full = is_full.clone();
    let store = HookedStore::new(cluster.disk(ONE), move |operation| match operation {
        Operation::Rebuild if full.load(Ordering::SeqCst) => Err(StoreError::Full {
            context: "the log".to_owned(),
            source: std::io::ErrorKind::StorageFull.into(),
        }),
        _ => Ok(()),
    });
    let host = cluster.builder(ONE).log_store(store).open().await.unwrap();
    cluster.put(ONE, host.clone());
    let before = cluster.snapshots[0].list().unwrap();
    assert!(!before.is_empty());
    let refused = host.rebuild_group(G).await;
    assert!(
        matches!(refused, Err(RebuildGroupError::Store(StoreError::Full { .. }))),
        "{refused:?}"
    );
    let snapshots = cluster.snapshots[0].clone();
    eventually("nothing is left", || snapshots.list().unwrap() == before).await;
    is_full.store(false, Ordering::SeqCst);
    host.rebuild_group(G).await.unwrap();
    let created = host.create_group(G, [ONE], Journal::default);
    assert_eq!(read(&[created.await.unwrap()]).await, expected);
    drop(host);
    cluster.stop_all().await;
}
