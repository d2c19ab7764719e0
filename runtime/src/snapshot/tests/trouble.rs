//! Disks that have no room, or don't give what is there; and state machines that don't take it.

use super::super::actor::Import;
use super::super::receive::CROWDED_OUT_MS;
use super::*;
use crate::clock::Hand;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a disk refuses.
#[derive(Clone)]
struct Sick {
    store: MemorySnapshotStore,
    /// Bytes that it has room for, of all files together.
    room: Arc<AtomicUsize>,
    /// Readings that work before one fails.
    readings: Arc<AtomicUsize>,
    /// The next snapshot can't be made durable.
    fails_publish: Arc<AtomicBool>,
}

impl Sick {
    fn new(store: MemorySnapshotStore) -> Self {
        let (room, readings) = (Arc::new(usize::MAX.into()), Arc::new(usize::MAX.into()));
        Self {
            store,
            room,
            readings,
            fails_publish: Arc::default(),
        }
    }

    fn used(&self) -> usize {
        let names = self.store.list().unwrap().into_iter();
        let sizes = names.map(|name| self.store.size(&name).unwrap().unwrap());
        usize::try_from(sizes.sum::<u64>()).unwrap()
    }

    async fn desk(&self) -> Desk {
        Desk::on(self.clone(), self.store.clone(), Arc::new(Hand::default())).await
    }
}

impl SnapshotStore for Sick {
    fn list(&self) -> io::Result<Vec<String>> {
        self.store.list()
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        self.store.size(name)
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Bytes> {
        match self.readings.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(io::Error::other("too many open files")),
            _ => self.store.read(name, offset, len),
        }
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.store.write(name, offset, &[])?;
        let room = self.room.load(Ordering::Relaxed) - self.used();
        let fits = bytes.len().min(room);
        self.store.write(name, offset, &bytes[..fits])?;
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn publish(&mut self, from: &str, to: &str) -> io::Result<()> {
        if self.fails_publish.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("the disk failed"));
        }
        self.store.publish(from, to)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.store.remove(name)
    }
}

/// Whichever reading fails: what is there may be intact, so the log is not given up, and no older one counts.
#[tokio::test]
async fn a_reading_that_fails_says_nothing_of_the_snapshot() {
    let state = "state ".repeat(100_000);
    let mut desk = Desk::open().await;
    desk.take(10, "older");
    desk.take(20, &state);
    let disk = Sick::new(desk.store.clone());
    for base in [10, 20] {
        let mut failed = 0;
        loop {
            let mut desk = disk.desk().await;
            disk.readings.store(failed, Ordering::Relaxed);
            match desk.reopen(&log(base, 30)) {
                Ok(opened) => {
                    assert_eq!(opened, Some((id(20).last, state.clone())));
                    break;
                }
                Err(error) => assert!(matches!(error, SnapshotError::Io { .. }), "reading {failed}: {error}"),
            }
            let opened = desk.reopen(&log(base, 30)).unwrap();
            assert_eq!(opened, Some((id(20).last, state.clone())), "at the next attempt");
            failed += 1;
        }
        assert!(failed > 3, "it is read in pieces");
    }
}

#[tokio::test]
async fn an_intact_snapshot_that_can_not_be_restored_from_is_no_damaged_one() {
    let mut desk = Desk::open().await;
    desk.take(10, "older");
    desk.take(20, "newer");
    let open = |desk: &mut Desk, record: GroupRecord, decode: Decode| {
        let (reply, mut opened) = oneshot::channel();
        desk.actor.carry_out(SnapshotWork::Open {
            record,
            recovered: log(10, 30),
            applied: None,
            decode,
            reply,
        });
        opened.try_recv().unwrap()
    };
    let witness = GroupRecord {
        is_witness: true,
        ..record()
    };
    let attempts: [(GroupRecord, Decode); 3] = [
        (
            record(),
            Box::new(|_| Err(io::Error::other("it is of another release"))),
        ),
        (record(), Box::new(|_| panic!("asked to"))),
        (witness, decode()),
    ];
    for (record, decode) in attempts {
        let refused = open(&mut desk, record, decode).err().unwrap();
        assert!(matches!(refused, SnapshotError::Undecodable { .. }), "{refused}");
    }
    let opened = desk.reopen(&log(10, 30)).unwrap();
    assert_eq!(opened, Some((id(20).last, "newer".to_owned())));
    // A damaged one is, whatever is made of it: then an older one counts.
    let name = Name::Complete(id(20)).text();
    let at = desk.store.size(&name).unwrap().unwrap() - 1;
    desk.store.write(&name, at, b"?").unwrap();
    let older: Decode = Box::new(|from| {
        let mut state = String::new();
        from.read_to_string(&mut state)?;
        if state.contains("newer") {
            return Err(io::Error::other("can't be"));
        }
        Ok(Box::new(state))
    });
    let opened = open(&mut desk, record(), older).ok().unwrap().newest;
    assert_eq!(opened.map(|(last, _)| last), Some(id(10).last));
}

