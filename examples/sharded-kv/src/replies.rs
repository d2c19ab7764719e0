//! What replies may take of a node's memory, from when a group gives them until the connection sends them.
//!
//! A client that asks for much in few bytes and takes nothing of it would otherwise make a node hold all of it. The reply
//! that a connection sends next always has room. What is asked beside it is counted, for the connection and for the node:
//! a read that finds no room gives nothing, and is asked again when its turn has come; a write that returns values is begun
//! only when there is room for the longest that it may return. What another node gave, as a proxy's connection waits for it,
//! is held already: it is counted all the same, and nothing is begun after it until there is room again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes for one connection.
const CONNECTION_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes for all connections of a node.
const NODE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Shorter ones are not counted: how many there are is bounded.
const COUNTED_BYTES_MIN: usize = 4 * 1024;

/// The replies of all connections of a node.
#[derive(Debug, Default)]
pub(crate) struct NodeReplies {
    bytes: AtomicUsize,
}

/// Those of one connection.
#[derive(Debug)]
pub(crate) struct Replies {
    node: Arc<NodeReplies>,
    bytes: AtomicUsize,
    /// A read found no room. So will those that were begun after it: it must not be overtaken.
    is_full: AtomicBool,
}

impl Replies {
    pub(crate) fn new(node: Arc<NodeReplies>) -> Self {
        Self {
            node,
            bytes: AtomicUsize::new(0),
            is_full: AtomicBool::new(false),
        }
    }

    /// Whether a read found no room: then nothing is begun until nothing is in flight.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Nothing is in flight any more.
    pub(crate) fn begin_anew(&self) {
        self.is_full.store(false, Ordering::Relaxed);
    }

    /// Room for the reply that is sent next, however long it is.
    pub(crate) fn next_room(self: &Arc<Self>) -> Room {
        Room {
            replies: Arc::clone(self),
            bytes: AtomicUsize::new(0),
            is_next: true,
        }
    }

    /// Room for a reply with values of so many bytes, or of as many as are [taken](Room::take) then. `None` if there is
    /// none; there always is for one that `is_next`.
    pub(crate) fn room(self: &Arc<Self>, bytes: usize, is_next: bool) -> Option<Room> {
        let room = Room {
            replies: Arc::clone(self),
            bytes: AtomicUsize::new(0),
            is_next,
        };
        room.add(bytes).then_some(room)
    }
}

/// The room of one reply, until this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    replies: Arc<Replies>,
    bytes: AtomicUsize,
    /// The connection sends this reply next.
    is_next: bool,
}

impl Room {
    /// Room in the place of this one, for the reply that is sent next.
    pub(crate) fn for_next(&self) -> Self {
        self.replies.next_room()
    }

    /// Whether it is sure that [`Self::take`] will find none.
    pub(crate) fn is_refused(&self) -> bool {
        !self.is_next && self.replies.is_full()
    }

    /// Takes room for a reply that has been made. False: it must not be held.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let has_room = !self.is_refused() && self.add(bytes);
        if !has_room {
            self.replies.is_full.store(true, Ordering::Relaxed);
        }
        has_room
    }

    /// Takes room for a reply that is held already, with what was taken before. If there is none, nothing is begun until
    /// nothing is in flight.
    pub(crate) fn hold(&self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes.load(Ordering::Relaxed));
        if !self.count(more) && !self.is_next {
            self.replies.is_full.store(true, Ordering::Relaxed);
        }
    }

    fn add(&self, bytes: usize) -> bool {
        let has_room = self.count(bytes) || self.is_next;
        if !has_room {
            self.give_back();
        }
        has_room
    }

    /// Whether they fit.
    fn count(&self, bytes: usize) -> bool {
        if bytes < COUNTED_BYTES_MIN {
            return true;
        }
        let of_connection = self.replies.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let of_node = self.replies.node.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        of_connection <= CONNECTION_BYTES_MAX && of_node <= NODE_BYTES_MAX
    }

    fn give_back(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        self.replies.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.replies.node.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if *self.bytes.get_mut() > 0 {
            self.give_back();
        }
    }
}

#[cfg(test)]
impl NodeReplies {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn connection(node: &Arc<NodeReplies>) -> Arc<Replies> {
        Arc::new(Replies::new(Arc::clone(node)))
    }

    #[test]
    fn a_connection_holds_little_beside_what_it_sends_next() {
        let node = Arc::default();
        let replies = connection(&node);
        let rooms: Vec<Room> = (0..4).map(|_| replies.room(8 * MIB, false).unwrap()).collect();
        assert!(replies.room(8 * MIB, false).is_none());
        assert!(replies.room(100, false).is_some(), "it is not counted");
        let next = replies.room(8 * MIB, true).unwrap();
        assert_eq!(node.bytes.load(Ordering::Relaxed), 40 * MIB);
        drop((rooms, next));
        assert_eq!(node.bytes.load(Ordering::Relaxed), 0);
        assert!(replies.room(8 * MIB, false).is_some());
    }

    #[test]
    fn a_node_holds_no_more_for_many() {
        let node = Arc::default();
        let connections: Vec<_> = (0..10).map(|_| connection(&node)).collect();
        let rooms = connections
            .iter()
            .flat_map(|replies| (0..4).map(|_| replies.room(8 * MIB, false)));
        let rooms: Vec<Room> = rooms.flatten().collect();
        assert_eq!(rooms.len(), 16);
        assert!(connections.iter().all(|replies| replies.room(8 * MIB, true).is_some()));
        drop(rooms);
        assert_eq!(node.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_read_overtakes_one_that_found_no_room() {
        let replies = connection(&Arc::default());
        let [first, second, third] = [(); 3].map(|()| replies.room(0, false).unwrap());
        assert!(first.take(20 * MIB));
        assert!(!second.take(20 * MIB));
        assert!(third.is_refused() && !third.take(1));
        let again = second.for_next();
        assert!(!again.is_refused() && again.take(20 * MIB));
        drop((first, second, third, again));
        assert!(replies.is_full(), "what was begun meanwhile comes after it");
        replies.begin_anew();
        assert!(replies.room(0, false).unwrap().take(20 * MIB));
    }
}
