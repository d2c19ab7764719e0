//! How far a peer's log is, as its leader knows, and what may be sent to it. Every transition between probe,
//! replicate and snapshot is here.
//!
//! ```text
//!             accepted                      snapshot_done
//!   Probe ----------------> Replicate   Snapshot --------> Probe
//!     ^ <------ rejected ------/            ^
//!     \------- next entry is compacted ----/
//! ```

use crate::config::Tuning;
use crate::fingerprint::Reference;
use crate::ids::LogIndex;
use crate::input::Moment;
use crate::liveness::SessionId;
use crate::log::Log;
use crate::message::ReadRound;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The peer has everything up to here, durably.
    pub(crate) matched: LogIndex,
    /// The next index to send; beyond `matched`.
    pub(crate) next: LogIndex,
    pub(crate) mode: Mode,
    /// When it last said anything in this term. Contact, not a lease.
    pub(crate) contact: Moment,
    /// When its node was last known to live, by a session in which it promised.
    pub(crate) backed: Moment,
    /// The newest session in which it promised in this term not to vote for others.
    pub(crate) promised: Option<SessionId>,
    /// Its commit index, as it said last.
    pub(crate) commit_known: LogIndex,
    /// The commit index it was told last.
    pub(crate) commit_sent: LogIndex,
    /// The newest read round it answered.
    pub(crate) round: ReadRound,
    /// Its priority, as it said last.
    pub(crate) priority: u8,
    /// It gets entries without their commands.
    pub(crate) is_witness: bool,
    /// Entries from `next` on are being read from the log store.
    pub(crate) loading: bool,
    /// When the last reading began.
    pub(crate) loading_since: Option<Moment>,
    /// Since when what it needs can't be read.
    unreadable_since: Option<Moment>,
    /// `matched` as it was at the last heartbeat, and whether it was the same at the one before: one that stands still
    /// with messages out has lost some.
    matched_at_heartbeat: LogIndex,
    stood_still: bool,
    /// The round in which one that shall vote catches up.
    catching_up: Option<CatchingUp>,
    /// It is no member any more, and is told so.
    leaving: Option<Leaving>,
}

/// A round of thesis §4.2.1: it ends when the peer has what the leader had when it began.
#[derive(Clone, Debug)]
struct CatchingUp {
    through: LogIndex,
    since: Moment,
}

/// A peer that the newest configuration leaves out counts for nothing, but shall learn of it.
#[derive(Clone, Debug)]
struct Leaving {
    /// The configuration that leaves it out.
    index: LogIndex,
    /// When it is forgotten at the latest.
    until: Moment,
    /// It holds that configuration, and a heartbeat said that it is committed.
    told: bool,
}

#[derive(Clone, Debug, Hash)]
pub(crate) enum Mode {
    /// Where the logs match is not known: one message at a time; `paused` while it is on its way.
    Probe { paused: bool },
    /// They match: messages are sent ahead of their answers, within a window (pipelining, thesis §10.2.2).
    Replicate { inflight: Inflight },
    /// What the peer needs next is compacted: it waits for a snapshot.
    Snapshot,
}

/// Append messages on their way: last index and bytes of each.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Inflight {
    messages: VecDeque<(LogIndex, usize)>,
    bytes: usize,
}

impl Inflight {
    fn is_full(&self, tuning: &Tuning) -> bool {
        self.messages.len() >= tuning.inflight_messages_max || self.bytes >= tuning.inflight_bytes_max
    }

    fn add(&mut self, last: LogIndex, bytes: usize) {
        self.messages.push_back((last, bytes));
        self.bytes += bytes;
    }

    fn free_through(&mut self, matched: LogIndex) {
        while let Some((_, bytes)) = self.messages.pop_front_if(|(last, _)| *last <= matched) {
            self.bytes -= bytes;
        }
    }
}

impl Progress {
    /// A peer of whom a new leader knows nothing: probing starts at its own end (paper §5.3).
    pub(crate) fn new(last: LogIndex, now: Moment, is_witness: bool) -> Self {
        Self {
            matched: LogIndex::ZERO,
            next: last.next(),
            mode: Mode::Probe { paused: false },
            contact: now,
            backed: Moment(0),
            promised: None,
            commit_known: LogIndex::ZERO,
            commit_sent: LogIndex::ZERO,
            round: ReadRound::default(),
            priority: 0,
            is_witness,
            loading: false,
            loading_since: None,
            unreadable_since: None,
            matched_at_heartbeat: LogIndex::ZERO,
            stood_still: false,
            catching_up: None,
            leaving: None,
        }
    }

