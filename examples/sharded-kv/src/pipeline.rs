//! Commands of one connection that were begun and not yet answered.
//!
//! A client that sends many commands at once has them in flight together, and yet each group sees them as if executed one
//! after the other: writes to a group keep their order, and so do reads, because both queue at the moment they are begun;
//! where reads and writes of one group meet, or commands on it that go to different nodes, the later waits for the earlier to
//! be answered.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::node::put::Started;
use crate::proxy::{Request, Route};
use crate::resp::{Protocol, Reply};
use crate::transaction::Template;
use crate::writes::Ticket;

/// Commands in flight per connection at most.
const IN_FLIGHT_MAX: usize = 1024;

/// Bytes of their arguments, and of replies that are known already, at most, with what it costs to hold them, unless it is a
/// single command.
const IN_FLIGHT_BYTES_MAX: usize = 1024 * 1024;

/// What a command has to do with groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touch {
    Nothing,
    /// A group, and where the command is carried out: only what goes the same way keeps its order by itself.
    Reads(u16, Route),
    Writes(u16, Route),
    All,
}

/// The replies that are owed, in order.
#[derive(Default)]
pub(crate) struct Pipeline<'a> {
    owed: VecDeque<Owed<'a>>,
    /// The number of the first that is owed; commands are numbered as they are begun.
    first: u64,
    bytes: usize,
    /// The last command on each group that has one in flight: few, so a list is searched faster than a table.
    last: Vec<Last>,
    /// The last command on all groups.
    last_on_all: Option<u64>,
}

/// What a reply comes from.
pub(crate) enum Source<'a> {
    Alone(Started<'a>),
    /// A write to the group of `slot`, which leaves with others. If the group has no leader, it is waited for until `by`.
    Together {
        slot: u16,
        ticket: Ticket,
        by: Instant,
    },
}

/// A command that was begun.
pub(crate) struct Begun<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) touch: Touch,
    /// What may be tried again.
    pub(crate) request: Option<Box<Request>>,
    /// Replies that surround what the group gives.
    pub(crate) template: Option<Template>,
}

impl<'a> Begun<'a> {
    /// A command that goes alone and is not tried again.
    pub(crate) fn new(started: Started<'a>, touch: Touch) -> Self {
        Self::of(Source::Alone(started), touch)
    }

    /// Bytes that it takes beside its arguments: replies that are known already.
    pub(crate) fn weight(&self) -> usize {
        let reply = match &self.source {
            Source::Alone(Started::Ready(reply)) => reply.weight(),
            Source::Alone(Started::Later(_)) | Source::Together { .. } => 0,
        };
        let replies = self.template.iter().flatten().flatten();
        reply + replies.map(Reply::weight).sum::<usize>()
    }

    /// A command that is not tried again.
    pub(crate) fn of(source: Source<'a>, touch: Touch) -> Self {
        Self {
            source,
            touch,
            request: None,
            template: None,
        }
    }
}

#[derive(Clone, Copy)]
struct Last {
    group: u16,
    number: u64,
    touch: Touch,
}

struct Owed<'a> {
    begun: Begun<'a>,
    /// What the connection spoke when the command came.
    protocol: Protocol,
    bytes: usize,
}

/// The reply that is owed next.
pub(crate) struct Next<'a> {
    pub(crate) begun: Begun<'a>,
    pub(crate) protocol: Protocol,
    /// Another command on the same group was begun since.
    pub(crate) is_followed: bool,
}

