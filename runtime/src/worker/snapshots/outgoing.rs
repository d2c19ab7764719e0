//! Snapshots that peers are being sent, and how long the log is kept for those.

use super::RETRY_MS;
use raftyard_groups::{LogId, LogIndex, Moment, NodeId};

#[derive(Default, PartialEq)]
pub(crate) struct Outgoing {
    /// One that was written for a peer and is still being sent: it serves others too.
    last: Option<LogId>,
    /// How many peers are being sent one.
    sending: usize,
    /// Peers that were sent one, and lack more of what follows it than the log's tail.
    following: Vec<NodeId>,
    is_being_written: bool,
    /// One could not be written, or was written in vain; the next is not written before.
    failed_until: Option<Moment>,
    /// Of the last one that was written for a peer, as long as the log is kept.
    bytes: u64,
}

impl Outgoing {
    /// Whether a peer is being sent one, or needs the log from its end on.
    pub(super) fn needs_log(&self) -> bool {
        self.sending > 0 || self.is_followed()
    }

    /// Whether a peer was sent one and has yet to catch up.
    pub(crate) fn is_followed(&self) -> bool {
        !self.following.is_empty()
    }

    /// How many bytes the last one has that was written for a peer.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether one is being written for a peer.
    pub(super) fn is_being_written(&self) -> bool {
        self.is_being_written
    }

    /// One that is being sent and that a log which begins after `base` goes on from.
    pub(crate) fn after(&self, base: LogIndex) -> Option<LogId> {
        self.last.filter(|last| last.index >= base)
    }

    /// Whether one may be written for a peer now: each try takes as much room as the state, or all that is left, and peers ask
    /// again with each heartbeat that they answer.
    pub(crate) fn may_offer(&self, now: Moment) -> bool {
        self.failed_until.is_none_or(|until| until <= now)
    }

    /// One is to be written for a peer.
    pub(crate) fn offer(&mut self, last: LogId) {
        self.last = Some(last);
        self.is_being_written = true;
        self.failed_until = None;
    }

    /// The one that was to be written for a peer has so many bytes, or could not be written.
    pub(crate) fn written(&mut self, bytes: Option<u64>, now: Moment) {
        self.failed_until = bytes.is_none().then(|| now.plus(RETRY_MS));
        self.is_being_written = false;
        self.bytes = bytes.unwrap_or(self.bytes);
    }

    /// A peer is being sent one.
    pub(crate) fn begin(&mut self, to: NodeId) {
        self.sending += 1;
        self.following.retain(|peer| *peer != to);
    }

    /// One that ends at `through` was sent, or one was not. What was written for peers may be removed by that: the next
    /// peer needs another. Who has it has yet to install it, and needs the log from there on: all that came meanwhile.
    pub(crate) fn end(&mut self, to: NodeId, through: Option<LogIndex>, now: Moment) {
        self.sending = self.sending.saturating_sub(1);
        if through.is_some() {
            self.following.push(to);
        }
        let is_it = |last: &mut LogId| through.is_none_or(|through| last.index == through);
        let was_written = self.last.take_if(is_it).is_some();
        if was_written && through.is_none() {
            self.failed_until = Some(now.plus(RETRY_MS));
        }
    }

    /// The log is kept for these alone of those that were sent one.
    pub(super) fn keep_followers(&mut self, lags: impl Fn(NodeId) -> bool) {
        self.following.retain(|node| lags(*node));
    }

    pub(super) fn forget_followers(&mut self) {
        self.following.clear();
    }

    /// Keeps nothing of what is finished.
    pub(super) fn tidy(&mut self) {
        if !self.needs_log() {
            self.bytes = 0;
        }
    }
}
