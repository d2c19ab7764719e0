//! From a peer's frame to the workers that host its groups.

use crate::budget::InboundPermit;
use crate::inbox::Inbox;
use crate::liveness::LivenessWork;
use crate::snapshot::SnapshotWork;
use crate::transport::{Inbound, SnapshotAnswer, SnapshotPart};
use crate::worker::Work;
use raftyard_groups::{GroupId, Message, NodeId, NodeMessage};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The worker that hosts a group: fixed by its id, so that nobody has to look it up.
pub(crate) fn worker_of(group: GroupId, workers: usize) -> usize {
    usize::try_from(group.0 % workers.max(1) as u64).unwrap_or_default()
}

pub(crate) struct Router {
    workers: Vec<Arc<Inbox<Work>>>,
    snapshots: Arc<Inbox<SnapshotWork>>,
    liveness: Arc<Inbox<LivenessWork>>,
}

impl Router {
    pub(crate) fn new(
        workers: Vec<Arc<Inbox<Work>>>,
        snapshots: Arc<Inbox<SnapshotWork>>,
        liveness: Arc<Inbox<LivenessWork>>,
    ) -> Self {
        Self {
            workers,
            snapshots,
            liveness,
        }
    }
}

impl Inbound for Router {
    fn deliver(&self, _from: NodeId, messages: Vec<Message>, permit: InboundPermit) {
        if let [inbox] = self.workers.as_slice() {
            inbox.push(Work::Messages(messages, permit));
            return;
        }
        let mut parts: Vec<Vec<Message>> = self.workers.iter().map(|_| Vec::new()).collect();
        for message in messages {
            if let Some(part) = parts.get_mut(worker_of(message.group, self.workers.len())) {
                part.push(message);
            }
        }
        for (inbox, part) in self.workers.iter().zip(parts) {
            if !part.is_empty() {
                inbox.push(Work::Messages(part, permit.clone()));
            }
        }
    }

    fn between_nodes(&self, from: NodeId, message: NodeMessage) {
        self.liveness.push(LivenessWork(from, message));
    }

    fn snapshot(&self, from: NodeId, part: SnapshotPart) -> oneshot::Receiver<SnapshotAnswer> {
        let (reply, answer) = oneshot::channel();
        self.snapshots.push(SnapshotWork::Receive { from, part, reply });
        answer
    }
}
