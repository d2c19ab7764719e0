//! A disk that is full, that fails for good, that stands still or can't be read, under the node that leads.

use super::support::hooked_store::{Gate, HookedStore, Operation};
use super::support::{Cluster, Journal, PATIENCE, eventually, leader_of, propose, read, slot};
use super::yard::quick;
use parking_lot::{Condvar, Mutex};
use raftyard::store::{LogStore, MemoryLogStore, StoreError};
use raftyard::{
    Consistency, CreateGroupError, DestroyGroupError, Group, GroupId, NodeId, OverloadReason, ProposeError,
    QuarantineReason, RaftHost,
};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Well,
    /// Nothing is written, for want of room.
    Full,
    /// What is written is not known to be durable.
    Failing,
    /// A write returns once the disk is well again.
    Stalled,
    /// What is there can't be read.
    Unreadable,
}

/// A clone is another handle on the same disk.
#[derive(Clone)]
struct SickDisk(Arc<Sick>);

struct Sick {
    health: Mutex<Health>,
    changed: Condvar,
    /// Writes that failed, or were tried after one did.
    failed: Mutex<u64>,
}

impl SickDisk {
    fn new() -> Self {
        Self(Arc::new(Sick {
            health: Mutex::new(Health::Well),
            changed: Condvar::new(),
            failed: Mutex::new(0),
        }))
    }

    fn become_(&self, health: Health) {
        *self.0.health.lock() = health;
        self.0.changed.notify_all();
    }

    fn attempt(&self) -> Result<(), StoreError> {
        let mut health = self.0.health.lock();
        let context = "write the log".to_owned();
        match *health {
            Health::Well | Health::Unreadable => Ok(()),
            Health::Full => {
                let source = io::ErrorKind::StorageFull.into();
                Err(StoreError::Full { context, source })
            }
            Health::Failing => {
                *self.0.failed.lock() += 1;
                let source = io::Error::other("the sync failed");
                Err(StoreError::Io { context, source })
            }
            Health::Stalled => {
                self.0
                    .changed
                    .wait_while(&mut health, |health| *health == Health::Stalled);
                Ok(())
            }
        }
    }

    fn read(&self) -> Result<(), StoreError> {
        if *self.0.health.lock() == Health::Unreadable {
            let context = "read the log".to_owned();
            let source = io::Error::other("the medium has an error");
            return Err(StoreError::Io { context, source });
        }
        Ok(())
    }
}

/// A store on a sick disk.
fn sick_store(inner: MemoryLogStore, disk: SickDisk) -> impl LogStore {
    HookedStore::new(inner, move |operation| match operation {
        Operation::Read(_) => disk.read(),
        _ => disk.attempt(),
    })
}

const SICK: NodeId = NodeId(1);
const GROUPS: u64 = 4;

/// Three nodes, of which the first has a sick disk and leads all groups.
async fn led_by_the_sick(disk: &SickDisk) -> (Cluster, Vec<Vec<Group<Journal>>>) {
    let mut cluster = Cluster::closed(3);
    cluster.tuning = quick();
    led_by_one_of(&[SICK], disk, cluster).await
}

/// Three nodes whose leaders last for so long, and hand over by themselves after that at the earliest.
fn slow(election_timeout_ms: u64) -> Cluster {
    let mut cluster = Cluster::closed(3);
    cluster.tuning.election_timeout_ms = election_timeout_ms;
    cluster.liveness.promise_ms = election_timeout_ms;
    cluster.limits.request_timeout_ms = 60_000;
    cluster
}

/// The same on the nodes of `cluster`; these of them have such a disk.
async fn led_by_one_of(sick: &[NodeId], disk: &SickDisk, mut cluster: Cluster) -> (Cluster, Vec<Vec<Group<Journal>>>) {
    for id in (1..=3).map(NodeId) {
        if sick.contains(&id) {
            open_sick(&mut cluster, id, disk).await;
        } else {
            cluster.open(id).await;
        }
    }
    let mut groups = Vec::new();
    for group in 1..=GROUPS {
        let replicas = cluster.create(group).await;
        propose(&replicas, "before").await;
        lead_there(&replicas, SICK).await;
        groups.push(replicas);
    }
    (cluster, groups)
}

async fn open_sick(cluster: &mut Cluster, id: NodeId, disk: &SickDisk) {
    let store = sick_store(cluster.disk(id), disk.clone());
    let host = cluster.builder(id).log_store(store).open().await.unwrap();
    cluster.put(id, host);
}

