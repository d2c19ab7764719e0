//! The actor without its thread: what it is told, and what it says to that.

use super::actor::SnapshotActor;
use super::name::{Name, SnapshotId};
use super::*;
use crate::clock::{Clock, MonotonicClock};
use crate::inbox::Inbox;
use crate::life::Life;
use crate::metrics::Counters;
use crate::router::Router;
use crate::store::{Finding, GroupRecord, MemorySnapshotStore, RecoveredGroup, SnapshotStore, StoreContents};
use crate::transport::{self, SnapshotAnswer, SnapshotChunk, SnapshotOffer, SnapshotPart, chunk_crc};
use crate::worker::Work;
use raftyard_groups::{Incarnation, Membership, Recovered};
use std::sync::Arc;
use tokio::sync::oneshot;

mod trouble;

const GROUP: GroupId = GroupId(7);
const PEER: NodeId = NodeId(2);

/// A node's actor, its store and its only worker's inbox.
struct Desk {
    actor: SnapshotActor,
    store: MemorySnapshotStore,
    worker: Arc<Inbox<Work>>,
}

fn record() -> GroupRecord {
    GroupRecord {
        group: GROUP,
        incarnation: Incarnation(1),
        membership: Membership::of_voters([1, 2, 3].map(NodeId)).unwrap(),
        is_witness: false,
    }
}

fn life() -> Life {
    Life::from(&record())
}

fn id(index: u64) -> SnapshotId {
    SnapshotId {
        group: GROUP,
        incarnation: Incarnation(1),
        last: LogId::new(1, index),
    }
}

fn decode() -> Decode {
    Box::new(|from| {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let state = postcard::from_bytes::<String>(&bytes).map_err(io::Error::other)?;
        Ok(Box::new(state))
    })
}

impl Desk {
    async fn new(store: MemorySnapshotStore) -> Self {
        Self::on(store.clone(), store, Arc::new(MonotonicClock::default())).await
    }

    /// On a disk that shows `store` in its way.
    async fn on(disk: impl SnapshotStore, store: MemorySnapshotStore, clock: Arc<dyn Clock>) -> Self {
        let (worker, inbox) = (Arc::new(Inbox::new()), Arc::new(Inbox::new()));
        let handle = transport::nowhere(Router::new(vec![worker.clone()], inbox.clone(), Arc::new(Inbox::new()))).await;
        let names = store.list().unwrap();
        let counters = Arc::new(Counters::default());
        let actor = SnapshotActor::new(
            Box::new(disk),
            &names,
            inbox,
            vec![worker.clone()],
            handle,
            clock,
            counters,
        );
        Self { actor, store, worker }
    }

    /// With the group open, on a whole log without a snapshot.
    async fn open() -> Self {
        let mut desk = Self::new(MemorySnapshotStore::default()).await;
        assert!(desk.reopen(&Recovered::default()).unwrap().is_none());
        desk
    }

    fn reopen(&mut self, recovered: &Recovered) -> Result<Option<(LogId, String)>, SnapshotError> {
        let (reply, mut opened) = oneshot::channel();
        self.actor.carry_out(SnapshotWork::Open {
            record: record(),
            recovered: recovered.clone(),
            applied: None,
            decode: decode(),
            reply,
        });
        let opened = opened.try_recv().unwrap()?;
        Ok(opened
            .newest
            .map(|(last, state)| (last, *state.downcast::<String>().unwrap())))
    }

    fn take(&mut self, index: u64, state: &str) {
        let (last, state) = (id(index).last, state.to_owned());
        let encode: Encode = Box::new(move |out| postcard::to_io(&state, out).map(drop).map_err(io::Error::other));
        self.actor.carry_out(SnapshotWork::Take {
            life: life(),
            last,
            membership: Arc::new(record().membership),
            encode,
        });
    }

