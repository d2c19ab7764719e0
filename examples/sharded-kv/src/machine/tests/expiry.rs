//! Keys with deadlines.

use super::*;

fn at(time: u64) -> Timestamp {
    Timestamp(time)
}

impl Kv {
    fn set_until(&mut self, key: &str, expiry: Expiry, now: u64) -> Response {
        let (key, value) = (bytes(key).into(), bytes("v").into());
        self.apply(Command::set(key, value, expiry), at(now))
    }

    fn expire(&mut self, key: &str, expiry: Expiry, condition: ExpireCondition, now: u64) -> Response {
        let key = bytes(key);
        self.apply(Command::Expire { key, expiry, condition }, at(now))
    }

    fn lifetime(&self, key: &str) -> Lifetime {
        let form = LifetimeForm {
            absolute: true,
            millis: true,
        };
        match self.query(Query::Lifetime { key: bytes(key), form }) {
            Answer::Lifetime(lifetime, _) => lifetime,
            other => panic!("{other:?}"),
        }
    }

    /// Lets time pass without touching anything.
    fn pass(&mut self, now: u64) {
        self.apply(Command::Delete { keys: vec![] }, at(now));
    }
}

#[test]
fn a_key_is_gone_at_its_deadline_and_stays_gone() {
    let mut kv = Kv::default();
    kv.set_until("k", Expiry::After(500), 1_000);
    assert_eq!(kv.lifetime("k"), Lifetime::Until(at(1_500)));
    kv.pass(1_499);
    assert_eq!(kv.get("k").unwrap(), "v");
    kv.pass(1_500);
    assert_eq!((kv.get("k"), kv.lifetime("k")), (None, Lifetime::None));
    assert_eq!(kv.query(Query::Exists(vec![bytes("k")])), Answer::Integer(0));
    assert_eq!(kv.query(Query::KeyCount), Answer::Integer(1), "not removed yet");
    assert_eq!(kv.apply(Command::Purge, at(1_500)), Response::Integer(1));
    assert_eq!(kv.apply(Command::Purge, at(1_500)), Response::Integer(0));
    assert_eq!(kv.query(Query::KeyCount), Answer::Integer(0));
}

#[test]
fn writes_see_an_expired_key_as_absent() {
    let expired = || {
        let mut kv = Kv::default();
        kv.set_until("k", Expiry::At(at(1_500)), 1_000);
        kv.pass(1_500);
        kv
    };
    let mut kv = expired();
    assert_eq!(
        kv.apply(Command::Delete { keys: vec![bytes("k")] }, at(1_600)),
        Response::Integer(0)
    );
    let mut kv = expired();
    let add = Command::Add {
        key: bytes("k"),
        delta: 1,
    };
    assert_eq!(kv.apply(add, at(1_600)), Response::Integer(1));
    assert_eq!(
        kv.lifetime("k"),
        Lifetime::Endless,
        "the old deadline does not come back"
    );
    let mut kv = expired();
    let condition = Condition::Absent;
    let set = Command::Set {
        key: bytes("k").into(),
        value: bytes("w").into(),
        condition,
        get: true,
        expiry: Expiry::Keep,
    };
    assert_eq!(kv.apply(set, at(1_600)), Response::Value(None));
    assert_eq!(
        (kv.get("k").unwrap(), kv.lifetime("k")),
        ("w".into(), Lifetime::Endless)
    );
    assert_eq!(kv.apply(Command::Purge, at(9_000)), Response::Integer(0));
}

#[test]
fn what_keeps_a_deadline_and_what_takes_it_away() {
    let mut kv = Kv::default();
    let until = Lifetime::Until(at(5_000));
    let number = |kv: &mut Kv| {
        kv.put("k", "1");
        kv.expire("k", Expiry::At(at(5_000)), ExpireCondition::default(), 1_000);
    };
    let key = || bytes("k");
    let keeping = [
        Command::Add { key: key(), delta: 1 },
        Command::AddDecimal {
            key: key(),
            delta: bytes("0.5"),
        },
        Command::Append {
            key: key(),
            suffix: bytes("1"),
        },
        Command::SetRange {
            key: key(),
            offset: 0,
            part: bytes("2"),
        },
    ];
    for command in keeping {
        number(&mut kv);
        kv.apply(command.clone(), at(1_000));
        assert_eq!(kv.lifetime("k"), until, "{command:?}");
    }
    number(&mut kv);
    kv.set_until("k", Expiry::Keep, 1_000);
    assert_eq!(kv.lifetime("k"), until);
    kv.set_until("k", Expiry::Never, 1_000);
    assert_eq!(kv.lifetime("k"), Lifetime::Endless);
    number(&mut kv);
    let pairs = vec![(key(), bytes("x"))];
    kv.apply(Command::SetMany { pairs }, at(1_000));
    assert_eq!(kv.lifetime("k"), Lifetime::Endless);
    number(&mut kv);
    assert_eq!(
        kv.apply(Command::Persist { key: key() }, at(1_000)),
        Response::Integer(1)
    );
    assert_eq!(
        kv.apply(Command::Persist { key: key() }, at(1_000)),
        Response::Integer(0)
    );
    assert_eq!(kv.lifetime("k"), Lifetime::Endless);
}