/// Has a node lead, however often that takes.
async fn lead_there(replicas: &[Group<Journal>], to: NodeId) {
    let deadline = Instant::now() + PATIENCE;
    while replicas[slot(to)].leader() != Some(to) {
        assert!(Instant::now() < deadline, "{to} never led");
        for replica in replicas {
            // Who does not lead refuses.
            drop(replica.transfer_leadership(to).await);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Has a node lead until it took a line and answered a read.
async fn serve_there(replicas: &[Group<Journal>], to: NodeId, line: &str) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    let here = &replicas[slot(to)];
    let mut is_taken = false;
    loop {
        lead_there(replicas, to).await;
        if !is_taken {
            match here.propose(line.to_owned()).await {
                Ok(_) => is_taken = true,
                Err(error) => assert!(!error.may_have_happened(), "{error}"),
            }
        } else if let Ok(lines) = here.read((), Consistency::Linearizable).await {
            return lines;
        }
        assert!(Instant::now() < deadline, "{line} was never taken and read at {to}");
    }
}

/// Waits until one of the other two leads each of the groups.
async fn led_by_others(groups: &[Vec<Group<Journal>>]) {
    eventually("others lead all groups", || {
        let leads = |replica: &Group<Journal>, id| replica.leader() == Some(id);
        groups
            .iter()
            .all(|replicas| leads(&replicas[1], NodeId(2)) || leads(&replicas[2], NodeId(3)))
    })
    .await;
}

fn is_refused_for_room(outcome: &Result<usize, ProposeError>) -> bool {
    let full = OverloadReason::DiskFull;
    matches!(outcome, Err(ProposeError::Overloaded { reason, .. }) if *reason == full)
}

#[tokio::test]
async fn a_leader_whose_disk_is_full_hands_over_and_follows_again_once_there_is_room() {
    let disk = SickDisk::new();
    // Who asks is to find some of them led there still.
    let (mut cluster, groups) = led_by_one_of(&[SICK], &disk, slow(3_000)).await;
    disk.become_(Health::Full);
    // It finds out by this one, which the others have: they commit it.
    propose(&groups[0], "found out").await;
    // The other groups have nothing to be written: who asks is refused, and they are handed over by that.
    let mut refused = 0;
    for replicas in &groups[1..] {
        let here = &replicas[slot(SICK)];
        let deadline = Instant::now() + PATIENCE;
        while here.leader() == Some(SICK) {
            assert!(Instant::now() < deadline, "it leads on");
            let outcome = here.propose("at the full disk".to_owned()).await;
            refused += u32::from(is_refused_for_room(&outcome));
            assert!(outcome.is_ok() || !outcome.unwrap_err().may_have_happened());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    assert!(refused > 0);
    led_by_others(&groups).await;
    for replicas in &groups {
        propose(replicas, "during").await;
        assert_eq!(read(replicas).await.last().unwrap(), "during");
    }
    // It holds all that it held.
    let stale = groups[0][slot(SICK)].read((), Consistency::Stale).await.unwrap();
    assert_eq!(stale[0], "before");

    disk.become_(Health::Well);
    for replicas in &groups {
        let lines = serve_there(replicas, SICK, "after").await;
        assert_eq!(lines[lines.len() - 2..], ["during", "after"]);
        assert!(!replicas[slot(SICK)].status().is_quarantined());
    }
    cluster.stop_all().await;
}

/// Proposes at a node whose disk is full, until one is refused for that. Returns those before it, which wait for room.
async fn find_out(group: &Group<Journal>) -> Vec<impl Future<Output = Result<usize, ProposeError>> + use<>> {
    let mut waiting = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no write is ever refused");
        let mut proposal = Box::pin(group.propose("waits for room".to_owned()));
        match tokio::time::timeout(Duration::from_millis(20), &mut proposal).await {
            Ok(refused) => {
                assert!(is_refused_for_room(&refused), "{refused:?}");
                assert!(!refused.unwrap_err().may_have_happened());
                return waiting;
            }
            Err(_) => waiting.push(proposal),
        }
    }
}

/// Nobody else has room: so it leads on, serves reads, and says of each write that nothing came of it, but for the one
/// by which it found out.
#[tokio::test]
async fn without_another_that_has_room_reads_go_on_writes_are_refused_and_go_on_by_themselves() {
    let disk = SickDisk::new();
    let inner = MemoryLogStore::new();
    let builder = RaftHost::builder("").log_store(sick_store(inner.clone(), disk.clone()));
    let host = builder.open().await.unwrap();
    let create = |group| host.create_group(GroupId(group), [NodeId(1)], Journal::default);
    let group = create(1).await.unwrap();
    group.wait_for_leader().await.unwrap();
    assert_eq!(group.propose("before".to_owned()).await, Ok(1));

    disk.become_(Health::Full);
    let waiting = find_out(&group).await;
    let lines = group.read((), Consistency::Linearizable).await;
    assert_eq!(lines, Ok(vec!["before".to_owned()]));
    let refused = create(2).await;
    assert!(
        matches!(refused, Err(CreateGroupError::Store(StoreError::Full { .. }))),
        "no note of it could be kept"
    );

    disk.become_(Health::Well);
    let mut expected = vec!["before".to_owned()];
    for outcome in waiting {
        expected.push("waits for room".to_owned());
        assert_eq!(outcome.await, Ok(expected.len()));
    }
    propose(std::slice::from_ref(&group), "after").await;
    expected.push("after".to_owned());
    assert_eq!(group.read((), Consistency::Linearizable).await, Ok(expected));
    create(2).await.unwrap();
    host.shutdown().await;
}

/// One of three has room: it can win no election, since nobody else can write down a vote. So who leads does not hand over, and
/// reads go on.
#[tokio::test]
async fn where_most_disks_are_full_who_leads_leads_on_and_reads_go_on() {
    const ELECTION_MS: u64 = 6_000;
    let disk = SickDisk::new();
    // Long: who loses its followers for so long leads no more, and nobody can be elected.
    let (mut cluster, groups) = led_by_one_of(&[SICK, NodeId(2)], &disk, slow(ELECTION_MS)).await;
    disk.become_(Health::Full);
    // By this one it is found out; of the other groups nothing waits for room.
    let waiting = find_out(&groups[0][slot(SICK)]).await;
    // Longer than a leader leads before it hands over for the first time.
    let full = Instant::now();
    while full.elapsed() < Duration::from_millis(2 * ELECTION_MS) {
        for replicas in &groups {
            let here = &replicas[slot(SICK)];
            let outcome = here.propose("at the full disk".to_owned()).await;
            assert!(is_refused_for_room(&outcome), "{outcome:?} after {:?}", full.elapsed());
            let read = here.read((), Consistency::Linearizable).await;
            assert_eq!(read, Ok(vec!["before".to_owned()]), "after {:?}", full.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    disk.become_(Health::Well);
    for outcome in waiting {
        assert!(outcome.await.is_ok());
    }
    for replicas in &groups {
        propose(replicas, "after").await;
        assert_eq!(read(replicas).await.last().unwrap(), "after");
    }
    cluster.stop_all().await;
}

/// It never asks its store for anything again: what a failed sync left on disk nobody knows.
#[tokio::test]
async fn when_a_sync_fails_others_lead_all_its_groups_and_it_writes_nothing_more() {
    let disk = SickDisk::new();
    let (mut cluster, groups) = led_by_the_sick(&disk).await;
    disk.become_(Health::Failing);
    // Of one group; the others have nothing to be written.
    eventually("the failure is noticed", || {
        drop(
            groups[0]
                .iter()
                .map(|replica| replica.propose("during".to_owned()))
                .collect::<Vec<_>>(),
        );
        groups[0][slot(SICK)].status().is_quarantined()
    })
    .await;
    led_by_others(&groups).await;
    eventually("all its replicas stop", || {
        groups
            .iter()
            .all(|replicas| replicas[slot(SICK)].status().is_quarantined())
    })
    .await;
    for replicas in &groups {
        let refused = replicas[slot(SICK)].propose("more".to_owned()).await;
        assert_eq!(refused, Err(ProposeError::Quarantined(QuarantineReason::StoreFailed)));
        propose(&replicas[1..], "after").await;
        assert_eq!(read(&replicas[1..]).await.last().unwrap(), "after");
    }
    assert_eq!(*disk.0.failed.lock(), 1, "it was never tried again");
    cluster.stop_all().await;
}

#[tokio::test]
async fn when_a_disk_stands_still_others_lead_all_its_groups_until_it_moves_again() {
    let disk = SickDisk::new();
    let (mut cluster, groups) = led_by_the_sick(&disk).await;
    disk.become_(Health::Stalled);
    // Committed by the others, which have it. (A group that has nothing to be written may be led there as well.)
    for replicas in &groups {
        propose(replicas, "during").await;
    }
    led_by_others(&groups).await;
    for replicas in &groups {
        propose(&replicas[1..], "without it").await;
    }
    disk.become_(Health::Well);
    for replicas in &groups {
        let ids = cluster.ids();
        let applied = leader_of(replicas, &ids).await.status().applied;
        let here = &replicas[slot(SICK)];
        eventually("it has caught up", || here.status().applied >= applied).await;
        assert!(!here.status().is_quarantined());
        lead_there(replicas, SICK).await;
        assert_eq!(read(replicas).await.last().unwrap(), "without it");
    }
    cluster.stop_all().await;
}

/// It has its quorum and commits, but would answer nobody.
#[tokio::test]
async fn a_leader_that_can_not_read_what_it_has_to_apply_hands_over() {
    let disk = SickDisk::new();
    let (mut cluster, mut groups) = led_by_the_sick(&disk).await;
    cluster.stop(SICK).await;
    disk.become_(Health::Unreadable);
    // It starts with an empty state, and has its whole log to apply.
    open_sick(&mut cluster, SICK, &disk).await;
    for (group, replicas) in (1..).zip(&mut groups) {
        replicas[slot(SICK)] = cluster.create_on(SICK, group).await;
        lead_there(replicas, SICK).await;
    }
    led_by_others(&groups).await;
    for replicas in &groups {
        propose(&replicas[1..], "during").await;
        assert_eq!(read(&replicas[1..]).await, ["before", "during"]);
        assert_eq!(replicas[slot(SICK)].status().applied, 0);
    }

    disk.become_(Health::Well);
    for replicas in &groups {
        let lines = serve_there(replicas, SICK, "after").await;
        assert_eq!(lines, ["before", "during", "after"]);
        assert!(!replicas[slot(SICK)].status().is_quarantined());
    }
    cluster.stop_all().await;
}

/// Who gives up while a group is noted leaves nothing behind if it was not: who creates it next has it noted anew.
#[tokio::test]
async fn a_group_that_nobody_waits_for_and_that_was_not_noted_is_noted_anew() {
    let mut cluster = Cluster::closed(1);
    let (asked, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Gate::default()));
    let hook = {
        let (asked, gate) = (asked.clone(), gate.clone());
        move |operation: Operation<'_>| {
            if !matches!(operation, Operation::Create) {
                return Ok(());
            }
            let is_first = asked.fetch_add(1, Ordering::SeqCst) == 0;
            gate.pass();
            let (context, source) = ("note the group".to_owned(), io::ErrorKind::StorageFull.into());
            if is_first {
                Err(StoreError::Full { context, source })
            } else {
                Ok(())
            }
        }
    };
    let store = HookedStore::new(cluster.disk(SICK), hook);
    let host = cluster.builder(SICK).log_store(store).open().await.unwrap();
    cluster.put(SICK, host.clone());
    gate.close();
    let creating = {
        let host = host.clone();
        tokio::spawn(async move { host.create_group(GroupId(1), [SICK], Journal::default).await })
    };
    eventually("the store is asked", || asked.load(Ordering::SeqCst) == 1).await;
    creating.abort();
    assert!(creating.await.unwrap_err().is_cancelled());
    let again = {
        let host = host.clone();
        tokio::spawn(async move { host.create_group(GroupId(1), [SICK], Journal::default).await })
    };
    gate.open();
    let created = [again.await.unwrap().unwrap()];
    assert_eq!(asked.load(Ordering::SeqCst), 2, "it is noted");
    propose(&created, "line").await;
    assert_eq!(cluster.on_disk(SICK, 1).last.0, 2, "the leader's first, and the line");
    cluster.stop_all().await;
}

/// There is no room for what is left of a group that is destroyed: then it is there as before, and can be opened.
#[tokio::test]
async fn a_group_that_there_is_no_room_to_destroy_can_be_opened_again() {
    let mut cluster = Cluster::closed(1);
    let refused = Arc::new(AtomicU64::new(0));
    let hook = {
        let refused = refused.clone();
        move |operation: Operation<'_>| match operation {
            Operation::Destroy if refused.fetch_add(1, Ordering::SeqCst) == 0 => {
                let (context, source) = ("note that it is gone".to_owned(), io::ErrorKind::StorageFull.into());
                Err(StoreError::Full { context, source })
            }
            _ => Ok(()),
        }
    };
    let store = HookedStore::new(cluster.disk(SICK), hook);
    let host = cluster.builder(SICK).log_store(store).open().await.unwrap();
    cluster.put(SICK, host.clone());
    let create = async || [host.create_group(GroupId(1), [SICK], Journal::default).await.unwrap()];
    propose(&create().await, "before").await;
    let full = host.destroy_group(GroupId(1)).await;
    assert!(
        matches!(full, Err(DestroyGroupError::Store(StoreError::Full { .. }))),
        "{full:?}"
    );
    assert_eq!(host.stored_groups(), [GroupId(1)]);
    let opened = create().await;
    propose(&opened, "after").await;
    assert_eq!(read(&opened).await, ["before", "after"]);
    host.destroy_group(GroupId(1)).await.unwrap();
    assert_eq!(host.stored_groups(), []);
    drop((opened, host));
    cluster.stop_all().await;
}
