//! The actor without its thread.

use self::hooked_store::{HookedStore, Operation};
use super::*;
use crate::router::Router;
use crate::store::{MemoryLogStore, Refusal};
use crate::transport;
use bytes::Bytes;
use raftyard_groups::{Entry, LoadPurpose, LogIndex, Membership, NodeId, Payload, PersistSeq, Recovered, Term};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[allow(dead_code, unreachable_pub)]
#[path = "../../tests/support/hooked_store.rs"]
mod hooked_store;

const GROUP: GroupId = GroupId(7);

struct Desk {
    actor: StorageActor,
    inbox: Arc<Inbox<StorageWork>>,
    worker: Arc<Inbox<Work>>,
}

fn record(incarnation: u64) -> GroupRecord {
    GroupRecord {
        group: GROUP,
        incarnation: Incarnation(incarnation),
        membership: Membership::of_voters([NodeId(1)]).unwrap(),
        is_witness: false,
    }
}

fn append(incarnation: u64, first: u64) -> StorageWork {
    let entry = Entry {
        index: LogIndex(first),
        term: Term(1),
        payload: Payload::Command(Bytes::from(format!("life {incarnation}"))),
    };
    let persist = Persist::new(GROUP, PersistSeq(first), None, vec![entry]);
    StorageWork::Persist(Incarnation(incarnation), persist)
}

fn load(incarnation: u64) -> StorageWork {
    StorageWork::Load {
        worker: 0,
        life: Life {
            group: GROUP,
            incarnation: Incarnation(incarnation),
        },
        load: Load {
            purpose: LoadPurpose::Apply,
            from: LogIndex(1),
            through: LogIndex(1),
            bytes_max: 1,
        },
    }
}

impl Desk {
    async fn new(store: impl LogStore) -> Self {
        let (worker, inbox) = (Arc::new(Inbox::new()), Arc::new(Inbox::new()));
        let handle = transport::nowhere(Router::new(
            vec![worker.clone()],
            Arc::new(Inbox::new()),
            Arc::new(Inbox::new()),
        ))
        .await;
        let (workers, counters) = (vec![worker.clone()], Arc::new(Counters::default()));
        let store = Box::new(store);
        let actor = StorageActor::new(store, IdMap::default(), inbox.clone(), workers, handle, counters);
        Self { actor, inbox, worker }
    }

    /// Does all of this in one turn; returns what the worker was told.
    fn turn(&mut self, work: impl IntoIterator<Item = StorageWork>) -> Vec<Work> {
        self.inbox.push_all(work);
        self.actor.turn();
        let mut told = Vec::new();
        self.worker.take(&mut told);
        told
    }

    fn ask<T>(&mut self, work: impl FnOnce(Reply<T>) -> StorageWork) -> Result<T, StoreError> {
        let (reply, mut outcome) = oneshot::channel();
        self.turn([work(reply)]);
        outcome.try_recv().unwrap()
    }

    fn create(&mut self, incarnation: u64) {
        self.ask(|reply| StorageWork::Create(record(incarnation), Box::new(|noted| drop(reply.send(noted)))))
            .unwrap();
    }

    fn destroy(&mut self) -> Tombstone {
        self.ask(|reply| StorageWork::Destroy(GROUP, reply)).unwrap()
    }

    fn state(&mut self) -> Recovered {
        self.ask(|reply| StorageWork::Inspect(GROUP, reply)).unwrap().state
    }
}

/// It would be the end of the store if it got there: a log of no group, or one with a gap.
#[tokio::test]
async fn a_late_write_or_load_of_a_destroyed_life_is_dropped() {
    let mut desk = Desk::new(MemoryLogStore::new()).await;
    desk.create(1);
    assert_eq!(desk.turn([append(1, 1)]).len(), 1, "it is told");
    desk.destroy();
    assert!(desk.turn([append(1, 2), load(1)]).is_empty());
    desk.create(2);
    assert!(desk.turn([append(1, 2), append(1, 1), load(1)]).is_empty());
    assert_eq!(desk.state(), Recovered::default());
    let told = desk.turn([append(2, 1), load(2)]);
    assert!(matches!(
        &told[..],
        [Work::Persisted(_), Work::Loaded(loaded)] if loaded.entries.len() == 1
    ));
    assert!(!desk.actor.failed);
}

#[tokio::test]
async fn what_a_group_wanted_written_before_its_end_comes_before_the_tombstone() {
    let mut desk = Desk::new(MemoryLogStore::new()).await;
    desk.create(1);
    let (reply, mut tombstone) = oneshot::channel();
    desk.turn([append(1, 1), append(1, 2), StorageWork::Destroy(GROUP, reply)]);
    assert_eq!(tombstone.try_recv().unwrap().unwrap().last.index, LogIndex(2));
}

