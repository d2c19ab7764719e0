//! The state machine of one group: keys and their values, in memory; [`disk`] keeps them on disk.
//!
//! Everything that decides an outcome is in the command, its time stamp and the state, so that every replica answers
//! the same. A key is gone once the group's time, which only commands move, has reached its deadline: so a key that was
//! read as gone stays gone, whoever leads next and whatever that node's clock says.

mod blob;
mod command;
mod deadlines;
mod decimal;
mod disk;
mod keys;
mod keyspace;
mod limits;
mod row;
#[cfg(feature = "sim")]
#[allow(dead_code, reason = "it is for the library; the binary does not simulate")]
pub(crate) mod simulated;
mod strings;
mod touched;
mod weight;

use std::convert::Infallible;

use bytes::Bytes;
use raftyard::{StateMachine, Timestamp};

pub(crate) use blob::Blob;
pub(crate) use command::{
    Answer, Command, Condition, ExpireCondition, Expiry, Lifetime, LifetimeForm, Operation, Query, Read, Refusal,
    Response, Version,
};
pub(crate) use decimal::parse as parse_decimal;
pub(crate) use disk::{DiskKv, KeysCheck, OPEN_TABLES, Store, check as check_keys};
pub(crate) use keyspace::Snapshot;
pub(crate) use limits::PAGE_BYTES;

use crate::bell::Bell;
use crate::resp::MAX_BULK_BYTES;
use keyspace::Keyspace;
use limits::Limits;

/// Longest value, in bytes: what a client can write in one piece it can also read. Part of the state machine: replicas
/// with another limit would answer differently.
const MAX_VALUE_BYTES: usize = MAX_BULK_BYTES;

/// Bytes that the replies of a transaction have at most, beside a last value. Their serialised form is in memory as a
/// whole, however often they name one value.
const REPLIES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The keys of one group.
#[derive(Debug, Default)]
pub(crate) struct KvMachine {
    keys: Keyspace,
    limits: Limits,
}

impl StateMachine for KvMachine {
    type Command = Command;
    type Response = Response;
    type Query = Read;
    type Answer = Answer;
    type Snapshot = Snapshot;

    fn apply(&mut self, command: Command, now: Timestamp) -> Response {
        self.keys.advance(now);
        let length = |key: &[u8]| self.keys.entry(key).map_or(0, |entry| entry.value.len());
        if weight::is_too_heavy(&command, self.limits.values_bytes, length) {
            return Response::Refused(Refusal::ValuesTooLong);
        }
        self.run(command)
    }

    fn query(&self, read: Read) -> Answer {
        let Ok::<_, Infallible>(answer) = read.answered(|query| Ok(self.query(query)));
        answer
    }

    fn snapshot(&self) -> Snapshot {
        self.keys.snapshot()
    }

    fn restore(&mut self, snapshot: Snapshot) {
        self.keys.restore(snapshot);
    }
}

impl KvMachine {
    /// No keys yet. `bell` is told when the first of them expires.
    pub(crate) fn new(bell: Bell) -> Self {
        Self {
            keys: Keyspace::new(bell),
            limits: Limits::default(),
        }
    }

    fn query(&self, query: Query) -> Answer {
        let keys = &self.keys;
        match query {
            Query::Get(key) => Answer::Value(keys.get(&key).map(Blob::to_bytes)),
            Query::GetMany(many) => Answer::Values(many.iter().map(|key| keys.get(key).map(Blob::to_bytes)).collect()),
            Query::Exists(many) => {
                let there = many.iter().filter(|key| keys.contains(key));
                Answer::Integer(integer(there.count()))
            }
            Query::Length(key) => Answer::Integer(integer(keys.get(&key).map_or(0, |value| value.len()))),
            Query::Range { key, start, end } => {
                let range = keys.get(&key).map(|value| strings::range(value, start, end));
                Answer::Value(Some(range.unwrap_or_default()))
            }
            Query::Lifetime { key, form } => Answer::Lifetime(keys.lifetime(&key), form),
            Query::Kind(key) => Answer::Kind(keys.contains(&key)),
            Query::Versions(many) => Answer::Versions(many.iter().map(|key| keys.version(key)).collect()),
            Query::KeyCount => Answer::Integer(integer(keys.len())),
            Query::Scan { before, count, pattern } => {
                let [before, count] = [before, count].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
                match keys.scan(before, count, pattern.as_deref()) {
                    Ok((before, keys)) => Answer::Page {
                        before: before as u64,
                        keys,
                    },
                    Err(refusal) => Answer::Refused(refusal),
                }
            }
            Query::KeyAt(number) => Answer::Value(keys.key_at(number)),
        }
    }

    fn run(&mut self, command: Command) -> Response {
        let keys = &mut self.keys;
        match command {
            Command::Set {
                key,
                value,
                condition,
                get,
                expiry,
            } => keys.set(key, value, condition, get, expiry),
            Command::Delete { keys: many } => {
                let removed = many.iter().filter(|key| keys.remove(key).is_some()).count();
                Response::Integer(integer(removed))
            }
            Command::SetMany { pairs } => {
                keys.set_many(pairs);
                Response::Ok
            }
            Command::SetManyAbsent { pairs } => {
                let absent = pairs.iter().all(|(key, _)| !keys.contains(key));
                if absent {
                    keys.set_many(pairs);
                }
                Response::Integer(absent.into())
            }
            Command::Add { key, delta } => keys.add(key, delta),
            Command::AddDecimal { key, delta } => keys.add_decimal(key, &delta),
            Command::Append { key, suffix } => keys.append(key, suffix),
            Command::SetRange { key, offset, part } => keys.set_range(key, offset, &part),
            Command::Take { key } => Response::Value(keys.remove(&key).map(Blob::into_bytes)),
            Command::GetAndExpire { key, expiry } => keys.get_and_expire(&key, expiry),
            Command::Expire { key, expiry, condition } => keys.expire(&key, expiry, condition),
            Command::Persist { key } => keys.persist(&key),
            Command::Rename { from, to, if_absent } => keys.rename(&from, to, if_absent),
            Command::Copy { from, to, replace } => keys.copy(&from, to, replace),
            Command::Flush => {
                keys.clear();
                Response::Ok
            }
            Command::Purge => Response::Integer(integer(keys.purge(self.limits))),
            Command::Transaction { watched, operations } => self.transact(&watched, operations),
        }
    }

    fn transact(&mut self, watched: &[(Bytes, Version)], operations: Vec<Operation>) -> Response {
        if watched.iter().any(|(key, version)| self.keys.version(key) != *version) {
            return Response::Conflict;
        }
        let mut bytes = 0;
        let mut each = Vec::with_capacity(operations.len());
        for operation in operations {
            let too_long = Response::Refused(Refusal::RepliesTooLong);
            let response = match operation {
                _ if bytes >= REPLIES_BYTES_MAX => too_long,
                Operation::Write(command) => self.run(command),
                Operation::Read(query) => {
                    // It is short until it is serialised: values in it are shared.
                    let answer = Response::Answer(self.query(query));
                    let fits = bytes + length(&answer) <= REPLIES_BYTES_MAX;
                    if fits { answer } else { too_long }
                }
            };
            bytes += length(&response);
            each.push(response);
        }
        Response::Each(each)
    }
}

/// The bytes of the values in a response.
fn length(response: &Response) -> usize {
    match response {
        Response::Value(value) => value.as_ref().map_or(0, Bytes::len),
        Response::Answer(answer) => answer.value_bytes(),
        _ => 0,
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
