//! When a group takes a snapshot, and which of its snapshots counts.

use super::log_bytes::LogBytes;
use crate::snapshot::Compaction;
use raftyard_groups::{LogId, LogIndex, Moment, PeerProgress, Persist, PersistSeq};
use std::rc::Rc;

pub(super) mod outgoing;
#[cfg(test)]
mod tests;

use outgoing::Outgoing;

/// After one failed the next is not written before so long, in milliseconds: where there is no room, there is none for a
/// while, and each try writes as much of the state as fits.
pub(super) const RETRY_MS: u64 = 5_000;

pub(crate) struct Snapshots {
    settings: Rc<Compaction>,
    /// What of the log they could take the place of.
    pub(super) log: LogBytes,
    /// The newest that is durable, and whose last entry the log holds, or will hold once what is queued is
    /// written. Of a state on disk: what was synced, or installed, since the replica started. None before: what a start
    /// finds of it may be in the machine's memory alone.
    newest: Option<LogId>,
    /// The next is due whatever was applied: a snapshot's file is what makes a state on disk durable, until it is so
    /// itself; or the newest one rotted.
    is_due_now: bool,
    /// One is being written, or waits to be counted. Of a state on disk: it is being synced.
    is_taking: bool,
    /// Bytes of the entries that were applied since the last one was begun.
    bytes: u64,
    /// Bytes of the last one; none of a state on disk, which is written for peers alone.
    size: u64,
    /// Index at which the last one was begun.
    begun: LogIndex,
    /// Boxed: seldom there.
    under_way: Option<Box<UnderWay>>,
}

/// What of snapshots is not finished.
#[derive(Default, PartialEq)]
struct UnderWay {
    /// One from a peer, which takes the place of the state once it took that of the log.
    installing: Option<LogId>,
    /// It could not be read; it is tried again then.
    unread_until: Option<Moment>,
    /// One whose file is durable, and whose last entry may not be yet.
    written: Option<LogId>,
    /// The last one failed; the next is not written before.
    failed_until: Option<Moment>,
    outgoing: Outgoing,
    /// Snapshots before this are of no use once the log durably begins where it now does.
    useless: Option<LogIndex>,
    /// The write that lets the log begin at the newest one or before: once it is durable, older ones are of
    /// no use.
    rebasing: Option<(PersistSeq, LogIndex)>,
}

impl Snapshots {
    /// Of a replica that was restored from the snapshot `newest`.
    pub(crate) fn new(settings: Rc<Compaction>, newest: Option<LogId>) -> Self {
        Self {
            settings,
            log: LogBytes::new(),
            newest,
            is_due_now: false,
            is_taking: false,
            bytes: 0,
            size: 0,
            begun: newest.map_or(LogIndex::ZERO, |last| last.index),
            under_way: None,
        }
    }

    /// Of a replica whose state is on disk, up to `applied`; `unsynced`: a snapshot's file is what makes it durable.
    pub(crate) fn on_disk(settings: Rc<Compaction>, applied: LogIndex, unsynced: bool) -> Self {
        Self {
            is_due_now: unsynced,
            begun: applied,
            ..Self::new(settings, None)
        }
    }

    fn under_way(&mut self) -> &mut UnderWay {
        self.under_way.get_or_insert_default()
    }

    /// What peers are being sent, if anything is under way.
    pub(crate) fn outgoing(&self) -> Option<&Outgoing> {
        self.under_way.as_ref().map(|under_way| &under_way.outgoing)
    }

    pub(crate) fn outgoing_mut(&mut self) -> &mut Outgoing {
        &mut self.under_way().outgoing
    }

    /// The same, if the log is kept for it.
    fn needs_log(&self) -> Option<&Outgoing> {
        self.outgoing().filter(|outgoing| outgoing.needs_log())
    }

    pub(crate) fn newest(&self) -> Option<LogId> {
        self.newest
    }

