//! How much of the values comes into memory.

use raftyard::GroupId;

use super::support::TestStore;
use super::*;
use crate::machine::command::{ExpireCondition, Operation};

const KEYS: usize = 80;
const MIB: usize = 1 << 20;

const LATER: Timestamp = Timestamp(1_000_000);

fn key(number: usize) -> Bytes {
    format!("{number:04}").into()
}

/// Keys with values of a MiB each, which expire before [`LATER`].
fn filled(store: &TestStore) -> DiskKv {
    let mut machine = store.machine(GroupId(1));
    for number in 0..KEYS {
        let value = Bytes::from(vec![b'v'; MIB]);
        let set = Command::set(key(number).into(), value.into(), Expiry::At(Timestamp(500_000)));
        machine.apply(set, Timestamp(1)).unwrap();
        machine.commit(&[]).unwrap();
    }
    machine
}

/// What `command` has in memory when it runs, in bytes.
fn loaded(machine: &mut DiskKv, command: &Command, now: Timestamp) -> usize {
    machine.load_touched(command, now, true).unwrap();
    let held = machine.held;
    machine.forget();
    held
}

#[test]
fn what_is_removed_or_overwritten_is_not_loaded() {
    let store = TestStore::new();
    let mut machine = filled(&store);
    let keys = || (0..KEYS).map(key);
    let pairs = keys().map(|key| (key, Bytes::new())).collect();
    let transaction = |operation| Command::Transaction {
        watched: keys().map(|key| (key, 1)).collect(),
        operations: vec![operation],
    };
    let delete = || Command::Delete { keys: keys().collect() };
    for (command, now) in [
        (delete(), Timestamp(2)),
        (Command::SetMany { pairs }, Timestamp(2)),
        (Command::Purge, LATER),
        (transaction(Operation::Write(delete())), Timestamp(2)),
        (
            transaction(Operation::Read(Query::Exists(keys().collect()))),
            Timestamp(2),
        ),
    ] {
        let held = loaded(&mut machine, &command, now);
        assert!(held < 100 * KEYS, "{held} bytes for {command:?}");
    }
    let append = Command::Append {
        key: key(0),
        suffix: "more".into(),
    };
    assert!(loaded(&mut machine, &append, Timestamp(2)) > MIB, "the control");

    assert_eq!(
        machine.apply(Command::Purge, LATER).unwrap(),
        Response::Integer(KEYS as i64)
    );
    machine.commit(&[]).unwrap();
    assert_eq!(machine.count(), Answer::Integer(0));
}

#[test]
fn a_batch_that_holds_much_wants_to_be_committed() {
    let store = TestStore::new();
    let mut machine = filled(&store);
    let mut commits = 0;
    for number in 0..KEYS {
        let expire = Command::Expire {
            key: key(number),
            expiry: Expiry::At(LATER),
            condition: ExpireCondition::default(),
        };
        assert_eq!(machine.apply(expire, Timestamp(2)).unwrap(), Response::Integer(1));
        assert!(machine.held < 18 * MIB, "{}", machine.held);
        if machine.is_full() {
            machine.commit(&[]).unwrap();
            assert_eq!(machine.held, 0);
            commits += 1;
        }
    }
    assert_eq!(commits, KEYS / 16);
    let length = machine.query(Query::Length(key(0))).unwrap();
    assert_eq!(length, Answer::Integer(MIB as i64), "with the same value");
}

/// Whatever was loaded before: replicas have to refuse the same.
#[test]
fn a_transaction_that_would_need_too_much_is_refused_before_it_loads_anything() {
    let store = TestStore::new();
    let mut machine = filled(&store);
    let reads = |keys: usize| Command::Transaction {
        watched: vec![],
        operations: (0..keys)
            .map(|number| Operation::Read(Query::Length(key(number))))
            .collect(),
    };
    let copies = Command::Transaction {
        watched: vec![],
        operations: (0..70)
            .map(|number| Command::Copy {
                from: key(0),
                to: format!("copy {number}").into(),
                replace: true,
            })
            .map(Operation::Write)
            .collect(),
    };
    // The value that is overwritten is loaded all the same.
    let overwritten = (0..70).flat_map(|number| {
        let (key, value) = (key(number), Bytes::new());
        [
            Command::SetMany {
                pairs: vec![(key.clone(), value)],
            },
            Command::Append {
                key,
                suffix: "more".into(),
            },
        ]
    });
    let overwritten = Command::Transaction {
        watched: vec![],
        operations: overwritten.map(Operation::Write).collect(),
    };
    let refused = Response::Refused(Refusal::ValuesTooLong);
    for before in [0, 10] {
        for command in [reads(KEYS), copies.clone(), overwritten.clone()] {
            assert!(matches!(
                machine.apply(reads(before), Timestamp(2)).unwrap(),
                Response::Each(_)
            ));
            let held = machine.held;
            assert_eq!(machine.apply(command, Timestamp(2)).unwrap(), refused);
            assert!(machine.held < held + 200 * KEYS, "{}", machine.held);
            machine.commit(&[]).unwrap();
        }
    }
    let answered = machine.apply(reads(60), Timestamp(2)).unwrap();
    assert!(matches!(answered, Response::Each(each) if each.len() == 60));
    machine.commit(&[]).unwrap();
    assert_eq!(machine.count(), Answer::Integer(KEYS as i64));
}

/// Whatever was loaded before: replicas have to remove the same.
#[test]
fn keys_that_expire_come_into_memory_some_at_a_time() {
    // A sixteenth of what it is otherwise.
    const LENGTH: usize = MIB / 16;
    let limits = Limits {
        purge_bytes: MIB,
        ..Limits::default()
    };
    let store = TestStore::new();
    let long = |number: usize| Bytes::from(format!("{number:04}{}", "k".repeat(LENGTH - 4)));
    let mut memory = KvMachine {
        limits,
        ..KvMachine::default()
    };
    let mut machines = [1, 2].map(|group| store.machine(GroupId(group)));
    for machine in &mut machines {
        machine.limit(limits, HELD_BYTES_MAX);
    }
    let mut apply = |machines: &mut [DiskKv; 2], command: Command, now| {
        let response = memory.apply(command.clone(), now);
        for machine in machines {
            assert_eq!(machine.apply(command.clone(), now).unwrap(), response);
        }
        response
    };
    for number in 0..KEYS {
        // Some expire at the same time.
        let expiry = Expiry::At(Timestamp(500_000 + number as u64 / 30));
        let set = Command::set(long(number).into(), b"v"[..].into(), expiry);
        apply(&mut machines, set, Timestamp(1));
        machines.iter_mut().for_each(|machine| machine.commit(&[]).unwrap());
    }
    // One has some of the last in memory.
    let keys = (KEYS - 5..KEYS).map(long).collect();
    let look = Command::Transaction {
        watched: vec![],
        operations: vec![Operation::Read(Query::Exists(keys))],
    };
    apply(&mut machines, look, Timestamp(2));
    machines[0].commit(&[]).unwrap();
    for left in (0..KEYS).step_by(16).rev() {
        assert_eq!(apply(&mut machines, Command::Purge, LATER), Response::Integer(16));
        let [held, more] = [0, 1].map(|place| machines[place].held);
        assert!(held < 18 * LENGTH && more < 23 * LENGTH, "{held} {more}");
        for machine in &mut machines {
            machine.commit(&[]).unwrap();
            assert_eq!(machine.count(), Answer::Integer(left as i64));
        }
    }
    machines.iter().for_each(|machine| machine.assert_holds(&memory.keys));
}