/// Each is answered for itself, and the store goes on.
#[tokio::test]
async fn one_that_is_refused_costs_the_others_nothing() {
    let mut desk = Desk::new(MemoryLogStore::new()).await;
    desk.create(1);
    let (replies, mut outcomes): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
    let groups = [GroupId(1), GROUP, GroupId(2)];
    desk.turn(
        groups
            .into_iter()
            .zip(replies)
            .map(|(group, reply)| StorageWork::Destroy(group, reply)),
    );
    for (group, outcome) in groups.into_iter().zip(&mut outcomes) {
        match outcome.try_recv().unwrap() {
            Ok(tombstone) => assert_eq!(tombstone.group, GROUP),
            Err(StoreError::Refused { reason, .. }) => {
                assert!(group != GROUP && reason == Refusal::UnknownGroup);
            }
            Err(error) => panic!("{error}"),
        }
    }
    desk.create(2);
    assert!(!desk.actor.failed);
}

/// Who asked is told, and nobody else.
#[tokio::test]
async fn a_log_that_cannot_be_read_to_be_rebuilt_fails_no_other() {
    let store = HookedStore::new(MemoryLogStore::new(), |operation| match operation {
        Operation::Rebuild => Err(StoreError::Unread {
            context: "read".to_owned(),
            source: ErrorKind::Other.into(),
        }),
        _ => Ok(()),
    });
    let mut desk = Desk::new(store).await;
    desk.create(1);
    let outcome = desk.ask(|reply| StorageWork::Rebuild(record(2), reply));
    assert!(matches!(outcome, Err(StoreError::Unread { .. })), "{outcome:?}");
    let told = desk.turn([append(1, 1)]);
    assert!(matches!(told[..], [Work::Persisted(_)]), "{}", told.len());
    assert_eq!(desk.destroy().incarnation, Incarnation(1));
}

/// A store that finds no room while it is full, and counts what it was asked to write.
fn narrow(is_full: Arc<AtomicBool>, attempts: Arc<AtomicUsize>) -> impl LogStore {
    HookedStore::new(MemoryLogStore::new(), move |operation| {
        if matches!(operation, Operation::Read(_)) {
            return Ok(());
        }
        attempts.fetch_add(1, Ordering::SeqCst);
        if is_full.load(Ordering::SeqCst) {
            return Err(no_room());
        }
        Ok(())
    })
}

#[tokio::test]
async fn what_finds_no_room_waits_with_all_behind_it_and_is_tried_again_once_a_pause() {
    let (is_full, attempts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let narrow = narrow(is_full.clone(), attempts.clone());
    let mut desk = Desk::new(narrow).await;
    desk.create(1);
    desk.turn([append(1, 1)]);
    is_full.store(true, Ordering::SeqCst);
    assert!(matches!(&desk.turn([append(1, 2)])[..], [Work::StoreFull(true)]));
    assert_eq!(desk.actor.take_pause(), Some(FULL_PAUSE));
    let before = attempts.load(Ordering::SeqCst);
    for first in 3..10 {
        assert!(desk.turn([append(1, first)]).is_empty());
        assert_eq!(
            desk.actor.take_pause(),
            None,
            "it is told of the end of one pause already"
        );
    }
    // Reads go on; what comes after a write that waits is refused, and all is as it was.
    assert!(matches!(&desk.turn([load(1)])[..], [Work::Loaded(loaded)] if loaded.entries.len() == 1));
    let destroyed = desk.ask(|reply| StorageWork::Destroy(GROUP, reply));
    assert!(matches!(destroyed, Err(StoreError::Full { .. })), "{destroyed:?}");
    let inspected = desk.ask(|reply| StorageWork::Inspect(GROUP, reply));
    assert!(matches!(inspected, Err(StoreError::Full { .. })), "{inspected:?}");
    assert_eq!(attempts.load(Ordering::SeqCst), before, "nothing was tried");

    desk.actor.end_pause();
    assert_eq!(attempts.load(Ordering::SeqCst), before + 1);
    assert!(desk.turn([]).is_empty(), "nobody is told again");
    assert_eq!(desk.actor.take_pause(), Some(FULL_PAUSE));

    is_full.store(false, Ordering::SeqCst);
    desk.actor.end_pause();
    assert!(matches!(
        &desk.turn([])[..],
        [Work::Persisted(first), Work::StoreFull(false), Work::Persisted(rest)]
            if first[0].1 == PersistSeq(2) && rest[0].1 == PersistSeq(9)
    ));
    assert_eq!(desk.actor.take_pause(), None);
    assert_eq!(desk.state().last, LogIndex(9));
    assert!(!desk.actor.failed);
}
