//! The session that a replica keeps for what is proposed without one. Only what this replica appends is in
//! it, so its numbers are in the order of the log.

use super::{Envelope, RequestId, SessionId, SessionLimits};
use crate::random::mix;
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::num::NonZeroU64;

/// More room than this, in requests, is given back once nobody waits.
const ROOM_KEPT: usize = 4_096;

/// Makes names for sessions: no two lives of a replica make the same.
#[derive(Debug)]
pub(crate) struct SessionIds {
    seed: u64,
    made: u64,
}

impl SessionIds {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, made: 0 }
    }

    pub(crate) fn next(&mut self) -> SessionId {
        self.made += 1;
        SessionId(mix(self.seed, self.made))
    }
}

#[derive(Debug)]
pub(crate) struct OwnSession {
    id: Option<SessionId>,
    /// A request of it was applied, so it is open.
    is_open: bool,
    /// Something was applied that was proposed after all before this number. None of them is appended any more.
    overtaken: u64,
    /// Its first number. Numbers go on from session to session, so they tell which one they are of.
    first: u64,
    next: u64,
    /// Whether the requests from here on are settled: the first is not.
    floor: u64,
    settled: VecDeque<bool>,
    /// When its last request was made.
    last_use: Timestamp,
}

impl Default for OwnSession {
    fn default() -> Self {
        Self {
            id: None,
            is_open: false,
            overtaken: 0,
            first: 1,
            next: 1,
            floor: 1,
            settled: VecDeque::new(),
            last_use: Timestamp(0),
        }
    }
}

impl OwnSession {
    /// The next request, in a session that is there or will be. `opens` has to be set for the first of a
    /// turn: it opens the session if that is not known to be open. What follows in the log finds it.
    ///
    /// A request whose outcome stays unknown keeps the floor where it is, so that anyone can still resolve
    /// it. Before that fills the session, a new one takes its place, and the old one stays as it is until
    /// the group forgets it. So it is when the session may have expired.
    pub(crate) fn next(
        &mut self,
        opens: bool,
        now: Timestamp,
        limits: SessionLimits,
        ids: &mut SessionIds,
    ) -> (Envelope, Option<NonZeroU64>) {
        let (id, is_new) = match self.id {
            Some(id) if self.has_room(&limits) && now.since(self.last_use) < limits.idle_ms => (id, false),
            _ => (self.renew(ids), true),
        };
        self.last_use = self.last_use.max(now);
        let number = self.next;
        self.next += 1;
        self.settled.push_back(false);
        let request = RequestId {
            session: id,
            number,
            floor: self.floor,
        };
        let opens = (is_new || (opens && !self.is_open)).then_some(limits);
        (Envelope::Command { request, opens }, NonZeroU64::new(number))
    }

    fn has_room(&self, limits: &SessionLimits) -> bool {
        self.next - self.floor < limits.responses_max / 2
    }

    fn renew(&mut self, ids: &mut SessionIds) -> SessionId {
        let id = ids.next();
        self.id = Some(id);
        self.is_open = false;
        self.first = self.next;
        self.floor = self.next;
        self.settled.clear();
        id
    }

    /// Nobody will ask again what became of this request.
    pub(crate) fn settle(&mut self, number: NonZeroU64) {
        let Some(offset) = number.get().checked_sub(self.floor) else {
            return;
        };
        if let Some(settled) = usize::try_from(offset).ok().and_then(|at| self.settled.get_mut(at)) {
            *settled = true;
        }
        while self.settled.pop_front_if(|settled| *settled).is_some() {
            self.floor += 1;
        }
        if self.settled.is_empty() && self.settled.capacity() > ROOM_KEPT {
            self.settled.shrink_to(0);
        }
    }

    /// Gives back the memory that it has no use for while nothing is asked.
    pub(crate) fn shrink(&mut self) {
        self.settled.shrink_to_fit();
    }

    /// This request was found in its session.
    pub(crate) fn found_open(&mut self, number: NonZeroU64) {
        self.is_open |= number.get() >= self.first;
        self.overtaken_before(number.get());
    }

    /// The number of the next request.
    pub(crate) fn upcoming(&self) -> u64 {
        self.next
    }

    /// Something that was proposed after all before `number` was applied, in this session or not.
    pub(crate) fn overtaken_before(&mut self, number: u64) {
        self.overtaken = self.overtaken.max(number);
    }

    /// Whether something that was proposed later was applied. This one must not be any more: it would come out of order, and before
    /// the beginning of its session if the later one opened that.
    pub(crate) fn is_overtaken(&self, number: NonZeroU64) -> bool {
        number.get() < self.overtaken
    }

    /// The session of this request is gone or full: what comes goes to a new one.
    pub(crate) fn give_up(&mut self, number: NonZeroU64) {
        if number.get() >= self.first {
            self.id = None;
        }
    }
}