#[test]
fn a_deadline_that_is_past_deletes_at_once() {
    let mut kv = Kv::default();
    kv.put("k", "v");
    let none = ExpireCondition::default();
    assert_eq!(kv.expire("k", Expiry::At(at(0)), none, 1_000), Response::Integer(1));
    assert_eq!(kv.query(Query::KeyCount), Answer::Integer(0));
    assert_eq!(kv.expire("k", Expiry::After(9), none, 1_000), Response::Integer(0));
    kv.put("k", "v");
    assert_eq!(kv.set_until("k", Expiry::At(at(1_000)), 1_000), Response::Ok);
    assert_eq!(kv.query(Query::KeyCount), Answer::Integer(0));
    kv.put("k", "v");
    let get = Command::GetAndExpire {
        key: bytes("k"),
        expiry: Expiry::At(at(1)),
    };
    assert_eq!(kv.apply(get, at(1_000)), value("v"));
    assert_eq!(kv.query(Query::KeyCount), Answer::Integer(0));
}

#[test]
fn conditions_compare_with_the_deadline_that_was() {
    let condition = |text: &str| ExpireCondition {
        if_none: text.contains("NX"),
        if_some: text.contains("XX"),
        if_later: text.contains("GT"),
        if_earlier: text.contains("LT"),
    };
    for (text, before, wanted) in [
        ("NX", None, 1),
        ("NX", Some(5_000), 0),
        ("XX", None, 0),
        ("XX", Some(5_000), 1),
        ("GT", None, 0),
        ("GT", Some(2_999), 1),
        ("GT", Some(3_000), 0),
        ("LT", None, 1),
        ("LT", Some(3_001), 1),
        ("LT", Some(3_000), 0),
        ("XX LT", None, 0),
        ("XX GT", Some(2_000), 1),
    ] {
        let mut kv = Kv::default();
        kv.set_until("k", before.map_or(Expiry::Never, |time| Expiry::At(at(time))), 1_000);
        let response = kv.expire("k", Expiry::After(2_000), condition(text), 1_000);
        assert_eq!(response, Response::Integer(wanted), "{text} {before:?}");
        let after = if wanted == 1 { Some(3_000) } else { before };
        let after = after.map_or(Lifetime::Endless, |time| Lifetime::Until(at(time)));
        assert_eq!(kv.lifetime("k"), after, "{text} {before:?}");
    }
}

#[test]
fn a_purge_is_bounded_and_takes_the_earliest() {
    let mut kv = Kv::default();
    for number in 0..PURGE_MAX + 10 {
        kv.set_until(&number.to_string(), Expiry::After(number as u64 + 1), 1_000);
    }
    assert_eq!(
        kv.apply(Command::Purge, at(100_000)),
        Response::Integer(integer(PURGE_MAX))
    );
    assert_eq!(kv.apply(Command::Purge, at(100_000)), Response::Integer(10));
    assert_eq!(kv.query(Query::KeyCount), Answer::Integer(0));
}

/// The snapshot says everything: time, deadlines, versions and the order of keys.
#[test]
fn a_restored_machine_goes_on_as_the_other() {
    let mut kv = Kv::default();
    for key in ["a", "b", "c", "d"] {
        kv.set_until(key, Expiry::After(if key < "c" { 100 } else { 900 }), 1_000);
    }
    kv.apply(Command::Delete { keys: vec![bytes("a")] }, at(1_100));
    let mut other = Kv::default();
    other.put("gone", "x");
    kv.send_to(&mut other);
    assert_eq!(other.get("b"), None, "it had expired by the group's time");
    for now in [1_200, 2_000] {
        assert_eq!(kv.apply(Command::Purge, at(now)), other.apply(Command::Purge, at(now)));
        kv.put("e", "x");
        other.put("e", "x");
        let all = || {
            vec![
                Query::KeyCount,
                Query::Versions(["a", "b", "c", "d", "e"].map(bytes).into()),
            ]
        };
        for query in all().into_iter().chain([Query::Scan {
            before: 0,
            count: 10,
            pattern: None,
        }]) {
            assert_eq!(kv.query(query.clone()), other.query(query.clone()), "{query:?}");
        }
    }
}
