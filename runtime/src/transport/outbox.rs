//! What waits to be sent to one peer on one lane.

use super::counters::Counters;
use super::fair::Places;
use super::wire::{self, NodeParcel, WireError};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use raftyard_groups::{GroupId, Message};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::Notify;

/// Filled by the workers, in encoded form, and emptied by the peer's link, a frame at a time.
///
/// Bounded in bytes: what doesn't fit is dropped and counted, like what comes while it is closed. Raft
/// repairs the loss: a leader sends again what a follower did not acknowledge. Some room is kept for groups that have
/// little waiting, in the whole and in each frame (`fair.rs`).
#[derive(Debug)]
pub(crate) struct Outbox {
    bounds: OutboxBounds,
    queue: Mutex<Queue>,
    /// Times that bytes which had had to wait were taken by the connection.
    drained: AtomicU64,
    filled: Notify,
    counters: Arc<Counters>,
}

/// This part of an outbox takes only messages of groups of which nothing waits in the later half of the frames.
const KEPT_OF_OUTBOX: usize = 8;

/// A message that is larger than this part of an outbox may exceed it, one at a time: what is free of it may always be
/// less, while others keep it filled.
const LARGE_OF_OUTBOX: usize = KEPT_OF_OUTBOX;

/// So much more than all of it messages between nodes may take: what groups say keeps none of them out.
const MORE_FOR_NODES: usize = 64;

/// And this part of a frame's target is added to it for groups that would have to wait for a later one.
const KEPT_OF_BATCH: usize = 4;

/// Sizes in bytes, as encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxBounds {
    /// What may wait. One large message beyond it is taken whatever else waits, so that it is not stuck for ever.
    pub(crate) bytes_max: usize,
    /// A batch takes no further message that would bring it beyond this.
    pub(crate) batch_bytes_target: usize,
    /// A larger message is dropped: no frame could carry it.
    pub(crate) message_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Queue {
    open: bool,
    /// Something was to be sent that was not acknowledged since.
    owes: bool,
    /// Acknowledgements so far.
    acknowledged: u64,
    batches: VecDeque<OpenBatch>,
    bytes: usize,
    /// Whether a message is among them that did not fit.
    exceeded: bool,
    /// Number of the first batch.
    first: u64,
    places: Places,
}

#[derive(Debug, Default)]
struct OpenBatch {
    payload: BytesMut,
    messages: usize,
    node_messages: usize,
    /// It has the message that did not fit.
    exceeds: bool,
}

/// What leaves as one frame.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Encoded messages, back to back.
    pub(crate) payload: Bytes,
    /// How many of them are of groups.
    pub(crate) messages: usize,
    /// How many of them are between nodes.
    pub(crate) node_messages: usize,
}

/// How what is to be sent to a peer moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Something was to be sent, and not all of it was acknowledged, or dropped on a connection that stands.
    pub(crate) owes: bool,
    /// Acknowledgements so far, and times that a full connection took more; a new connection counts as one.
    pub(crate) moved: u64,
}

impl Outbox {
    /// An empty, closed outbox.
    pub(crate) fn new(bounds: OutboxBounds, counters: Arc<Counters>) -> Self {
        Self {
            bounds,
            queue: Mutex::default(),
            drained: AtomicU64::default(),
            filled: Notify::new(),
            counters,
        }
    }

    /// Encodes `messages` into the outbox, in order: one lock, and one wake-up if it was empty.
    pub(crate) fn push_all<'a>(&self, messages: impl IntoIterator<Item = &'a Message>) {
        let mut dropped = 0;
        let mut too_large = None;
        let wake = {
            let mut queue = self.queue.lock();
            let was_empty = queue.batches.is_empty();
            for message in messages {
                match queue.push(message, &self.bounds) {
                    Ok(true) => {}
                    Ok(false) => dropped += 1,
                    Err(error) => {
                        dropped += 1;
                        too_large = Some((message.group, error));
                    }
                }
            }
            was_empty && !queue.batches.is_empty()
        };
        if wake {
            self.filled.notify_one();
        }
        if dropped > 0 {
            self.counters.add_dropped(dropped);
        }
        if let Some((group, error)) = too_large {
            tracing::error!(%group, %error, "message dropped, it can never be sent");
        }
    }

    /// Encodes a message between nodes into the outbox. What can't be queued is dropped: the next one says the same.
    pub(crate) fn push_node(&self, parcel: &NodeParcel) {
        let wake = {
            let mut queue = self.queue.lock();
            let was_empty = queue.batches.is_empty();
            let pushed = queue.push_node(parcel, &self.bounds);
            was_empty && pushed == Ok(true)
        };
        if wake {
            self.filled.notify_one();
        }
    }

    /// A frame was acknowledged, or a connection made; `in_flight` frames are still on their way.
    pub(crate) fn acknowledge(&self, in_flight: usize) {
        let mut queue = self.queue.lock();
        queue.acknowledged = queue.acknowledged.wrapping_add(1);
        queue.owes = in_flight > 0 || !queue.batches.is_empty();
    }

    /// A connection that was full took more of a frame.
    pub(crate) fn drained(&self) {
        self.drained.fetch_add(1, Relaxed);
    }

    /// How what is pushed moves.
    pub(crate) fn flow(&self) -> Flow {
        let queue = self.queue.lock();
        Flow {
            owes: queue.owes,
            moved: queue.acknowledged.wrapping_add(self.drained.load(Relaxed)),
        }
    }

    /// What is next to leave, if anything waits.
    pub(crate) fn take(&self) -> Option<Batch> {
        let mut queue = self.queue.lock();
        let batch = queue.batches.pop_front()?;
        queue.bytes -= batch.payload.len();
        queue.exceeded &= !batch.exceeds;
        queue.first += 1;
        if queue.batches.len() < 2 {
            queue.places.clear();
        }
        Some(Batch {
            payload: batch.payload.freeze(),
            messages: batch.messages,
            node_messages: batch.node_messages,
        })
    }

    /// Returns once something was pushed into the empty outbox. May return early; `take` tells.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes messages from now on.
    pub(crate) fn open(&self) {
        self.queue.lock().open = true;
    }

    /// Drops what waits, and all that comes until it is opened.
    pub(crate) fn close(&self) {
        self.queue.lock().open = false;
        self.clear();
    }

    /// Drops what waits.
    pub(crate) fn clear(&self) {
        let stale = {
            let mut queue = self.queue.lock();
            queue.bytes = 0;
            queue.exceeded = false;
            queue.places.clear();
            std::mem::take(&mut queue.batches)
        };
        let messages = stale.iter().map(|batch| batch.messages).sum();
        self.counters.add_dropped(messages);
    }

    /// Encoded bytes that wait.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.queue.lock().bytes
    }
}

