//! Requests to change the membership, between being asked and being answered.

use super::Change;
use raftyard_groups::{ChangeId, ChangeOutcome, Input};
use tokio::sync::oneshot;

/// Who waits for which.
#[derive(Default)]
pub(crate) struct Changes {
    next: u64,
    waiting: Vec<(ChangeId, oneshot::Sender<ChangeOutcome>)>,
}

impl Changes {
    /// What it means for the core.
    pub(crate) fn ask(&mut self, Change { request, reply }: Change) -> Input {
        self.next += 1;
        let id = ChangeId(self.next);
        self.waiting.push((id, reply));
        Input::ChangeMembership { id, change: request }
    }

    /// The core said what became of it.
    pub(crate) fn decided(&mut self, id: ChangeId, outcome: ChangeOutcome) {
        if let Some(position) = self.waiting.iter().position(|(waiting, _)| *waiting == id) {
            // Who gave up waiting has dropped the other end.
            self.waiting.swap_remove(position).1.send(outcome).ok();
        }
    }

    /// The replica stopped: nobody will say.
    pub(crate) fn abandon(&mut self) {
        self.waiting.clear();
    }
}
