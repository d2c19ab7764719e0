//! What is done to keys, whatever their values.

use bytes::Bytes;
use raftyard::Timestamp;

use super::blob::Blob;
use super::command::{ExpireCondition, Expiry, Lifetime, Refusal, Response};
use super::keyspace::Keyspace;

impl Keyspace {
    pub(super) fn expire(&mut self, key: &[u8], expiry: Expiry, condition: ExpireCondition) -> Response {
        let before = self.lifetime(key);
        let deadline = self.deadline(expiry, before);
        // Endless is later than any deadline.
        let later = |a: Option<Timestamp>, b: Option<Timestamp>| a.is_some_and(|a| b.is_none_or(|b| a < b));
        let current = match before {
            Lifetime::None => return Response::Integer(0),
            Lifetime::Endless => None,
            Lifetime::Until(deadline) => Some(deadline),
        };
        let holds = (!condition.if_none || current.is_none())
            && (!condition.if_some || current.is_some())
            && (!condition.if_later || later(current, deadline))
            && (!condition.if_earlier || later(deadline, current));
        if holds {
            self.set_deadline(key, deadline);
        }
        Response::Integer(holds.into())
    }

    pub(super) fn persist(&mut self, key: &[u8]) -> Response {
        let had = matches!(self.lifetime(key), Lifetime::Until(_));
        if had {
            self.set_deadline(key, None);
        }
        Response::Integer(had.into())
    }

    pub(super) fn get_and_expire(&mut self, key: &[u8], expiry: Expiry) -> Response {
        let value = self.get(key).map(Blob::to_bytes);
        match (expiry, self.lifetime(key)) {
            // Nothing to take away: the key does not change.
            (_, Lifetime::None) | (Expiry::Never, Lifetime::Endless) => {}
            (expiry, before) => self.set_deadline(key, self.deadline(expiry, before)),
        }
        Response::Value(value)
    }

    pub(super) fn rename(&mut self, from: &[u8], to: Bytes, if_absent: bool) -> Response {
        let lifetime = self.lifetime(from);
        if lifetime == Lifetime::None {
            return Response::Refused(Refusal::NoSuchKey);
        }
        let blocked = if_absent && self.contains(&to);
        if !blocked
            && from != to
            && let Some(value) = self.remove(from)
        {
            self.put(to, value, until(lifetime));
        }
        if if_absent {
            Response::Integer((!blocked).into())
        } else {
            Response::Ok
        }
    }

    pub(super) fn copy(&mut self, from: &[u8], to: Bytes, replace: bool) -> Response {
        let value = self.get(from).cloned();
        let (Some(value), true) = (value, replace || !self.contains(&to)) else {
            return Response::Integer(0);
        };
        self.put(to, value, until(self.lifetime(from)));
        Response::Integer(1)
    }
}

fn until(lifetime: Lifetime) -> Expiry {
    match lifetime {
        Lifetime::Until(deadline) => Expiry::At(deadline),
        Lifetime::None | Lifetime::Endless => Expiry::Never,
    }
}
