//! The part of a group's actor that has to do with snapshots.

use super::Export;
use super::group_actor::GroupActor;
use crate::error::ExportError;
use crate::quarantine::QuarantineReason;
use crate::snapshot::{Encode, Restored, SnapshotEvent, SnapshotWork};
use raftyard_groups::{Input, LogId, LogIndex, Moment, NodeId};
use std::panic::{AssertUnwindSafe, catch_unwind};

impl GroupActor {
    /// What an event means for the core.
    pub(super) fn on_snapshot(&mut self, event: SnapshotEvent) -> Option<Input> {
        match event {
            SnapshotEvent::Taken { last, is_durable } => {
                self.snapshots.taken(last, is_durable);
                None
            }
            SnapshotEvent::Received {
                from,
                term,
                last,
                membership,
            } => Some(Input::SnapshotReceived {
                from,
                term,
                last,
                membership,
            }),
            SnapshotEvent::Restored(restored) => self.restore(restored),
            SnapshotEvent::Sent { to, through } => {
                self.snapshots.sent();
                Some(Input::SnapshotDone { to, through })
            }
        }
    }

    fn restore(&mut self, Restored { last, state }: Restored) -> Option<Input> {
        let failed = |error| QuarantineReason::RestoreFailed { last, error };
        let restored = state.map_err(failed).and_then(|state| {
            let machine = &mut self.machine;
            match catch_unwind(AssertUnwindSafe(|| machine.restore(state))) {
                Ok(true) => Ok(()),
                Ok(false) => Err(failed("it is another state machine's".to_owned())),
                Err(_) => Err(failed("the state machine panicked".to_owned())),
            }
        });
        match restored {
            Ok(()) => {
                let machine = &self.machine;
                self.proposals.restored(|request| machine.recall(request));
                Some(Input::Applied { through: last.index })
            }
            Err(reason) => {
                self.quarantine(&reason);
                None
            }
        }
    }

    /// A received snapshot takes the place of the state machine's state: its log is being replaced.
    pub(super) fn install(&mut self, last: LogId) {
        tracing::info!(group = self.slot.group.0, replica = %self.core, last = %last, "snapshot installed");
        self.snapshots.installed(last);
        self.proposals.overtaken(last.index);
        self.shared.snapshots.push(SnapshotWork::Restore {
            life: self.slot.life(),
            last,
            decode: self.machine.decoder(),
        });
    }

    pub(super) fn send_snapshot(&mut self, to: NodeId) {
        let work = self.snapshots.newest().map(|last| SnapshotWork::Send {
            life: self.slot.life(),
            to,
            term: self.core.term(),
            last,
            to_witness: self.core.membership().is_witness(to),
        });
        // Without one this can't be asked for: what is compacted is in a snapshot.
        if work.is_some_and(|work| self.shared.snapshots.push(work)) {
            self.snapshots.sending();
        }
    }

    pub(super) fn forget_snapshots(&self, before: LogIndex) {
        let life = self.slot.life();
        self.shared.snapshots.push(SnapshotWork::Forget { life, before });
    }

    /// Lets the log be compacted if a snapshot was taken.
    pub(super) fn compact(&mut self, now: Moment) {
        if let Some(through) = self.snapshots.count_written(self.core.durable()) {
            self.core.step(now, Input::Compacted { through }, &mut self.effects);
        }
    }

    /// Takes a snapshot if enough was applied since the last one. What is applied may not be durable here yet:
    /// it does not count before.
    pub(super) fn snapshot_if_due(&mut self) {
        let applied = self.core.applied();
        if self.quarantined || !self.snapshots.is_due(applied) {
            return;
        }
        let (Some(term), Some(membership)) = (self.core.term_at(applied), self.core.membership_at(applied)) else {
            return;
        };
        if membership.is_empty() {
            // It joined, and the configuration in force there is not in its log: soon a newer one is applied.
            return;
        }
        let membership = membership.clone();
        let last = LogId { term, index: applied };
        if let Some(encode) = self.view() {
            self.snapshots.begin(last);
            self.shared.snapshots.push(SnapshotWork::Take {
                life: self.slot.life(),
                last,
                membership,
                encode,
            });
        }
    }

    /// Hands a view of the state to be written to a file of the user's.
    pub(super) fn export(&mut self, Export { path, reply }: Export) {
        let index = self.core.applied();
        // Who gave up waiting has dropped the other end.
        let Some(term) = self.core.term_at(index).filter(|_| !self.quarantined) else {
            let error = match self.slot.status.quarantined() {
                Some(reason) => ExportError::Quarantined(reason.clone()),
                None => ExportError::Restoring,
            };
            reply.send(Err(error)).ok();
            return;
        };
        let membership = self.core.membership_at(index).unwrap_or(self.core.membership()).clone();
        if let Some(encode) = self.view() {
            self.shared.snapshots.push(SnapshotWork::Export {
                life: self.slot.life(),
                last: LogId { term, index },
                membership,
                encode,
                path,
                reply,
            });
        } else if let Some(reason) = self.slot.status.quarantined() {
            reply.send(Err(ExportError::Quarantined(reason.clone()))).ok();
        }
    }

    /// A view of the state machine; none if it panicked.
    fn view(&mut self) -> Option<Encode> {
        let machine = &self.machine;
        let view = catch_unwind(AssertUnwindSafe(|| machine.snapshot()));
        if view.is_err() {
            self.quarantine(&QuarantineReason::SnapshotPanicked);
        }
        view.ok()
    }
}
