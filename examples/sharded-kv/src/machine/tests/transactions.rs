//! Several commands in one entry, and the versions of keys.

use super::*;

impl Kv {
    fn version(&self, key: &str) -> Version {
        match self.query(Query::Versions(vec![bytes(key)])) {
            Answer::Versions(versions) => versions[0],
            other => panic!("{other:?}"),
        }
    }

    fn transact_on(&mut self, watched: &[(&str, Version)], operations: Vec<Operation>, now: Timestamp) -> Response {
        let watched = watched.iter().map(|(key, version)| (bytes(key), *version)).collect();
        self.apply(Command::Transaction { watched, operations }, now)
    }
}

fn add(key: &str) -> Operation {
    Operation::Write(Command::Add {
        key: bytes(key),
        delta: 1,
    })
}

fn get(key: &str) -> Operation {
    Operation::Read(Query::Get(bytes(key)))
}

#[test]
fn replies_come_in_order_and_an_error_stops_nothing() {
    let mut kv = Kv::default();
    kv.put("text", "x");
    let operations = vec![add("n"), get("n"), add("text"), add("n"), get("none")];
    assert_eq!(
        kv.transact_on(&[], operations, NOW),
        Response::Each(vec![
            Response::Integer(1),
            Response::Answer(Answer::Value(Some(bytes("1")))),
            Response::Refused(Refusal::NotAnInteger),
            Response::Integer(2),
            Response::Answer(Answer::Value(None)),
        ])
    );
}

#[test]
fn every_change_gives_another_version() {
    let mut kv = Kv::default();
    assert_eq!(kv.version("k"), 0);
    let key = || bytes("k");
    let condition = ExpireCondition::default();
    let changes = [
        Command::Add { key: key(), delta: 1 },
        Command::Append {
            key: key(),
            suffix: bytes("0"),
        },
        Command::SetRange {
            key: key(),
            offset: 0,
            part: bytes("2"),
        },
        Command::Expire {
            key: key(),
            expiry: Expiry::After(100),
            condition,
        },
        Command::Persist { key: key() },
        Command::Take { key: key() },
        Command::Add { key: key(), delta: 1 },
        Command::Flush,
        Command::Add { key: key(), delta: 1 },
    ];
    let mut seen = vec![];
    for command in changes {
        let last = kv.version("k");
        kv.apply(command.clone(), NOW);
        let version = kv.version("k");
        assert_ne!(version, last, "{command:?}");
        assert!(version == 0 || !seen.contains(&version), "{command:?}: used twice");
        seen.push(version);
    }
    let last = kv.version("k");
    for command in [
        Command::Persist { key: key() },
        Command::Delete { keys: vec![bytes("x")] },
        Command::GetAndExpire {
            key: key(),
            expiry: Expiry::Never,
        },
    ] {
        kv.apply(command.clone(), NOW);
        assert_eq!(kv.version("k"), last, "{command:?} changes nothing");
    }
}

#[test]
fn a_watched_key_that_changed_stops_everything() {
    let mut kv = Kv::default();
    kv.put("k", "1");
    let version = kv.version("k");
    let each = Response::Each(vec![Response::Integer(1)]);
    assert_eq!(
        kv.transact_on(&[("k", version), ("none", 0)], vec![add("n")], NOW),
        each
    );
    kv.put("k", "1");
    assert_eq!(
        kv.transact_on(&[("k", version)], vec![add("n")], NOW),
        Response::Conflict
    );
    assert_eq!(kv.transact_on(&[("n", 0)], vec![add("n")], NOW), Response::Conflict);
    assert_eq!(kv.get("n").unwrap(), "1");
}

#[test]
fn a_watched_key_that_expired_was_changed() {
    let mut kv = Kv::default();
    kv.put("k", "1");
    kv.apply(
        Command::Expire {
            key: bytes("k"),
            expiry: Expiry::After(100),
            condition: ExpireCondition::default(),
        },
        NOW,
    );
    let version = kv.version("k");
    let response = kv.transact_on(&[("k", version)], vec![add("n")], NOW.plus(100));
    assert_eq!(response, Response::Conflict);
}

#[test]
fn replies_are_bounded() {
    let mut kv = Kv::default();
    kv.put("k", &"v".repeat(6 * 1024 * 1024));
    let many = Operation::Read(Query::GetMany(vec![bytes("k"); 1_000]));
    let Response::Each(each) = kv.transact_on(&[], vec![many, get("k"), get("k"), get("k"), add("n")], NOW) else {
        panic!("no replies")
    };
    let refused = Response::Refused(Refusal::RepliesTooLong);
    let refusals: Vec<bool> = each.iter().map(|response| *response == refused).collect();
    assert_eq!(refusals, [true, false, false, true, false]);
}

/// In memory as on disk, where each would be loaded: nodes that were given different settings by mistake refuse the same.
#[test]
fn values_are_bounded() {
    let mut kv = Kv::default();
    kv.put("k", &"v".repeat(7 * 1024 * 1024));
    let copies = |count: usize| {
        let copies = (0..count).map(|number| Command::Copy {
            from: bytes("k"),
            to: bytes(&format!("copy {number}")),
            replace: true,
        });
        copies.map(Operation::Write).collect::<Vec<_>>()
    };
    let refused = Response::Refused(Refusal::ValuesTooLong);
    assert_eq!(kv.transact_on(&[], copies(9), NOW), refused);
    assert_eq!(kv.query(Query::KeyCount), Answer::Integer(1), "nothing was done");
    let each = Response::Each(vec![Response::Integer(1); 8]);
    assert_eq!(kv.transact_on(&[], copies(8), NOW), each);
}
