//! Random commands, in random batches, with restarts and snapshots in between: memory and disk stay the same.

use super::*;
use crate::random::Random;

impl Random {
    /// One of few, some of them too long to be the name of a row, one of them of `long_bytes`.
    fn key(&mut self, long_bytes: usize) -> Bytes {
        let number = self.below(12);
        match number {
            0 => bytes(""),
            1 => bytes(&"1".repeat(long_bytes)),
            2 => bytes(&"2".repeat(2_000)),
            3 => bytes(&"k".repeat(1_024)),
            4 => bytes(&"k".repeat(1_025)),
            _ => bytes(&format!("k{number}")),
        }
    }

    fn value(&mut self) -> Bytes {
        match self.below(4) {
            0 => bytes(""),
            1 => bytes(&self.below(100).to_string()),
            // On disk it stays there until it is needed.
            2 => bytes(&"v".repeat(2_000)),
            _ => bytes("text"),
        }
    }

    fn expiry(&mut self, now: Timestamp) -> Expiry {
        match self.below(6) {
            0 | 1 => Expiry::Never,
            2 => Expiry::Keep,
            3 => Expiry::At(now),
            _ => Expiry::After(self.below(40)),
        }
    }

    /// One of the keys has `long_bytes`.
    pub(in crate::machine) fn command(&mut self, now: Timestamp, long_bytes: usize) -> Command {
        let (key, value) = (self.key(long_bytes), self.value());
        match self.below(22) {
            0..4 => {
                let conditions = [Condition::Always, Condition::Absent, Condition::Present];
                Command::Set {
                    key: key.into(),
                    value: value.into(),
                    condition: conditions[self.place(conditions.len())],
                    get: self.below(2) == 0,
                    expiry: self.expiry(now),
                }
            }
            4 => Command::Delete {
                keys: vec![key, self.key(long_bytes)],
            },
            5 => Command::SetMany {
                pairs: vec![(key, value), (self.key(long_bytes), self.value())],
            },
            6 => Command::SetManyAbsent {
                pairs: vec![(key, value), (self.key(long_bytes), self.value())],
            },
            7 => Command::Add { key, delta: 3 },
            8 => Command::AddDecimal { key, delta: value },
            9 => Command::Append { key, suffix: value },
            10 => Command::SetRange {
                key,
                offset: self.below(5),
                part: value,
            },
            11 => Command::Take { key },
            12 => Command::GetAndExpire {
                key,
                expiry: self.expiry(now),
            },
            13 | 14 => Command::Expire {
                key,
                expiry: self.expiry(now),
                condition: ExpireCondition {
                    if_later: self.below(3) == 0,
                    ..ExpireCondition::default()
                },
            },
            15 => Command::Persist { key },
            16 => Command::Rename {
                from: key,
                to: self.key(long_bytes),
                if_absent: self.below(2) == 0,
            },
            17 => Command::Copy {
                from: key,
                to: self.key(long_bytes),
                replace: self.below(2) == 0,
            },
            18 if self.below(4) == 0 => Command::Flush,
            18 | 19 => Command::Purge,
            _ => {
                let watched = (0..self.below(2)).map(|_| (self.key(long_bytes), self.below(3)));
                let watched = watched.collect();
                let operations = (0..self.below(4)).map(|_| match self.below(3) {
                    0 => Operation::Read(Query::GetMany(vec![self.key(long_bytes), self.key(long_bytes)])),
                    1 => Operation::Read(Query::KeyCount),
                    _ => Operation::Write(self.command(now, long_bytes)),
                });
                let operations = operations.collect();
                Command::Transaction { watched, operations }
            }
        }
    }
}

/// The one that is asked for, or all.
fn seeds() -> std::ops::Range<u64> {
    match std::env::var("RAFTYARD_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 1..30,
    }
}

/// Bytes of one of the keys.
const LONG_KEY_BYTES: usize = 70_000;

#[test]
fn memory_and_disk_stay_the_same() {
    for seed in seeds() {
        println!("RAFTYARD_SEED={seed}");
        let mut random = Random::new(seed);
        let (mut kv, mut now) = (Kv::default(), NOW);
        for _ in 0..150 {
            now = now.plus(random.below(5));
            let command = random.command(now, LONG_KEY_BYTES);
            kv.apply(command, now);
            match random.below(40) {
                0 => kv.reopen(),
                1 => {
                    let mut other = Kv::default();
                    other.put("gone", "x");
                    kv.send_to(&mut other);
                    kv = other;
                }
                2..8 => kv.commit(),
                _ => {}
            }
        }
        kv.commit();
        let many = (0..20).map(|_| random.key(LONG_KEY_BYTES)).collect();
        kv.query(Query::Versions(many));
    }
}

impl Kv {
    /// As after a restart.
    fn reopen(&mut self) {
        self.commit();
        let disk = self.disk.get_mut();
        *disk = STORE.with(|(store, _)| store.machine(disk.group()));
        disk.assert_holds(&self.memory.keys);
    }
}

/// When a replica commits follows from its load: what of the keys is in memory differs, and what becomes of them must not.
#[test]
fn replicas_that_commit_at_other_times_stay_the_same() {
    const HELD_BYTES_MAX: usize = 5_000;
    let limits = Limits {
        purge: 2,
        purge_bytes: 1_500,
        values_bytes: 1_500,
    };
    let (mut full, mut refused, mut cut) = (0, 0, 0);
    for seed in seeds() {
        println!("RAFTYARD_SEED={seed}");
        let (mut random, mut now) = (Random::new(seed), NOW);
        let mut memory = KvMachine {
            limits,
            ..KvMachine::default()
        };
        let (mut at_once, mut rarely) = (on_disk(), on_disk());
        at_once.limit(limits, HELD_BYTES_MAX);
        rarely.limit(limits, HELD_BYTES_MAX);
        for _ in 0..150 {
            now = now.plus(random.below(5));
            let command = random.command(now, LONG_KEY_BYTES);
            let response = memory.apply(command.clone(), now);
            for disk in [&mut at_once, &mut rarely] {
                let text = format!("{command:?}");
                assert_eq!(disk.apply(command.clone(), now).unwrap(), response, "{text:.200}");
            }
            at_once.commit(&[]).unwrap();
            at_once.assert_holds(&memory.keys);
            if rarely.is_full() || random.below(20) == 0 {
                full += usize::from(rarely.is_full());
                rarely.commit(&[]).unwrap();
                rarely.assert_holds(&memory.keys);
            }
            refused += usize::from(response == Response::Refused(Refusal::ValuesTooLong));
            cut += usize::from(command == Command::Purge && response == Response::Integer(integer(limits.purge)));
        }
    }
    println!("{full} times full, {refused} refusals, {cut} purges that ended at the limit");
    assert!(seeds().count() == 1 || full.min(refused).min(cut) > 3);
}