    /// Entries were applied, which have so many bytes together.
    pub(crate) fn count_applied(&mut self, first: LogIndex, last: LogIndex, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.log.applied(first, last, bytes as u64);
    }

    /// Whether it is time for the next one. A large state is not written again before as much came into the log:
    /// so the log takes no more room than the state, and snapshots no more writing than the log. While one is being
    /// sent, and until the peer has caught up, a next one would let the log be compacted beyond it, and the peer would
    /// need another: that waits, within limits. A state on disk, which costs nothing to be synced, waits for this alone,
    /// also until as much came into the log as was written for the peer. A log that is too long for its group's limit is
    /// reason enough; that also if the last one, which it was too long for, failed, and nothing was applied since: nothing
    /// is, beyond the limit. After one failed there is a pause.
    pub(crate) fn is_due(&self, applied: LogIndex, now: Moment) -> bool {
        self.failed_until().is_none_or(|until| until <= now) && self.is_wanted(applied)
    }

    /// When the next is due, or one is to be restored, if that has to wait because it failed.
    pub(crate) fn deadline(&self, applied: LogIndex) -> Option<Moment> {
        let next = self.failed_until().filter(|_| self.is_wanted(applied));
        let unread = self.under_way.as_ref().and_then(|under_way| under_way.unread_until);
        next.into_iter().chain(unread).min()
    }

    /// The next is due and can't be begun.
    pub(crate) fn put_off(&mut self, now: Moment) {
        if let Some(until) = self
            .under_way
            .as_mut()
            .and_then(|under_way| under_way.failed_until.as_mut())
        {
            *until = now.plus(RETRY_MS);
        }
    }

    fn failed_until(&self) -> Option<Moment> {
        self.under_way.as_ref()?.failed_until
    }

    /// Whether one would be due, had none failed.
    fn is_wanted(&self, applied: LogIndex) -> bool {
        let sent = self.needs_log();
        let patience = if sent.is_some() { 8 } else { 1 };
        let entries = applied.0.saturating_sub(self.begun.0);
        let is_enough = entries >= self.settings.entries.saturating_mul(patience)
            || self.bytes >= self.settings.bytes.saturating_mul(patience);
        let size = sent.map_or(self.size, |sent| self.size.max(sent.bytes()));
        // How large it becomes is not known while it is written; a sync would have to wait for that anyway.
        let is_known = !sent.is_some_and(Outgoing::is_being_written);
        let pays = is_known && (size <= self.settings.bytes || self.bytes >= size);
        let is_long = self.log.is_long(sent.is_some());
        let is_any_new = entries > 0;
        let is_long_still = is_long && self.failed_until().is_some();
        !self.is_taking && (self.is_due_now || is_long_still || is_any_new && (is_enough && pays || is_long))
    }

    /// Up to where the tail that is kept for followers that lag has to go, because the log is too long for it.
    pub(crate) fn droppable_tail(&self) -> Option<LogIndex> {
        let newest = self.newest.filter(|_| self.log.is_long(self.needs_log().is_some()))?;
        Some(self.log.half().min(newest.index))
    }

    pub(crate) fn begin(&mut self, last: LogId) {
        if let Some(under_way) = &mut self.under_way {
            under_way.failed_until = None;
            // The log is not kept for them for ever.
            under_way.outgoing.forget_followers();
        }
        self.is_taking = true;
        self.is_due_now = false;
        self.begun = last.index;
        self.bytes = 0;
    }

    /// The one that was begun is durable and has this many bytes, or failed to be.
    pub(crate) fn taken(&mut self, last: LogId, size: Option<u64>, now: Moment) {
        self.is_taking = size.is_some();
        let under_way = self.under_way();
        under_way.written = size.map(|_| last);
        under_way.failed_until = size.is_none().then(|| now.plus(RETRY_MS));
        self.size = size.unwrap_or(self.size);
    }

