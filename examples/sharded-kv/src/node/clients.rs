//! The clients of a node together: how many there may be, what is asked of them, and what they did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::{Access, Password};
use crate::replies::NodeReplies;

/// The share (one in so many) of all client connections that strangers may take: those who flood a node with connections on
/// which they say nothing keep no one out who is in.
const STRANGERS_SHARE: usize = 4;

pub(crate) struct Clients {
    /// One permit per connection that may still be opened.
    connections_left: Arc<Semaphore>,
    /// One permit per client that may still be on its way to prove who it is.
    strangers_left: Arc<Semaphore>,
    /// Connections at the same time.
    pub(super) max: usize,
    access: Arc<Access>,
    replies: Arc<NodeReplies>,
    pub(super) connections: AtomicU64,
    pub(super) commands: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) tls_failures: AtomicU64,
}

impl Clients {
    /// At most `max` at the same time, which have to say the password if there is one.
    pub(super) fn new(max: usize, password: Option<Password>) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self {
            connections_left: Arc::new(Semaphore::new(max)),
            strangers_left: Arc::new(Semaphore::new(max.div_ceil(STRANGERS_SHARE))),
            max,
            access: Arc::new(Access::new(password)),
            replies: Arc::default(),
            connections: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            tls_failures: AtomicU64::new(0),
        }
    }

    /// Room for a connection, until it is dropped. None if there are too many.
    pub(crate) fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections_left).try_acquire_owned().ok()
    }

    /// The same for a client that has not proved yet who it is, beside the room for its connection.
    pub(crate) fn strangers_room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.strangers_left).try_acquire_owned().ok()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.max - self.connections_left.available_permits()
    }

    /// What is asked of them.
    pub(crate) fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// What the replies take that they wait for.
    pub(crate) fn replies(&self) -> &Arc<NodeReplies> {
        &self.replies
    }

    /// Notes a connection for which there was no room.
    pub(crate) fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a connection that did not come to speak TLS.
    pub(crate) fn count_tls_failure(&self) {
        self.tls_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a new connection and gives it its number, from 1.
    pub(crate) fn count_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes commands that were begun.
    pub(crate) fn count_commands(&self, count: u64) {
        self.commands.fetch_add(count, Ordering::Relaxed);
    }
}
