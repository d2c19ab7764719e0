//! What is done to values.

use bytes::{BufMut, Bytes, BytesMut};

use super::blob::Blob;
use super::command::{Condition, Expiry, Refusal, Response};
use super::keyspace::Keyspace;
use super::{MAX_VALUE_BYTES, decimal, integer, parse_integer};

impl Keyspace {
    pub(super) fn set(&mut self, key: Blob, value: Blob, condition: Condition, get: bool, expiry: Expiry) -> Response {
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => !self.contains(&key),
            Condition::Present => self.contains(&key),
        };
        let before = if get { self.get(&key).map(Blob::to_bytes) } else { None };
        if holds {
            self.put(key, value, expiry);
        }
        if get {
            Response::Value(before)
        } else if holds {
            Response::Ok
        } else {
            Response::Unchanged
        }
    }

    pub(super) fn set_many(&mut self, pairs: Vec<(Bytes, Bytes)>) {
        for (key, value) in pairs {
            self.put(key, value, Expiry::Never);
        }
    }

    pub(super) fn add(&mut self, key: Bytes, delta: i64) -> Response {
        let before = match self.get(&key) {
            None => 0,
            Some(value) => match parse_integer(value) {
                Some(number) => number,
                None => return Response::Refused(Refusal::NotAnInteger),
            },
        };
        match before.checked_add(delta) {
            None => Response::Refused(Refusal::Overflow),
            Some(sum) => {
                self.put(key, Bytes::from(sum.to_string()), Expiry::Keep);
                Response::Integer(sum)
            }
        }
    }

    pub(super) fn add_decimal(&mut self, key: Bytes, delta: &[u8]) -> Response {
        let before = self.get(&key).map_or(&b"0"[..], |value| value);
        if decimal::parse(before).is_none() {
            return Response::Refused(Refusal::NotANumber);
        }
        match decimal::add(before, delta).map(Bytes::from) {
            None => Response::Refused(Refusal::Infinite),
            Some(sum) => {
                self.put(key, sum.clone(), Expiry::Keep);
                Response::Value(Some(sum))
            }
        }
    }

    pub(super) fn append(&mut self, key: Bytes, suffix: Bytes) -> Response {
        let Some(value) = self.get(&key) else {
            let length = suffix.len();
            self.put(key, suffix, Expiry::Never);
            return Response::Integer(integer(length));
        };
        let length = value.len() + suffix.len();
        if length > MAX_VALUE_BYTES {
            return Response::Refused(Refusal::TooLong);
        }
        self.change(&key, |value| {
            let mut grown = own(value);
            grown.put_slice(&suffix);
            grown.freeze()
        });
        Response::Integer(integer(length))
    }

    pub(super) fn set_range(&mut self, key: Bytes, offset: u64, part: &[u8]) -> Response {
        let length = self.get(&key).map_or(0, |value| value.len());
        if part.is_empty() {
            return Response::Integer(integer(length));
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(part.len());
        if end > MAX_VALUE_BYTES {
            return Response::Refused(Refusal::TooLong);
        }
        let overwrite = |value| {
            let mut value = own(value);
            value.resize(value.len().max(end), 0);
            if let Some(place) = value.get_mut(start..end) {
                place.copy_from_slice(part);
            }
            value.freeze()
        };
        if self.contains(&key) {
            self.change(&key, overwrite);
        } else {
            self.put(key, overwrite(Bytes::new()), Expiry::Never);
        }
        Response::Integer(integer(length.max(end)))
    }
}

/// A value that nobody else holds is changed in place; one that a reply still holds is copied.
fn own(value: Bytes) -> BytesMut {
    value.try_into_mut().unwrap_or_else(BytesMut::from)
}

/// The bytes from `start` to `end`, both included, negative ones counted from the end.
pub(super) fn range(value: &Blob, start: i64, end: i64) -> Bytes {
    let place = |from_either_end: i64| {
        let back = usize::try_from(from_either_end.unsigned_abs()).unwrap_or(usize::MAX);
        if from_either_end < 0 {
            value.len().checked_sub(back)
        } else {
            Some(back)
        }
    };
    if start < 0 && end < 0 && start > end {
        return Bytes::new();
    }
    // What is before the first byte counts as the first.
    let (start, end) = (place(start).unwrap_or(0), place(end).unwrap_or(0));
    let end = end.saturating_add(1).min(value.len());
    if start < end {
        value.to_bytes().slice(start..end)
    } else {
        Bytes::new()
    }
}
