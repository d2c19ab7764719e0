//! `MULTI` and `WATCH`, as far as a connection goes by itself.

use super::*;
use crate::machine::{Operation, Version};
use crate::transaction::{Part, Transaction, fill, pack, template, unpack};

fn say(session: &mut Session, line: &str) -> Action {
    parse(session, &words(line))
}

fn queued(session: &mut Session, line: &str) -> Option<u16> {
    match say(session, line) {
        Action::Queued { slot } => slot,
        _ => panic!("{line}: not queued"),
    }
}

fn refused(session: &mut Session, line: &str) -> String {
    match say(session, line) {
        Action::Reply(Reply::Error(text)) => text,
        _ => panic!("{line}: not refused"),
    }
}

fn transaction(session: &mut Session, line: &str) -> (u16, Transaction) {
    match say(session, line) {
        Action::Transaction { slot, transaction } => (slot, transaction),
        _ => panic!("{line}: no transaction"),
    }
}

fn begun() -> Session {
    let mut session = session();
    assert_eq!(reply_in(&mut session, "MULTI"), Reply::OK);
    session
}

const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";

#[test]
fn exec_makes_one_command() {
    let mut session = session();
    session.watched.add(slot_of(b"a"), &words("{a}w"), &[7]);
    reply_in(&mut session, "multi");
    assert_eq!(queued(&mut session, "INCR {a}n"), Some(slot_of(b"a")));
    assert_eq!(queued(&mut session, "PING"), None);
    assert_eq!(
        queued(&mut session, "SET {a} v what"),
        Some(slot_of(b"a")),
        "found out by EXEC"
    );
    assert_eq!(queued(&mut session, "GET {a}n"), Some(slot_of(b"a")));
    let (slot, transaction) = transaction(&mut session, "exec");
    assert_eq!(slot, slot_of(b"a"));
    let key = Bytes::from_static(b"{a}n");
    let expected = Command::Transaction {
        watched: vec![(Bytes::from_static(b"{a}w"), 7)],
        operations: vec![
            Operation::Write(Command::Add {
                key: key.clone(),
                delta: 1,
            }),
            Operation::Read(Query::Get(key)),
        ],
    };
    assert_eq!(transaction.command, expected);
    assert_eq!(
        transaction.forwarded,
        words("RAFTYARD EXEC 1 {a}w 7 2 INCR {a}n 2 GET {a}n")
    );

    let known = template(transaction.replies, status);
    let given = Reply::Array(vec![Reply::Integer(1), Reply::text("1")]);
    assert_eq!(
        fill(known.clone(), given),
        Reply::Array(vec![
            Reply::Integer(1),
            Reply::status("PONG"),
            Reply::error("ERR syntax error"),
            Reply::text("1"),
        ])
    );
    assert_eq!(fill(known.clone(), Reply::Null), Reply::NullArray, "from another node");
    let moved = Reply::error("MOVED 1 a:1");
    assert_eq!(fill(known, moved.clone()), moved);
    assert!(session.queue.is_none() && session.watched.keys.is_empty());
}

#[test]
fn what_was_forwarded_becomes_the_same() {
    let line = "RAFTYARD EXEC 1 {a}w 7 2 INCR {a}n 3 SET {a}n {a}v";
    let (slot, transaction) = transaction(&mut session(), line);
    assert_eq!(slot, slot_of(b"a"));
    assert_eq!(transaction.forwarded, words(line));
    for bad in [
        "RAFTYARD EXEC x",
        "RAFTYARD EXEC 1 w",
        "RAFTYARD EXEC 1 w x",
        "RAFTYARD EXEC 0 3 INCR n",
        "RAFTYARD EXEC 99999999999999999999",
        "RAFTYARD EXEC 9223372036854775808",
        "RAFTYARD EXEC 0 0",
        "RAFTYARD EXEC 0 1 PING",
        "RAFTYARD EXEC 0 1 EXEC",
        "RAFTYARD EXEC 0 2 WATCH k",
        "RAFTYARD EXEC 0 5 RAFTYARD EXEC 0 1 PING",
    ] {
        assert_eq!(refused(&mut session(), bad), "ERR syntax error", "{bad}");
    }
    let crossed = "CROSSSLOT Keys in request don't hash to the same slot";
    for bad in [
        "RAFTYARD EXEC 0 2 INCR a 2 INCR b",
        "RAFTYARD EXEC 1 a 1 2 INCR b",
        "RAFTYARD EXEC 2 a 1 b 1",
    ] {
        assert_eq!(refused(&mut session(), bad), crossed, "{bad}");
    }
}

#[test]
fn packing_is_undone_by_unpacking() {
    let watched: Vec<(Bytes, Version)> = vec![(Bytes::from_static(b"2"), u64::MAX), (Bytes::new(), 0)];
    let commands = vec![words("GET 1"), words("MSET 3 3 3 3")];
    let packed = pack(&watched, &commands);
    assert_eq!(unpack(&packed[2..]).unwrap(), (watched, commands));
    assert_eq!(unpack(&pack(&[], &[])[2..]).unwrap(), (vec![], vec![]));
}