/// Nothing of it stays to be resumed: it would hold the room that the logs wait for.
#[tokio::test]
async fn a_snapshot_that_finds_no_room_while_it_is_received_leaves_what_it_took() {
    let file = file(9, "the state").await;
    let disk = Sick::new(MemorySnapshotStore::default());
    let clock = Arc::new(Hand::default());
    let mut desk = Desk::on(disk.clone(), disk.store.clone(), clock.clone()).await;
    desk.reopen(&Recovered::default()).unwrap();
    disk.room.store(20, Ordering::Relaxed);
    assert!(file.len() > 20);
    assert_eq!(desk.say(offer(9, 1, &file)), wanted(0));
    assert_eq!(desk.say(chunk(0, &file[..10])), wanted(10));
    assert_eq!(desk.names().len(), 1);
    assert_eq!(desk.say(chunk(10, &file[10..])), SnapshotAnswer::Refused);
    assert!(desk.names().is_empty(), "{:?}", desk.names());
    for passed in [CROWDED_OUT_MS - 1, 0] {
        assert_eq!(desk.say(chunk(10, &file[10..])), SnapshotAnswer::Refused);
        assert_eq!(
            desk.say(offer(9, 2, &file)),
            SnapshotAnswer::Refused,
            "it was full just now"
        );
        clock.pass(passed);
    }
    assert!(desk.names().is_empty() && desk.told().is_empty());
    clock.pass(1);
    disk.room.store(1_000, Ordering::Relaxed);
    assert_eq!(desk.say(offer(9, 2, &file)), wanted(0));
    assert_eq!(desk.say(chunk(0, &file)), SnapshotAnswer::Complete);
    assert_eq!(desk.was_received(), [id(9).last]);
}

/// What the machine failed to write it may take for written: to sync the same bytes again says nothing.
#[tokio::test]
async fn a_received_snapshot_that_could_not_be_made_durable_is_received_once_more() {
    let file = file(9, "the state").await;
    let disk = Sick::new(MemorySnapshotStore::default());
    let mut desk = disk.desk().await;
    desk.reopen(&Recovered::default()).unwrap();
    disk.fails_publish.store(true, Ordering::Relaxed);
    assert_eq!(desk.say(offer(9, 1, &file)), wanted(0));
    assert_eq!(desk.say(chunk(0, &file)), SnapshotAnswer::Refused);
    assert!(desk.told().is_empty());
    assert!(desk.names().is_empty(), "{:?}", desk.names());
    assert_eq!(desk.say(offer(9, 1, &file)), wanted(0));
    assert_eq!(desk.say(chunk(0, &file)), SnapshotAnswer::Complete);
    assert_eq!(desk.was_received(), [id(9).last]);
}

#[tokio::test]
async fn what_is_imported_or_relabelled_and_finds_no_room_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    std::fs::write(&path, file(9, "the state").await).unwrap();
    let disk = Sick::new(MemorySnapshotStore::default());
    let mut desk = disk.desk().await;
    let import = |desk: &mut Desk| {
        let (reply, mut imported) = oneshot::channel();
        desk.actor.carry_out(SnapshotWork::Import(Box::new(Import {
            path: path.clone(),
            group: GROUP,
            membership: record().membership,
            next: Incarnation(1),
            decode: decode(),
            reply,
        })));
        imported.try_recv().unwrap()
    };
    disk.room.store(20, Ordering::Relaxed);
    assert!(matches!(import(&mut desk), Err(SnapshotError::Io { .. })));
    assert!(desk.names().is_empty(), "{:?}", desk.names());
    disk.room.store(1_000, Ordering::Relaxed);
    let imported = import(&mut desk).unwrap();
    assert_eq!(desk.names().len(), 1);
    // The store did not note it.
    desk.actor.carry_out(SnapshotWork::Discard(Life::from(&imported)));
    assert!(desk.names().is_empty());

    desk.reopen(&Recovered::default()).unwrap();
    desk.take(10, "state");
    disk.room.store(disk.used() + 20, Ordering::Relaxed);
    let (reply, mut relabelled) = oneshot::channel();
    desk.actor.carry_out(SnapshotWork::Relabel {
        from: record(),
        recovered: log(10, 10),
        to: GroupRecord {
            incarnation: Incarnation(2),
            ..record()
        },
        is_on_disk: false,
        reply,
    });
    assert!(matches!(relabelled.try_recv().unwrap(), Err(SnapshotError::Io { .. })));
    assert_eq!(desk.names(), [Name::Complete(id(10)).text()]);
}