    fn forget(&mut self, before: u64) {
        let before = LogIndex(before);
        self.actor.carry_out(SnapshotWork::Forget { life: life(), before });
    }

    fn say(&mut self, part: SnapshotPart) -> SnapshotAnswer {
        self.say_as(PEER, part)
    }

    fn say_as(&mut self, from: NodeId, part: SnapshotPart) -> SnapshotAnswer {
        let (reply, mut answer) = oneshot::channel();
        self.actor.carry_out(SnapshotWork::Receive { from, part, reply });
        answer.try_recv().unwrap()
    }

    /// What the group was told.
    fn told(&self) -> Vec<SnapshotEvent> {
        let mut taken = Vec::new();
        self.worker.take(&mut taken);
        let events = taken.into_iter().map(|work| match work {
            Work::Snapshot(of, event) if of == life() => event,
            _ => panic!("told something else"),
        });
        events.collect()
    }

    fn was_received(&self) -> Vec<LogId> {
        let received = self.told().into_iter().filter_map(|event| match event {
            SnapshotEvent::Received { last, .. } => Some(last),
            _ => None,
        });
        received.collect()
    }

    fn names(&self) -> Vec<String> {
        self.store.list().unwrap()
    }
}

/// The file of a snapshot of `state`, as a peer has it.
async fn file(index: u64, state: &str) -> Vec<u8> {
    let mut peer = Desk::open().await;
    peer.take(index, state);
    let bytes = peer.store.read(&Name::Complete(id(index)).text(), 0, usize::MAX);
    bytes.unwrap().to_vec()
}

fn offer(index: u64, term: u64, file: &[u8]) -> SnapshotPart {
    let (_, crc) = file.split_last_chunk::<4>().unwrap();
    SnapshotPart::Offer(SnapshotOffer {
        group: GROUP.0,
        incarnation: 1,
        term,
        last_term: 1,
        last_index: index,
        size: file.len() as u64,
        crc: u32::from_le_bytes(*crc),
    })
}

fn chunk(offset: usize, bytes: &[u8]) -> SnapshotPart {
    SnapshotPart::Chunk(SnapshotChunk {
        group: GROUP.0,
        offset: offset as u64,
        crc: chunk_crc(GROUP.0, offset as u64, bytes),
        bytes: bytes.to_vec().into(),
    })
}

const fn wanted(offset: usize) -> SnapshotAnswer {
    SnapshotAnswer::Wanted { offset: offset as u64 }
}

#[tokio::test]
async fn chunks_that_are_repeated_early_damaged_or_beyond_the_end_change_nothing() {
    let file = file(9, "the state").await;
    let mut desk = Desk::open().await;
    assert_eq!(
        desk.say(chunk(0, &file)),
        SnapshotAnswer::Refused,
        "nothing was offered"
    );
    assert_eq!(desk.say(offer(9, 1, &file)), wanted(0));
    assert_eq!(desk.say(chunk(0, &file[..10])), wanted(10));
    assert_eq!(desk.say(chunk(0, &file[..10])), wanted(10), "repeated");
    assert_eq!(desk.say(chunk(20, &file[20..])), wanted(10), "one is missing");
    assert_eq!(desk.say(chunk(10, &[])), wanted(10), "empty");
    let long = [&file[10..], b"and more"].concat();
    assert_eq!(desk.say(chunk(10, &long)), wanted(10), "beyond the end");
    let SnapshotPart::Chunk(mut damaged) = chunk(10, &file[10..]) else {
        unreachable!()
    };
    damaged.offset = 11;
    assert_eq!(desk.say(SnapshotPart::Chunk(damaged)), SnapshotAnswer::Refused);
    assert_eq!(
        desk.say_as(NodeId(3), chunk(10, &file[10..])),
        SnapshotAnswer::Refused,
        "of another peer"
    );
    assert!(desk.told().is_empty(), "nothing is ready");
    assert_eq!(desk.say(chunk(10, &file[10..])), SnapshotAnswer::Complete);
    assert_eq!(desk.was_received(), [id(9).last]);
    assert_eq!(desk.names(), [Name::Complete(id(9)).text()]);
    assert_eq!(
        desk.say(offer(9, 2, &file)),
        SnapshotAnswer::Complete,
        "offered once more"
    );
    assert_eq!(desk.was_received(), [id(9).last]);
}

