//! The state machine of one group: keys and their values, in memory.
//!
//! Everything that decides an outcome is in the command, so that every replica answers the same. The map's
//! order is random per process and nothing here iterates over it.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use raftyard::{StateMachine, Timestamp};
use serde::{Deserialize, Serialize};

use crate::resp::MAX_BULK_BYTES;

/// Longest value, in bytes: what a client can write in one piece it can also read. Part of the state machine: replicas
/// with another limit would answer differently.
const MAX_VALUE_BYTES: usize = MAX_BULK_BYTES;

/// A write: one log entry. Encoded with postcard: the variant's number, then the fields in order, so the order of
/// both is the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Answers [`Response::Ok`]; [`Response::Value`] of what was there before if `get`, and otherwise
    /// [`Response::Unchanged`] if the condition does not hold.
    Set {
        key: Bytes,
        value: Bytes,
        condition: Condition,
        get: bool,
    },
    /// Answers the number of keys that were there.
    Delete { keys: Vec<Bytes> },
    /// Sets all, answers [`Response::Ok`].
    SetMany { pairs: Vec<(Bytes, Bytes)> },
    /// Answers the sum; a key that is not there counts as 0.
    Add { key: Bytes, delta: i64 },
    /// Answers the value's new length in bytes.
    Append { key: Bytes, suffix: Bytes },
}

/// When a [`Command::Set`] takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Condition {
    #[default]
    Always,
    /// Only if the key is not there (`NX`).
    Absent,
    /// Only if the key is there (`XX`).
    Present,
}

/// What a command was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Response {
    Ok,
    /// The condition did not hold and nothing changed.
    Unchanged,
    Value(Option<Bytes>),
    Integer(i64),
    /// The command can't be carried out on this value; nothing changed.
    Refused(Refusal),
}

/// Why a command changed nothing. The texts are Redis's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    TooLong,
}

/// A read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Query {
    /// [`Answer::Value`].
    Get(Bytes),
    /// [`Answer::Values`], in the order of the keys.
    GetMany(Vec<Bytes>),
    /// [`Answer::Integer`]: how many of the keys are there; a key named twice counts twice.
    Exists(Vec<Bytes>),
    /// [`Answer::Integer`]: the value's length in bytes, 0 if there is none.
    Length(Bytes),
    /// [`Answer::Integer`]: how many keys the group holds.
    KeyCount,
}

/// What a read was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Value(Option<Bytes>),
    Values(Vec<Option<Bytes>>),
    Integer(i64),
}

/// The keys of one group.
#[derive(Debug, Default)]
pub(crate) struct KvMachine {
    values: HashMap<Bytes, Bytes>,
}

impl StateMachine for KvMachine {
    type Command = Command;
    type Response = Response;
    type Query = Query;
    type Answer = Answer;
    type Snapshot = HashMap<Bytes, Bytes>;

    fn apply(&mut self, command: Command, _: Timestamp) -> Response {
        match command {
            Command::Set {
                key,
                value,
                condition,
                get,
            } => self.set(key, value, condition, get),
            Command::Delete { keys } => {
                let removed = keys.iter().filter(|key| self.values.remove(*key).is_some()).count();
                Response::Integer(integer(removed))
            }
            Command::SetMany { pairs } => {
                self.values.extend(pairs);
                Response::Ok
            }
            Command::Add { key, delta } => self.add(key, delta),
            Command::Append { key, suffix } => self.append(key, suffix),
        }
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Get(key) => Answer::Value(self.values.get(&key).cloned()),
            Query::GetMany(keys) => Answer::Values(keys.iter().map(|key| self.values.get(key).cloned()).collect()),
            Query::Exists(keys) => {
                let there = keys.iter().filter(|key| self.values.contains_key(*key));
                Answer::Integer(integer(there.count()))
            }
            Query::Length(key) => Answer::Integer(integer(self.values.get(&key).map_or(0, Bytes::len))),
            Query::KeyCount => Answer::Integer(integer(self.values.len())),
        }
    }

    /// Copies the map but no key or value: they are shared.
    fn snapshot(&self) -> HashMap<Bytes, Bytes> {
        self.values.clone()
    }

    fn restore(&mut self, values: HashMap<Bytes, Bytes>) {
        self.values = values;
    }
}

impl KvMachine {
    fn set(&mut self, key: Bytes, value: Bytes, condition: Condition, get: bool) -> Response {
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => !self.values.contains_key(&key),
            Condition::Present => self.values.contains_key(&key),
        };
        if get {
            let before = self.values.get(&key).cloned();
            if holds {
                self.values.insert(key, value);
            }
            Response::Value(before)
        } else if holds {
            self.values.insert(key, value);
            Response::Ok
        } else {
            Response::Unchanged
        }
    }

    fn add(&mut self, key: Bytes, delta: i64) -> Response {
        let before = match self.values.get(&key) {
            None => 0,
            Some(value) => match parse_integer(value) {
                Some(number) => number,
                None => return Response::Refused(Refusal::NotAnInteger),
            },
        };
        match before.checked_add(delta) {
            None => Response::Refused(Refusal::Overflow),
            Some(sum) => {
                self.values.insert(key, Bytes::from(sum.to_string()));
                Response::Integer(sum)
            }
        }
    }

    fn append(&mut self, key: Bytes, suffix: Bytes) -> Response {
        let Some(value) = self.values.get_mut(&key) else {
            let length = suffix.len();
            self.values.insert(key, suffix);
            return Response::Integer(integer(length));
        };
        let length = value.len() + suffix.len();
        if length > MAX_VALUE_BYTES {
            return Response::Refused(Refusal::TooLong);
        }
        // A value that nobody else holds grows in place; one that a reply still holds is copied.
        let mut grown = std::mem::take(value).try_into_mut().unwrap_or_else(BytesMut::from);
        grown.put_slice(&suffix);
        *value = grown.freeze();
        Response::Integer(integer(length))
    }
}

/// A number as Redis accepts it: the one way to write an `i64` in decimal. No blanks, no `+`, no leading zero, no `-0`.
pub(crate) fn parse_integer(digits: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let canonical = match digits {
        [b'0'] => true,
        [b'-', first, ..] | [first, ..] => matches!(first, b'1'..=b'9'),
        [] => false,
    };
    canonical.then_some(number)
}

/// A count or length as the wire wants it.
fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
