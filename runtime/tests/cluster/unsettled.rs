//! What is on disk of a group while nobody knows: whoever asked for a change gave up, or found no room in between.

use super::lives::{G, lines, often};
use super::support::hooked_store::{Gate, HookedStore, Operation};
use super::support::memory_journal::MemoryDisk;
use super::support::{Cluster, Journal, PATIENCE, eventually, propose, read, slot};
use raftyard::store::{MemoryLogStore, SnapshotStore, StoreError};
use raftyard::{
    CreateGroupError, DestroyGroupError, GroupId, Incarnation, NodeId, RaftHost, RebuildGroupError, StateMachine,
    Timestamp,
};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The disk forgets a log whose snapshot is lost, and whoever asked for that gives up. The next one has a state that the
/// log would have gone on from, and must not acknowledge what is not there any more.
#[tokio::test]
async fn a_log_that_is_forgotten_while_nobody_waits_is_not_taken_for_what_it_was() {
    let mut cluster = Cluster::closed(3);
    cluster.compaction = often();
    cluster.open_all().await;
    let disks: Vec<MemoryDisk> = cluster.ids().iter().map(|_| MemoryDisk::default()).collect();
    let create = async |host: RaftHost, disk: MemoryDisk| {
        let members = (1..=3).map(NodeId);
        host.create_disk_group(G, members, || Ok(disk.open())).await
    };
    let mut replicas = Vec::new();
    for (id, disk) in cluster.ids().into_iter().zip(&disks) {
        replicas.push(create(cluster.host(id).clone(), disk.clone()).await.unwrap());
    }
    for line in lines("line", 60) {
        propose(&replicas, &line).await;
    }
    let away = NodeId(3);
    eventually("its log begins where its state has applied all", || {
        cluster.on_disk(away, G.0).base.index.0 > 0
    })
    .await;
    replicas.remove(slot(away));
    cluster.stop(away).await;

    let (asked, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Gate::default()));
    let hook = {
        let (asked, gate) = (asked.clone(), gate.clone());
        move |operation: Operation<'_>| {
            if matches!(operation, Operation::Forget) {
                asked.fetch_add(1, Ordering::SeqCst);
                gate.pass();
            }
            Ok(())
        }
    };
    let store = HookedStore::new(cluster.disk(away), hook);
    let host = cluster.builder(away).log_store(store).open().await.unwrap();
    cluster.put(away, host.clone());
    gate.close();
    let creating = tokio::spawn(create(host.clone(), MemoryDisk::default()));
    eventually("the store is asked", || asked.load(Ordering::SeqCst) == 1).await;
    creating.abort();
    assert!(creating.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(host.stored_groups(), [G], "it is there, whatever is left of it");
    let again = tokio::spawn(create(host.clone(), disks[slot(away)].clone()));
    gate.open();
    let back = again.await.unwrap().unwrap();
    eventually("it waits for its peers", || host.metrics().replicas_damaged == 1).await;
    eventually("they repair it", || !back.status().damaged).await;
    eventually("its disk has it again", || cluster.on_disk(away, G.0).last.0 >= 60).await;
    drop((host, back));
    cluster.stop_all().await;
}

/// Whoever asked for a new group gave up before the store noted it. It is there all the same: an import in its place is
/// refused before it leaves anything.
#[tokio::test]
async fn a_group_that_is_noted_while_nobody_waits_is_in_the_way_of_an_import() {
    const ONE: NodeId = NodeId(1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state");
    let mut cluster = Cluster::closed(1);
    let (asked, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Gate::default()));
    let hook = {
        let (asked, gate) = (asked.clone(), gate.clone());
        move |operation: Operation<'_>| {
            if matches!(operation, Operation::Create) {
                asked.fetch_add(1, Ordering::SeqCst);
                gate.pass();
            }
            Ok(())
        }
    };
    let store = HookedStore::new(cluster.disk(ONE), hook);
    let host = cluster.builder(ONE).log_store(store).open().await.unwrap();
    cluster.put(ONE, host.clone());
    let other = [host.create_group(GroupId(2), [ONE], Journal::default).await.unwrap()];
    propose(&other, "before").await;
    other[0].export(&file).await.unwrap();
    gate.close();
    let creating = {
        let host = host.clone();
        tokio::spawn(async move { host.create_group(G, [ONE], Journal::default).await })
    };
    eventually("the store is asked", || asked.load(Ordering::SeqCst) == 2).await;
    creating.abort();
    assert!(creating.await.is_err_and(|error| error.is_cancelled()));
    let importing = {
        let host = host.clone();
        tokio::spawn(async move { host.import_group(G, [ONE], file, Journal::default).await })
    };
    gate.open();
    let refused = importing.await.unwrap();
    assert!(matches!(refused, Err(CreateGroupError::Exists(G))));
    assert_eq!(cluster.snapshots[slot(ONE)].list().unwrap(), [] as [String; 0]);
    propose(&[host.create_group(G, [ONE], Journal::default).await.unwrap()], "line").await;
    drop((host, other));
    cluster.stop_all().await;
}