impl Queue {
    /// Whether the message was taken.
    fn push(&mut self, message: &Message, bounds: &OutboxBounds) -> Result<bool, WireError> {
        if !self.open {
            // Until there is a connection on which it could have been sent.
            self.owes = true;
            return Ok(false);
        }
        let len = wire::encoded_len(message);
        let frames = self.batches.len();
        let kept = if self.places.is_far_behind(message.group, self.first, frames) {
            bounds.bytes_max / KEPT_OF_OUTBOX
        } else {
            0
        };
        let fits = self.has_room(len, bounds.bytes_max - kept);
        if !fits && (self.exceeded || len <= bounds.bytes_max / LARGE_OF_OUTBOX) {
            return Ok(false);
        }
        if let Some(batch) = self.batch_for(message, len, bounds) {
            wire::encode(message, len, bounds.message_bytes_max, &mut batch.payload)?;
            batch.messages += 1;
            batch.exceeds |= !fits;
        } else {
            let mut batch = OpenBatch::default();
            wire::encode(message, len, bounds.message_bytes_max, &mut batch.payload)?;
            batch.messages += 1;
            batch.exceeds = !fits;
            self.batches.push_back(batch);
            self.note_place(message.group, self.batches.len() - 1);
        }
        self.exceeded |= !fits;
        self.owes = true;
        self.bytes += len;
        Ok(true)
    }

    /// Whether the message was taken.
    fn push_node(&mut self, parcel: &NodeParcel, bounds: &OutboxBounds) -> Result<bool, WireError> {
        let len = wire::encoded_node_len(&parcel.message);
        if !self.open || !self.has_room(len, bounds.bytes_max + bounds.bytes_max / MORE_FOR_NODES) {
            return Ok(false);
        }
        let fits = |batch: &OpenBatch| batch.payload.len() + len <= bounds.batch_bytes_target;
        if !self.batches.back().is_some_and(fits) {
            self.batches.push_back(OpenBatch::default());
        }
        if let Some(batch) = self.batches.back_mut() {
            wire::encode_node(parcel, &mut batch.payload)?;
            batch.node_messages += 1;
        }
        self.bytes += len;
        Ok(true)
    }

    /// Whether `len` more bytes may wait. (One message may, whatever its size.)
    fn has_room(&self, len: usize, bytes_max: usize) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(len) <= bytes_max
    }

    /// The batch that the message goes into; none if that has to be a new one.
    fn batch_for(&mut self, message: &Message, len: usize, bounds: &OutboxBounds) -> Option<&mut OpenBatch> {
        let last = self.batches.len().checked_sub(1)?;
        let has_room = |batch: &OpenBatch, target: usize| batch.payload.len() + len <= target;
        let mut at = last;
        if last > 0 {
            let earliest = self.places.earliest(message.group, self.first);
            let earliest = usize::try_from(earliest - self.first).unwrap_or(last);
            // Room beyond the target is for those who would wait longer otherwise.
            let target = bounds.batch_bytes_target;
            let kept = target.saturating_add(target / KEPT_OF_BATCH);
            let mut earlier = self.batches.iter().enumerate().take(last).skip(earliest);
            at = earlier
                .find(|(_, batch)| has_room(batch, kept))
                .map_or(last, |(at, _)| at);
        }
        let is_earlier = at < last;
        if !is_earlier
            && !self
                .batches
                .get(at)
                .is_some_and(|batch| has_room(batch, bounds.batch_bytes_target))
        {
            return None;
        }
        self.note_place(message.group, at);
        self.batches.get_mut(at)
    }

    /// A message of the group is in the batch at this position.
    fn note_place(&mut self, group: GroupId, at: usize) {
        if at > 0 {
            self.places.put(group, self.first.saturating_add(at as u64));
        }
    }
}
