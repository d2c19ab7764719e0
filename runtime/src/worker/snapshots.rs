//! When a group takes a snapshot, and which of its snapshots counts.

use crate::snapshot::Compaction;
use raftyard_groups::{LogId, LogIndex, Persist, PersistSeq};

pub(crate) struct Snapshots {
    settings: Compaction,
    /// The newest that is durable, and whose last entry the log holds, or will hold once what is queued is
    /// written.
    newest: Option<LogId>,
    /// One from a peer, which takes the place of the state once it took that of the log.
    installing: Option<LogId>,
    /// A snapshot's file is what makes the state durable, until it is so itself.
    unsynced: bool,
    /// One that was written for a peer and is still being sent: it serves others too.
    outgoing: Option<LogId>,
    /// One is being written, or waits to be counted. Of a state on disk: it is being synced.
    is_taking: bool,
    /// One whose file is durable, and whose last entry may not be yet.
    written: Option<LogId>,
    /// Bytes of the commands that were applied since the last one was begun.
    bytes: usize,
    /// Index at which the last one was begun.
    begun: LogIndex,
    /// Peers that are being sent one.
    sending: usize,
    /// Snapshots before this are of no use once the log durably begins where it now does.
    useless: Option<LogIndex>,
    /// The write that lets the log begin at the newest one or before: once it is durable, older ones are of
    /// no use.
    rebasing: Option<(PersistSeq, LogIndex)>,
}

impl Snapshots {
    /// Of a replica that was restored from `newest`; `unsynced`: on disk, and not durably yet.
    pub(crate) fn new(settings: Compaction, newest: Option<LogId>, unsynced: bool) -> Self {
        Self {
            settings,
            newest,
            installing: None,
            unsynced,
            outgoing: None,
            is_taking: false,
            written: None,
            bytes: 0,
            begun: newest.map_or(LogIndex::ZERO, |last| last.index),
            sending: 0,
            useless: None,
            rebasing: None,
        }
    }

    pub(crate) fn newest(&self) -> Option<LogId> {
        self.newest
    }

    pub(crate) fn count_applied(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether it is time for the next one. While one is being sent, a next one would let the log be
    /// compacted beyond it, and the peer would need another: that waits, within limits.
    pub(crate) fn is_due(&self, applied: LogIndex) -> bool {
        let patience = if self.sending > 0 { 8 } else { 1 };
        let entries = applied.0.saturating_sub(self.begun.0);
        let is_enough = entries >= self.settings.entries.saturating_mul(patience)
            || self.bytes as u64 >= (self.settings.bytes as u64).saturating_mul(patience);
        !self.is_taking && (self.unsynced || entries > 0 && is_enough)
    }

    pub(crate) fn begin(&mut self, last: LogId) {
        self.is_taking = true;
        self.unsynced = false;
        self.begun = last.index;
        self.bytes = 0;
    }

    /// The one that was begun is done.
    pub(crate) fn taken(&mut self, last: LogId, is_durable: bool) {
        self.is_taking = is_durable;
        self.written = is_durable.then_some(last);
    }

    /// Counts the one that was taken, once the log durably holds its last entry: before that, a crash would
    /// leave a snapshot that is nobody's. Returns up to where the log is of no more use then.
    pub(crate) fn count_written(&mut self, durable: LogIndex) -> Option<LogIndex> {
        let last = self.written.take_if(|last| last.index <= durable)?;
        self.is_taking = false;
        if self.newest.is_some_and(|newest| newest.index >= last.index) {
            return None;
        }
        self.newest = Some(last);
        self.useless = Some(last.index);
        Some(LogIndex(last.index.0.saturating_sub(self.settings.tail_entries)))
    }

    /// One from a peer takes the place of the log.
    pub(crate) fn installed(&mut self, last: LogId) {
        self.newest = Some(last);
        self.installing = Some(last);
        self.useless = Some(last.index);
        self.begun = last.index;
        self.bytes = 0;
    }

    /// One whose state can be restored now: the log was durably replaced, so that it never begins before what
    /// the state machine has applied.
    pub(crate) fn take_restorable(&mut self, durable: LogIndex) -> Option<LogId> {
        self.installing.take_if(|last| last.index <= durable)
    }

    /// A state machine on disk took over the state of one: it has to be synced.
    pub(crate) fn restored(&mut self) {
        self.unsynced = true;
    }

    /// What a step wants written is about to be queued. Returns the index before which snapshots are of no
    /// more use, if no write has to be waited for: the log durably holds the end of the newest.
    pub(crate) fn note_write(&mut self, write: Option<&Persist>) -> Option<LogIndex> {
        let useless = self.useless.take()?;
        match write {
            Some(write) if write.base.is_some() => {
                self.rebasing = Some((write.seq, useless));
                None
            }
            _ => Some(useless),
        }
    }

    /// Writes up to `seq` are durable; returns the index before which snapshots are of no more use.
    pub(crate) fn persisted(&mut self, seq: PersistSeq) -> Option<LogIndex> {
        self.rebasing
            .take_if(|(rebasing, _)| *rebasing <= seq)
            .map(|(_, before)| before)
    }

    pub(crate) fn sending(&mut self) {
        self.sending += 1;
    }

    pub(crate) fn sent(&mut self) {
        self.sending = self.sending.saturating_sub(1);
        if self.sending == 0 {
            self.outgoing = None;
        }
    }

    /// One that is being sent and that a log which begins after `base` goes on from.
    pub(crate) fn outgoing(&self, base: LogIndex) -> Option<LogId> {
        self.outgoing.filter(|last| last.index >= base)
    }

    /// One is to be written for a peer.
    pub(crate) fn offer(&mut self, last: LogId) {
        self.outgoing = Some(last);
    }
}
