//! When a group takes a snapshot, and which of its snapshots counts.

use super::log_bytes::LogBytes;
use crate::snapshot::Compaction;
use raftyard_groups::{LogId, LogIndex, Moment, NodeId, PeerProgress, Persist, PersistSeq};
use std::rc::Rc;

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
    /// One that was written for a peer and is still being sent: it serves others too.
    outgoing: Option<LogId>,
    /// One whose file is durable, and whose last entry may not be yet.
    written: Option<LogId>,
    /// The last one failed; the next is not written before.
    failed_until: Option<Moment>,
    /// Peers that are being sent one.
    sending: usize,
    /// Peers that were sent one, and lack more of what follows it than the log's tail.
    following: Vec<NodeId>,
    /// One is being written for a peer.
    is_viewing: bool,
    /// One for a peer could not be written, or was written in vain; the next is not written before.
    unviewed_until: Option<Moment>,
    /// Bytes of the last one that was written for a peer, as long as peers are being sent one or follow.
    viewed: u64,
    /// Snapshots before this are of no use once the log durably begins where it now does.
    useless: Option<LogIndex>,
    /// The write that lets the log begin at the newest one or before: once it is durable, older ones are of
    /// no use.
    rebasing: Option<(PersistSeq, LogIndex)>,
}

impl UnderWay {
    fn is_sending(&self) -> bool {
        self.sending > 0 || !self.following.is_empty()
    }
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

