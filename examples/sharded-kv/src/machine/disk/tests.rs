#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cost;
mod memory;
pub(in crate::machine) mod support;
mod torture;

use std::time::{Duration, Instant};

use raftyard::{GroupId, StateMachine};

use self::support::{TestStore, record, records};
use super::super::command::{Expiry, Query};
use super::super::limits::PURGE_MAX;
use super::*;

#[test]
fn a_first_start_that_was_cut_short_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, new) = (dir.path().join("state"), dir.path().join("state.new"));
    std::fs::create_dir(&new).unwrap();
    for begun in ["lock", "0.jnl", "version"] {
        std::fs::write(new.join(begun), "").unwrap();
    }
    for _ in 0..2 {
        Store::open(&path, |_| true).unwrap();
        assert!(!new.exists(), "it took its place");
    }
}

/// The keys may lie on another disk than the log.
#[test]
#[cfg(unix)]
fn keys_begin_behind_a_link() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("state");
    std::os::unix::fs::symlink(elsewhere.path(), &path).unwrap();
    for _ in 0..2 {
        Store::open(&path, |_| true).unwrap();
    }
    assert!(elsewhere.path().join("version").exists());
}

#[test]
fn what_was_committed_is_there_after_a_restart_and_nothing_else() {
    let store = TestStore::new();
    let mut machine = store.machine(GroupId(1));
    machine.set("a", Expiry::Never);
    machine
        .commit(&[record("x", Some("1")), record("y", Some("2"))])
        .unwrap();
    machine.set("b", Expiry::Never);
    machine.commit(&[record("y", None), record("z", Some("3"))]).unwrap();
    machine.set("lost", Expiry::Never);
    let mut other = store.machine(GroupId(2));
    other.set("c", Expiry::Never);
    other.commit(&[record("x", Some("other"))]).unwrap();
    drop((machine, other));

    let store = store.reopen(|_| true);
    let machine = store.machine(GroupId(1));
    assert_eq!(machine.count(), Answer::Integer(2));
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(records(&machine), [pair("x", "1"), pair("z", "3")]);
    let other = store.machine(GroupId(2));
    assert_eq!(other.count(), Answer::Integer(1));
    assert_eq!(records(&other), [pair("x", "other")]);
}

#[test]
fn groups_that_went_away_leave_nothing() {
    let store = TestStore::new();
    let mut kept = 0;
    for group in [1, 2] {
        let mut machine = store.machine(GroupId(group));
        machine.set("a", Expiry::After(50));
        machine.commit(&[record("x", Some("1"))]).unwrap();
        kept = machine.head.generation;
    }
    let store = store.reopen(|group| group == GroupId(2));
    store.await_generations(&[kept]);
    let again = store.machine(GroupId(1));
    assert_eq!((again.count(), records(&again)), (Answer::Integer(0), vec![]));
    assert_eq!(store.machine(GroupId(2)).count(), Answer::Integer(1));
}

#[test]
fn deleted_generations_are_removed() {
    let store = TestStore::new();
    let mut machine = store.machine(GroupId(1));
    for number in 0..2_500 {
        machine.set(&number.to_string(), Expiry::After(50));
    }
    machine.commit(&[]).unwrap();
    machine.apply(Command::Flush, Timestamp(1_000)).unwrap();
    machine.set("new", Expiry::Never);
    machine.commit(&[]).unwrap();
    assert_eq!((machine.count(), machine.first), (Answer::Integer(1), None));
    store.await_generations(&[machine.head.generation]);
}

#[test]
fn a_damaged_snapshot_changes_nothing_and_leaves_nothing() {
    let store = TestStore::new();
    let (mut from, mut to) = (store.machine(GroupId(1)), store.machine(GroupId(2)));
    for number in 0..300 {
        from.set(&format!("{number}-{}", "x".repeat(2_000)), Expiry::After(50));
    }
    from.commit(&[]).unwrap();
    to.set("old", Expiry::Never);
    to.commit(&[record("x", Some("1")), record("y", Some("2"))]).unwrap();
    let mut sent = Vec::new();
    let write = from.snapshot().unwrap();
    from.set("later", Expiry::Never);
    from.commit(&[]).unwrap();
    write(&mut sent).unwrap();

    let restore = to.restorer();
    let damaged = |bytes: &[u8]| restore(&mut &bytes[..]).is_err();
    assert!(damaged(&[]));
    assert!(damaged(&sent[..sent.len() - 1]));
    assert!(damaged(&sent[..sent.len() / 2]));
    assert!(damaged(&[&sent[..], b"more"].concat()));
    assert!(damaged(&[b"x", &sent[1..]].concat()));
    assert_eq!(to.count(), Answer::Integer(1));
    store.await_generations(&[from.head.generation, to.head.generation]);

    let restored = restore(&mut &sent[..]).unwrap();
    to.restore(restored, &[record("x", Some("3"))]).unwrap();
    assert_eq!(to.count(), Answer::Integer(300), "not what came later");
    assert_eq!(records(&to), [("x".to_owned(), "3".to_owned())]);
    assert_eq!(to.first, Some(Timestamp(1_050)));
    store.await_generations(&[from.head.generation, to.head.generation]);
}