#[tokio::test]
async fn a_transfer_goes_on_where_it_ended_after_a_restart_too() {
    let file = file(9, "the state").await;
    let mut desk = Desk::open().await;
    desk.say(offer(9, 1, &file));
    desk.say(chunk(0, &file[..10]));
    assert_eq!(desk.say(offer(9, 1, &file)), wanted(10), "another connection");
    let mut desk = Desk::new(desk.store.clone()).await;
    desk.reopen(&Recovered::default()).unwrap();
    assert_eq!(
        desk.say_as(NodeId(3), offer(9, 2, &file)),
        wanted(10),
        "of another peer, the same bytes"
    );
    assert_eq!(desk.say_as(NodeId(3), chunk(10, &file[10..])), SnapshotAnswer::Complete);
    assert_eq!(desk.was_received().len(), 1);
}

#[tokio::test]
async fn what_was_received_counts_for_nothing_before_all_of_it_was_verified() {
    let file = file(9, "the state").await;
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        let mut desk = Desk::open().await;
        desk.say(offer(9, 1, &file));
        // Each chunk is intact, the whole is not what was offered.
        assert_eq!(desk.say(chunk(0, &damaged)), SnapshotAnswer::Refused, "byte {at}");
        assert!(desk.told().is_empty() && desk.names().is_empty(), "byte {at}");
        assert_eq!(desk.say(offer(9, 1, &file)), wanted(0), "it begins anew");
        assert_eq!(desk.say(chunk(0, &file)), SnapshotAnswer::Complete);
    }
    // Intact, but of another entry or group than offered.
    let mut desk = Desk::open().await;
    desk.say(offer(8, 1, &file));
    assert_eq!(desk.say(chunk(0, &file)), SnapshotAnswer::Refused);
    let mut elsewhere = offer(9, 1, &file);
    if let SnapshotPart::Offer(offer) = &mut elsewhere {
        offer.incarnation = 2;
    }
    assert_eq!(
        desk.say(elsewhere),
        SnapshotAnswer::Refused,
        "of another life of the group"
    );
    assert!(desk.told().is_empty());
}

#[tokio::test]
async fn the_newest_offer_of_the_newest_term_counts() {
    let (old, new) = (file(9, "old").await, file(12, "new").await);
    let mut desk = Desk::open().await;
    desk.say(offer(9, 3, &old));
    desk.say(chunk(0, &old[..10]));
    assert_eq!(
        desk.say_as(NodeId(3), offer(12, 2, &new)),
        SnapshotAnswer::Refused,
        "a deposed leader's"
    );
    assert_eq!(desk.say_as(NodeId(3), offer(12, 4, &new)), wanted(0));
    assert_eq!(desk.say(chunk(10, &old[10..])), SnapshotAnswer::Refused);
    assert_eq!(desk.names().len(), 1, "the other was given up");
    assert_eq!(desk.say_as(NodeId(3), chunk(0, &new)), SnapshotAnswer::Complete);
    assert_eq!(desk.was_received(), [id(12).last]);
}

/// What a log holds that begins after `base` and has entries of term 1 up to `last`.
fn log(base: u64, last: u64) -> Recovered {
    let base = if base == 0 { LogId::ZERO } else { id(base).last };
    Recovered {
        base,
        runs: (base.index.0 < last)
            .then_some(LogId::new(1, base.index.0 + 1))
            .into_iter()
            .collect(),
        last: LogIndex(last),
        ..Recovered::default()
    }
}