    /// Counts the one that was taken, once the log durably holds its last entry: before that, a crash would
    /// leave a snapshot that is nobody's. Returns up to where the log is of no more use then.
    pub(crate) fn count_written(&mut self, durable: LogIndex) -> Option<LogIndex> {
        let under_way = self.under_way.as_mut()?;
        let last = under_way.written.take_if(|last| last.index <= durable)?;
        self.is_taking = false;
        if self.newest.is_some_and(|newest| newest.index >= last.index) {
            return None;
        }
        self.newest = Some(last);
        self.under_way().useless = Some(last.index);
        Some(LogIndex(last.index.0.saturating_sub(self.settings.tail_entries)))
    }

    /// One from a peer takes the place of the log.
    pub(crate) fn installed(&mut self, last: LogId) {
        self.newest = Some(last);
        let under_way = self.under_way();
        under_way.installing = Some(last);
        under_way.unread_until = None;
        under_way.useless = Some(last.index);
        under_way.failed_until = None;
        self.begun = last.index;
        self.bytes = 0;
    }

    /// One whose state can be restored now: the log was durably replaced, so that it never begins before what
    /// the state machine has applied.
    pub(crate) fn take_restorable(&mut self, durable: LogIndex, now: Moment) -> Option<LogId> {
        let under_way = self.under_way.as_mut()?;
        if under_way.unread_until.is_some_and(|until| now < until) {
            return None;
        }
        under_way.unread_until = None;
        under_way.installing.take_if(|last| last.index <= durable)
    }

    /// The one that is to be restored can't be read now.
    pub(crate) fn unread(&mut self, last: LogId, now: Moment) {
        let under_way = self.under_way();
        under_way.installing = Some(last);
        under_way.unread_until = Some(now.plus(RETRY_MS));
    }

    /// A state machine on disk took over the state of one: it has to be synced.
    pub(crate) fn restored(&mut self) {
        self.is_due_now = true;
    }

    /// One is not what was written any more. If it is the newest, another takes its place, also of the same entry: if none
    /// is being written already.
    pub(crate) fn rotted(&mut self, last: LogId) {
        self.is_due_now |= self.newest == Some(last) && !self.is_taking;
    }

    /// What a step wants written is about to be queued. Returns the index before which snapshots are of no
    /// more use, if no write has to be waited for: the log durably holds the end of the newest.
    pub(crate) fn note_write(&mut self, write: Option<&Persist>) -> Option<LogIndex> {
        let under_way = self.under_way.as_mut()?;
        under_way.outgoing.tidy();
        // Of what is finished nothing is kept.
        self.under_way.take_if(|under_way| **under_way == UnderWay::default());
        let under_way = self.under_way.as_mut()?;
        let useless = under_way.useless.take()?;
        match write {
            Some(write) if write.base.is_some() => {
                under_way.rebasing = Some((write.seq, useless));
                None
            }
            _ => Some(useless),
        }
    }

    /// Whether there is something to do once a write is durable.
    pub(crate) fn waits_for_disk(&self) -> bool {
        let waits = |under_way: &UnderWay| {
            under_way.written.is_some() || under_way.installing.is_some() || under_way.rebasing.is_some()
        };
        self.under_way.as_deref().is_some_and(waits)
    }

    /// Writes up to `seq` are durable; returns the index before which snapshots are of no more use.
    pub(crate) fn persisted(&mut self, seq: PersistSeq) -> Option<LogIndex> {
        let under_way = self.under_way.as_mut()?;
        under_way
            .rebasing
            .take_if(|(rebasing, _)| *rebasing <= seq)
            .map(|(_, before)| before)
    }

    /// How far the peers of this leader are; there are none if it does not lead any more.
    pub(crate) fn peers_are_at(&mut self, peers: &[PeerProgress], applied: LogIndex) {
        let tail = self.settings.tail_entries;
        let lags = |peer: &PeerProgress| peer.matched.0.saturating_add(tail) < applied.0;
        self.outgoing_mut()
            .keep_followers(|node| peers.iter().any(|peer| peer.node == node && lags(peer)));
    }
}
