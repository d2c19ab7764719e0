#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod expiry;
mod keys;
mod random;
mod transactions;

use std::cell::{Cell, RefCell};

use raftyard::{DiskStateMachine, GroupId};

use super::disk::tests::support::TestStore;
use super::limits::PURGE_MAX;
use super::*;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn value(text: &str) -> Response {
    Response::Value(Some(bytes(text)))
}

const NOW: Timestamp = Timestamp(1_000);

/// Commands that become one batch on disk, at most.
const BATCH_MAX: usize = 3;

thread_local! {
    /// One for all machines of a test, which are its groups.
    static STORE: (TestStore, Cell<u64>) = (TestStore::new(), Cell::new(0));
}

/// The machine in memory and the one on disk, which have to answer the same.
struct Kv {
    memory: KvMachine,
    disk: RefCell<DiskKv>,
    /// Commands that are not committed.
    pending: Cell<usize>,
    /// Who is asked for keys in an order of its own.
    asks_disk: bool,
}

/// A machine on disk that holds nothing yet.
fn on_disk() -> DiskKv {
    STORE.with(|(store, groups)| {
        groups.set(groups.get() + 1);
        store.machine(GroupId(groups.get()))
    })
}

impl Default for Kv {
    fn default() -> Self {
        Self {
            memory: KvMachine::default(),
            disk: RefCell::new(on_disk()),
            pending: Cell::new(0),
            asks_disk: false,
        }
    }
}

impl Kv {
    fn on_disk() -> Self {
        Self {
            asks_disk: true,
            ..Self::default()
        }
    }

    fn apply(&mut self, command: Command, now: Timestamp) -> Response {
        let response = self.disk.get_mut().apply(command.clone(), now).unwrap();
        let text = format!("{command:?}");
        assert_eq!(self.memory.apply(command, now), response, "{text:.200}");
        self.pending.set(self.pending.get() + 1);
        if self.pending.get() == BATCH_MAX {
            self.commit();
        }
        response
    }

    /// What is on disk is what is in memory.
    fn commit(&self) {
        if self.pending.take() > 0 {
            self.disk.borrow_mut().commit(&[]).unwrap();
            self.disk.borrow().assert_holds(&self.memory.keys);
        }
    }

    /// Lets `other` go on from a snapshot.
    fn send_to(&self, other: &mut Self) {
        self.commit();
        other.commit();
        let encoded = postcard::to_stdvec(&self.memory.snapshot()).unwrap();
        other.memory.restore(postcard::from_bytes(&encoded).unwrap());
        let mut sent = Vec::new();
        self.disk.borrow().snapshot().unwrap()(&mut sent).unwrap();
        let disk = other.disk.get_mut();
        let restored = disk.restorer()(&mut &sent[..]).unwrap();
        disk.restore(restored, &[]).unwrap();
        disk.assert_holds(&other.memory.keys);
    }

    fn query(&self, query: Query) -> Answer {
        self.commit();
        let disk = self.disk.borrow().query(query.clone()).unwrap();
        let in_order = matches!(query, Query::Scan { .. } | Query::KeyAt(_));
        if in_order && self.asks_disk {
            return disk;
        }
        let memory = self.memory.query(query);
        if !in_order {
            assert_eq!(memory, disk);
        }
        memory
    }
}

impl Kv {
    fn run_set(&mut self, key: &str, value: &str, condition: Condition, get: bool) -> Response {
        self.apply(
            Command::Set {
                key: bytes(key).into(),
                value: bytes(value).into(),
                condition,
                get,
                expiry: Expiry::Never,
            },
            NOW,
        )
    }

    fn put(&mut self, key: &str, value: &str) {
        assert_eq!(self.run_set(key, value, Condition::Always, false), Response::Ok);
    }

    fn add_to(&mut self, key: &str, delta: i64) -> Response {
        self.apply(Command::Add { key: bytes(key), delta }, NOW)
    }

    fn append_to(&mut self, key: &str, suffix: &str) -> Response {
        self.apply(
            Command::Append {
                key: bytes(key),
                suffix: bytes(suffix),
            },
            NOW,
        )
    }