/// A journal, and what is done while its replica ends.
struct Ending {
    journal: Journal,
    at_end: Box<dyn Fn() + Send>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        (self.at_end)();
    }
}

impl StateMachine for Ending {
    type Command = String;
    type Response = usize;
    type Query = ();
    type Answer = Vec<String>;
    type Snapshot = Vec<String>;

    fn apply(&mut self, line: String, now: Timestamp) -> usize {
        self.journal.apply(line, now)
    }

    fn query(&self, (): ()) -> Vec<String> {
        self.journal.query(())
    }

    fn snapshot(&self) -> Vec<String> {
        self.journal.snapshot()
    }

    fn restore(&mut self, lines: Vec<String>) {
        self.journal.restore(lines);
    }
}

/// Between the end of its replica and what the storage is asked then, another group's write finds no room.
#[tokio::test]
async fn a_group_that_ends_while_another_begins_to_wait_for_room_can_be_opened_once_there_is() {
    const ONE: NodeId = NodeId(1);
    const OTHER: GroupId = GroupId(2);
    for rebuilds in [false, true] {
        let (is_full, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let hook = {
            let (is_full, refused) = (is_full.clone(), refused.clone());
            move |operation: Operation<'_>| {
                if !matches!(operation, Operation::Write(_)) || !is_full.load(Ordering::SeqCst) {
                    return Ok(());
                }
                refused.fetch_add(1, Ordering::SeqCst);
                let (context, source) = ("write the log".to_owned(), io::ErrorKind::StorageFull.into());
                Err(StoreError::Full { context, source })
            }
        };
        let store = HookedStore::new(MemoryLogStore::new(), hook);
        let host = RaftHost::builder("").workers(2).log_store(store).open().await.unwrap();
        let other = [host.create_group(OTHER, [ONE], Journal::default).await.unwrap()];
        propose(&other, "before").await;
        let at_end = {
            let (is_full, refused) = (is_full.clone(), refused.clone());
            move || {
                is_full.store(true, Ordering::SeqCst);
                drop(other[0].propose("waits for room".to_owned()));
                let deadline = Instant::now() + PATIENCE;
                while refused.load(Ordering::SeqCst) == 0 {
                    assert!(Instant::now() < deadline, "nothing was refused");
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        };
        let ending = || Ending {
            journal: Journal::default(),
            at_end: Box::new(at_end),
        };
        let group = [host.create_group(G, [ONE], ending).await.unwrap()];
        propose(&group, "before").await;

        if rebuilds {
            let full = host.rebuild_group(G).await;
            assert!(
                matches!(full, Err(RebuildGroupError::Store(StoreError::Full { .. }))),
                "{full:?}"
            );
        } else {
            let full = host.destroy_group(G).await;
            assert!(
                matches!(full, Err(DestroyGroupError::Store(StoreError::Full { .. }))),
                "{full:?}"
            );
        }
        assert_eq!(host.stored_groups(), [G, OTHER]);
        assert_eq!(host.next_incarnation(G), Incarnation(2));
        let is_full_error = |error| matches!(error, CreateGroupError::Store(StoreError::Full { .. }));
        let create = async || host.create_group(G, [ONE], Journal::default).await;
        assert!(
            create().await.is_err_and(is_full_error),
            "what is there is not known yet"
        );
        is_full.store(false, Ordering::SeqCst);
        let deadline = Instant::now() + PATIENCE;
        let opened = loop {
            match create().await {
                Ok(opened) => break [opened],
                Err(error) => assert!(is_full_error(error) && Instant::now() < deadline, "it can't be opened"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(read(&opened).await, ["before"]);
        propose(&opened, "after").await;
        host.destroy_group(G).await.unwrap();
        assert_eq!(host.stored_groups(), [OTHER]);
        host.shutdown().await;
    }
}
