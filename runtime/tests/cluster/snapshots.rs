//! Logs that are compacted, and replicas that come back through a snapshot.

use super::support::hooked_snapshots::{Fate, HookedSnapshots, Operation};
use super::support::hooked_store::Gate;
use super::support::{Cluster, Journal, eventually, leader_of, propose, read, slot};
use bytes::Bytes;
use raftyard::store::SnapshotStore;
use raftyard::{Compaction, CreateGroupError, Group, GroupId, NodeId, RaftHost, Replicated, SnapshotError};
use std::cmp::Ordering::{Equal, Greater, Less};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A snapshot after every tenth entry.
pub fn often() -> Compaction {
    Compaction {
        entries: 10,
        tail_entries: 2,
        ..Compaction::default()
    }
}

async fn start(nodes: usize) -> Cluster {
    start_with(nodes, often()).await
}

pub async fn start_with(nodes: usize, compaction: Compaction) -> Cluster {
    let mut cluster = Cluster::closed(nodes);
    cluster.compaction = compaction;
    cluster.open_all().await;
    cluster
}

pub async fn fill<S>(replicas: &[Group<S>], lines: std::ops::Range<usize>)
where
    S: Replicated<Command = String, Response = usize>,
{
    for n in lines {
        propose(replicas, &n.to_string()).await;
    }
}

pub fn numbers(end: usize) -> Vec<String> {
    (0..end).map(|n| n.to_string()).collect()
}

pub fn without<S>(replicas: &[Group<S>], id: NodeId) -> Vec<Group<S>> {
    let others = replicas.iter().enumerate().filter(|(n, _)| *n != slot(id));
    others.map(|(_, replica)| replica.clone()).collect()
}

pub async fn a_follower<S: Replicated>(cluster: &Cluster, replicas: &[Group<S>]) -> NodeId {
    let leader = leader_of(replicas, &cluster.ids()).await.node();
    cluster.ids().into_iter().find(|id| *id != leader).unwrap()
}

/// Waits until the others compacted their logs up to `index` at least, on disk: that a snapshot was taken does
/// not tell yet that the log was cut.
pub async fn compacted(cluster: &Cluster, away: NodeId, index: u64) {
    eventually("both others compacted their logs", || {
        let is_compacted = |id: &NodeId| cluster.on_disk(*id, 1).base.index.0 >= index;
        cluster.ids().iter().filter(|id| **id != away).all(is_compacted)
    })
    .await;
}

pub async fn compacted_everywhere(cluster: &Cluster, index: u64) {
    compacted(cluster, NodeId(u64::MAX), index).await;
}

/// The snapshots of a node and their bytes, at an instant at which it takes none.
async fn complete_snapshots(cluster: &Cluster, id: NodeId) -> Vec<(String, Bytes)> {
    let snapshots = &cluster.snapshots[slot(id)];
    let mut found = Vec::new();
    eventually("it takes no snapshot", || {
        let names = snapshots.list().unwrap().into_iter();
        // One that was removed in between can't be read.
        let read = names.map(|name| snapshots.read(&name, 0, usize::MAX).map(|bytes| (name, bytes)));
        found = read.filter_map(Result::ok).collect();
        !found.is_empty() && found.iter().all(|(name, _)| name.ends_with(".snapshot"))
    })
    .await;
    found
}

pub fn applied_by_leader<S: Replicated>(replicas: &[Group<S>]) -> u64 {
    replicas.iter().map(|replica| replica.status().applied).max().unwrap()
}

/// Lets `id` become the leader.
pub async fn lead<S: Replicated>(cluster: &Cluster, replicas: &[Group<S>], id: NodeId) {
    for round in 0.. {
        let leader = leader_of(replicas, &cluster.ids()).await.node();
        if leader == id {
            return;
        }
        assert!(round < 50, "{id} never leads");
        // Refused if another leads by now: then that one is asked.
        replicas[slot(leader)].transfer_leadership(id).await.ok();
    }
}

