//! What the state machine is told and asked, and what it answers. The encoding is postcard's: a variant's number, then its
//! fields in order. So the order of both is the format of the log and of snapshots.

use std::sync::Arc;

use bytes::Bytes;
use raftyard::Timestamp;
use serde::{Deserialize, Serialize};

use super::blob::Blob;
use super::{MAX_VALUE_BYTES, REPLIES_BYTES_MAX};
use crate::replies::Room;

/// A write: one log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Answers [`Response::Ok`]; [`Response::Value`] of what was there before if `get`, and otherwise
    /// [`Response::Unchanged`] if the condition does not hold.
    Set {
        key: Blob,
        value: Blob,
        condition: Condition,
        get: bool,
        expiry: Expiry,
    },
    /// Answers the number of keys that were there.
    Delete { keys: Vec<Bytes> },
    /// Sets all, answers [`Response::Ok`].
    SetMany { pairs: Vec<(Bytes, Bytes)> },
    /// Answers the sum; a key that is not there counts as 0.
    Add { key: Bytes, delta: i64 },
    /// Answers the value's new length in bytes.
    Append { key: Bytes, suffix: Bytes },
    /// Sets all if none of the keys is there; answers 1, or 0 and changes nothing.
    SetManyAbsent { pairs: Vec<(Bytes, Bytes)> },
    /// Answers the value and deletes the key.
    Take { key: Bytes },
    /// Answers the value and changes when the key expires.
    GetAndExpire { key: Bytes, expiry: Expiry },
    /// Answers 1; 0 if the key is not there or the condition does not hold.
    Expire {
        key: Bytes,
        expiry: Expiry,
        condition: ExpireCondition,
    },
    /// Answers 1; 0 if the key is not there or never expires.
    Persist { key: Bytes },
    /// Overwrites from `offset` on, after zero bytes if the value is shorter; answers the value's new length in bytes.
    SetRange { key: Bytes, offset: u64, part: Bytes },
    /// Answers the sum as text. `delta` is a number as the client wrote it.
    AddDecimal { key: Bytes, delta: Bytes },
    /// Answers [`Response::Ok`]; with `if_absent` 1, or 0 if `to` is there.
    Rename { from: Bytes, to: Bytes, if_absent: bool },
    /// Answers 1; 0 if `from` is not there, or `to` is and is not to be replaced.
    Copy { from: Bytes, to: Bytes, replace: bool },
    /// Deletes every key; answers [`Response::Ok`].
    Flush,
    /// Removes keys that have expired by now, a bounded number; answers how many.
    Purge,
    /// Does all, with nothing in between, and answers [`Response::Each`]; [`Response::Conflict`], and nothing is done, if
    /// a watched key has another version by now.
    Transaction {
        watched: Vec<(Bytes, Version)>,
        operations: Vec<Operation>,
    },
}

impl Command {
    /// Sets a key, whether it is there or not; answers [`Response::Ok`].
    pub(crate) fn set(key: Blob, value: Blob, expiry: Expiry) -> Self {
        Self::Set {
            key,
            value,
            condition: Condition::Always,
            get: false,
            expiry,
        }
    }

    /// Bytes of the values that it returns, at most. 0 if it returns none, or a short one.
    pub(crate) fn returned_bytes_max(&self) -> usize {
        match self {
            Self::Set { get: true, .. } | Self::Take { .. } | Self::GetAndExpire { .. } => MAX_VALUE_BYTES,
            Self::Transaction { operations, .. } => {
                let each = operations.iter().map(|operation| match operation {
                    Operation::Write(command) => command.returned_bytes_max(),
                    Operation::Read(Query::Get(_) | Query::Range { .. }) => MAX_VALUE_BYTES,
                    Operation::Read(Query::GetMany(keys)) => keys.len().saturating_mul(MAX_VALUE_BYTES),
                    Operation::Read(_) => 0,
                });
                each.fold(0, usize::saturating_add)
                    .min(REPLIES_BYTES_MAX + MAX_VALUE_BYTES)
            }
            _ => 0,
        }
    }
}

/// A command of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Operation {
    Write(Command),
    Read(Query),
}

/// Counts the changes of a group: a key has the number of its last one, and 0 if it is not there. No number is used twice.
pub(crate) type Version = u64;

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

/// When a key expires. Durations count from the time that the command is stamped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Expiry {
    #[default]
    Never,
    /// When it did before.
    Keep,
    /// Milliseconds.
    After(u64),
    /// A time that is past deletes the key at once.
    At(Timestamp),
}

