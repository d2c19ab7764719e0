//! State machines that keep their state on disk: nothing is written twice, nothing is applied twice, and a crash
//! leaves a state that its log goes on from.

use super::sessions::{open_session, propose_as};
use super::snapshots::{
    a_follower, applied_by_leader, compacted, compacted_everywhere, fill, lead, numbers, often, start_with, without,
};
use super::support::fjall_journal::FjallJournal;
use super::support::hooked_store::{Gate, HookedStore, Operation, gated};
use super::support::memory_journal::{Fault, MemoryDisk, MemoryJournal};
use super::support::{Cluster, Journal, eventually, leader_of, propose, read, read_at, slot};
use raftyard::store::{LogStore, MemoryLogStore, SnapshotStore, StoreError};
use raftyard::{
    Compaction, Consistency, CreateGroupError, DiskStateError, DiskStateMachine, Group, GroupId, GroupLimits,
    GroupOptions, MembershipChange, NodeId, OnDisk, QuarantineReason, ReadError, RebuildGroupError, ReplicaState,
    SnapshotError,
};
use raftyard_groups::{LogBase, Persist};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tempfile::TempDir;

/// What the nodes' state machines in fjall lie in, and how often each was asked to apply.
struct Directories {
    root: TempDir,
    applied: Arc<AtomicUsize>,
}

impl Directories {
    fn new() -> Self {
        Self {
            root: TempDir::new().unwrap(),
            applied: Arc::default(),
        }
    }

    fn open(&self, node: NodeId) -> io::Result<FjallJournal> {
        FjallJournal::open(&self.root.path().join(node.to_string()), self.applied.clone())
    }

    fn applied(&self) -> usize {
        self.applied.load(Ordering::SeqCst)
    }
}

async fn create_on<S: DiskStateMachine>(
    cluster: &Cluster,
    node: NodeId,
    group: u64,
    open: impl FnOnce() -> io::Result<S> + Send,
) -> Result<Group<OnDisk<S>>, CreateGroupError> {
    let host = cluster.host(node);
    let created = host.create_disk_group(GroupId(group), cluster.ids(), open);
    // It can be made anywhere, as long as its parts can.
    let created: Pin<Box<dyn Future<Output = _> + Send + '_>> = Box::pin(created);
    created.await
}

async fn create_all<S: DiskStateMachine>(
    cluster: &Cluster,
    group: u64,
    open: impl Fn(NodeId) -> io::Result<S> + Sync,
) -> Vec<Group<OnDisk<S>>> {
    let mut replicas = Vec::new();
    for node in cluster.ids() {
        replicas.push(create_on(cluster, node, group, || open(node)).await.unwrap());
    }
    replicas
}

fn disks(cluster: &Cluster) -> Vec<MemoryDisk> {
    cluster.ids().iter().map(|_| MemoryDisk::default()).collect()
}

async fn create_in_memory(cluster: &Cluster, disks: &[MemoryDisk]) -> Vec<Group<OnDisk<MemoryJournal>>> {
    create_all(cluster, 1, |node| Ok(disks[slot(node)].open())).await
}

async fn all_applied<S: DiskStateMachine>(replicas: &[Group<OnDisk<S>>]) {
    let applied = applied_by_leader(replicas);
    eventually("all applied all", || {
        replicas.iter().all(|replica| replica.status().applied >= applied)
    })
    .await;
}

async fn no_snapshots_left(cluster: &Cluster) {
    eventually("no snapshot lies anywhere", || {
        cluster.snapshots.iter().all(|store| store.list().unwrap().is_empty())
    })
    .await;
}

#[tokio::test]
async fn a_restart_goes_on_where_the_state_is_and_applies_nothing_twice() {
    let mut cluster = Cluster::start(3).await;
    let directories = Directories::new();
    let replicas = create_all(&cluster, 1, |node| directories.open(node)).await;
    fill(&replicas, 0..50).await;
    eventually("all applied all", || directories.applied() == 150).await;
    drop(replicas);
    cluster.stop_all().await;
    cluster.open_all().await;
    let replicas = create_all(&cluster, 1, |node| directories.open(node)).await;
    assert_eq!(read(&replicas).await, numbers(50));
    fill(&replicas, 50..60).await;
    for replica in &replicas {
        assert_eq!(read_at(replica).await, numbers(60));
    }
    assert_eq!(
        directories.applied(),
        180,
        "each command once on each node, over both lives"
    );
    cluster.stop_all().await;
}

