//! Sessions: a command that is asked again is applied once, and gets its first answer (thesis §6.3).
//!
//! A client numbers its requests. Every replica keeps, as part of the replicated state, what each request of
//! a session answered, from the lowest number that the client still waits for on. A request that comes again
//! finds its answer there. All of it is above the core, in which commands are bytes.
//!
//! - [`Envelope`]: what stands in front of a command in the log and says whose request it is;
//! - [`Sessions`]: what every replica remembers, the same everywhere, part of snapshots;
//! - [`OwnSession`]: the session that a replica keeps for what is proposed without one.

mod envelope;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod kept;
mod own;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
mod window;

pub(crate) use envelope::{ENVELOPE_ROOM, Envelope};
pub(crate) use kept::Kept;
pub(crate) use own::{OwnSession, SessionIds};
pub(crate) use table::{Admission, Sessions};

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// What a group remembers for sessions. A group goes by the limits of whichever leader opened a session
/// last: they travel in the log, so that all replicas forget the same at the same entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLimits {
    /// A session that was not used for so long, by the time of the group's commands, expires. Milliseconds, at least 1.
    pub idle_ms: u64,
    /// Sessions of a group; beyond it the one that was not used for longest expires. At least 1.
    pub sessions_max: u64,
    /// Requests of one session whose answers are remembered; what is more is refused. At least 2.
    pub responses_max: u64,
    /// Bytes of answers that a group remembers, all sessions together: each counts 24, and one of more than 22 bytes its length,
    /// too. Beyond it the session that was not
    /// used for longest expires, and if it is the only one, its next command is refused. At least 1.
    pub bytes_max: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            idle_ms: 60 * 60 * 1_000,
            sessions_max: 65_536,
            responses_max: 65_536,
            bytes_max: 64 << 20,
        }
    }
}

/// Names a session of a group. No two sessions of a group have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub(crate) u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Names a request of a session: the same for every attempt. It can be kept, sent elsewhere, and used
/// at any node of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestId {
    pub(crate) session: SessionId,
    pub(crate) number: u64,
    /// The lowest number that its client waited for when it made this one: all below may be forgotten.
    pub(crate) floor: u64,
}

impl RequestId {
    /// The session it belongs to.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.session, self.number)
    }
}

/// A client's side of a session of one group: it names requests, and knows which of them are still waited
/// for. It can be serialised, and so outlive the process that opened it. Two copies of one must not both
/// name requests: the same name would stand for two commands, and only one of these would be applied.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    id: SessionId,
    next: u64,
    waiting: BTreeSet<u64>,
}

impl Session {
    pub(crate) fn new(id: SessionId) -> Self {
        Self {
            id,
            next: 1,
            waiting: BTreeSet::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Names the next request. Its answer is remembered until [`Session::done`] is told of it, and a later
    /// request was made and applied.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: it never ends")]
    pub fn next(&mut self) -> RequestId {
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number);
        let floor = self.waiting.first().copied().unwrap_or(number);
        RequestId {
            session: self.id,
            number,
            floor,
        }
    }

    /// Nobody will ask for this request's answer again: the group may forget it.
    pub fn done(&mut self, request: RequestId) {
        if request.session == self.id {
            self.waiting.remove(&request.number);
        }
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution<R> {
    /// It was applied: what that answered.
    Applied(R),
    /// It was not applied, and never will be: an attempt that is still under way will be refused.
    NotApplied,
    /// The group has forgotten the session or the request: nobody can tell whether it was applied. An attempt
    /// that is still under way will be refused.
    Forgotten,
}