/// When a [`Command::Expire`] takes place. All that is set has to hold; a key without a deadline expires later than any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct ExpireCondition {
    /// The key has no deadline (`NX`).
    pub(crate) if_none: bool,
    /// It has one (`XX`).
    pub(crate) if_some: bool,
    /// The new one is later (`GT`).
    pub(crate) if_later: bool,
    /// The new one is earlier (`LT`).
    pub(crate) if_earlier: bool,
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
    /// To a read of a transaction.
    Answer(Answer),
    /// To each operation of a transaction, in order.
    Each(Vec<Response>),
    /// A watched key was changed.
    Conflict,
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
    #[error("ERR value is not a valid float")]
    NotANumber,
    #[error("ERR increment would produce NaN or Infinity")]
    Infinite,
    #[error("ERR no such key")]
    NoSuchKey,
    #[error("ERR the replies of the transaction are too long, this command was not carried out")]
    RepliesTooLong,
    #[error("ERR the values have more than 64 MiB together, ask for fewer keys at a time")]
    ValuesTooLong,
    #[error("ERR the pattern takes too many steps on a long key")]
    PatternTooCostly,
}

/// A read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Query {
    /// [`Answer::Value`].
    Get(Bytes),
    /// [`Answer::Values`], in the order of the keys.
    GetMany(Vec<Bytes>),
    /// [`Answer::Integer`]: how many of the keys are there; a key named twice counts twice.
    Exists(Vec<Bytes>),
    /// [`Answer::Integer`]: the value's length in bytes, 0 if there is none.
    Length(Bytes),
    /// [`Answer::Value`]: the bytes from `start` to `end`, both included, negative ones counted from the end.
    Range { key: Bytes, start: i64, end: i64 },
    /// [`Answer::Lifetime`].
    Lifetime { key: Bytes, form: LifetimeForm },
    /// [`Answer::Kind`].
    Kind(Bytes),
    /// [`Answer::Versions`], in the order of the keys.
    Versions(Vec<Bytes>),
    /// [`Answer::Integer`]: how many keys the group holds, with those that have expired and are not removed yet.
    KeyCount,
    /// [`Answer::Page`]: the keys at the `count` places before `before` (0: before the end) that match the pattern. Where
    /// keys lie on disk, about `count` of them from the hash `before` on.
    Scan {
        before: u64,
        count: u64,
        pattern: Option<Bytes>,
    },
    /// [`Answer::Value`]: the key at the place `number` modulo the number of keys, or one near it.
    KeyAt(u64),
}

/// A read as it is put to a group, with the room for its answer.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) query: Query,
    /// `None`: the answer is not counted.
    pub(crate) room: Option<Arc<Room>>,
}

impl From<Query> for Read {
    fn from(query: Query) -> Self {
        Self { query, room: None }
    }
}

impl Read {
    /// What `answer` makes of the query, if there is room for it.
    pub(super) fn answered<E>(self, answer: impl FnOnce(Query) -> Result<Answer, E>) -> Result<Answer, E> {
        let Some(room) = self.room else {
            return answer(self.query);
        };
        if room.is_refused() {
            return Ok(Answer::NoRoom);
        }
        let answer = answer(self.query)?;
        let fits = room.take(answer.value_bytes());
        Ok(if fits { answer } else { Answer::NoRoom })
    }
}

/// How a key's deadline is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LifetimeForm {
    /// As a time, not as what is left until then.
    pub(crate) absolute: bool,
    /// In milliseconds, not in seconds.
    pub(crate) millis: bool,
}

/// What a read was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Value(Option<Bytes>),
    Values(Vec<Option<Bytes>>),
    Integer(i64),
    Lifetime(Lifetime, LifetimeForm),
    /// Whether the key is there: all values are strings.
    Kind(bool),
    Versions(Vec<Version>),
    Page {
        /// Where to go on; 0: nothing is left.
        before: u64,
        keys: Vec<Bytes>,
    },
    /// Too much was asked.
    Refused(Refusal),
    /// There is no room for the answer now: ask again.
    NoRoom,
}

impl Answer {
    /// Bytes of the values in it.
    pub(crate) fn value_bytes(&self) -> usize {
        let one = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        match self {
            Self::Value(value) => one(value),
            Self::Values(values) => values.iter().map(one).sum(),
            _ => 0,
        }
    }
}

/// How long a key lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lifetime {
    /// It is not there.
    None,
    Endless,
    Until(Timestamp),
}