#[tokio::test]
async fn a_start_takes_the_newest_intact_snapshot_that_the_log_holds_the_end_of() {
    let mut desk = Desk::open().await;
    for index in [10, 20, 30] {
        desk.take(index, &index.to_string());
    }
    let at = |index: u64| Some((id(index).last, index.to_string()));
    let store = desk.store.clone();
    let open = |recovered: Recovered| {
        let store = store.clone();
        async move { Desk::new(store).await.reopen(&recovered) }
    };
    // One that was received and not installed, and one whose log lost its end, are beyond the log.
    assert_eq!(open(log(0, 25)).await.unwrap(), at(20));
    assert_eq!(open(log(10, 30)).await.unwrap(), at(30));
    assert_eq!(open(log(30, 30)).await.unwrap(), at(30));
    assert_eq!(open(log(0, 5)).await.unwrap(), None);
    // The same index in another term is another entry.
    let mut conflicting = log(10, 30);
    conflicting.runs = vec![LogId::new(1, 11), LogId::new(2, 25)];
    assert_eq!(open(conflicting).await.unwrap(), at(20));

    let name = Name::Complete(id(30)).text();
    let bytes = store.read(&name, 0, usize::MAX).unwrap();
    store.clone().write(&name, 5, b"?").unwrap();
    assert_eq!(
        open(log(10, 35)).await.unwrap(),
        at(20),
        "an older one, if the log goes on from it"
    );
    let gap = open(log(30, 35)).await.unwrap_err();
    assert!(
        matches!(&gap, SnapshotError::Missing { damaged, .. } if damaged.len() == 1),
        "{gap}"
    );
    assert!(matches!(open(log(31, 35)).await, Err(SnapshotError::Missing { .. })));
    assert_eq!(store.list().unwrap().len(), 3, "nothing is removed");
    store.clone().write(&name, 0, &bytes).unwrap();
    assert_eq!(open(log(30, 35)).await.unwrap(), at(30));
}

#[tokio::test]
async fn leftovers_and_older_snapshots_are_removed_but_not_while_they_are_sent() {
    let mut desk = Desk::open().await;
    desk.store.write(&Name::Taking(id(5)).text(), 0, b"half").unwrap();
    desk.store.write("not ours", 0, b"?").unwrap();
    let mut desk = Desk::new(desk.store.clone()).await;
    desk.reopen(&Recovered::default()).unwrap();
    assert_eq!(desk.names(), ["not ours"]);
    for index in [10, 20] {
        desk.take(index, "state");
    }
    // Its peer is unknown here: the transport gives up at once, and says so in the actor's next turn.
    let (last, term) = (id(10).last, Term(1));
    desk.actor.carry_out(SnapshotWork::Send {
        life: life(),
        to: PEER,
        term,
        last,
        to_witness: false,
        view: None,
    });
    desk.forget(20);
    assert_eq!(desk.names().len(), 3, "it is being sent");
    let done = SnapshotWork::Sent {
        id: id(10),
        to: PEER,
        is_complete: true,
    };
    desk.actor.carry_out(done);
    assert_eq!(desk.names(), [Name::Complete(id(20)).text(), "not ours".to_owned()]);
    let events = desk.told();
    let sent = |event: &SnapshotEvent| {
        matches!(
            event,
            SnapshotEvent::Sent {
                through: Some(LogIndex(10)),
                ..
            }
        )
    };
    assert!(events.iter().any(sent));
}

#[tokio::test]
async fn a_snapshot_that_fails_leaves_nothing_and_the_group_is_told() {
    let mut desk = Desk::open().await;
    let last = id(10).last;
    let failing: [Encode; 2] = [
        Box::new(|_| Err(io::Error::other("it can't"))),
        Box::new(|_| panic!("asked to")),
    ];
    for encode in failing {
        desk.actor.carry_out(SnapshotWork::Take {
            life: life(),
            last,
            membership: Arc::new(record().membership),
            encode,
        });
        assert!(desk.names().is_empty());
        let is_told = |event: &SnapshotEvent| matches!(event, SnapshotEvent::Taken { size: None, .. });
        assert!(desk.told().iter().all(is_told));
    }
    desk.take(10, "state");
    assert!(matches!(desk.told()[..], [SnapshotEvent::Taken { size: Some(_), .. }]));
}

