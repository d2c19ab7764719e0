//! The part of a group's actor that stops it for good, or has it lead no more.

use super::group_actor::GroupActor;
use super::{Export, Proposal, ReadJob, proposals, reads};
use crate::error::{ExportError, ProposeError, ReadError};
use crate::quarantine::QuarantineReason;
use raftyard_groups::{Body, Effects, Message, Moment, Prompt};
use std::panic::{AssertUnwindSafe, catch_unwind};

impl GroupActor {
    /// Stops this replica for good: what it was asked is answered as unknown, what comes is refused.
    pub(super) fn quarantine(&mut self, reason: &QuarantineReason) {
        if !self.quarantined {
            tracing::error!(group = self.slot.group.0, replica = %self.core, %reason, "replica quarantined");
            self.quarantined = true;
            *self.shared.effects.borrow_mut() = Effects::default();
            self.unapplied = Vec::new();
            self.leave_to_worker();
            self.slot.status.quarantine(reason.clone());
            self.publish();
            // Last, so that who is answered finds it so.
            let error = ProposeError::Quarantined(reason.clone());
            for (_, held) in std::mem::take(&mut self.proposing) {
                self.proposals.refuse(held, &error);
            }
            self.transfers.clear();
            self.changes.abandon();
            self.proposals.abandon();
            self.reads.expire(Moment(u64::MAX));
        }
    }

    /// Says nothing more itself: leaves to its worker what it promised and what it owes.
    pub(super) fn leave_to_worker(&mut self) {
        self.resign();
        if let Some(promise) = self.core.promise() {
            self.shared.keep_promise(self.slot.life(), promise);
        }
    }

    /// Leads no more, and leaves it to its worker that those who promised it something hear of it.
    fn resign(&mut self) {
        // What else it wants done is not done any more.
        let (core, mut effects) = (&mut self.core, Effects::default());
        let resigned = catch_unwind(AssertUnwindSafe(|| core.resign(&mut effects)));
        let owed: Vec<_> = match resigned {
            Ok(()) => self.core.resignations().collect(),
            // It is what panicked before. Whoever promised nothing will not mind.
            Err(_) => {
                let (peers, term) = (self.core.membership().peers_of(self.core.node()), self.core.term());
                peers.into_iter().map(|peer| (peer, term)).collect()
            }
        };
        let (now, sessions) = (self.shared.clock.now(), self.shared.sessions());
        for (to, term) in owed {
            let message = Message {
                group: self.slot.group,
                incarnation: self.slot.incarnation,
                from: self.core.node(),
                to,
                term,
                body: Body::Prompt(Prompt::Resigned),
            };
            self.shared.output.borrow_mut().send.push(message.clone());
            self.shared.resignations.borrow_mut().owe(message, now, &sessions);
        }
    }

    /// Answers what comes for a replica that stopped for good.
    pub(super) fn refuse(&mut self, commands: Vec<Proposal>, jobs: Vec<ReadJob>, exports: Vec<Export>) {
        // Whoever asked for a transfer finds the reason in the status.
        self.transfers.clear();
        self.changes.abandon();
        if let Some(reason) = self.slot.status.quarantined() {
            proposals::refuse(commands, &ProposeError::Quarantined(reason.clone()));
            reads::refuse(jobs, &ReadError::Quarantined(reason.clone()));
            for export in exports {
                export.reply.send(Err(ExportError::Quarantined(reason.clone()))).ok();
            }
        }
    }
}
