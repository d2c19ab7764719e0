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
    /// The newest read round it answered.
    pub(crate) round: ReadRound,
    /// Entries from `next` on are being read from the log store.
    pub(crate) loading: bool,
    /// `matched` as it was at the last heartbeat: one that stands still with messages out has lost some.
    matched_at_heartbeat: LogIndex,
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
    pub(crate) fn new(last: LogIndex, now: Moment) -> Self {
        Self {
            matched: LogIndex::ZERO,
            next: last.next(),
            mode: Mode::Probe { paused: false },
            contact: now,
            round: ReadRound::default(),
            loading: false,
            matched_at_heartbeat: LogIndex::ZERO,
        }
    }

    pub(crate) fn fingerprint(&self, reference: Reference, state: &mut impl Hasher) {
        let Self {
            matched,
            next,
            mode,
            contact,
            round,
            loading,
            matched_at_heartbeat,
        } = self;
        (matched, next, mode, round, loading, matched_at_heartbeat).hash(state);
        reference.is_long_ago(*contact).hash(state);
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

    pub(crate) fn is_probing(&self) -> bool {
        matches!(self.mode, Mode::Probe { .. })
    }

    /// An append with entries up to `last` (`next - 1` if it had none) was sent.
    pub(crate) fn sent(&mut self, last: LogIndex, bytes: usize) {
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

    /// The next entry to send was compacted.
    pub(crate) fn needs_snapshot(&mut self) {
        self.loading = false;
        self.mode = Mode::Snapshot;
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

    /// What the peer needs can't be had now: it is tried again when the peer answers a heartbeat, not at once
    /// and for ever.
    pub(crate) fn pause(&mut self) {
        self.loading = false;
        self.mode = Mode::Probe { paused: true };
    }

    /// It answered a heartbeat: a probe that got no answer may have been lost.
    pub(crate) fn resume_probe(&mut self) {
        if let Mode::Probe { paused } = &mut self.mode {
            *paused = false;
        }
    }

    /// Called at every heartbeat: whether messages are out and none was acknowledged since the last one, so
    /// that the end of the pipeline has to be asked for.
    pub(crate) fn is_stalled(&mut self) -> bool {
        let stood_still = self.matched == self.matched_at_heartbeat;
        self.matched_at_heartbeat = self.matched;
        matches!(self.mode, Mode::Replicate { .. }) && stood_still && self.matched < self.next.prev()
    }

    fn probe_from(&mut self, next: LogIndex) {
        self.next = next;
        self.loading = false;
        self.mode = Mode::Probe { paused: false };
    }
}