    pub(crate) fn fingerprint(&self, reference: Reference, state: &mut impl Hasher) {
        let Self {
            matched,
            next,
            mode,
            contact,
            backed,
            promised,
            commit_known,
            commit_sent,
            round,
            priority,
            is_witness,
            loading,
            // It counts only beside a disk that hangs.
            loading_since: _,
            unreadable_since,
            matched_at_heartbeat,
            stood_still,
            catching_up,
            leaving,
        } = self;
        (matched, next, mode, round, loading).hash(state);
        unreadable_since.map(|since| reference.is_long_ago(since)).hash(state);
        (matched_at_heartbeat, stood_still).hash(state);
        (priority, is_witness, reference.is_long_ago(*contact)).hash(state);
        promised.hash(state);
        if promised.is_some() {
            (commit_known, commit_sent, reference.is_long_ago(*backed)).hash(state);
        }
        let round = catching_up.as_ref();
        round
            .map(|round| (round.through, reference.is_long_ago(round.since)))
            .hash(state);
        let leaving = leaving.as_ref();
        leaving
            .map(|leaving| (leaving.index, leaving.until <= reference.now, leaving.told))
            .hash(state);
    }

    /// When it was last known to be there.
    pub(crate) fn heard(&self) -> Moment {
        self.contact.max(self.backed)
    }

    /// Whether a heartbeat that says `commit` would tell it, and the leader, nothing new: it was heard just now, or is
    /// about to acknowledge what was sent.
    pub(crate) fn is_in_touch(&self, commit: LogIndex, now: Moment, interval: u64) -> bool {
        let will_answer = self.matched < self.next.prev();
        (will_answer || now.since(self.contact) < interval)
            && self.commit_sent >= commit
            && matches!(self.mode, Mode::Replicate { .. })
            && !self.is_leaving()
    }

    /// Whether an append may be sent now. In probe mode an empty one is worth sending too.
    pub(crate) fn may_send(&self, tuning: &Tuning) -> bool {
        !self.loading
            && match &self.mode {
                Mode::Probe { paused } => !paused,
                Mode::Replicate { inflight } => !inflight.is_full(tuning),
                Mode::Snapshot => false,
            }
    }

    /// Up to where entries may be sent. A witness gets only what is on the leader's own disk: what a leader lost
    /// in a crash, a witness would hold alone, and could neither give back nor vote for anybody without it.
    pub(crate) fn end_for(&self, log: &Log) -> LogIndex {
        if self.is_witness { log.durable() } else { log.last() }
    }

    pub(crate) fn is_probing(&self) -> bool {
        matches!(self.mode, Mode::Probe { .. })
    }

    /// An append with entries up to `last` (`next - 1` if it had none) was sent.
    pub(crate) fn sent(&mut self, last: LogIndex, bytes: usize) {
        self.unreadable_since = None;
        match &mut self.mode {
            Mode::Probe { paused } => *paused = true,
            Mode::Replicate { inflight } => {
                inflight.add(last, bytes);
                self.next = last.next();
            }
            Mode::Snapshot => {}
        }
    }

    /// The peer has everything up to `matched`; the leader's own log is compacted up to `base`.
    pub(crate) fn accepted(&mut self, matched: LogIndex, base: LogIndex) {
        self.unreadable_since = None;
        self.matched = self.matched.max(matched);
        if self.next <= self.matched {
            self.next = self.matched.next();
            // What is being read begins before `next`: its arrival will not answer what is needed now.
            self.loading = false;
        }
        match &mut self.mode {
            Mode::Probe { .. } => {
                self.next = self.matched.next();
                self.loading = false;
                self.mode = Mode::Replicate {
                    inflight: Inflight::default(),
                };
            }
            Mode::Replicate { inflight } => inflight.free_through(matched),
            // It caught up by appends that were on their way all along.
            Mode::Snapshot if matched >= base => self.probe_from(self.next),
            Mode::Snapshot => {}
        }
    }

    /// The append whose `prev` stood at `refused` did not match; the peer's log may match up to `hint`.
    /// Late answers, to appends before what has matched since, change nothing.
    pub(crate) fn rejected(&mut self, refused: LogIndex, hint: LogIndex) {
        let late = match self.mode {
            Mode::Probe { .. } => refused.next() != self.next,
            Mode::Replicate { .. } => refused <= self.matched,
            Mode::Snapshot => true,
        };
        if !late {
            self.probe_from(refused.min(hint.next()).max(self.matched.next()));
        }
    }

    /// The next entry to send was compacted. Whether a snapshot shall be sent: not to one that leaves.
    pub(crate) fn needs_snapshot(&mut self) -> bool {
        self.loading = false;
        self.unreadable_since = None;
        self.mode = Mode::Snapshot;
        !self.is_leaving()
    }