#[test]
fn a_group_that_is_removed_begins_anew() {
    let store = TestStore::new();
    let mut machine = store.machine(GroupId(1));
    machine.set("a", Expiry::After(50));
    machine.commit(&[record("x", Some("1"))]).unwrap();
    drop(machine);
    store.store.remove(GroupId(1)).unwrap();
    let mut again = store.machine(GroupId(1));
    assert_eq!((again.count(), records(&again)), (Answer::Integer(0), vec![]));
    again.set("b", Expiry::Never);
    again.commit(&[]).unwrap();
    store.await_generations(&[again.head.generation]);
    assert_eq!((again.count(), again.first), (Answer::Integer(1), None));
}

#[test]
fn many_keys_are_scanned_and_drawn() {
    const KEYS: u64 = 1_000;
    let store = TestStore::new();
    let mut machine = store.machine(GroupId(1));
    // Neighbours in the store, which must not show.
    let (mut before, mut after) = (store.machine(GroupId(2)), store.machine(GroupId(3)));
    for number in 0..KEYS {
        machine.set(&format!("k{number}"), Expiry::Never);
        before.set("before", Expiry::Never);
        after.set("after", Expiry::Never);
    }
    for machine in [&mut machine, &mut before, &mut after] {
        machine.commit(&[]).unwrap();
    }
    let (mut from, mut found, mut pages) = (0, Vec::new(), 0);
    loop {
        let query = Query::Scan {
            before: from,
            count: 10,
            pattern: None,
        };
        let Answer::Page { before, keys } = machine.query(query).unwrap() else {
            panic!("no page")
        };
        pages += 1;
        found.extend(keys);
        if before == 0 {
            break;
        }
        assert!(before > from);
        from = before;
    }
    found.sort();
    let mut all: Vec<Bytes> = (0..KEYS).map(|number| format!("k{number}").into()).collect();
    all.sort();
    assert_eq!(found, all, "nobody writes: each once");
    assert!((95..=105).contains(&pages), "{pages}");

    let drawn = (0..KEYS).map(|number| match machine.query(Query::KeyAt(number)).unwrap() {
        Answer::Value(Some(key)) => key,
        other => panic!("{other:?}"),
    });
    let mut drawn: Vec<Bytes> = drawn.collect();
    drawn.sort();
    drawn.dedup();
    assert!(drawn.len() > 400, "{} of {KEYS}", drawn.len());
    assert!(drawn.iter().all(|key| all.binary_search(key).is_ok()));
}

/// A crash before a snapshot took its place.
#[test]
fn what_was_put_down_and_never_restored_is_removed() {
    let store = TestStore::new();
    let mut machine = store.machine(GroupId(1));
    machine.set("a", Expiry::After(50));
    machine.commit(&[]).unwrap();
    let (kept, mut sent) = (machine.head.generation, Vec::new());
    machine.snapshot().unwrap()(&mut sent).unwrap();
    stream::read(&store.store, &mut &sent[..]).unwrap();
    assert_eq!(store.generations().len(), 2);
    drop(machine);
    let store = store.reopen(|_| true);
    store.await_generations(&[kept]);
    let all = store.store.deadlines(kept, Timestamp(0), Timestamp(u64::MAX));
    assert_eq!(all.count(), 1);
}

/// The replica was destroyed meanwhile, or has got another one, or the checksum of what was read fails.
#[test]
fn a_snapshot_that_nobody_takes_is_removed() {
    let store = TestStore::new();
    let mut machine = store.machine(GroupId(1));
    machine.set("a", Expiry::After(50));
    machine.commit(&[]).unwrap();
    let (kept, mut sent) = (machine.head.generation, Vec::new());
    machine.snapshot().unwrap()(&mut sent).unwrap();
    let restore = machine.restorer();
    let put_down = || restore(&mut &sent[..]).unwrap();
    let restored = put_down();
    assert_eq!(store.generations().len(), 2);
    drop(restored);
    store.await_generations(&[kept]);

    machine.restore(put_down(), &[]).unwrap();
    drop(put_down());
    // One after the other.
    store.await_generations(&[machine.head.generation]);
    assert_eq!(machine.count(), Answer::Integer(1));
}

