//! Draws what a client asks.

use bytes::Bytes;
use raftyard::Timestamp;
use raftyard::sim::Random;

use super::bytes;
use crate::machine::{Command, Condition, ExpireCondition, Expiry, LifetimeForm, Operation, Query};

/// Milliseconds that no run takes: a thousand years.
const AGES: u64 = 1 << 45;

/// The names of a part's keys. One is too long to be kept [in place](crate::machine::Blob).
const NAMES: [&str; 3] = ["a", "b", "a key that has to be kept elsewhere"];

/// What is asked is about this part.
pub(super) struct Draw<'a> {
    pub(super) part: u64,
    pub(super) random: &'a mut Random,
}

/// The part that a key belongs to.
pub(super) fn part(key: &[u8]) -> Option<u64> {
    let (number, _) = std::str::from_utf8(key).ok()?.split_once(':')?;
    number.parse().ok()
}

impl Draw<'_> {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.random.below(end)
    }

    fn coin(&mut self) -> bool {
        self.random.chance(500)
    }

    fn signed(&mut self, end: u32) -> i64 {
        i64::try_from(self.below(end.into())).unwrap_or_default() - i64::from(end / 2)
    }

    /// As many as `draw` gives, from one to three.
    fn some<T>(&mut self, draw: fn(&mut Self) -> T) -> Vec<T> {
        (0..=self.below(3)).map(|_| draw(self)).collect()
    }

    fn key(&mut self) -> Bytes {
        let name = self.random.pick(&NAMES).copied().unwrap_or_default();
        bytes(format!("{}:{name}", self.part))
    }

    fn pair(&mut self) -> (Bytes, Bytes) {
        (self.key(), self.value())
    }

    /// Numbers that can be counted on, one that can't be, texts, long and short.
    fn value(&mut self) -> Bytes {
        let number = self.below(100_000);
        match self.below(8) {
            0..4 => bytes(number.to_string()),
            4 => bytes(i64::MAX.to_string()),
            5 => bytes(format!("{number} as a text that is longer than a few bytes")),
            _ => bytes(format!("text {number}")),
        }
    }

    /// Parts with even numbers have deadlines that are told as times, and can be compared; the others some that count from
    /// the time of the command, which answers must not depend on.
    fn is_absolute(&self) -> bool {
        self.part.is_multiple_of(2)
    }

    /// One that is past, or one that no run sees pass.
    fn deadline(&mut self) -> Expiry {
        let ahead = match self.below(5) {
            0 => 0,
            _ => AGES + self.below(4),
        };
        if self.is_absolute() {
            Expiry::At(Timestamp(ahead))
        } else {
            Expiry::After(ahead)
        }
    }

    fn expiry(&mut self) -> Expiry {
        match self.below(5) {
            0 | 1 => Expiry::Never,
            2 => Expiry::Keep,
            _ => self.deadline(),
        }
    }

    fn expire_condition(&mut self) -> ExpireCondition {
        let which = self.below(if self.is_absolute() { 6 } else { 4 });
        ExpireCondition {
            if_none: which == 0,
            if_some: which == 1,
            if_later: which == 4,
            if_earlier: which == 5,
        }
    }

    pub(super) fn query(&mut self) -> Query {
        match self.below(10) {
            0..4 => Query::Get(self.key()),
            4 | 5 => Query::GetMany(self.some(Self::key)),
            6 => Query::Exists(self.some(Self::key)),
            7 => Query::Length(self.key()),
            8 => Query::Range {
                key: self.key(),
                start: self.signed(10),
                end: self.signed(20),
            },
            _ if self.is_absolute() => Query::Lifetime {
                key: self.key(),
                form: LifetimeForm {
                    absolute: true,
                    millis: true,
                },
            },
            _ => Query::Kind(self.key()),
        }
    }

    pub(super) fn command(&mut self) -> Command {
        match self.below(10) {
            0 => self.transaction(),
            _ => self.write(),
        }
    }

    fn write(&mut self) -> Command {
        match self.below(23) {
            0..4 => {
                let conditions = [Condition::Always, Condition::Absent, Condition::Present];
                Command::Set {
                    key: self.key().into(),
                    value: self.value().into(),
                    condition: self.random.pick(&conditions).copied().unwrap_or_default(),
                    get: self.coin(),
                    expiry: self.expiry(),
                }
            }
            4..7 => Command::Add {
                key: self.key(),
                delta: self.signed(10),
            },
            7..9 => Command::Append {
                key: self.key(),
                suffix: self.value(),
            },
            9 | 10 => Command::Delete {
                keys: self.some(Self::key),
            },
            11 => Command::SetMany {
                pairs: self.some(Self::pair),
            },
            12 => Command::SetManyAbsent {
                pairs: self.some(Self::pair),
            },
            13 => Command::AddDecimal {
                key: self.key(),
                delta: bytes("0.5"),
            },
            14 => Command::SetRange {
                key: self.key(),
                offset: self.below(30),
                part: self.value(),
            },
            15 => Command::Take { key: self.key() },
            16 => Command::GetAndExpire {
                key: self.key(),
                expiry: self.expiry(),
            },
            17 | 18 => Command::Expire {
                key: self.key(),
                expiry: self.deadline(),
                condition: self.expire_condition(),
            },
            19 => Command::Persist { key: self.key() },
            20 => Command::Rename {
                from: self.key(),
                to: self.key(),
                if_absent: self.coin(),
            },
            21 => Command::Copy {
                from: self.key(),
                to: self.key(),
                replace: self.coin(),
            },
            _ => Command::Purge,
        }
    }

    /// Of keys that are watched, only that they are not there: any other version tells what was done to other parts.
    fn transaction(&mut self) -> Command {
        let watched = if self.coin() { vec![(self.key(), 0)] } else { vec![] };
        let operations = self.some(|draw| match draw.below(3) {
            0 => Operation::Read(draw.query()),
            _ => Operation::Write(draw.write()),
        });
        Command::Transaction { watched, operations }
    }
}
