//! Proposals between being taken and being answered.

use super::{Proposal, Purpose, Reply};
use crate::budget::BytePermit;
use crate::error::ProposeError;
use crate::machine::{self, Answer, ROOM};
use crate::session::{Envelope, OwnSession, RequestId, SessionIds, SessionLimits};
use crate::time::Timestamp;
use bytes::Bytes;
use raftyard_groups::{LogId, LogIndex, Moment, Term};
use std::collections::VecDeque;
use std::num::NonZeroU64;

pub(crate) struct Proposals {
    /// Ascending by index and term.
    waiting: VecDeque<Waiting>,
    /// So are their deadlines, unless one was appended again behind others.
    has_late_deadlines: bool,
    /// Boxed: seldom there.
    stragglers: Option<Box<Stragglers>>,
    own: OwnSession,
    ids: SessionIds,
    limits: SessionLimits,
}

/// Those that don't wait for the entry that they were appended as last.
#[derive(Default)]
struct Stragglers {
    /// Appended in an earlier term at indexes that this replica has since appended to again. Their fate is
    /// open until something is applied there: another replica may still hold them and lead.
    displaced: Vec<Waiting>,
    /// A snapshot took the place of their entries: it knows what became of them, once it is restored.
    overtaken: Vec<Waiting>,
    /// Those that were given up, ascending by index and term: nobody waits, but their commands are in the log and in
    /// memory until they are applied or replaced. Without this a group that commits nothing would take more
    /// for ever.
    given_up: VecDeque<(LogId, BytePermit)>,
    /// Not applied, and to be appended again if this replica leads.
    again: Vec<Again>,
}

impl Stragglers {
    fn is_empty(&self) -> bool {
        self.displaced.is_empty() && self.overtaken.is_empty() && self.given_up.is_empty() && self.again.is_empty()
    }
}

/// A proposal as it is in the log, and who waits for its answer.
pub(crate) struct Sealed {
    /// Stamp, envelope, command. Shares its memory with the log.
    entry: Bytes,
    /// Its number, if it is in the replica's own session.
    own: Option<NonZeroU64>,
    /// What is proposed after it in the replica's own session has this number, or a later one.
    next_own: u64,
    deadline: Moment,
    reply: Reply,
    /// Held until the proposal is answered.
    permit: BytePermit,
}

struct Waiting {
    id: LogId,
    sealed: Sealed,
}

struct Again {
    sealed: Sealed,
    /// Its session is gone, so it needs another one.
    is_homeless: bool,
}

/// More room than this is given back once nobody waits.
const ROOM_KEPT: usize = 64;

impl Proposals {
    /// `seed` names sessions: another one in each life of the replica.
    pub(crate) fn new(limits: SessionLimits, seed: u64) -> Self {
        Self {
            waiting: VecDeque::new(),
            has_late_deadlines: false,
            stragglers: None,
            own: OwnSession::default(),
            ids: SessionIds::new(seed),
            limits,
        }
    }

    /// Makes entries of proposals, those that are to be appended again first.
    pub(crate) fn seal(&mut self, proposals: Vec<Proposal>, deadline: Moment, now: Timestamp) -> Vec<Sealed> {
        let stragglers = self.stragglers.as_mut();
        let again = stragglers.map(|stragglers| std::mem::take(&mut stragglers.again));
        let mut again = again.unwrap_or_default();
        // In the order in which they were proposed.
        again.sort_by_key(|again| again.sealed.own);
        let mut sealed = Vec::with_capacity(again.len() + proposals.len());
        // The first of a turn opens the session, should that be necessary.
        let mut is_first = true;
        for again in again {
            sealed.push(if again.is_homeless {
                self.seal_again(again.sealed, std::mem::take(&mut is_first), now)
            } else {
                again.sealed
            });
        }
        for Proposal {
            command,
            purpose,
            reply,
            permit,
        } in proposals
        {
            let (envelope, own) = match purpose {
                Purpose::Plain => (Envelope::Plain, None),
                Purpose::Own => {
                    let is_first = std::mem::take(&mut is_first);
                    self.own.next(is_first, now, self.limits, &mut self.ids)
                }
                Purpose::Request(request) => (Envelope::Command { request, opens: None }, None),
                Purpose::Open => (Envelope::Open(self.ids.next(), self.limits), None),
                Purpose::Close(session) => (Envelope::Close(session), None),
                Purpose::Resolve(request) => (Envelope::Resolve(request.session, request.number), None),
            };
            sealed.push(Sealed {
                entry: machine::seal(command, &envelope, now),
                own,
                next_own: self.own.upcoming(),
                deadline,
                reply,
                permit,
            });
        }
        sealed
    }