    fn get(&self, key: &str) -> Option<String> {
        match self.query(Query::Get(bytes(key))) {
            Answer::Value(value) => value.map(|v| String::from_utf8(v.to_vec()).unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn set_with_conditions() {
    let mut kv = Kv::default();
    let (nx, xx) = (Condition::Absent, Condition::Present);
    assert_eq!(kv.run_set("k", "0", xx, false), Response::Unchanged);
    assert_eq!(kv.get("k"), None);
    assert_eq!(kv.run_set("k", "1", nx, false), Response::Ok);
    assert_eq!(kv.run_set("k", "2", nx, false), Response::Unchanged);
    assert_eq!(kv.get("k").unwrap(), "1");
    assert_eq!(kv.run_set("k", "3", xx, false), Response::Ok);
    assert_eq!(kv.get("k").unwrap(), "3");
}

#[test]
fn set_with_get_answers_what_was_there() {
    let mut kv = Kv::default();
    let (nx, xx) = (Condition::Absent, Condition::Present);
    assert_eq!(
        kv.run_set("k", "0", xx, true),
        Response::Value(None),
        "nothing there, nothing set"
    );
    assert_eq!(kv.get("k"), None);
    assert_eq!(kv.run_set("k", "1", nx, true), Response::Value(None));
    assert_eq!(kv.run_set("k", "2", nx, true), value("1"));
    assert_eq!(kv.get("k").unwrap(), "1");
    assert_eq!(kv.run_set("k", "3", Condition::Always, true), value("1"));
    assert_eq!(kv.get("k").unwrap(), "3");
}

#[test]
fn delete_counts_what_was_there() {
    let mut kv = Kv::default();
    kv.put("a", "1");
    kv.put("b", "2");
    let keys = ["a", "x", "a", "b"].map(bytes).to_vec();
    assert_eq!(
        kv.query(Query::Exists(keys.clone())),
        Answer::Integer(3),
        "a key named twice counts twice"
    );
    assert_eq!(kv.apply(Command::Delete { keys }, NOW), Response::Integer(2));
    assert_eq!(kv.query(Query::KeyCount), Answer::Integer(0));
}

#[test]
fn many_at_once() {
    let mut kv = Kv::default();
    let pairs = [("a", "1"), ("b", "2"), ("a", "3")];
    let pairs = pairs.map(|(k, v)| (bytes(k), bytes(v))).to_vec();
    assert_eq!(kv.apply(Command::SetMany { pairs }, NOW), Response::Ok);
    assert_eq!(
        kv.query(Query::GetMany(["b", "x", "a"].map(bytes).to_vec())),
        Answer::Values(vec![Some(bytes("2")), None, Some(bytes("3"))]),
        "the last value of a key that is named twice stays"
    );
}

#[test]
fn add_starts_at_zero_and_refuses_what_is_no_integer() {
    let mut kv = Kv::default();
    assert_eq!(kv.add_to("n", 5), Response::Integer(5));
    assert_eq!(kv.add_to("n", -7), Response::Integer(-2));
    assert_eq!(kv.get("n").unwrap(), "-2");
    let refused = Response::Refused(Refusal::NotAnInteger);
    for text in ["", "x", " 1", "1 ", "+1", "01", "-0", "1.0", "9223372036854775808"] {
        kv.put("t", text);
        assert_eq!(kv.add_to("t", 1), refused, "{text:?}");
        assert_eq!(kv.get("t").unwrap(), text);
    }
}

#[test]
fn add_does_not_wrap() {
    let mut kv = Kv::default();
    let (max, min) = (i64::MAX.to_string(), i64::MIN.to_string());
    kv.put("max", &max);
    kv.put("min", &min);
    let refused = Response::Refused(Refusal::Overflow);
    assert_eq!(kv.add_to("max", 1), refused);
    assert_eq!(kv.add_to("min", -1), refused);
    assert_eq!(kv.get("max").unwrap(), max);
    assert_eq!(kv.add_to("min", 1), Response::Integer(i64::MIN + 1));
}

#[test]
fn append_grows_a_value_and_leaves_what_was_read() {
    let mut kv = Kv::default();
    assert_eq!(kv.append_to("k", "ab"), Response::Integer(2));
    let read = kv.query(Query::Get(bytes("k")));
    assert_eq!(kv.append_to("k", "cd"), Response::Integer(4));
    assert_eq!(kv.append_to("k", ""), Response::Integer(4));
    assert_eq!(kv.get("k").unwrap(), "abcd");
    assert_eq!(read, Answer::Value(Some(bytes("ab"))));
    assert_eq!(kv.query(Query::Length(bytes("k"))), Answer::Integer(4));
    assert_eq!(kv.query(Query::Length(bytes("x"))), Answer::Integer(0));
}

#[test]
fn append_has_a_limit() {
    let mut kv = Kv::default();
    let long = "v".repeat(MAX_VALUE_BYTES);
    kv.put("k", &long[1..]);
    assert_eq!(kv.append_to("k", "v"), Response::Integer(integer(MAX_VALUE_BYTES)));
    let refused = Response::Refused(Refusal::TooLong);
    assert_eq!(kv.append_to("k", "v"), refused);
    assert_eq!(
        kv.query(Query::Length(bytes("k"))),
        Answer::Integer(integer(MAX_VALUE_BYTES))
    );
}

#[test]
fn integers_are_written_one_way() {
    for number in [0, 1, -1, 10, i64::MAX, i64::MIN] {
        assert_eq!(parse_integer(number.to_string().as_bytes()), Some(number));
    }
    for text in ["", "-", "+1", "00", "01", "-0", "-01", " 1", "1x", "--1"] {
        assert_eq!(parse_integer(text.as_bytes()), None, "{text:?}");
    }
}

/// The log holds these bytes: another encoding could not read an older log.
#[test]
fn a_command_is_its_bytes_and_little_more() {
    let set = Command::Set {
        key: bytes("key").into(),
        value: bytes("0123456789abcdef").into(),
        condition: Condition::Always,
        get: false,
        expiry: Expiry::Never,
    };
    let encoded = postcard::to_stdvec(&set).unwrap();
    assert_eq!(encoded, b"\x00\x03key\x100123456789abcdef\x00\x00\x00");
    assert_eq!(postcard::from_bytes::<Command>(&encoded).unwrap(), set);
    let add = Command::Add {
        key: bytes("n"),
        delta: -1,
    };
    assert_eq!(postcard::to_stdvec(&add).unwrap(), b"\x03\x01n\x01");
}