#[test]
fn errors_doom_the_transaction_and_exec_ends_it() {
    for (line, text) in [
        ("nosuch", "ERR unknown command 'nosuch', with args beginning with: "),
        ("GET", "ERR wrong number of arguments for 'get' command"),
        ("MGET a b", "CROSSSLOT Keys in request don't hash to the same slot"),
        ("DBSIZE", "ERR Command not allowed inside a transaction"),
        ("HELLO 3", "ERR Command not allowed inside a transaction"),
        ("RAFTYARD DIRECT", "ERR Command not allowed inside a transaction"),
    ] {
        let mut session = begun();
        queued(&mut session, "INCR n");
        assert_eq!(refused(&mut session, line), text);
        queued(&mut session, "INCR n");
        assert_eq!(refused(&mut session, "EXEC"), ABORTED, "{line}");
        assert_eq!(refused(&mut session, "EXEC"), "ERR EXEC without MULTI");
        assert_eq!(session.protocol, Protocol::Resp2);
    }
}

#[test]
fn what_does_not_doom_it() {
    let mut session = begun();
    session.watched.add(slot_of(b"n"), &words("n"), &[1]);
    assert_eq!(refused(&mut session, "MULTI"), "ERR MULTI calls can not be nested");
    assert_eq!(
        refused(&mut session, "WATCH n"),
        "ERR WATCH inside MULTI is not allowed"
    );
    queued(&mut session, "INCR n");
    queued(&mut session, "UNWATCH");
    let (_, transaction) = transaction(&mut session, "EXEC");
    assert!(matches!(
        transaction.replies[..],
        [Part::Asked, Part::Known(Reply::Status(_))]
    ));
}

#[test]
fn a_transaction_has_one_slot() {
    let crossed = "CROSSSLOT Keys in request don't hash to the same slot";
    let mut session = begun();
    queued(&mut session, "INCR a");
    queued(&mut session, "INCR b");
    assert_eq!(refused(&mut session, "EXEC"), crossed);
    assert_eq!(refused(&mut session, "EXEC"), "ERR EXEC without MULTI");
    session.watched.add(slot_of(b"a"), &words("a"), &[1]);
    assert_eq!(refused(&mut session, "WATCH b"), crossed);
    reply_in(&mut session, "MULTI");
    queued(&mut session, "INCR b");
    assert_eq!(refused(&mut session, "EXEC"), crossed);
}

#[test]
fn discard_unwatch_and_reset_clear() {
    let watched = || {
        let mut session = session();
        session.watched.add(slot_of(b"n"), &words("n"), &[1]);
        session
    };
    let mut session = watched();
    reply_in(&mut session, "MULTI");
    queued(&mut session, "INCR n");
    assert_eq!(reply_in(&mut session, "DISCARD"), Reply::OK);
    assert!(session.queue.is_none() && session.watched.keys.is_empty());
    assert_eq!(refused(&mut session, "DISCARD"), "ERR DISCARD without MULTI");
    let mut session = watched();
    assert_eq!(reply_in(&mut session, "UNWATCH"), Reply::OK);
    assert!(session.watched.keys.is_empty());
    let mut session = watched();
    reply_in(&mut session, "MULTI");
    assert_eq!(reply_in(&mut session, "RESET"), Reply::status("RESET"));
    assert!(session.queue.is_none() && session.watched.keys.is_empty());
}

#[test]
fn without_keys_no_group_is_asked() {
    let mut session = begun();
    assert_eq!(reply_in(&mut session, "EXEC"), Reply::Array(vec![]));
    reply_in(&mut session, "MULTI");
    queued(&mut session, "PING");
    queued(&mut session, "CLUSTER MYID");
    let Reply::Array(replies) = reply_in(&mut session, "EXEC") else {
        panic!("no array")
    };
    assert!(matches!(&replies[..], [Reply::Status(_), Reply::Bulk(name)] if name.len() == 40));
}

#[test]
fn a_transaction_is_bounded() {
    let mut session = begun();
    let line = format!("SET k {}", "v".repeat(5 * 1024 * 1024));
    queued(&mut session, &line);
    assert_eq!(refused(&mut session, &line), "ERR the transaction is too large");
    assert_eq!(refused(&mut session, "EXEC"), ABORTED);
    let many = "WATCH".to_owned() + &" k".repeat(1_001);
    let long = "WATCH k".to_owned() + &"k".repeat(1024 * 1024);
    for line in [many, long] {
        assert_eq!(refused(&mut session, &line), "ERR too many watched keys");
    }
}

#[test]
fn replies_of_the_node_itself_are_bounded() {
    let mut session = begun();
    for line in ["COMMAND", "CLUSTER NODES"] {
        for _ in 0..10_000 {
            queued(&mut session, line);
        }
    }
    queued(&mut session, "INCR {a}n");
    let (_, transaction) = transaction(&mut session, "EXEC");
    let mut asked = 0;
    let known = template(transaction.replies, || {
        asked += 1;
        status()
    });
    let weight: usize = known.iter().flatten().map(Reply::weight).sum();
    // With the errors.
    assert!(weight < 20 << 20, "{weight} bytes");
    let refused = Reply::error("ERR the replies of the transaction are too long, this command was not carried out");
    assert_ne!(known[0], Some(refused.clone()));
    assert_eq!(
        (&known[9_999], &known[19_999]),
        (&Some(refused.clone()), &Some(refused))
    );
    assert_eq!(
        (known.len(), &known[20_000]),
        (20_001, &None),
        "the group is asked all the same"
    );
    assert!(asked <= 1);
}

#[test]
fn a_key_is_watched_from_its_first_watch_on() {
    let mut session = session();
    session.watched.add(1, &words("a b"), &[1, 2]);
    session.watched.add(1, &words("b c"), &[3, 4]);
    let expected = [("a", 1), ("b", 2), ("c", 4)].map(|(key, version)| (Bytes::from(key), version));
    assert_eq!(session.watched.keys, expected);
}