    /// Puts a request of the replica's own session into a session that is there.
    fn seal_again(&mut self, mut sealed: Sealed, is_first: bool, now: Timestamp) -> Sealed {
        if let Ok((_, _, command)) = machine::unseal(&sealed.entry) {
            let command = [&[0; ROOM], command].concat();
            let (envelope, own) = self.own.next(is_first, now, self.limits, &mut self.ids);
            sealed.own = own;
            sealed.entry = machine::seal(command, &envelope, now);
        }
        sealed
    }

    /// Proposals were appended from `first` on.
    pub(crate) fn appended(&mut self, first: LogIndex, term: Term, proposals: impl IntoIterator<Item = Sealed>) {
        while let Some(displaced) = self.waiting.pop_back_if(|waiting| waiting.id.index >= first) {
            self.stragglers().displaced.push(displaced);
        }
        if let Some(stragglers) = &mut self.stragglers {
            while stragglers.given_up.pop_back_if(|(id, _)| id.index >= first).is_some() {}
        }
        let mut index = first;
        for sealed in proposals {
            let id = LogId { term, index };
            let before = self.waiting.back().map(|waiting| waiting.sealed.deadline);
            self.has_late_deadlines |= before.is_some_and(|before| sealed.deadline < before);
            self.waiting.push_back(Waiting { id, sealed });
            index = index.next();
        }
    }

    /// Answers proposals that were not appended.
    pub(crate) fn refuse(&mut self, proposals: impl IntoIterator<Item = Sealed>, error: &ProposeError) {
        for sealed in proposals {
            self.answer(sealed, Err(error.clone()));
        }
    }

    /// Whether somebody waits for the response to this entry.
    pub(crate) fn is_awaited(&self, id: LogId) -> bool {
        // Usually the first: those before it stay only if what took their place was not told of.
        let waiting = self.waiting.iter().take_while(|waiting| waiting.id.index <= id.index);
        waiting.chain(self.displaced()).any(|waiting| waiting.id == id)
    }

    /// Whether somebody waits for a response at all.
    pub(crate) fn is_any_awaited(&self) -> bool {
        !self.waiting.is_empty() || !self.displaced().is_empty()
    }

    fn displaced(&self) -> &[Waiting] {
        let stragglers = self.stragglers.as_deref();
        stragglers.map_or(&[], |stragglers| &stragglers.displaced)
    }

    fn stragglers(&mut self) -> &mut Stragglers {
        self.stragglers.get_or_insert_default()
    }