#[tokio::test]
async fn a_follower_that_missed_what_was_compacted_comes_back_and_can_lead() {
    let mut cluster = start(3).await;
    let mut replicas = cluster.create(1).await;
    fill(&replicas, 0..5).await;
    let away = a_follower(&cluster, &replicas).await;
    cluster.stop(away).await;
    let others = without(&replicas, away);
    // More than its leader's window: what fits in there may wait in the outbox and reach it after all.
    fill(&others, 5..160).await;
    compacted(&cluster, away, 100).await;
    cluster.open(away).await;
    replicas[slot(away)] = cluster.create_on(away, 1).await;
    let applied = applied_by_leader(&others);
    let back = &replicas[slot(away)];
    eventually("it applied all", || back.status().applied >= applied).await;
    let metrics = cluster.host(away).metrics();
    assert!(metrics.snapshots_installed >= 1, "through a snapshot: {metrics:?}");

    lead(&cluster, &replicas, away).await;
    fill(&replicas, 160..165).await;
    assert_eq!(read(&replicas).await, numbers(165));
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_restart_begins_with_the_snapshot_and_goes_on_with_the_log() {
    let mut cluster = start(3).await;
    let replicas = cluster.create(1).await;
    fill(&replicas, 0..77).await;
    // The last one that is due ends there at least, and logs are compacted up to two entries before.
    compacted_everywhere(&cluster, 67).await;
    for id in cluster.ids() {
        let snapshots = &cluster.snapshots[slot(id)];
        eventually("older ones are removed", || snapshots.list().unwrap().len() == 1).await;
    }
    cluster.stop_all().await;
    // Alone it can't find out what is committed: all it has applied is from its snapshot.
    cluster.open(NodeId(1)).await;
    let alone = cluster.create_on(NodeId(1), 1).await;
    eventually("it was restored", || alone.status().applied >= 20).await;
    for id in [NodeId(2), NodeId(3)] {
        cluster.open(id).await;
    }
    let others = [
        cluster.create_on(NodeId(2), 1).await,
        cluster.create_on(NodeId(3), 1).await,
    ];
    let replicas = [[alone].as_slice(), &others].concat();
    assert_eq!(read(&replicas).await, numbers(77));
    fill(&replicas, 77..99).await;
    assert_eq!(read(&replicas).await, numbers(99));
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_log_without_the_snapshot_it_goes_on_from_is_refused() {
    let mut cluster = start(1).await;
    let group = cluster.create(1).await;
    fill(&group, 0..40).await;
    let host = cluster.host(NodeId(1)).clone();
    eventually("a snapshot is taken", || host.metrics().snapshots_taken > 1).await;
    compacted_everywhere(&cluster, 1).await;
    cluster.stop_all().await;
    let mut snapshots = cluster.snapshots[0].clone();
    let names = snapshots.list().unwrap();
    assert!(!names.is_empty());
    let mut kept = Vec::new();
    for name in &names {
        let bytes = snapshots.read(name, 0, usize::MAX).unwrap();
        let mut damaged = bytes.to_vec();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        snapshots.write(name, 0, &damaged).unwrap();
        kept.push((name.clone(), bytes));
    }
    for _ in 0..2 {
        cluster.open(NodeId(1)).await;
        let host = cluster.host(NodeId(1)).clone();
        let refused = host.create_group(GroupId(1), cluster.ids(), Journal::default).await;
        let Err(CreateGroupError::Snapshot(SnapshotError::Missing { damaged, .. })) = refused else {
            panic!("a gap went unnoticed");
        };
        assert!(damaged.iter().any(|what| what.contains("checksum")), "{damaged:?}");
        cluster.stop_all().await;
    }
    assert_eq!(
        snapshots.list().unwrap().len(),
        names.len(),
        "a damaged snapshot is not removed"
    );
    for (name, bytes) in kept {
        snapshots.write(&name, 0, &bytes).unwrap();
    }
    cluster.open(NodeId(1)).await;
    let group = cluster.create(1).await;
    assert_eq!(read(&group).await, numbers(40), "nor anything else");
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_snapshot_after_a_restart_is_received_again_and_damage_in_what_was_received_is_noticed() {
    let mut cluster = start(3).await;
    let mut replicas = cluster.create(1).await;
    fill(&replicas, 0..5).await;
    let away = a_follower(&cluster, &replicas).await;
    cluster.stop(away).await;
    let others = without(&replicas, away);
    fill(&others, 5..160).await;
    compacted(&cluster, away, 100).await;

    // What an interrupted transfer left, of every snapshot that may be offered: the first half, once intact and
    // once damaged.
    let mut store = cluster.snapshots[slot(away)].clone();
    for other in cluster.ids().into_iter().filter(|id| *id != away) {
        for (name, bytes) in complete_snapshots(&cluster, other).await {
            let (body, crc) = bytes.split_at(bytes.len() - 4);
            let crc = u32::from_le_bytes(crc.try_into().unwrap());
            let mut half = body[..body.len() / 2].to_vec();
            if other.0 % 2 == 0 {
                half[20] ^= 1;
            }
            let stem = name.strip_suffix(".snapshot").unwrap();
            store
                .write(&format!("{stem}-{}-{crc}.incoming", bytes.len()), 0, &half)
                .unwrap();
        }
    }
    cluster.open(away).await;
    replicas[slot(away)] = cluster.create_on(away, 1).await;
    let back = &replicas[slot(away)];
    let applied = applied_by_leader(&others);
    eventually("it applied all", || back.status().applied >= applied).await;
    fill(&replicas, 160..180).await;
    assert_eq!(read(&replicas).await, numbers(180));
    eventually("what was being received is gone", || {
        store.list().unwrap().iter().all(|name| !name.ends_with(".incoming"))
    })
    .await;
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_large_snapshot_goes_on_after_its_connection_broke_and_others_are_not_held_up() {
    let compaction = Compaction {
        // After all of what the follower misses.
        bytes: 7_900_000,
        tail_entries: 0,
        // The whole takes about two seconds.
        send_bytes_per_second: 4 << 20,
        ..Compaction::default()
    };
    // Nobody must elect another leader meanwhile: that one's snapshot may be another.
    let mut cluster = Cluster::steady(3);
    cluster.compaction = compaction;
    cluster.open_all().await;
    let mut replicas = cluster.create(1).await;
    let quick = cluster.create(2).await;
    fill(&replicas, 0..1).await;
    let away = a_follower(&cluster, &replicas).await;
    cluster.stop(away).await;
    let others = without(&replicas, away);
    for n in 0..16 {
        propose(&others, &n.to_string().repeat(500_000 / n.to_string().len())).await;
    }
    compacted(&cluster, away, 16).await;
    // It has not all of it before both cuts, however late they are.
    let gate = Arc::new(Gate::default());
    gate.close();
    let hook = {
        let gate = gate.clone();
        move |operation| {
            if operation == Operation::Publish {
                gate.pass();
            }
            Fate::Done
        }
    };
    let store = HookedSnapshots::new(cluster.snapshots[slot(away)].clone(), hook);
    let builder = cluster
        .builder(away)
        .log_store(cluster.disk(away))
        .snapshot_store(store);
    cluster.put(away, builder.open().await.unwrap());
    // First this one: it asks for its snapshots where the other is about to be held up.
    cluster.create_on(away, 2).await;
    replicas[slot(away)] = cluster.create_on(away, 1).await;
    let sent = |cluster: &Cluster| -> u64 {
        let ids = cluster.ids().into_iter();
        ids.map(|id| cluster.host(id).metrics().snapshot_bytes_sent).sum()
    };
    for cut in [1_u64 << 20, 3 << 20] {
        eventually("a part of it was sent", || sent(&cluster) > cut).await;
        let installed = cluster.host(away).metrics().snapshots_installed;
        assert_eq!(installed, 0, "not before all of it is there");
        cluster.isolate(away);
        propose(&without(&quick, away), "meanwhile").await;
        cluster.heal(away);
    }
    gate.open();
    let back = replicas[slot(away)].clone();
    let applied = applied_by_leader(&others);
    eventually("it applied all", || back.status().applied >= applied).await;
    assert_eq!(read(&replicas).await.len(), 17);
    // Begun anew after each cut it would be half as much again.
    let sent = sent(&cluster);
    assert!(sent < 11_000_000, "{sent} bytes sent of a snapshot of 8 MB");
    cluster.stop_all().await;
}

#[tokio::test]
async fn the_leader_changes_while_it_sends_a_snapshot() {
    let compaction = Compaction {
        bytes: 5_900_000,
        tail_entries: 0,
        send_bytes_per_second: 4 << 20,
        ..Compaction::default()
    };
    let mut cluster = Cluster::closed(3);
    cluster.compaction = compaction;
    // It takes more than a second until there is a majority again.
    cluster.limits.request_timeout_ms = 60_000;
    cluster.open_all().await;
    let mut replicas = cluster.create(1).await;
    fill(&replicas, 0..1).await;
    let away = a_follower(&cluster, &replicas).await;
    cluster.stop(away).await;
    let others = without(&replicas, away);
    for n in 0..12 {
        propose(&others, &n.to_string().repeat(500_000 / n.to_string().len())).await;
    }
    compacted(&cluster, away, 12).await;
    cluster.open(away).await;
    replicas[slot(away)] = cluster.create_on(away, 1).await;
    let mut sender = None;
    eventually("a part of it was sent", || {
        let has_sent = |id: &NodeId| cluster.host(*id).metrics().snapshot_bytes_sent > 1 << 20;
        sender = cluster.ids().into_iter().find(has_sent);
        sender.is_some()
    })
    .await;
    let old = sender.unwrap();
    cluster.stop(old).await;
    // The receiver is needed for a majority, and its log is behind: the third leads, and sends it its own.
    let alive = without(&replicas, old);
    propose(&alive, "after").await;
    cluster.open(old).await;
    replicas[slot(old)] = cluster.create_on(old, 1).await;
    let applied = applied_by_leader(&alive);
    eventually("all applied all", || {
        replicas.iter().all(|replica| replica.status().applied >= applied)
    })
    .await;
    assert_eq!(read(&replicas).await.len(), 14);
    cluster.stop_all().await;
}

/// A node whose disk ends after so many operations that change its snapshots: the next one is carried out or not, and fails
/// either way, as does all after it. What a crash leaves.
async fn open_dying(cluster: &Cluster, id: NodeId, left: usize, last_is_carried_out: bool) -> RaftHost {
    let changes = AtomicUsize::new(0);
    let hook = move |operation| {
        if operation == Operation::Read {
            return Fate::Done;
        }
        let gone = io::Error::other("the disk is gone");
        match changes.fetch_add(1, Ordering::SeqCst).cmp(&left) {
            Less => Fate::Done,
            Equal if last_is_carried_out => Fate::Unknown(gone),
            Equal | Greater => Fate::Refused(gone),
        }
    };
    let store = HookedSnapshots::new(cluster.snapshots[slot(id)].clone(), hook);
    let builder = cluster.builder(id).log_store(cluster.disk(id)).snapshot_store(store);
    builder.open().await.unwrap()
}

#[tokio::test]
async fn a_crash_after_any_step_of_taking_a_snapshot_loses_nothing() {
    for left in 0..14 {
        for last_is_carried_out in [false, true] {
            let mut cluster = Cluster::closed(1);
            cluster.compaction = often();
            let host = open_dying(&cluster, NodeId(1), left, last_is_carried_out).await;
            let created = host.create_group(GroupId(1), cluster.ids(), Journal::default);
            let group = [created.await.unwrap()];
            fill(&group, 0..40).await;
            // A node that is dropped ends as in a crash; the group goes on without snapshots till then.
            host.shutdown().await;
            cluster.open_all().await;
            let group = cluster.create(1).await;
            assert_eq!(read(&group).await, numbers(40), "{left} {last_is_carried_out}");
            fill(&group, 40..60).await;
            cluster.stop_all().await;
            cluster.open_all().await;
            let group = cluster.create(1).await;
            assert_eq!(read(&group).await, numbers(60), "{left} {last_is_carried_out}");
            cluster.stop_all().await;
        }
    }
}

#[tokio::test]
async fn a_crash_after_any_step_of_receiving_a_snapshot_loses_nothing() {
    let mut cluster = start(3).await;
    let mut replicas = cluster.create(1).await;
    fill(&replicas, 0..5).await;
    let away = a_follower(&cluster, &replicas).await;
    let mut end = 5;
    for left in 0..8 {
        cluster.stop(away).await;
        let others = without(&replicas, away);
        fill(&others, end..end + 30).await;
        end += 30;
        let host = open_dying(&cluster, away, left, left % 2 == 0).await;
        let created = host.create_group(GroupId(1), cluster.ids(), Journal::default);
        let dying = created.await.unwrap();
        let applied = applied_by_leader(&others);
        // Either it got the snapshot before its disk ended, or it is still asked to take it.
        for _ in 0..100 {
            if dying.status().applied >= applied {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        host.shutdown().await;
        cluster.open(away).await;
        replicas[slot(away)] = cluster.create_on(away, 1).await;
        let back = &replicas[slot(away)];
        eventually("it applied all", || back.status().applied >= applied).await;
        assert_eq!(read(&replicas).await, numbers(end), "{left}");
    }
    lead(&cluster, &replicas, away).await;
    assert_eq!(read(&replicas).await, numbers(end));
    cluster.stop_all().await;
}