#[tokio::test]
async fn the_log_is_compacted_without_a_snapshot() {
    // Of one node: there is no peer that could need one.
    let mut cluster = start_with(1, often()).await;
    let directories = Directories::new();
    let group = create_all(&cluster, 1, |node| directories.open(node)).await;
    fill(&group, 0..80).await;
    compacted_everywhere(&cluster, 60).await;
    no_snapshots_left(&cluster).await;
    let metrics = cluster.host(NodeId(1)).metrics();
    assert_eq!(metrics.snapshots_taken, 0, "{metrics:?}");
    assert!(metrics.states_synced > 0, "{metrics:?}");
    // A group in memory beside it takes its own.
    let other = cluster.create(2).await;
    fill(&other, 0..20).await;
    let host = cluster.host(NodeId(1)).clone();
    eventually("it took one", || host.metrics().snapshots_taken > 0).await;
    drop((group, host));
    cluster.stop_all().await;
    cluster.open_all().await;
    let group = create_all(&cluster, 1, |node| directories.open(node)).await;
    fill(&group, 80..90).await;
    assert_eq!(read(&group).await, numbers(90));
    assert_eq!(directories.applied(), 90, "each once");
    cluster.stop_all().await;
}

#[tokio::test]
async fn batches_that_a_crash_lost_are_replayed() {
    let mut cluster = start_with(3, often()).await;
    let disks = disks(&cluster);
    let (mut end, mut lost) = (0, 0);
    for round in 1..=5 {
        let replicas = create_in_memory(&cluster, &disks).await;
        assert_eq!(read(&replicas).await, numbers(end), "before round {round}");
        fill(&replicas, end..end + 27).await;
        end += 27;
        eventually("all applied all", || {
            disks.iter().all(|disk| disk.lock().committed.lines.len() == end)
        })
        .await;
        cluster.stop_all().await;
        for disk in &disks {
            disk.crash();
            let kept = disk.lock().committed.lines.len();
            assert!(kept > 0, "nothing was synced by the end of round {round}");
            lost += end - kept;
        }
        cluster.open_all().await;
    }
    assert!(lost > 0, "all was synced");
    let replicas = create_in_memory(&cluster, &disks).await;
    assert_eq!(read(&replicas).await, numbers(end));
    for disk in &disks {
        eventually("it applied all", || disk.lock().committed.lines.len() >= end).await;
        assert_eq!(disk.lock().committed.lines, numbers(end), "each once, in order");
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn the_log_is_not_compacted_beyond_what_was_synced() {
    let mut cluster = start_with(1, often()).await;
    let disks = disks(&cluster);
    let group = create_in_memory(&cluster, &disks).await;
    fill(&group, 0..30).await;
    // No sync is under way then: of 31 entries the last one that was due has them all but for nine.
    compacted_everywhere(&cluster, 20).await;
    // What it acknowledged from here on is lost in the crash: the log has to have it.
    let gate = disks[0].lock().sync_gate.clone();
    gate.close();
    disks[0].lock().fault = Some(Fault::Sync);
    fill(&group, 30..35).await;
    gate.open();
    eventually("it can't sync", || {
        drop(group[0].propose("more".to_owned()));
        group[0].status().is_quarantined()
    })
    .await;
    cluster.stop_all().await;
    let lines = disks[0].lock().committed.lines.clone();
    disks[0].crash();
    assert!(disks[0].lock().committed.lines.len() < 35);
    cluster.open_all().await;
    let group = create_in_memory(&cluster, &disks).await;
    let again = read(&group).await;
    assert!(again.starts_with(&lines), "{again:?}");
    cluster.stop_all().await;
}

/// What a start finds applied may be in the machine's memory alone, though the process before this one wrote it.
#[tokio::test]
async fn a_state_that_a_start_finds_lets_nothing_be_compacted_before_it_is_synced() {
    const ONE: NodeId = NodeId(1);
    let lines = |range: std::ops::Range<usize>| range.map(|n| format!("{n} {}", "x".repeat(500))).collect::<Vec<_>>();
    let mut cluster = Cluster::start(1).await;
    let disk = MemoryDisk::default();
    let group = [create_on(&cluster, ONE, 1, || Ok(disk.open())).await.unwrap()];
    for line in lines(0..40) {
        propose(&group, &line).await;
    }
    drop(group);
    cluster.stop_all().await;
    assert_eq!(disk.lock().committed.lines.len(), 40);
    assert!(disk.lock().synced.lines.is_empty());

    cluster.open_all().await;
    let gate = disk.lock().sync_gate.clone();
    gate.close();
    let options = GroupOptions::default().limits(GroupLimits {
        log_bytes_max: Some(20_000),
        ..GroupLimits::default()
    });
    let host = cluster.host(ONE).clone();
    let created = host.create_disk_group_with(GroupId(1), [ONE], options, || Ok(disk.open()));
    let group = [created.await.unwrap()];
    // More than half of what the log may have.
    for line in lines(40..65) {
        propose(&group, &line).await;
    }
    assert_eq!(cluster.on_disk(ONE, 1).base.index.0, 0, "nothing is synced yet");
    assert_eq!(host.metrics().states_synced, 0);
    gate.open();
    propose(&group, "last").await;
    eventually("the log is compacted", || cluster.on_disk(ONE, 1).base.index.0 > 0).await;
    drop((group, host));
    cluster.stop_all().await;
    disk.crash();
    cluster.open_all().await;
    let group = [create_on(&cluster, ONE, 1, || Ok(disk.open())).await.unwrap()];
    assert_eq!(read(&group).await, [lines(0..65), vec!["last".to_owned()]].concat());
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_follower_that_lags_is_brought_up_by_a_view_that_is_removed_afterwards() {
    let mut cluster = start_with(3, often()).await;
    let directories = Directories::new();
    let mut replicas = create_all(&cluster, 1, |node| directories.open(node)).await;
    fill(&replicas, 0..5).await;
    let away = a_follower(&cluster, &replicas).await;
    cluster.stop(away).await;
    let others = without(&replicas, away);
    // The replica's own handle would keep its state open.
    replicas.remove(slot(away));
    fill(&others, 5..160).await;
    compacted(&cluster, away, 100).await;
    cluster.open(away).await;
    let back = create_on(&cluster, away, 1, || directories.open(away)).await.unwrap();
    replicas.insert(slot(away), back);
    all_applied(&replicas).await;
    assert!(cluster.host(away).metrics().snapshots_installed >= 1, "by a snapshot");
    lead(&cluster, &replicas, away).await;
    fill(&replicas, 160..180).await;
    assert_eq!(read(&replicas).await, numbers(180));
    all_applied(&replicas).await;
    no_snapshots_left(&cluster).await;
    drop((replicas, others));
    cluster.stop_all().await;

    cluster.open_all().await;
    let replicas = create_all(&cluster, 1, |node| directories.open(node)).await;
    for replica in &replicas {
        let lines = replica.read((), Consistency::Follower);
        leader_of(&replicas, &cluster.ids()).await;
        // Asked before there was a leader it may be refused.
        if let Ok(lines) = lines.await {
            assert_eq!(lines, numbers(180));
        }
    }
    assert_eq!(read(&replicas).await, numbers(180));
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_large_state_is_streamed_while_its_group_goes_on() {
    let compaction = Compaction {
        bytes: 1 << 20,
        tail_entries: 0,
        // The whole takes about a second.
        send_bytes_per_second: 8 << 20,
        ..Compaction::default()
    };
    let mut cluster = Cluster::closed(3);
    cluster.compaction = compaction;
    cluster.tuning.election_timeout_ms = 4_000;
    cluster.open_all().await;
    let directories = Directories::new();
    let mut replicas = create_all(&cluster, 1, |node| directories.open(node)).await;
    fill(&replicas, 0..1).await;
    let away = a_follower(&cluster, &replicas).await;
    cluster.stop(away).await;
    let others = without(&replicas, away);
    replicas.remove(slot(away));
    let mut expected = numbers(1);
    for n in 0..16_usize {
        let line = n.to_string().repeat(500_000 / n.to_string().len());
        propose(&others, &line).await;
        expected.push(line);
    }
    compacted(&cluster, away, 16).await;
    cluster.open(away).await;
    let back = create_on(&cluster, away, 1, || directories.open(away)).await.unwrap();
    let ids = cluster.ids();
    eventually("a part of it was sent", || {
        ids.iter()
            .any(|node| cluster.host(*node).metrics().snapshot_bytes_sent > 1 << 20)
    })
    .await;
    for n in 0..20 {
        let line = format!("meanwhile {n}");
        propose(&others, &line).await;
        expected.push(line);
    }
    let applied = applied_by_leader(&others);
    eventually("it applied all", || back.status().applied >= applied).await;
    let lines = read_at(&back).await;
    assert!(lines == expected, "a view of one moment, and all that came after it");
    no_snapshots_left(&cluster).await;
    drop((back, replicas, others));
    cluster.stop_all().await;
}

/// While the state is on its way much more comes into the log than a sync waits for otherwise. Were the log compacted then,
/// what is sent would be followed by nothing, and the next one, which takes as long, just as little.
#[tokio::test]
async fn the_log_is_kept_from_the_end_of_what_is_being_sent_until_the_peer_has_caught_up() {
    const TAIL: u64 = 20;
    let compaction = Compaction {
        bytes: 50_000,
        tail_entries: TAIL,
        // The whole takes about two seconds.
        send_bytes_per_second: 4 << 20,
        ..Compaction::default()
    };
    let mut cluster = Cluster::closed(3);
    cluster.compaction = compaction;
    cluster.tuning.election_timeout_ms = 4_000;
    cluster.open_all().await;
    let disks = disks(&cluster);
    let replicas = create_in_memory(&cluster, &disks).await;
    fill(&replicas, 0..1).await;
    let away = a_follower(&cluster, &replicas).await;
    let leader = leader_of(&replicas, &cluster.ids()).await.node();
    cluster.stop(away).await;
    let others = without(&replicas, away);
    drop(replicas);
    for _ in 0..40 {
        propose(&others, &"x".repeat(200_000)).await;
    }
    compacted(&cluster, away, applied_by_leader(&others) - TAIL).await;
    let host = cluster.host(leader).clone();
    let sent = host.metrics().snapshot_bytes_sent;
    cluster.open(away).await;
    let back = create_on(&cluster, away, 1, || Ok(disks[slot(away)].open()))
        .await
        .unwrap();
    eventually("a part of it was sent", || {
        host.metrics().snapshot_bytes_sent > sent + (1 << 20)
    })
    .await;
    let taken = host.metrics().snapshots_taken;
    for _ in 0..60 {
        propose(&others, &"y".repeat(40_000)).await;
    }
    let applied = applied_by_leader(&others);
    eventually("it applied all", || back.status().applied >= applied).await;
    assert_eq!(host.metrics().snapshots_taken, taken, "that one was enough");
    eventually("the log is compacted as ever", || {
        drop(others[0].propose("z".repeat(10_000)));
        cluster.on_disk(leader, 1).base.index.0 >= applied - TAIL
    })
    .await;
    drop((back, others, host));
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_state_does_not_get_ahead_of_its_own_log() {
    let mut cluster = Cluster::steady(3);
    let disks = disks(&cluster);
    let slow = NodeId(3);
    let gate = Arc::new(Gate::default());
    cluster.open(NodeId(1)).await;
    cluster.open(NodeId(2)).await;
    let store = gated(cluster.disk(slow), gate.clone());
    let host = cluster.builder(slow).log_store(store).open().await.unwrap();
    let disk = disks[slot(slow)].clone();
    let mut replicas = Vec::new();
    for node in [NodeId(1), NodeId(2)] {
        replicas.push(
            create_on(&cluster, node, 1, || Ok(disks[slot(node)].open()))
                .await
                .unwrap(),
        );
    }
    let created = host.create_disk_group(GroupId(1), cluster.ids(), || Ok(disk.open()));
    let behind = created.await.unwrap();
    lead(&cluster, &[replicas.clone(), vec![behind.clone()]].concat(), NodeId(1)).await;
    fill(&replicas, 0..5).await;
    eventually("it applied all", || disk.lock().committed.lines.len() == 5).await;
    gate.close();
    fill(&replicas, 5..10).await;
    // The next heartbeat tells it that they are committed, but for its own log it would apply them.
    eventually("it knows that they are committed", || behind.status().commit >= 10).await;
    assert_eq!(disk.lock().committed.lines.len(), 5);
    gate.open();
    eventually("it applied all", || disk.lock().committed.lines.len() == 10).await;
    drop((replicas, behind));
    host.shutdown().await;
    cluster.stop_all().await;
}

/// A cluster in which a follower is away, while the others compacted what it lacks.
async fn lagging() -> (Cluster, Vec<MemoryDisk>, NodeId) {
    let mut cluster = start_with(3, often()).await;
    let disks = disks(&cluster);
    let replicas = create_in_memory(&cluster, &disks).await;
    fill(&replicas, 0..5).await;
    let away = a_follower(&cluster, &replicas).await;
    cluster.stop(away).await;
    let others = without(&replicas, away);
    fill(&others, 5..160).await;
    compacted(&cluster, away, 100).await;
    drop((replicas, others));
    // What still waits in an outbox would reach it before its snapshot does: it ends with the processes.
    let ids: Vec<NodeId> = cluster.ids().into_iter().filter(|id| *id != away).collect();
    for id in &ids {
        cluster.stop(*id).await;
    }
    for id in &ids {
        cluster.open(*id).await;
        create_on(&cluster, *id, 1, || Ok(disks[slot(*id)].open()))
            .await
            .unwrap();
    }
    (cluster, disks, away)
}

/// The follower comes back on a disk with this `fault`, and gets its snapshot.
async fn meets_its_snapshot(cluster: &mut Cluster, disks: &[MemoryDisk], away: NodeId, fault: Fault) {
    disks[slot(away)].lock().fault = Some(fault);
    cluster.open(away).await;
    let back = create_on(cluster, away, 1, || Ok(disks[slot(away)].open())).await;
    let back = back.unwrap();
    eventually("its disk failed", || {
        back.status().is_quarantined()
            || fault == Fault::SyncLies && disks[slot(away)].lock().committed.lines.len() == 160
    })
    .await;
    let state = back.status().state;
    if fault == Fault::Restore {
        assert!(
            matches!(&state, ReplicaState::Quarantined(QuarantineReason::StateFailed { .. })),
            "{state:?}"
        );
    }
}

fn snapshots_of(cluster: &Cluster, node: NodeId) -> Vec<String> {
    cluster.snapshots[slot(node)].list().unwrap()
}

async fn comes_back(cluster: &mut Cluster, disks: &[MemoryDisk], away: NodeId) {
    cluster.open(away).await;
    let back = create_on(cluster, away, 1, || Ok(disks[slot(away)].open())).await;
    let back = back.unwrap();
    eventually("it applied all", || {
        back.status().applied >= 160 && disks[slot(away)].lock().committed.lines.len() == 160
    })
    .await;
    assert_eq!(disks[slot(away)].lock().committed.lines, numbers(160));
    no_snapshots_left(cluster).await;
}

/// A log store that fails, for good, instead of letting a snapshot take the place of a log.
fn without_installs(inner: MemoryLogStore) -> impl LogStore {
    let is_dead = AtomicBool::new(false);
    HookedStore::new(inner, move |operation| {
        let Operation::Write(batch) = operation else {
            return Ok(());
        };
        let is_installed = |persist: &Persist| matches!(persist.base, Some(LogBase::Installed(_)));
        if batch.iter().any(is_installed) {
            is_dead.store(true, Ordering::SeqCst);
        }
        if is_dead.load(Ordering::SeqCst) {
            return Err(StoreError::Poisoned);
        }
        Ok(())
    })
}

#[tokio::test]
async fn a_crash_before_the_log_was_replaced_leaves_the_old_state() {
    let (mut cluster, disks, away) = lagging().await;
    let store = without_installs(cluster.disk(away));
    let host = cluster.builder(away).log_store(store).open().await.unwrap();
    let created = host.create_disk_group(GroupId(1), cluster.ids(), || Ok(disks[slot(away)].open()));
    let back = created.await.unwrap();
    eventually("its log store failed", || back.status().is_quarantined()).await;
    host.shutdown().await;
    assert!(!snapshots_of(&cluster, away).is_empty(), "it had the snapshot");
    let lines = disks[slot(away)].lock().committed.lines.len();
    assert!(
        lines <= 5,
        "its log holds nothing beyond, but the state has {lines} lines"
    );
    comes_back(&mut cluster, &disks, away).await;
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_crash_after_the_log_was_replaced_and_before_the_state_was_leads_to_the_new_state() {
    let (mut cluster, disks, away) = lagging().await;
    meets_its_snapshot(&mut cluster, &disks, away, Fault::Restore).await;
    cluster.stop(away).await;
    let base = cluster.on_disk(away, 1).base.index;
    assert!(base.0 >= 100, "the log begins after the snapshot: {base:?}");
    disks[slot(away)].crash();
    assert!(
        disks[slot(away)].lock().committed.lines.len() <= 5,
        "the state is the old one"
    );
    comes_back(&mut cluster, &disks, away).await;
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_restored_state_that_was_not_synced_yet_is_restored_again() {
    let (mut cluster, disks, away) = lagging().await;
    meets_its_snapshot(&mut cluster, &disks, away, Fault::Sync).await;
    assert!(disks[slot(away)].lock().committed.lines.len() > 100, "it was restored");
    cluster.stop(away).await;
    disks[slot(away)].crash();
    assert!(
        disks[slot(away)].lock().committed.lines.len() <= 5,
        "the state is the old one"
    );
    comes_back(&mut cluster, &disks, away).await;
    cluster.stop_all().await;
}

/// As long as the restored state is not durable, its snapshot is what a second crash would need.
#[tokio::test]
async fn a_restored_state_outlives_a_restart_before_it_is_synced_and_a_crash_after_it() {
    let (mut cluster, disks, away) = lagging().await;
    meets_its_snapshot(&mut cluster, &disks, away, Fault::Sync).await;
    cluster.stop(away).await;
    // Only the process ended: what was written is there, durable or not.
    disks[slot(away)].lock().fault = Some(Fault::Sync);
    cluster.open(away).await;
    let back = create_on(&cluster, away, 1, || Ok(disks[slot(away)].open())).await;
    let back = back.unwrap();
    eventually("it is to be synced", || back.status().is_quarantined()).await;
    cluster.stop(away).await;
    disks[slot(away)].crash();
    comes_back(&mut cluster, &disks, away).await;
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_group_with_its_state_on_disk_is_rebuilt_from_one_survivor() {
    let mut cluster = start_with(3, often()).await;
    let directories = Directories::new();
    let replicas = create_all(&cluster, 1, |node| directories.open(node)).await;
    fill(&replicas, 0..80).await;
    compacted_everywhere(&cluster, 60).await;
    all_applied(&replicas).await;
    let survivor = NodeId(2);
    drop(replicas);
    cluster.stop(NodeId(1)).await;
    cluster.stop(NodeId(3)).await;
    let open = async |cluster: &Cluster| {
        let host = cluster.host(survivor);
        let created = host.create_disk_group(GroupId(1), [survivor], || directories.open(survivor));
        [created.await.unwrap()]
    };
    let mut end = 80;
    for _ in 0..2 {
        cluster.host(survivor).rebuild_group(GroupId(1)).await.unwrap();
        // Whether there should be a snapshot nobody knows who does not know the state machine: nothing is changed.
        let refused = cluster.host(survivor).rebuild_group(GroupId(1)).await;
        assert!(
            matches!(refused, Err(RebuildGroupError::Snapshot(SnapshotError::Missing { .. }))),
            "{refused:?}"
        );
        let group = open(&cluster).await;
        assert_eq!(read(&group).await, numbers(end));
        fill(&group, end..end + 5).await;
        end += 5;
    }
    cluster.stop(survivor).await;
    cluster.open(survivor).await;
    let group = open(&cluster).await;
    assert_eq!(read(&group).await, numbers(end));
    cluster.stop_all().await;
}

#[tokio::test]
async fn members_of_a_group_with_its_state_on_disk_come_and_go() {
    let mut cluster = Cluster::steady(3);
    cluster.compaction = often();
    cluster.open_all().await;
    let disks = disks(&cluster);
    let mut replicas = Vec::new();
    for node in [NodeId(1), NodeId(2)] {
        let host = cluster.host(node);
        let members = [NodeId(1), NodeId(2)];
        let created = host.create_disk_group(GroupId(1), members, || Ok(disks[slot(node)].open()));
        replicas.push(created.await.unwrap());
    }
    fill(&replicas, 0..80).await;
    let host = cluster.host(NodeId(3));
    let joined = host.join_disk_group(GroupId(1), GroupOptions::default(), || Ok(disks[2].open()));
    replicas.push(joined.await.unwrap());
    lead(&cluster, &replicas, NodeId(1)).await;
    // Once a leader serves a read it has committed something, and can change its members.
    assert_eq!(read(&replicas).await, numbers(80));
    let change = MembershipChange::replace(NodeId(2), NodeId(3));
    let membership = replicas[0].change_membership(change).await.unwrap();
    assert!(membership.contains(NodeId(3)) && !membership.contains(NodeId(2)));
    fill(&replicas, 80..90).await;
    lead(&cluster, &replicas, NodeId(3)).await;
    assert_eq!(replicas[2].progress().await.unwrap().len(), 1);
    assert_eq!(read(&replicas).await, numbers(90));
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_state_that_is_behind_its_log_without_the_snapshot_is_repaired_by_its_peers() {
    let (mut cluster, disks, away) = lagging().await;
    meets_its_snapshot(&mut cluster, &disks, away, Fault::SyncLies).await;
    // It takes the disk at its word.
    eventually("the snapshot is removed", || snapshots_of(&cluster, away).is_empty()).await;
    cluster.stop(away).await;
    disks[slot(away)].crash();
    cluster.open(away).await;
    let created = create_on(&cluster, away, 1, || Ok(disks[slot(away)].open())).await;
    let replica = created.unwrap();
    let host = cluster.host(away).clone();
    eventually("it is repaired", || {
        host.metrics().replicas_repaired == 1 && !replica.status().damaged
    })
    .await;
    let leader = cluster.ids().into_iter().find(|id| *id != away).unwrap();
    let others = cluster.host(leader).group::<OnDisk<MemoryJournal>>(GroupId(1)).unwrap();
    eventually("it applied all", || replica.status().applied >= others.status().applied).await;
    let stale = replica.read((), Consistency::Stale).await.unwrap();
    assert_eq!(stale, others.read((), Consistency::Stale).await.unwrap());
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_state_ahead_of_its_log_is_refused() {
    let mut cluster = start_with(1, often()).await;
    let disks = disks(&cluster);
    let group = create_in_memory(&cluster, &disks).await;
    fill(&group, 0..3).await;
    cluster.stop_all().await;
    // The log lost what it acknowledged.
    let host = cluster
        .builder(NodeId(1))
        .log_store(MemoryLogStore::new())
        .open()
        .await
        .unwrap();
    for _ in 0..2 {
        let created = host.create_disk_group(GroupId(1), cluster.ids(), || Ok(disks[0].open()));
        let Err(CreateGroupError::DiskState(DiskStateError::NotInLog { applied, last, .. })) = created.await else {
            panic!("a log that is shorter than its state went unnoticed");
        };
        assert!(applied.index.0 >= 3 && last == 0, "{applied} {last}");
    }
    host.shutdown().await;
    cluster.open_all().await;
    let group = create_in_memory(&cluster, &disks).await;
    assert_eq!(read(&group).await, numbers(3), "nothing was changed");
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_state_of_another_group_and_one_that_cannot_be_opened_are_refused() {
    let mut cluster = start_with(1, often()).await;
    let disks = disks(&cluster);
    let group = create_in_memory(&cluster, &disks).await;
    fill(&group, 0..3).await;
    let refused = create_on(&cluster, NodeId(1), 2, || Ok(disks[0].open())).await;
    let Err(CreateGroupError::DiskState(DiskStateError::NotOurs { found, .. })) = refused else {
        panic!("it took another group's state");
    };
    assert_eq!(found, GroupId(1));
    let refused = create_on::<MemoryJournal>(&cluster, NodeId(1), 3, || Err(io::ErrorKind::StorageFull.into())).await;
    let Err(CreateGroupError::DiskState(DiskStateError::Io { source, .. })) = refused else {
        panic!("it runs without a state");
    };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    // Neither stands in the way of the next attempt.
    for group in [2, 3] {
        let disk = MemoryDisk::default();
        let group = [create_on(&cluster, NodeId(1), group, || Ok(disk.open())).await.unwrap()];
        fill(&group, 0..3).await;
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_failing_disk_stops_its_replica_alone_and_what_was_acknowledged_is_there() {
    for fault in [
        Fault::Apply,
        Fault::ApplyPanics,
        Fault::Commit,
        Fault::CommitPanics,
        Fault::Sync,
    ] {
        let mut cluster = start_with(3, often()).await;
        let disks = disks(&cluster);
        let replicas = create_in_memory(&cluster, &disks).await;
        let others = cluster.create(2).await;
        fill(&replicas, 0..5).await;
        let failing = leader_of(&replicas, &cluster.ids()).await.node();
        disks[slot(failing)].lock().fault = Some(fault);
        let mut acknowledged = numbers(5);
        for n in 5..40 {
            // At whichever replica leads by then; unknown is unknown.
            for replica in &replicas {
                if replica.propose(n.to_string()).await.is_ok() {
                    acknowledged.push(n.to_string());
                    break;
                }
            }
        }
        eventually("the replica stopped", || {
            // So far there may have been no leader.
            replicas
                .iter()
                .for_each(|replica| drop(replica.propose("more".to_owned())));
            replicas[slot(failing)].status().is_quarantined()
        })
        .await;
        propose(&replicas, "after").await;
        propose(&others, "another group").await;
        let lines = read(&replicas).await;
        let mut rest = lines.iter();
        let is_there = |line: &String| rest.any(|other| other == line);
        assert!(
            acknowledged.iter().all(is_there),
            "{fault:?}: {acknowledged:?} {lines:?}"
        );
        assert!(!others[slot(failing)].status().is_quarantined(), "{fault:?}");
        assert_eq!(read_at(&others[slot(failing)]).await, ["another group"]);
        // A disk that works again, as the crash left it.
        cluster.stop(failing).await;
        disks[slot(failing)].crash();
        cluster.open(failing).await;
        cluster.create_on(failing, 2).await;
        let back = create_on(&cluster, failing, 1, || Ok(disks[slot(failing)].open()))
            .await
            .unwrap();
        let applied = applied_by_leader(&replicas);
        eventually("it applied all", || back.status().applied >= applied).await;
        assert_eq!(disks[slot(failing)].lock().committed.lines, lines, "{fault:?}");
        cluster.stop_all().await;
    }
}

#[tokio::test]
async fn a_request_is_applied_once_and_keeps_its_answer_through_lost_batches_and_snapshots() {
    let mut cluster = start_with(3, often()).await;
    let disks = disks(&cluster);
    let mut replicas = create_in_memory(&cluster, &disks).await;
    let mut session = open_session(&replicas).await;
    let mut asked = Vec::new();
    for round in 0..4 {
        let request = session.next();
        let line = format!("request {round}");
        let first = propose_as(&replicas, request, &line).await;
        asked.push((request, line, first));
        // Enough that snapshots and syncs come in between; and one node misses it.
        let away = a_follower(&cluster, &replicas).await;
        cluster.stop(away).await;
        let others = without(&replicas, away);
        fill(&others, round * 100..(round + 1) * 100).await;
        compacted(&cluster, away, applied_by_leader(&others) - 50).await;
        disks[slot(away)].crash();
        cluster.open(away).await;
        replicas[slot(away)] = create_on(&cluster, away, 1, || Ok(disks[slot(away)].open()))
            .await
            .unwrap();
        all_applied(&replicas).await;
        lead(&cluster, &replicas, away).await;
        for (request, line, first) in &asked {
            assert_eq!(propose_as(&replicas, *request, line).await, *first, "{line} at {away}");
        }
        cluster.stop_all().await;
        for disk in &disks {
            disk.crash();
        }
        cluster.open_all().await;
        replicas = create_in_memory(&cluster, &disks).await;
        for (request, line, first) in &asked {
            assert_eq!(
                propose_as(&replicas, *request, line).await,
                *first,
                "{line} after {round}"
            );
        }
    }
    let lines = read(&replicas).await;
    assert_eq!(lines.len(), 404);
    for (_, line, first) in &asked {
        assert_eq!(lines.iter().position(|other| other == line), Some(first - 1));
    }
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_query_that_fails_on_the_disk_is_answered_so_and_the_replica_goes_on() {
    let mut cluster = start_with(1, often()).await;
    let disks = disks(&cluster);
    let group = create_in_memory(&cluster, &disks).await;
    fill(&group, 0..3).await;
    disks[0].lock().fault = Some(Fault::Query);
    let answer = group[0].read((), Consistency::Linearizable).await;
    assert!(
        matches!(&answer, Err(ReadError::Failed(what)) if what.contains("asked to fail")),
        "{answer:?}"
    );
    disks[0].lock().fault = None;
    assert_eq!(read(&group).await, numbers(3));
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_handle_is_made_anew_for_its_kind_only() {
    let mut cluster = start_with(1, often()).await;
    let disks = disks(&cluster);
    let group = create_in_memory(&cluster, &disks).await;
    fill(&group, 0..1).await;
    let host = cluster.host(NodeId(1));
    assert!(host.group::<OnDisk<MemoryJournal>>(GroupId(1)).is_some());
    assert!(host.group::<OnDisk<FjallJournal>>(GroupId(1)).is_none());
    assert!(host.group::<Journal>(GroupId(1)).is_none());
    cluster.stop_all().await;
}
