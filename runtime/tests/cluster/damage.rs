//! A node whose disk lost something: it says so, its peers repair it, and nothing that was acknowledged is lost.

use super::snapshots::{a_follower, fill, numbers, often, without};
use super::support::hooked_snapshots::{Fate, HookedSnapshots, Operation};
use super::support::memory_journal::{MemoryDisk, MemoryJournal};
use super::support::{Cluster, Journal, PATIENCE, eventually, leader_of, propose, read, slot};
use super::yard::{GROUP, Yard};
use raftyard::store::{GroupRecord, LogStore, SegmentLogStore, SnapshotStore, StoreIdentity};
use raftyard::{
    Compaction, Consistency, CreateGroupError, Group, GroupId, Incarnation, Membership, MembershipChange, NodeId,
    OnDisk, RaftHost, RebuildGroupError, SnapshotError, StateMachine, Timestamp,
};
use raftyard_groups::{LogBase, LogIndex, Persist, PersistSeq};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const GROUPS: [u64; 3] = [1, 2, 3];
const SURVIVOR: NodeId = NodeId(1);

/// Three nodes that keep their logs in directories, and snapshots in memory.
struct OnDisks {
    cluster: Cluster,
    dirs: Vec<TempDir>,
}

impl OnDisks {
    async fn start(compaction: Compaction) -> Self {
        let mut cluster = Cluster::closed(3);
        cluster.compaction = compaction;
        let dirs = (0..3).map(|_| TempDir::new().unwrap()).collect();
        let mut nodes = Self { cluster, dirs };
        for id in nodes.cluster.ids() {
            nodes.open(id).await;
        }
        nodes
    }

    async fn open(&mut self, id: NodeId) {
        let identity = StoreIdentity {
            cluster: "test".to_owned(),
            node: id,
        };
        let store = SegmentLogStore::open(self.dirs[slot(id)].path(), &identity).unwrap();
        let host = self.cluster.builder(id).log_store(store).open().await.unwrap();
        self.cluster.put(id, host);
    }

    async fn create(&self, id: NodeId) -> Vec<Group<Journal>> {
        let mut groups = Vec::new();
        for group in GROUPS {
            groups.push(self.cluster.create_on(id, group).await);
        }
        groups
    }

    /// Changes bytes of the only segment of a node.
    fn damage(&self, id: NodeId, damage: impl Fn(&mut Vec<u8>)) {
        let path = self.dirs[slot(id)].path().join("log/00000001.segment");
        change(&path, damage);
    }

    /// Lets the first group's log grow, until this node has a few snapshots of it, taken or received.
    async fn fill_with_snapshots(&self, replicas: &[Group<Journal>], id: NodeId) {
        let host = self.cluster.host(id);
        for part in 1..=3 {
            fill(replicas, 20 * (part - 1)..20 * part).await;
            eventually("it has one more", || {
                let metrics = host.metrics();
                metrics.snapshots_taken + metrics.snapshots_installed >= part as u64
            })
            .await;
        }
    }

    /// Lets the first group's log grow, each entry in a batch of its own on this node's disk.
    async fn fill_in_batches(&self, replicas: &[Group<Journal>], end: usize, id: NodeId) {
        let host = self.cluster.host(id);
        for line in 0..end {
            let written = host.metrics().entries_written;
            fill(replicas, line..line + 1).await;
            eventually("it is written", || host.metrics().entries_written > written).await;
        }
    }

    /// Flips a bit in each snapshot of a node.
    fn damage_snapshots(&self, id: NodeId) {
        let mut snapshots = self.cluster.snapshots[slot(id)].clone();
        for name in snapshots.list().unwrap() {
            let mut bytes = snapshots.read(&name, 0, usize::MAX).unwrap().to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            snapshots.write(&name, 0, &bytes).unwrap();
        }
    }
}