/// The receiver believes the header, whatever its own group began with.
#[tokio::test]
async fn a_snapshot_brings_the_configuration_that_it_was_stamped_with() {
    let later = Arc::new(Membership::new([1, 2, 4].map(NodeId), [], [NodeId(5)]).unwrap());
    let mut sender = Desk::open().await;
    sender.actor.carry_out(SnapshotWork::Take {
        life: id(9).life(),
        last: id(9).last,
        membership: later.clone(),
        encode: Box::new(|out| postcard::to_io("state", out).map(drop).map_err(io::Error::other)),
    });
    let file = sender.store.read(&Name::Complete(id(9)).text(), 0, usize::MAX).unwrap();
    let mut desk = Desk::open().await;
    // The second offer finds it ready.
    for _ in 0..2 {
        desk.say(offer(9, 1, &file));
        desk.say(chunk(0, &file));
        let told = desk.told();
        assert!(matches!(&told[..], [SnapshotEvent::Received { membership, .. }] if *membership == later));
    }
}

#[tokio::test]
async fn a_witness_takes_snapshots_without_state_and_nobody_else_does() {
    let full = file(9, "state").await;
    let (seal, bare) = format::stateless(id(9), Arc::new(record().membership)).unwrap();
    assert_eq!(seal.size, bare.len() as u64);
    for is_witness in [false, true] {
        let mut desk = Desk::new(MemorySnapshotStore::default()).await;
        let record = GroupRecord { is_witness, ..record() };
        let (reply, mut opened) = oneshot::channel();
        desk.actor.carry_out(SnapshotWork::Open {
            record,
            recovered: Recovered::default(),
            applied: None,
            decode: decode(),
            reply,
        });
        assert!(opened.try_recv().unwrap().unwrap().newest.is_none());
        let (wanted, unwanted) = if is_witness {
            (&bare[..], &full[..])
        } else {
            (&full[..], &bare[..])
        };
        desk.say(offer(9, 1, unwanted));
        assert_eq!(desk.say(chunk(0, unwanted)), SnapshotAnswer::Refused);
        desk.say(offer(9, 1, wanted));
        assert_eq!(desk.say(chunk(0, wanted)), SnapshotAnswer::Complete);
        assert_eq!(desk.was_received(), [id(9).last]);
    }
}