    /// Whether a peer that shall vote has caught up: it is heard, and has all that the leader had when a round
    /// began that took less than `timeout` milliseconds. `last` is the end of the leader's log. What took longer
    /// is followed by another round, which is shorter.
    pub(crate) fn catch_up(&mut self, last: LogIndex, now: Moment, timeout: u64) -> bool {
        let begin = || CatchingUp {
            through: last,
            since: now,
        };
        let round = self.catching_up.get_or_insert_with(begin);
        if self.matched >= round.through && now.since(round.since) >= timeout {
            *round = begin();
        }
        self.matched >= round.through && now.since(self.heard()) < timeout
    }

    /// The configuration at `index` leaves it out.
    pub(crate) fn leave(&mut self, index: LogIndex, until: Moment) {
        let told = false;
        self.leaving.get_or_insert(Leaving { index, until, told });
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// One that leaves is not forgotten before `until`.
    pub(crate) fn extend_leave(&mut self, until: Moment) {
        if let Some(leaving) = &mut self.leaving {
            leaving.until = until;
        }
    }

    /// A heartbeat says that all up to `commit`, which the peer holds, is committed.
    pub(crate) fn told(&mut self, commit: LogIndex) {
        self.commit_sent = commit;
        if let Some(leaving) = &mut self.leaving {
            leaving.told |= leaving.index <= commit;
        }
    }

    /// Whether it left, and has been told so or can't be.
    pub(crate) fn has_left(&self, now: Moment) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.until <= now)
    }

    /// It answered a heartbeat: one that was told that it left may be forgotten now.
    fn heard_that_it_left(&mut self) {
        if let Some(leaving) = self.leaving.as_mut().filter(|leaving| leaving.told) {
            leaving.until = Moment(0);
        }
    }

    /// A snapshot that ends at `through` was handed over (or not: `None`). Whether it is installed is not
    /// known: what follows it is probed.
    pub(crate) fn snapshot_done(&mut self, through: Option<LogIndex>) {
        if matches!(self.mode, Mode::Snapshot) {
            self.probe_from(self.matched.max(through.unwrap_or_default()).next());
            if through.is_none() {
                self.pause();
            }
        }
    }

    /// What the peer needs could not be read.
    pub(crate) fn load_failed(&mut self, now: Moment) {
        self.unreadable_since.get_or_insert(now);
        self.pause();
    }

    /// Whether what it needs could not be read for so long, though it is there and asks for it.
    pub(crate) fn is_starved(&self, now: Moment, timeout: u64) -> bool {
        let is_heard = now.since(self.heard()) < timeout;
        is_heard && self.unreadable_since.is_some_and(|since| now.since(since) >= timeout)
    }

    /// What the peer needs can't be had now: it is tried again when the peer answers a heartbeat, not at once
    /// and for ever.
    pub(crate) fn pause(&mut self) {
        self.loading = false;
        self.mode = Mode::Probe { paused: true };
    }

    /// It answered the heartbeat of a read round: a probe that got no answer may have been lost.
    pub(crate) fn answered_heartbeat(&mut self, round: ReadRound, priority: u8) {
        self.round = self.round.max(round);
        self.priority = priority;
        self.heard_that_it_left();
        if let Mode::Probe { paused } = &mut self.mode {
            *paused = false;
        }
    }

    /// Called at every heartbeat: whether messages are out and none was acknowledged since the last one, so
    /// that the end of the pipeline has to be asked for. One whose node is known to live `now` loses little, and may be
    /// busy: it has another interval, lest all groups of a busy node ask at once.
    pub(crate) fn is_stalled(&mut self, now: Moment) -> bool {
        let is_out = matches!(self.mode, Mode::Replicate { .. }) && self.matched < self.next.prev();
        let stands_still = is_out && self.matched == self.matched_at_heartbeat;
        self.matched_at_heartbeat = self.matched;
        let stood_still = std::mem::replace(&mut self.stood_still, stands_still);
        stands_still && (stood_still || self.backed < now)
    }

    /// Whether for so long the leader's disk did not give what the peer lacks.
    pub(crate) fn is_read_for(&self, now: Moment, millis: u64) -> bool {
        let loading = self.loading_since.filter(|_| self.loading);
        let since = self.unreadable_since.or(loading);
        since.is_some_and(|since| now.since(since) >= millis)
    }

    /// Gives back the memory that it has no use for while nothing is sent.
    pub(crate) fn shrink(&mut self) {
        if let Mode::Replicate { inflight } = &mut self.mode {
            inflight.messages.shrink_to_fit();
        }
    }

    fn probe_from(&mut self, next: LogIndex) {
        self.next = next;
        self.loading = false;
        self.mode = Mode::Probe { paused: false };
    }
}