    /// The entry `id` was applied, with this result if it was awaited. To be called for every entry, in log
    /// order: whoever waits for one that this decides waits in vain for any other.
    pub(crate) fn applied(&mut self, id: LogId, mut result: Option<Answer>) {
        if let Some(stragglers) = &mut self.stragglers {
            while stragglers
                .given_up
                .pop_front_if(|(given_up, _)| decides(id, *given_up))
                .is_some()
            {}
        }
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| decides(id, waiting.id)) {
            self.settle(waiting, id, &mut result);
        }
        if let Some(stragglers) = &mut self.stragglers {
            let settled: Vec<_> = stragglers
                .displaced
                .extract_if(.., |waiting| decides(id, waiting.id))
                .collect();
            for waiting in settled {
                self.settle(waiting, id, &mut result);
            }
        }
    }

    fn settle(&mut self, waiting: Waiting, applied: LogId, result: &mut Option<Answer>) {
        let Waiting { id, sealed } = waiting;
        if id != applied {
            return self.dropped(sealed);
        }
        // Without a result nobody waited when it was applied. That never says that it was not.
        let result = result.take().unwrap_or_else(|| Err(sealed.unknown()));
        let Some(number) = sealed.own else {
            self.own.overtaken_before(sealed.next_own);
            return self.answer(sealed, result);
        };
        if matches!(result, Err(ProposeError::SessionExpired | ProposeError::SessionFull)) {
            // No earlier attempt can have been applied: there is never more than one at a time.
            self.own.give_up(number);
            self.stragglers().again.push(Again {
                sealed,
                is_homeless: true,
            });
        } else {
            self.own.found_open(number);
            self.answer(sealed, result);
        }
    }

    /// Another entry took its place. In a session it may be appended again.
    fn dropped(&mut self, sealed: Sealed) {
        if matches!(sealed.envelope(), Some(Envelope::Plain) | None) {
            self.answer(sealed, Err(ProposeError::Dropped));
        } else {
            self.stragglers().again.push(Again {
                sealed,
                is_homeless: false,
            });
        }
    }

    /// Whether there is something to append again. Only a leader can do that, and only in time; who can't be
    /// helped is told so. What was proposed here in one order must not be applied in another: so nothing is
    /// appended again if something later is on its way (`is_last` says whether the core holds nothing) or was applied.
    pub(crate) fn try_again(&mut self, leads: bool, is_last: bool, now: Moment) -> bool {
        let is_last = is_last && !self.is_any_awaited();
        let Some(stragglers) = &mut self.stragglers else {
            return false;
        };
        let own = &self.own;
        let is_overtaken = |sealed: &Sealed| sealed.own.is_some_and(|number| !is_last || own.is_overtaken(number));
        let is_late = |sealed: &Sealed| sealed.deadline <= now || is_overtaken(sealed);
        let again = &mut stragglers.again;
        let refused: Vec<_> = again.extract_if(.., |again| !leads || is_late(&again.sealed)).collect();
        let is_any_left = !again.is_empty();
        self.refuse(refused.into_iter().map(|again| again.sealed), &ProposeError::Dropped);
        is_any_left
    }

    fn answer(&mut self, sealed: Sealed, result: Answer) {
        if let Some(number) = sealed.own
            && !matches!(result, Err(ProposeError::OutcomeUnknown { .. }))
        {
            self.own.settle(number);
        }
        sealed.answer(result);
    }

    /// A snapshot took the place of the log up to `last`: what it says of what it holds comes later.
    pub(crate) fn overtaken(&mut self, last: LogId) {
        let stragglers = self.stragglers.get_or_insert_default();
        while stragglers
            .given_up
            .pop_front_if(|(given_up, _)| decides(last, *given_up))
            .is_some()
        {}
        let displaced = &mut stragglers.displaced;
        let mut decided: Vec<_> = displaced.extract_if(.., |waiting| decides(last, waiting.id)).collect();
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| decides(last, waiting.id)) {
            decided.push(waiting);
        }
        for waiting in decided {
            if waiting.id.index <= last.index {
                self.stragglers().overtaken.push(waiting);
            } else {
                self.dropped(waiting.sealed);
            }
        }
    }

    /// The snapshot was restored: `recall` says what it holds of a request. What it holds nothing of was not
    /// applied: the entries up to its last are decided.
    pub(crate) fn restored(&mut self, recall: impl Fn(RequestId) -> Answer) {
        let stragglers = self.stragglers.as_mut();
        let overtaken = stragglers.map(|stragglers| std::mem::take(&mut stragglers.overtaken));
        for Waiting { sealed, .. } in overtaken.unwrap_or_default() {
            match sealed.envelope() {
                Some(Envelope::Command { request, .. }) => match recall(request) {
                    Err(ProposeError::Dropped) => self.dropped(sealed),
                    Err(ProposeError::SessionExpired | ProposeError::RequestForgotten) => {
                        let unknown = sealed.unknown();
                        self.answer(sealed, Err(unknown));
                    }
                    answer => {
                        if let Some(number) = sealed.own {
                            self.own.found_open(number);
                        }
                        self.answer(sealed, answer);
                    }
                },
                // What may be done twice is done again.
                Some(Envelope::Resolve(..) | Envelope::Close(_)) => self.dropped(sealed),
                Some(Envelope::Plain | Envelope::Open(..)) | None => {
                    let unknown = sealed.unknown();
                    self.answer(sealed, Err(unknown));
                }
            }
        }
    }

    /// Gives up on those whose deadline has come: they may be applied or not.
    pub(crate) fn expire(&mut self, now: Moment) {
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.sealed.deadline <= now) {
            self.give_up(waiting);
        }
        if self.has_late_deadlines {
            let waiting = std::mem::take(&mut self.waiting).into_iter();
            let (late, in_time): (VecDeque<_>, _) = waiting.partition(|waiting| waiting.sealed.deadline <= now);
            self.waiting = in_time;
            late.into_iter().for_each(|waiting| self.give_up(waiting));
            self.has_late_deadlines = !self.waiting.is_empty();
        }
        if let Some(stragglers) = &mut self.stragglers {
            let others = [&mut stragglers.displaced, &mut stragglers.overtaken].into_iter();
            for Waiting { sealed, .. } in
                others.flat_map(|others| others.extract_if(.., |waiting| waiting.sealed.deadline <= now))
            {
                let unknown = sealed.unknown();
                sealed.answer(Err(unknown));
            }
        }
        self.stragglers.take_if(|stragglers| stragglers.is_empty());
        if self.waiting.is_empty() && self.waiting.capacity() > ROOM_KEPT {
            self.shrink();
        }
    }

    /// Nobody waits for it any more, but its command is in the log.
    fn give_up(&mut self, Waiting { id, sealed }: Waiting) {
        let unknown = sealed.unknown();
        let given_up = &mut self.stragglers().given_up;
        let place = given_up.partition_point(|(before, _)| before.index <= id.index);
        given_up.insert(place, (id, sealed.permit));
        sealed.reply.send(Err(unknown));
    }

    /// A group that went quiet gives its memory back.
    pub(crate) fn shrink(&mut self) {
        self.waiting.shrink_to_fit();
        self.own.shrink();
    }

    /// Gives up on all: the replica stops.
    pub(crate) fn abandon(&mut self) {
        self.expire(Moment(u64::MAX));
        self.try_again(false, false, Moment(u64::MAX));
        self.stragglers = None;
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let stragglers = self.stragglers.iter();
        let others = stragglers.flat_map(|stragglers| stragglers.displaced.iter().chain(&stragglers.overtaken));
        let earliest = others.map(|waiting| waiting.sealed.deadline).min();
        let looked_at = if self.has_late_deadlines { self.waiting.len() } else { 1 };
        let waiting = self.waiting.iter().take(looked_at);
        let waiting = waiting.map(|waiting| waiting.sealed.deadline).min();
        waiting.into_iter().chain(earliest).min()
    }
}

/// Whether the fate of what was appended as `appended` is known once `committed` is. An entry stands where it was
/// appended or nowhere. So does none of a lower term behind it: terms never fall along a log, and all that is ever
/// committed is in one log.
fn decides(committed: LogId, appended: LogId) -> bool {
    appended.index <= committed.index || appended.term < committed.term
}

impl Sealed {
    /// As it goes to the log.
    pub(crate) fn entry(&self) -> Bytes {
        self.entry.clone()
    }

    fn envelope(&self) -> Option<Envelope> {
        let (_, envelope, _) = machine::unseal(&self.entry).ok()?;
        Some(envelope)
    }

    /// That nobody knows what becomes of it.
    fn unknown(&self) -> ProposeError {
        let request = self.envelope().and_then(|envelope| envelope.request());
        ProposeError::OutcomeUnknown { request }
    }

    fn answer(self, result: Answer) {
        // First, so that who is answered finds the room.
        drop(self.permit);
        self.reply.send(result);
    }
}

/// Answers proposals that no entry was made of.
pub(crate) fn refuse(proposals: impl IntoIterator<Item = Proposal>, error: &ProposeError) {
    for Proposal { reply, permit, .. } in proposals {
        drop(permit);
        reply.send(Err(error.clone()));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