/// kill -9 and a full disk end a write anywhere; behind it are the zeros of a file that has room.
#[test]
fn a_torn_write_is_discarded_wherever_it_was_torn() {
    let put = |store: &Store, name: &str| {
        let mut batch = store.batch();
        let row = [name, " is written"].concat();
        batch.insert(&store.rows, rows::record(GroupId(1), name.as_bytes()), row);
        batch.commit().unwrap();
    };
    let is_there = |store: &Store, name: &str| {
        let name = rows::record(GroupId(1), name.as_bytes());
        store.rows.contains_key(name).unwrap()
    };
    let TestStore { store, dir } = TestStore::new();
    let journal = dir.path().join("0.jnl");
    // What lies behind the last write may be zeros already.
    let written = || {
        let bytes = std::fs::read(&journal).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
    };
    put(&store, "first");
    store.sync().unwrap();
    let before = written();
    put(&store, "second");
    store.sync().unwrap();
    let after = written();
    drop(store);
    let whole = std::fs::read(&journal).unwrap();
    assert!(before > 0 && after > before + 10);

    for torn in before..after {
        let mut bytes = whole[..torn].to_vec();
        bytes.resize(torn + 100, 0);
        std::fs::write(&journal, bytes).unwrap();
        let store = Store::open(dir.path(), |_| true).unwrap();
        assert!(is_there(&store, "first"), "torn at {torn}");
        assert!(!is_there(&store, "second"), "torn at {torn}");
    }
}

/// The process before may have ended because a sync failed: then the machine takes for durable what it never wrote.
#[test]
fn a_start_writes_once_more_what_journals_hold() {
    let TestStore { store, dir } = TestStore::new();
    for n in 0..2_000_u64 {
        let mut batch = store.batch();
        batch.insert(&store.rows, rows::record(GroupId(1), &n.to_le_bytes()), [7; 100]);
        batch.commit().unwrap();
    }
    store.sync().unwrap();
    drop(store);
    let journal = dir.path().join("0.jnl");
    let whole = std::fs::read(&journal).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    let file = std::fs::File::options().write(true).open(&journal).unwrap();
    file.set_modified(long_ago).unwrap();
    assert!(journals::mend(dir.path()).unwrap().is_none());
    assert!(
        file.metadata().unwrap().modified().unwrap() > long_ago,
        "it was written to"
    );
    assert!(std::fs::read(&journal).unwrap() == whole, "nothing of it changed");
}

/// As many as this of what waits to become tables, and the database holds writers back.
const SEALED_MAX: usize = 4;

/// The writer that is held back is never let go then: nobody else would tell.
#[test]
fn a_database_that_fails_while_it_holds_writers_back_says_so() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody makes tables.
    let store = Store::open_with(dir.path(), 0, |_| true).unwrap();
    let name = |n: usize| rows::record(GroupId(1), &n.to_le_bytes());
    let put = move |store: &Store, n| {
        let mut batch = store.batch();
        batch.insert(&store.rows, name(n), "v");
        batch.commit()
    };
    for n in 0..SEALED_MAX {
        put(&store, n).unwrap();
        store.rows.rotate_memtable().unwrap();
    }
    let writer = std::thread::spawn({
        let store = Arc::clone(&store);
        move || put(&store, SEALED_MAX)
    });
    let start = Instant::now();
    while !store.rows.contains_key(name(SEALED_MAX)).unwrap() {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::yield_now();
    }
    store.check_takes_writes().unwrap();
    store.fail(dir.path());
    store.check_takes_writes().unwrap_err();
    assert!(!writer.is_finished(), "it still waits");
}

/// What was loaded before differs: replicas cut the log into batches as it comes.
#[test]
fn replicas_remove_the_same_of_many_keys_that_expire_together() {
    let store = TestStore::new();
    let left = [false, true].map(|in_one_batch| {
        let mut machine = store.machine(GroupId(1 + u64::from(in_one_batch)));
        let key = |number: usize| format!("{number:04}");
        for number in 0..PURGE_MAX + 500 {
            machine.set(&key(number), Expiry::After(50));
        }
        machine.commit(&[]).unwrap();
        for number in 0..200 {
            let (key, suffix) = (key(number).into(), "more".into());
            machine
                .apply(Command::Append { key, suffix }, Timestamp(1_000))
                .unwrap();
        }
        if !in_one_batch {
            machine.commit(&[]).unwrap();
        }
        let purged = machine.apply(Command::Purge, Timestamp(2_000)).unwrap();
        assert_eq!(purged, Response::Integer(1_000));
        machine.commit(&[]).unwrap();
        let rows = store.store.cells_from(machine.head.generation, 0);
        let names = rows.map(|row| rows::rest(&row.unwrap().0).to_vec());
        names.collect::<Vec<_>>()
    });
    assert_eq!(left[0].len(), 500);
    assert!(left[0] == left[1], "other keys are left");
}