/// Whatever was on its way for it. Its files are gone, also the one that is being sent.
#[tokio::test]
async fn nothing_of_a_destroyed_life_reaches_the_next() {
    let mut desk = Desk::open().await;
    desk.take(10, "old");
    let received = file(20, "received").await;
    desk.say(offer(20, 1, &received));
    desk.say(chunk(0, &received[..10]));
    let (last, term) = (id(10).last, Term(1));
    let send = || SnapshotWork::Send {
        life: life(),
        to: PEER,
        term,
        last,
        to_witness: false,
        view: None,
    };
    desk.actor.carry_out(send());
    let remove = |desk: &mut Desk, keep| {
        let (reply, mut removed) = oneshot::channel();
        let group = GROUP;
        desk.actor.carry_out(SnapshotWork::Remove { group, keep, reply });
        removed.try_recv().unwrap();
    };
    remove(&mut desk, None);
    assert!(desk.names().is_empty());
    let (reply, mut piece) = oneshot::channel();
    let (id, offset, len) = (id(10), 0, 1);
    desk.actor.carry_out(SnapshotWork::Read { id, offset, len, reply });
    assert_eq!(piece.try_recv().unwrap(), None);

    let next = GroupRecord {
        incarnation: Incarnation(2),
        ..record()
    };
    let (reply, mut opened) = oneshot::channel();
    desk.actor.carry_out(SnapshotWork::Open {
        record: next.clone(),
        recovered: Recovered::default(),
        applied: None,
        decode: decode(),
        reply,
    });
    assert!(opened.try_recv().unwrap().unwrap().newest.is_none());
    desk.told();
    desk.take(30, "late");
    desk.forget(40);
    desk.actor.carry_out(SnapshotWork::Restore {
        life: life(),
        last,
        decode: decode(),
    });
    desk.actor.carry_out(send());
    assert_eq!(desk.say(chunk(10, &received[10..])), SnapshotAnswer::Refused);
    assert_eq!(desk.say(offer(20, 1, &received)), SnapshotAnswer::Refused);
    assert!(desk.names().is_empty() && desk.told().is_empty());

    // Of the next life's own nothing is removed.
    desk.actor.carry_out(SnapshotWork::Take {
        life: Life::from(&next),
        last,
        membership: Arc::new(record().membership),
        encode: Box::new(|out| postcard::to_io("new", out).map(drop).map_err(io::Error::other)),
    });
    remove(&mut desk, Some(Incarnation(2)));
    assert_eq!(desk.names().len(), 1);
}

/// The log may have been forgotten since: then it begins anew, before what was of no use to the old one.
#[tokio::test]
async fn what_was_of_no_use_before_a_replica_is_opened_again_is_received() {
    let file = file(9, "the state").await;
    let mut desk = Desk::open().await;
    desk.take(20, "state");
    desk.forget(20);
    desk.reopen(&Recovered::default()).unwrap();
    assert_eq!(desk.say(offer(9, 1, &file)), wanted(0));
    assert_eq!(desk.say(chunk(0, &file[..10])), wanted(10));
    desk.forget(5);
    assert_eq!(desk.say(chunk(10, &file[10..])), SnapshotAnswer::Complete);
}

#[tokio::test]
async fn a_snapshot_that_a_start_removed_is_not_ready_any_more() {
    let file = file(9, "the state").await;
    let mut desk = Desk::open().await;
    desk.take(9, "the state");
    let (reply, mut opened) = oneshot::channel();
    desk.actor.carry_out(SnapshotWork::Open {
        record: record(),
        recovered: log(0, 30),
        applied: Some(id(30).last),
        decode: decode(),
        reply,
    });
    assert!(opened.try_recv().unwrap().unwrap().newest.is_none());
    assert!(desk.names().is_empty());
    assert_eq!(desk.say(offer(9, 1, &file)), wanted(0));
}

/// A log that rotted back into an earlier life of its group does not tell which life was the last.
#[test]
fn a_damaged_log_has_no_snapshots_of_later_lives_removed() {
    let of = |incarnation: u64| {
        let incarnation = Incarnation(incarnation);
        Name::Complete(SnapshotId { incarnation, ..id(5) }).text()
    };
    for (is_damaged, left) in [(false, vec![of(2)]), (true, vec![of(2), of(3)])] {
        let mut store = MemorySnapshotStore::default();
        let names = [of(1), of(2), of(3)];
        for name in &names {
            store.write(name, 0, b"state").unwrap();
        }
        let finding = Finding {
            path: "log".into(),
            at: None,
            what: "a batch is damaged".to_owned(),
        };
        let contents = StoreContents {
            groups: vec![RecoveredGroup {
                record: GroupRecord {
                    incarnation: Incarnation(2),
                    ..record()
                },
                state: Recovered::default(),
                damage: None,
            }],
            findings: is_damaged.then_some(finding).into_iter().collect(),
            ..StoreContents::default()
        };
        assert_eq!(remove_strays(&mut store, names.to_vec(), &contents), left);
        assert_eq!(store.list().unwrap(), left);
    }
}