fn change(path: &Path, damage: impl Fn(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    damage(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// The groups of all nodes: by group, then by node.
async fn all(nodes: &OnDisks) -> Vec<Vec<Group<Journal>>> {
    let mut groups: Vec<Vec<_>> = GROUPS.iter().map(|_| Vec::new()).collect();
    for id in nodes.cluster.ids() {
        for (group, replica) in groups.iter_mut().zip(nodes.create(id).await) {
            group.push(replica);
        }
    }
    groups
}

async fn is_repaired_after(compaction: Compaction, damage: impl Fn(&mut Vec<u8>)) {
    let mut nodes = OnDisks::start(compaction).await;
    let mut groups = all(&nodes).await;
    for replicas in &groups {
        fill(replicas, 0..40).await;
    }
    let away = a_follower(&nodes.cluster, &groups[0]).await;
    let others: Vec<_> = groups.iter().map(|replicas| without(replicas, away)).collect();
    nodes.cluster.stop(away).await;
    nodes.damage(away, damage);
    fill(&others[0], 40..70).await;

    nodes.open(away).await;
    for (replicas, replica) in groups.iter_mut().zip(nodes.create(away).await) {
        replicas[slot(away)] = replica;
    }
    let host = nodes.cluster.host(away).clone();
    eventually("all that is damaged is repaired", || {
        let metrics = host.metrics();
        let is_damaged = |group| host.group::<Journal>(GroupId(group)).unwrap().status().damaged;
        metrics.replicas_damaged > 0
            && metrics.replicas_repaired == metrics.replicas_damaged
            && !GROUPS.into_iter().any(is_damaged)
    })
    .await;

    // Its vote counts again: another node is away, and with it the majority.
    let other = nodes.cluster.ids().into_iter().find(|id| *id != away).unwrap();
    nodes.cluster.stop(other).await;
    for (n, replicas) in groups.iter().enumerate() {
        let left = without(replicas, other);
        propose(&left, "after").await;
        let mut expected = numbers(if n == 0 { 70 } else { 40 });
        expected.push("after".to_owned());
        assert_eq!(read(&left).await, expected);
    }
    nodes.cluster.stop_all().await;
}

#[tokio::test]
async fn a_log_with_flipped_bits_is_repaired_by_entries() {
    let flip = |bytes: &mut Vec<u8>| {
        for at in (900..9_000).step_by(700) {
            bytes[at] ^= 1 << (at % 8);
        }
    };
    is_repaired_after(Compaction::default(), flip).await;
}

#[tokio::test]
async fn a_log_with_flipped_bits_is_repaired_by_a_snapshot() {
    let flip = |bytes: &mut Vec<u8>| {
        for at in (900..9_000).step_by(700) {
            bytes[at] ^= 1 << (at % 8);
        }
    };
    is_repaired_after(often(), flip).await;
}

#[tokio::test]
async fn a_log_that_ends_too_early_is_repaired() {
    is_repaired_after(Compaction::default(), |bytes| bytes.truncate(2_000)).await;
}

/// It forgot what it answered from before.
#[tokio::test]
async fn a_damaged_replica_answers_no_stale_read_before_it_is_repaired() {
    let mut nodes = OnDisks::start(often()).await;
    let groups = all(&nodes).await;
    let away = a_follower(&nodes.cluster, &groups[0]).await;
    nodes.fill_with_snapshots(&groups[0], away).await;
    let stale = |replica: &Group<Journal>| {
        let replica = replica.clone();
        tokio::spawn(async move { replica.read((), Consistency::Stale).await })
    };
    let deadline = Instant::now() + PATIENCE;
    while stale(&groups[0][slot(away)]).await.unwrap().unwrap().len() < 60 {
        assert!(Instant::now() < deadline, "it never follows");
    }
    nodes.cluster.stop_all().await;
    nodes.damage_snapshots(away);
    nodes.open(away).await;
    let alone = nodes.create(away).await.swap_remove(0);
    eventually("it says so", || alone.status().damaged).await;
    let mut lines = stale(&alone);
    for id in nodes.cluster.ids().into_iter().filter(|id| *id != away) {
        nodes.open(id).await;
        nodes.create(id).await;
    }
    let lines = loop {
        match lines.await.unwrap() {
            Ok(lines) => break lines,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        lines = stale(&alone);
    };
    assert_eq!(lines, numbers(60));
    nodes.cluster.stop_all().await;
}

/// The log goes on from a snapshot that can't be read: both come anew from the peers.
#[tokio::test]
async fn a_damaged_snapshot_is_replaced_by_the_peers() {
    let mut nodes = OnDisks::start(often()).await;
    let mut groups = all(&nodes).await;
    let away = a_follower(&nodes.cluster, &groups[0]).await;
    nodes.fill_with_snapshots(&groups[0], away).await;
    nodes.cluster.stop(away).await;
    nodes.damage_snapshots(away);
    let others = without(&groups[0], away);
    fill(&others, 60..90).await;
    nodes.open(away).await;
    for (replicas, replica) in groups.iter_mut().zip(nodes.create(away).await) {
        replicas[slot(away)] = replica;
    }
    let repaired = groups[0][slot(away)].clone();
    eventually("it is repaired", || {
        let host = nodes.cluster.host(away);
        host.metrics().replicas_repaired == 1 && !repaired.status().damaged
    })
    .await;
    let leader = leader_of(&groups[0], &nodes.cluster.ids()).await.node();
    let other = nodes
        .cluster
        .ids()
        .into_iter()
        .find(|id| *id != away && *id != leader)
        .unwrap();
    nodes.cluster.stop(other).await;
    let left = without(&groups[0], other);
    fill(&left, 90..95).await;
    assert_eq!(read(&left).await, numbers(95));
    nodes.cluster.stop_all().await;
}

/// One that joined keeps entries from before it did, and what lies behind them is lost too: with it, who the voters are.
#[tokio::test]
async fn a_replica_that_joined_and_lost_its_snapshot_and_all_configurations_is_repaired() {
    let mut yard = Yard::new(4, &[1, 2, 3], Compaction::default()).await;
    yard.fill(0..20).await;
    let (leader, _) = yard.leader().await;
    yard.stop(NodeId(4)).await;
    let joined = GroupRecord {
        group: GROUP,
        incarnation: Incarnation(1),
        membership: Membership::default(),
        is_witness: false,
    };
    let held = yard.cluster.on_disk(leader, GROUP.0);
    let mut disk = yard.cluster.disk(NodeId(4));
    let entries = yard
        .cluster
        .disk(leader)
        .read(GROUP, LogIndex(1), LogIndex(9), usize::MAX);
    let mut write = Persist::new(GROUP, PersistSeq(1), Some(held.hard_state), entries.unwrap());
    disk.create(&[joined]).unwrap();
    disk.write(std::slice::from_ref(&write)).unwrap();
    let last = write.entries.last().unwrap().id();
    write.entries.clear();
    write.base = Some(LogBase::Compacted(last));
    write.membership = Some(Arc::default());
    disk.write(&[write]).unwrap();

    yard.restart(NodeId(4)).await;
    yard.change(MembershipChange::replace(NodeId(3), NodeId(4))).await;
    yard.alike(&[1, 2, 4]).await;
    assert_eq!(yard.cluster.host(NodeId(4)).metrics().replicas_repaired, 1);
    yard.cluster.stop_all().await;
}

/// Three nodes of which one was stopped, with a log that goes on from a snapshot, and wrote no more since. What the
/// others have, and which it is.
pub(super) async fn one_is_away() -> (Cluster, Vec<Group<Journal>>, NodeId) {
    let mut cluster = Cluster::closed(3);
    cluster.compaction = often();
    cluster.open_all().await;
    let replicas = cluster.create(1).await;
    fill(&replicas, 0..60).await;
    let away = a_follower(&cluster, &replicas).await;
    eventually("its log goes on from a snapshot", || {
        cluster.on_disk(away, 1).base.index.0 > 0
    })
    .await;
    cluster.stop(away).await;
    assert!(!cluster.snapshots[slot(away)].list().unwrap().is_empty());
    let others = without(&replicas, away);
    (cluster, others, away)
}

/// The replica is created as if nothing had happened before, and nobody had to repair it.
async fn is_whole(mut cluster: Cluster, others: Vec<Group<Journal>>, away: NodeId) {
    let back = cluster.create_on(away, 1).await;
    eventually("it applied all", || back.status().applied >= 60).await;
    assert_eq!(cluster.host(away).metrics().replicas_damaged, 0);
    assert!(!back.status().damaged);
    let replicas = [others.as_slice(), &[back]].concat();
    assert_eq!(read(&replicas).await, numbers(60));
    cluster.stop_all().await;
}

/// What the disk does not give at the moment may be intact: no log is given up for it.
#[tokio::test]
async fn a_snapshot_that_can_not_be_read_just_now_is_not_taken_for_damaged() {
    for before in 0..2 {
        let (mut cluster, others, away) = one_is_away().await;
        let readings = AtomicUsize::new(0);
        let fails_once = move |operation| {
            if operation == Operation::Read && readings.fetch_add(1, Ordering::SeqCst) == before {
                Fate::Refused(io::Error::other("too many open files"))
            } else {
                Fate::Done
            }
        };
        let store = HookedSnapshots::new(cluster.snapshots[slot(away)].clone(), fails_once);
        let builder = cluster.builder(away).log_store(cluster.disk(away));
        let host = builder.snapshot_store(store).open().await.unwrap();
        cluster.put(away, host.clone());
        let base = cluster.on_disk(away, 1).base;
        let refused = host.create_group(GroupId(1), cluster.ids(), Journal::default).await;
        assert!(
            matches!(refused, Err(CreateGroupError::Snapshot(SnapshotError::Io { .. }))),
            "reading {before}"
        );
        assert_eq!(cluster.on_disk(away, 1).base, base, "nothing changed");
        is_whole(cluster, others, away).await;
    }
}

/// Another release of the state machine, whose snapshots are of another type.
struct Other;

impl StateMachine for Other {
    type Command = String;
    type Response = usize;
    type Query = ();
    type Answer = Vec<String>;
    type Snapshot = std::num::NonZeroU8;

    fn apply(&mut self, _: String, _: Timestamp) -> usize {
        0
    }

    fn query(&self, (): ()) -> Vec<String> {
        Vec::new()
    }

    fn snapshot(&self) -> std::num::NonZeroU8 {
        std::num::NonZeroU8::MIN
    }

    fn restore(&mut self, _: std::num::NonZeroU8) {}
}

/// Rolled out node by node, such a release would let one after the other forget its log, until nobody could be elected.
#[tokio::test]
async fn an_intact_snapshot_that_the_state_machine_does_not_take_is_not_taken_for_damaged() {
    let (mut cluster, others, away) = one_is_away().await;
    cluster.open(away).await;
    let base = cluster.on_disk(away, 1).base;
    for _ in 0..2 {
        let host = cluster.host(away).clone();
        let refused = host.create_group(GroupId(1), cluster.ids(), || Other).await;
        assert!(matches!(
            refused,
            Err(CreateGroupError::Snapshot(SnapshotError::Undecodable { .. }))
        ));
        assert_eq!(cluster.on_disk(away, 1).base, base, "nothing changed");
    }
    // The release is taken back.
    is_whole(cluster, others, away).await;
}

/// A state on disk has applied more than its damaged log holds: what comes once more is skipped.
#[tokio::test]
async fn a_state_on_disk_that_is_ahead_of_its_damaged_log_is_repaired() {
    let (mut nodes, disks, mut replicas) = filled_on_disk().await;
    let away = a_follower(&nodes.cluster, &replicas).await;
    let applied = replicas.iter().map(|replica| replica.status().applied).max().unwrap();
    let follower = replicas[slot(away)].clone();
    eventually("it applied all", || follower.status().applied >= applied).await;
    drop(follower);
    nodes.cluster.stop(away).await;
    nodes.damage(away, |bytes| bytes.truncate(2_000));
    nodes.open(away).await;
    replicas[slot(away)] = on_disk(&nodes, &disks, away).await;
    let host = nodes.cluster.host(away).clone();
    eventually("it is repaired", || host.metrics().replicas_repaired == 1).await;
    let other = nodes.cluster.ids().into_iter().find(|id| *id != away).unwrap();
    nodes.cluster.stop(other).await;
    let left = without(&replicas, other);
    fill(&left, 60..70).await;
    let repaired = replicas[slot(away)].clone();
    let mut found = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while found != numbers(70) {
        assert!(Instant::now() < deadline, "each once: {found:?}");
        found = repaired.read((), Consistency::Stale).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    nodes.cluster.stop_all().await;
}

/// Nothing is certain of it: a group that is rebuilt from it would begin with nothing.
#[tokio::test]
async fn a_lost_replica_is_not_rebuilt() {
    let mut nodes = OnDisks::start(Compaction::default()).await;
    let groups = all(&nodes).await;
    nodes.fill_in_batches(&groups[0], 40, SURVIVOR).await;
    drop(groups);
    nodes.cluster.stop_all().await;
    // All states, and none of the last entries.
    nodes.damage(SURVIVOR, |bytes| {
        for at in (40..1_500).step_by(30) {
            bytes[at] ^= 1;
        }
    });
    for _ in 0..2 {
        nodes.open(SURVIVOR).await;
        let host = nodes.cluster.host(SURVIVOR).clone();
        for runs in [false, true] {
            if runs {
                let lost = nodes.cluster.create_on(SURVIVOR, 1).await;
                eventually("it is halted", || lost.status().is_quarantined()).await;
            }
            let refused = host.rebuild_group(GroupId(1)).await;
            assert!(
                matches!(refused, Err(RebuildGroupError::Lost(GroupId(1)))),
                "{refused:?}"
            );
            assert_eq!(host.group::<Journal>(GroupId(1)).is_some(), runs);
        }
        drop(host);
        nodes.cluster.stop(SURVIVOR).await;
    }
}

/// Its newest snapshot ends behind what is left of its log.
#[tokio::test]
async fn a_damaged_replica_whose_snapshot_is_ahead_of_its_log_is_not_rebuilt() {
    let mut nodes = OnDisks::start(often()).await;
    let mut groups = all(&nodes).await;
    fill(&groups[0], 0..60).await;
    let status = groups[0][slot(SURVIVOR)].clone();
    eventually("it applied all", || status.status().applied > 60).await;
    // By the index in its name.
    let is_late = |name: &String| {
        let index = name.split('-').nth(2).and_then(|index| index.parse::<u64>().ok());
        name.starts_with("1-") && name.ends_with(".snapshot") && index > Some(50)
    };
    let snapshots = &nodes.cluster.snapshots[slot(SURVIVOR)];
    eventually("its snapshot ends late", || {
        snapshots.list().unwrap().iter().any(is_late)
    })
    .await;
    drop((groups, status));
    nodes.cluster.stop_all().await;
    nodes.damage(SURVIVOR, |bytes| bytes.truncate(2_000));
    nodes.open(SURVIVOR).await;
    let host = nodes.cluster.host(SURVIVOR).clone();
    let refused = host.rebuild_group(GroupId(1)).await;
    assert!(
        matches!(refused, Err(RebuildGroupError::NotRunning(GroupId(1)))),
        "{refused:?}"
    );
    let replica = nodes.cluster.create_on(SURVIVOR, 1).await;
    check_ahead(&host).await;
    // It is as it was: its peers repair it.
    for id in [NodeId(2), NodeId(3)] {
        nodes.open(id).await;
    }
    groups = vec![vec![replica]];
    for id in [NodeId(2), NodeId(3)] {
        groups[0].push(nodes.cluster.create_on(id, 1).await);
    }
    eventually("it is repaired", || host.metrics().replicas_repaired == 1).await;
    assert_eq!(read(&groups[0]).await, numbers(60));
    drop(host);
    nodes.cluster.stop_all().await;
}

#[tokio::test]
async fn a_damaged_replica_whose_state_on_disk_is_ahead_of_its_log_is_not_rebuilt() {
    let (mut nodes, disks, mut replicas) = filled_on_disk().await;
    let survivor = replicas[slot(SURVIVOR)].clone();
    eventually("it applied all", || survivor.status().applied > 60).await;
    drop(survivor);
    replicas.clear();
    nodes.cluster.stop_all().await;
    nodes.damage(SURVIVOR, |bytes| bytes.truncate(2_000));
    nodes.open(SURVIVOR).await;
    replicas.push(on_disk(&nodes, &disks, SURVIVOR).await);
    let host = nodes.cluster.host(SURVIVOR).clone();
    check_ahead(&host).await;
    for id in [NodeId(2), NodeId(3)] {
        nodes.open(id).await;
        replicas.push(on_disk(&nodes, &disks, id).await);
    }
    eventually("it is repaired", || host.metrics().replicas_repaired == 1).await;
    assert_eq!(read(&replicas).await, numbers(60));
    drop(host);
    nodes.cluster.stop_all().await;
}

async fn check_ahead(host: &RaftHost) {
    match host.rebuild_group(GroupId(1)).await {
        Err(RebuildGroupError::StateAhead { group, state, last }) => {
            assert_eq!(group, GroupId(1));
            assert!(state > last.index.0 && last.index.0 < 50, "{state}, {last}");
        }
        other => panic!("{other:?}"),
    }
}

/// What is left of it is less than it had, and its disk may have lost that it was rebuilt before: it becomes another
/// incarnation than one that is whole, and leaves the doubt behind.
#[tokio::test]
async fn a_damaged_replica_is_rebuilt_as_none_that_may_be_there() {
    let mut nodes = OnDisks::start(Compaction::default()).await;
    let groups = all(&nodes).await;
    nodes.fill_in_batches(&groups[0], 40, SURVIVOR).await;
    drop(groups);
    nodes.cluster.stop_all().await;
    nodes.damage(SURVIVOR, |bytes| bytes.truncate(2_000));
    nodes.open(SURVIVOR).await;
    let host = nodes.cluster.host(SURVIVOR).clone();
    let damaged = nodes.cluster.create_on(SURVIVOR, 1).await;
    eventually("it says so", || damaged.status().damaged).await;
    let report = host.rebuild_group(GroupId(1)).await.unwrap();
    assert!(report.incarnation.0 >> 32 > 100, "{report}");
    let rebuilt = [host
        .create_group(GroupId(1), [SURVIVOR], Journal::default)
        .await
        .unwrap()];
    propose(&rebuilt, "after").await;
    assert!(!rebuilt[0].status().damaged);
    assert_eq!(read(&rebuilt).await.last().unwrap(), "after");
    drop((rebuilt, damaged));
    host.destroy_group(GroupId(1)).await.unwrap();
    drop(host);
    nodes.cluster.stop(SURVIVOR).await;
    let identity = StoreIdentity {
        cluster: "test".to_owned(),
        node: SURVIVOR,
    };
    let mut store = SegmentLogStore::open(nodes.dirs[slot(SURVIVOR)].path(), &identity).unwrap();
    let contents = store.recover().unwrap();
    let tombstone = contents
        .tombstones
        .iter()
        .find(|left| left.group == GroupId(1))
        .unwrap();
    assert!(tombstone.is_uncertain, "{tombstone:?}");
}

/// Three replicas with their state on disk, and sixty lines.
async fn filled_on_disk() -> (OnDisks, Vec<MemoryDisk>, Vec<Group<OnDisk<MemoryJournal>>>) {
    let nodes = OnDisks::start(Compaction::default()).await;
    let disks: Vec<MemoryDisk> = nodes.cluster.ids().iter().map(|_| MemoryDisk::default()).collect();
    let mut replicas = Vec::new();
    for id in nodes.cluster.ids() {
        replicas.push(on_disk(&nodes, &disks, id).await);
    }
    fill(&replicas, 0..60).await;
    (nodes, disks, replicas)
}

async fn on_disk(nodes: &OnDisks, disks: &[MemoryDisk], id: NodeId) -> Group<OnDisk<MemoryJournal>> {
    let host = nodes.cluster.host(id);
    let created = host.create_disk_group(GroupId(1), nodes.cluster.ids(), || Ok(disks[slot(id)].open()));
    created.await.unwrap()
}
