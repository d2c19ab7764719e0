//! Commands with deadlines.

use raftyard::Timestamp;

use super::*;
use crate::machine::{ExpireCondition, Lifetime};

const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

fn expiry_of(line: &str) -> Expiry {
    match write(line).1 {
        Command::Set { expiry, .. } | Command::Expire { expiry, .. } | Command::GetAndExpire { expiry, .. } => expiry,
        other => panic!("{other:?}"),
    }
}

#[test]
fn deadlines_and_durations() {
    let at = |time| Expiry::At(Timestamp(time));
    for (line, expiry) in [
        ("SET k v EX 10", Expiry::After(10_000)),
        ("SET k v px 10", Expiry::After(10)),
        ("SET k v EXAT 10", at(10_000)),
        ("SET k v NX PXAT 10 GET", at(10)),
        ("SET k v KEEPTTL", Expiry::Keep),
        ("SET k v EX 10 EX 20", Expiry::After(20_000)),
        ("SETEX k 10 v", Expiry::After(10_000)),
        ("PSETEX k 10 v", Expiry::After(10)),
        ("GETSET k v", Expiry::Never),
        ("GETEX k EX 10", Expiry::After(10_000)),
        ("GETEX k PXAT 10", at(10)),
        ("GETEX k persist", Expiry::Never),
        ("EXPIRE k 10", Expiry::After(10_000)),
        ("PEXPIRE k 10", Expiry::After(10)),
        ("EXPIREAT k 10", at(10_000)),
        ("PEXPIREAT k 10", at(10)),
        ("EXPIRE k 0", at(0)),
        ("EXPIRE k -1", at(0)),
        ("PEXPIREAT k -5", at(0)),
    ] {
        assert_eq!(expiry_of(line), expiry, "{line}");
    }
    assert_eq!(read("GETEX k").1, Query::Get(Bytes::from_static(b"k")));
}

#[test]
fn times_that_can_not_be() {
    let max = i64::MAX;
    for (line, command) in [
        ("SET k v EX 0".to_owned(), "set"),
        ("SET k v PXAT -1".to_owned(), "set"),
        (format!("SET k v EX {max}"), "set"),
        (format!("SET k v PX {max}"), "set"),
        ("SETEX k 0 v".to_owned(), "setex"),
        ("PSETEX k -1 v".to_owned(), "psetex"),
        ("GETEX k EX 0".to_owned(), "getex"),
        (format!("EXPIRE k {max}"), "expire"),
        (format!("EXPIRE k -{max}"), "expire"),
        (format!("PEXPIRE k {max}"), "pexpire"),
        (format!("EXPIREAT k {max}"), "expireat"),
    ] {
        assert_eq!(error(&line), format!("ERR invalid expire time in '{command}' command"));
    }
    assert_eq!(
        expiry_of(&format!("PEXPIREAT k {max}")),
        Expiry::At(Timestamp(max.unsigned_abs()))
    );
    for line in ["SET k v EX x", "SETEX k 1.5 v", "EXPIRE k x", "GETEX k PX x"] {
        assert_eq!(error(line), NOT_AN_INTEGER, "{line}");
    }
    for line in [
        "SET k v EX",
        "SET k v EX 1 PX 1",
        "SET k v EX 1 KEEPTTL",
        "SET k v KEEPTTL PX 1",
        "SET k v PERSIST",
        "GETEX k EX",
        "GETEX k EX 1 PERSIST",
        "GETEX k KEEPTTL",
        "GETEX k NX 1",
    ] {
        assert_eq!(error(line), "ERR syntax error", "{line}");
    }
}

#[test]
fn conditions_of_expire() {
    let condition = |line: &str| match write(line).1 {
        Command::Expire { condition, .. } => condition,
        other => panic!("{other:?}"),
    };
    let none = ExpireCondition::default();
    assert_eq!(condition("EXPIRE k 1"), none);
    assert_eq!(condition("EXPIRE k 1 nx"), ExpireCondition { if_none: true, ..none });
    let both = ExpireCondition {
        if_some: true,
        if_later: true,
        ..none
    };
    assert_eq!(condition("PEXPIREAT k 1 XX GT"), both);
    for line in ["EXPIRE k 1 NX XX", "EXPIRE k 1 GT NX", "EXPIRE k 1 LT NX"] {
        let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
        assert_eq!(error(line), text);
    }
    let text = "ERR GT and LT options at the same time are not compatible";
    assert_eq!(error("EXPIRE k 1 LT GT"), text);
    assert_eq!(error("EXPIRE k 1 what"), "ERR Unsupported option what");
}

#[test]
fn what_is_left_is_told_by_the_clock() {
    let reply = |lifetime, absolute, millis| Reply::from(Answer::Lifetime(lifetime, LifetimeForm { absolute, millis }));
    for (absolute, millis) in [(false, false), (true, true)] {
        assert_eq!(reply(Lifetime::None, absolute, millis), Reply::Integer(-2));
        assert_eq!(reply(Lifetime::Endless, absolute, millis), Reply::Integer(-1));
    }
    let past = Lifetime::Until(Timestamp(1_500));
    assert_eq!(reply(past, true, true), Reply::Integer(1_500));
    assert_eq!(reply(past, true, false), Reply::Integer(2), "rounded as Redis does");
    assert_eq!(reply(past, false, true), Reply::Integer(0));
    let later = Lifetime::Until(clock::now().plus(1_000_000));
    assert!(matches!(reply(later, false, true), Reply::Integer(900_000..=1_000_000)));
    assert!(matches!(reply(later, false, false), Reply::Integer(900..=1_000)));
}