impl<'a> Pipeline<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// Whether a command of `bytes` has to wait until one that is in flight is answered.
    pub(crate) fn is_full(&self, bytes: usize) -> bool {
        self.owed.len() >= IN_FLIGHT_MAX || (!self.owed.is_empty() && self.bytes + bytes > IN_FLIGHT_BYTES_MAX)
    }

    /// Whether a command that does `touch` has to wait until one that is in flight is answered.
    pub(crate) fn must_wait(&self, touch: Touch) -> bool {
        let before = match touch {
            Touch::Nothing => None,
            Touch::All => return !self.owed.is_empty(),
            Touch::Reads(group, _) | Touch::Writes(group, _) => {
                let other = self.last_on(group).filter(|last| last.touch != touch);
                other.map(|last| last.number).max(self.last_on_all)
            }
        };
        before.is_some_and(|number| number >= self.first)
    }

    fn last_on(&self, group: u16) -> Option<&Last> {
        self.last.iter().find(|last| last.group == group)
    }

    /// Takes a command in that does not have to wait.
    pub(crate) fn push(&mut self, begun: Begun<'a>, protocol: Protocol, bytes: usize) {
        let (number, touch) = (self.first + self.owed.len() as u64, begun.touch);
        match touch {
            Touch::Nothing => {}
            Touch::Reads(group, _) | Touch::Writes(group, _) => {
                let last = Last { group, number, touch };
                match self.last.iter_mut().find(|last| last.group == group) {
                    Some(known) => *known = last,
                    None => self.last.push(last),
                }
            }
            Touch::All => self.last_on_all = Some(number),
        }
        self.bytes += bytes;
        self.owed.push_back(Owed { begun, protocol, bytes });
    }

    /// Takes the first reply that is owed, to be waited for before anything else is begun. `None` if none is.
    pub(crate) fn pop(&mut self) -> Option<Next<'a>> {
        let Owed { begun, protocol, bytes } = self.owed.pop_front()?;
        let is_followed = match begun.touch {
            Touch::Reads(group, _) | Touch::Writes(group, _) => {
                self.last_on(group).is_some_and(|last| last.number > self.first)
            }
            Touch::Nothing | Touch::All => false,
        };
        self.first += 1;
        self.bytes -= bytes;
        if self.owed.is_empty() {
            self.last.clear();
        }
        Some(Next {
            begun,
            protocol,
            is_followed,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use raftyard::NodeId;

    use super::*;

    const READ: Touch = Touch::Reads(1, Route::Here);
    const WRITE: Touch = Touch::Writes(1, Route::Here);

    fn push(pipeline: &mut Pipeline<'_>, touch: Touch, bytes: usize) {
        let started = Started::Ready(Reply::OK);
        pipeline.push(Begun::new(started, touch), Protocol::Resp2, bytes);
    }

    /// Finishes a command and returns whether another one on its group follows.
    fn finish(pipeline: &mut Pipeline<'_>) -> bool {
        let next = pipeline.pop().unwrap();
        assert_eq!(next.protocol, Protocol::Resp2);
        next.is_followed
    }

    #[test]
    fn what_goes_another_way_waits() {
        for touch in [Touch::Writes, Touch::Reads] {
            let (here, there) = (touch(1, Route::Here), touch(1, Route::To(NodeId(2))));
            let mut pipeline = Pipeline::default();
            push(&mut pipeline, here, 1);
            assert!(pipeline.must_wait(there));
            assert!(pipeline.must_wait(touch(1, Route::Nowhere)));
            assert!(!pipeline.must_wait(touch(2, Route::Nowhere)), "another group");
            finish(&mut pipeline);
            push(&mut pipeline, there, 1);
            assert!(!pipeline.must_wait(there));
            assert!(pipeline.must_wait(touch(1, Route::To(NodeId(3)))));
        }
    }

    #[test]
    fn only_the_last_on_a_group_is_followed_by_none() {
        let mut pipeline = Pipeline::default();
        let on = |group| Touch::Writes(group, Route::Here);
        for touch in [on(1), on(2), Touch::Nothing, on(1), on(2), on(3)] {
            push(&mut pipeline, touch, 1);
        }
        let followed: Vec<bool> = (0..6).map(|_| finish(&mut pipeline)).collect();
        assert_eq!(followed, [true, true, false, false, false, false]);
        push(&mut pipeline, on(1), 1);
        assert!(!finish(&mut pipeline), "an earlier pipeline is forgotten");
    }

    #[test]
    fn commands_of_one_kind_go_together() {
        let mut pipeline = Pipeline::default();
        push(&mut pipeline, WRITE, 1);
        assert!(!pipeline.must_wait(WRITE));
        assert!(!pipeline.must_wait(Touch::Nothing));
        assert!(!pipeline.must_wait(Touch::Reads(2, Route::Here)), "another group");
        assert!(pipeline.must_wait(READ));
    }

    #[test]
    fn a_read_waits_for_the_last_write_and_no_longer() {
        let mut pipeline = Pipeline::default();
        push(&mut pipeline, WRITE, 1);
        push(&mut pipeline, WRITE, 1);
        push(&mut pipeline, Touch::Writes(2, Route::Here), 1);
        finish(&mut pipeline);
        assert!(pipeline.must_wait(READ));
        finish(&mut pipeline);
        assert!(!pipeline.must_wait(READ));
        push(&mut pipeline, READ, 1);
        assert!(pipeline.must_wait(WRITE));
        finish(&mut pipeline);
        finish(&mut pipeline);
        assert!(pipeline.is_empty() && !pipeline.must_wait(WRITE));
    }

    #[test]
    fn what_reads_all_groups_goes_alone() {
        let mut pipeline = Pipeline::default();
        assert!(!pipeline.must_wait(Touch::All));
        push(&mut pipeline, Touch::Writes(9, Route::Here), 1);
        assert!(pipeline.must_wait(Touch::All));
        finish(&mut pipeline);
        push(&mut pipeline, Touch::All, 1);
        assert!(pipeline.must_wait(WRITE) && pipeline.must_wait(READ));
        finish(&mut pipeline);
        assert!(!pipeline.must_wait(WRITE));
    }

    #[test]
    fn a_reply_that_is_known_takes_room() {
        let reply = Reply::Array(vec![Reply::OK, Reply::text("x".repeat(IN_FLIGHT_BYTES_MAX))]);
        let begun = Begun::new(Started::Ready(reply.clone()), Touch::Nothing);
        assert!(begun.weight() > IN_FLIGHT_BYTES_MAX);
        let around = Begun {
            template: Some(vec![None, Some(reply)]),
            ..Begun::new(Started::Ready(Reply::OK), Touch::Nothing)
        };
        assert!(around.weight() > IN_FLIGHT_BYTES_MAX);
        let short = Begun::new(Started::Ready(Reply::OK), Touch::Nothing);
        assert!(short.weight() < 100);
    }

    #[test]
    fn what_is_in_flight_is_bounded() {
        let mut pipeline = Pipeline::default();
        assert!(!pipeline.is_full(usize::MAX), "a large command goes alone");
        for _ in 0..IN_FLIGHT_MAX {
            assert!(!pipeline.is_full(1));
            push(&mut pipeline, Touch::Nothing, 1);
        }
        assert!(pipeline.is_full(1));
        finish(&mut pipeline);
        assert!(!pipeline.is_full(1));
        assert!(pipeline.is_full(IN_FLIGHT_BYTES_MAX));
    }
}