    /// Whether a peer is being sent one, or needs the log from its end on.
    fn is_sending(&self) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| under_way.is_sending())
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
        let is_sending = self.is_sending();
        let patience = if is_sending { 8 } else { 1 };
        let entries = applied.0.saturating_sub(self.begun.0);
        let is_enough = entries >= self.settings.entries.saturating_mul(patience)
            || self.bytes >= self.settings.bytes.saturating_mul(patience);
        let sent = self.under_way.as_ref().filter(|_| is_sending);
        let size = sent.map_or(self.size, |sent| self.size.max(sent.viewed));
        // How large it becomes is not known while it is written; a sync would have to wait for that anyway.
        let is_known = !sent.is_some_and(|sent| sent.is_viewing);
        let pays = is_known && (size <= self.settings.bytes || self.bytes >= size);
        let is_long = self.log.is_long(is_sending);
        let is_any_new = entries > 0;
        let is_long_still = is_long && self.failed_until().is_some();
        !self.is_taking && (self.is_due_now || is_long_still || is_any_new && (is_enough && pays || is_long))
    }

    /// Up to where the tail that is kept for followers that lag has to go, because the log is too long for it.
    pub(crate) fn droppable_tail(&self) -> Option<LogIndex> {
        let newest = self.newest.filter(|_| self.log.is_long(self.is_sending()))?;
        Some(self.log.half().min(newest.index))
    }

    pub(crate) fn begin(&mut self, last: LogId) {
        if let Some(under_way) = &mut self.under_way {
            under_way.failed_until = None;
            // The log is not kept for them for ever.
            under_way.following.clear();
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
        if !under_way.is_sending() {
            under_way.viewed = 0;
        }
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

    pub(crate) fn sending(&mut self, to: NodeId) {
        let under_way = self.under_way();
        under_way.sending += 1;
        under_way.following.retain(|peer| *peer != to);
    }

    /// One that ends at `through` was sent, or one was not. What was written for peers may be removed by that: the next
    /// peer needs another. Who has it has yet to install it, and needs the log from there on: all that came meanwhile.
    pub(crate) fn sent(&mut self, to: NodeId, through: Option<LogIndex>, now: Moment) {
        let under_way = self.under_way();
        under_way.sending = under_way.sending.saturating_sub(1);
        if through.is_some() {
            under_way.following.push(to);
        }
        let is_it = |last: &mut LogId| through.is_none_or(|through| last.index == through);
        let was_written = under_way.outgoing.take_if(is_it).is_some();
        if was_written && through.is_none() {
            under_way.unviewed_until = Some(now.plus(RETRY_MS));
        }
    }

    /// One that is being sent and that a log which begins after `base` goes on from.
    pub(crate) fn outgoing(&self, base: LogIndex) -> Option<LogId> {
        self.under_way.as_ref()?.outgoing.filter(|last| last.index >= base)
    }

    /// Whether a peer was sent one and has yet to catch up.
    pub(crate) fn is_followed(&self) -> bool {
        let under_way = self.under_way.as_ref();
        under_way.is_some_and(|under_way| !under_way.following.is_empty())
    }

    /// How far the peers of this leader are; there are none if it does not lead any more.
    pub(crate) fn peers_are_at(&mut self, peers: &[PeerProgress], applied: LogIndex) {
        let tail = self.settings.tail_entries;
        let lags = |peer: &PeerProgress| peer.matched.0.saturating_add(tail) < applied.0;
        let following = &mut self.under_way().following;
        following.retain(|node| peers.iter().any(|peer| peer.node == *node && lags(peer)));
    }

    /// Whether one may be written for a peer now: each try takes as much room as the state, or all that is left, and peers ask
    /// again with each heartbeat that they answer.
    pub(crate) fn may_offer(&self, now: Moment) -> bool {
        let until = self.under_way.as_ref().and_then(|under_way| under_way.unviewed_until);
        until.is_none_or(|until| until <= now)
    }

    /// One is to be written for a peer.
    pub(crate) fn offer(&mut self, last: LogId) {
        let under_way = self.under_way();
        under_way.outgoing = Some(last);
        under_way.is_viewing = true;
        under_way.unviewed_until = None;
    }

    /// The one that was to be written for a peer has so many bytes, or could not be written.
    pub(crate) fn viewed(&mut self, size: Option<u64>, now: Moment) {
        let under_way = self.under_way();
        under_way.unviewed_until = size.is_none().then(|| now.plus(RETRY_MS));
        under_way.is_viewing = false;
        under_way.viewed = size.unwrap_or(under_way.viewed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raftyard_groups::{PeerMode, Term};

    const NOW: Moment = Moment(100);
    const PEER: NodeId = NodeId(2);

    fn settings() -> Rc<Compaction> {
        Rc::new(Compaction {
            entries: 10,
            bytes: 100,
            ..Compaction::default()
        })
    }

    /// Of a group whose last snapshot, which ends at 1, had this many bytes.
    fn after_one_of(size: u64) -> Snapshots {
        let mut snapshots = Snapshots::new(settings(), None);
        let last = LogId::new(1, 1);
        snapshots.begin(last);
        snapshots.taken(last, Some(size), NOW);
        snapshots.count_written(last.index);
        snapshots
    }

    #[test]
    fn a_snapshot_is_due_after_so_many_entries_or_bytes() {
        let mut snapshots = after_one_of(100);
        assert!(!snapshots.is_due(LogIndex(10), NOW));
        assert!(snapshots.is_due(LogIndex(11), NOW), "ten entries since the last");
        snapshots.count_applied(LogIndex(2), LogIndex(2), 99);
        assert!(!snapshots.is_due(LogIndex(2), NOW));
        snapshots.count_applied(LogIndex(3), LogIndex(3), 1);
        assert!(snapshots.is_due(LogIndex(2), NOW), "a hundred bytes since the last");
        assert!(!snapshots.is_due(LogIndex(1), NOW), "nothing new");
    }

    #[test]
    fn a_large_state_is_written_again_once_the_log_is_as_large() {
        let mut snapshots = after_one_of(1_000);
        snapshots.count_applied(LogIndex(2), LogIndex(500), 999);
        assert!(!snapshots.is_due(LogIndex(500), NOW));
        snapshots.count_applied(LogIndex(501), LogIndex(501), 1);
        assert!(snapshots.is_due(LogIndex(500), NOW));
    }

    #[test]
    fn a_log_beyond_half_its_limit_is_reason_enough() {
        let mut snapshots = after_one_of(1_000);
        snapshots.log.set_max(100);
        snapshots.count_applied(LogIndex(2), LogIndex(2), 50);
        assert!(!snapshots.is_due(LogIndex(2), NOW));
        assert_eq!(snapshots.droppable_tail(), None);
        snapshots.count_applied(LogIndex(3), LogIndex(3), 10);
        assert!(snapshots.is_due(LogIndex(3), NOW));
        assert_eq!(
            snapshots.droppable_tail(),
            Some(LogIndex(1)),
            "no further than the last snapshot"
        );
        snapshots.sending(PEER);
        assert!(!snapshots.is_due(LogIndex(3), NOW), "a peer is being sent the last one");
        snapshots.count_applied(LogIndex(4), LogIndex(4), 41);
        assert!(snapshots.is_due(LogIndex(4), NOW), "but not for ever");
    }

    /// The state is written again and again, but not without pause, until there is room: nothing is applied until then that
    /// could be the reason.
    #[test]
    fn a_log_that_is_too_long_has_a_snapshot_that_failed_taken_later() {
        let mut snapshots = after_one_of(10);
        snapshots.log.set_max(100);
        snapshots.count_applied(LogIndex(2), LogIndex(3), 101);
        let (last, mut now) = (LogId::new(1, 3), NOW);
        for _ in 0..3 {
            assert!(snapshots.is_due(last.index, now));
            snapshots.begin(last);
            assert!(!snapshots.is_due(last.index, now), "it is being written");
            snapshots.taken(last, None, now);
            let later = now.plus(RETRY_MS);
            assert!(!snapshots.is_due(last.index, Moment(later.0 - 1)));
            assert_eq!(snapshots.deadline(last.index), Some(later));
            now = later;
        }
        snapshots.begin(last);
        snapshots.taken(last, Some(10), now);
        snapshots.count_written(last.index);
        snapshots.log.compacted(last.index);
        assert!(!snapshots.is_due(last.index, Moment(u64::MAX)));
        assert_eq!(snapshots.deadline(last.index), None);
    }

    /// A leader with its state on disk, which applied ten entries of 1,000 bytes together since it was synced.
    fn with_state_on_disk() -> Snapshots {
        let mut snapshots = Snapshots::on_disk(settings(), LogIndex::ZERO, false);
        snapshots.count_applied(LogIndex(1), LogIndex(10), 1_000);
        assert!(snapshots.is_due(LogIndex(10), NOW), "nobody is being sent its state");
        snapshots
    }

    fn peer_at(matched: u64) -> PeerProgress {
        PeerProgress {
            node: PEER,
            matched: LogIndex(matched),
            mode: PeerMode::Replicating,
            silent_ms: 0,
            is_leaving: false,
        }
    }

    #[test]
    fn a_state_on_disk_that_a_peer_is_sent_lets_the_log_become_as_large() {
        let mut snapshots = with_state_on_disk();
        snapshots.offer(LogId::new(1, 10));
        snapshots.sending(PEER);
        assert!(
            !snapshots.is_due(LogIndex(u64::MAX), NOW),
            "how large it is is not known"
        );
        snapshots.viewed(Some(2_000), NOW);
        snapshots.count_applied(LogIndex(11), LogIndex(500), 999);
        assert!(!snapshots.is_due(LogIndex(500), NOW));
        snapshots.count_applied(LogIndex(501), LogIndex(501), 1);
        assert!(snapshots.is_due(LogIndex(501), NOW), "but not larger");
    }

    /// What was sent has yet to be installed, and all that came meanwhile to be sent.
    #[test]
    fn the_log_is_kept_for_a_peer_until_it_has_caught_up() {
        for lags in [true, false] {
            let mut snapshots = with_state_on_disk();
            snapshots.offer(LogId::new(1, 10));
            snapshots.sending(PEER);
            snapshots.viewed(Some(2_000), NOW);
            let (tail, applied) = (snapshots.settings.tail_entries, LogIndex(50_000));
            snapshots.count_applied(LogIndex(11), applied, 900);
            snapshots.sent(PEER, Some(LogIndex(10)), NOW);
            assert!(!snapshots.is_due(applied, NOW));
            snapshots.peers_are_at(&[peer_at(applied.0 - tail - 1)], applied);
            assert!(snapshots.is_followed() && !snapshots.is_due(applied, NOW));
            if lags {
                snapshots.count_applied(applied.next(), applied.next(), 100);
            } else {
                snapshots.peers_are_at(&[peer_at(applied.0 - tail)], applied);
                assert!(!snapshots.is_followed());
            }
            assert!(snapshots.is_due(applied, NOW), "it lags: {lags}");
            let last = LogId {
                term: Term(1),
                index: applied,
            };
            snapshots.begin(last);
            snapshots.taken(last, Some(0), NOW);
            snapshots.count_written(last.index);
            assert!(!snapshots.is_followed(), "the log is compacted beyond what it needs");
        }
    }

    #[test]
    fn the_log_is_not_kept_for_who_could_not_be_sent_the_state() {
        for size in [None, Some(2_000)] {
            let mut snapshots = with_state_on_disk();
            snapshots.offer(LogId::new(1, 10));
            snapshots.sending(PEER);
            snapshots.viewed(size, NOW);
            snapshots.sent(PEER, None, NOW);
            assert!(snapshots.is_due(LogIndex(10), NOW), "{size:?}");
            assert!(!snapshots.may_offer(Moment(NOW.0 + RETRY_MS - 1)), "{size:?}");
            assert!(snapshots.may_offer(NOW.plus(RETRY_MS)), "{size:?}");
        }
    }

    /// One transfer takes long; another one's file is gone once it has ended.
    #[test]
    fn what_was_sent_is_not_offered_to_others_whatever_else_is_being_sent() {
        let (slow, next) = (LogId::new(1, 5), LogId::new(1, 9));
        for through in [Some(next.index), None] {
            let mut snapshots = after_one_of(10);
            for last in [slow, next] {
                snapshots.offer(last);
                snapshots.sending(PEER);
            }
            assert_eq!(snapshots.outgoing(LogIndex(7)), Some(next));
            snapshots.sent(PEER, through, NOW);
            assert_eq!(snapshots.outgoing(LogIndex(1)), None, "through {through:?}");
        }
        let mut snapshots = after_one_of(10);
        for last in [slow, next] {
            snapshots.offer(last);
            snapshots.sending(PEER);
        }
        snapshots.sent(PEER, Some(slow.index), NOW);
        assert_eq!(
            snapshots.outgoing(LogIndex(7)),
            Some(next),
            "that one is still being sent"
        );
    }

    #[test]
    fn after_one_that_failed_there_is_a_pause_whatever_the_next_is_due_for() {
        let mut snapshots = after_one_of(10);
        snapshots.begin(LogId::new(1, 11));
        snapshots.taken(LogId::new(1, 11), None, NOW);
        let later = NOW.plus(RETRY_MS);
        assert!(!snapshots.is_due(LogIndex(20), later), "ten entries later");
        assert_eq!(snapshots.deadline(LogIndex(20)), None);
        assert!(!snapshots.is_due(LogIndex(21), NOW));
        assert_eq!(snapshots.deadline(LogIndex(21)), Some(later));
        assert!(snapshots.is_due(LogIndex(21), later));
    }
}
