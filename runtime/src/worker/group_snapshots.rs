//! The part of a group's actor that has to do with snapshots.

use super::group_actor::GroupActor;
use crate::snapshot::{Restored, SnapshotEvent, SnapshotWork};
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
            SnapshotEvent::Received { from, term, last } => Some(Input::SnapshotReceived {
                from,
                term,
                last,
                membership: self.core.membership().clone(),
            }),
            SnapshotEvent::Restored(restored) => self.restore(restored),
            SnapshotEvent::Sent { to, through } => {
                self.snapshots.sent();
                Some(Input::SnapshotDone { to, through })
            }
        }
    }

    fn restore(&mut self, Restored { last, state }: Restored) -> Option<Input> {
        let state = match state {
            Ok(state) => state,
            Err(error) => {
                self.halt(&format!("the snapshot through {last} can't be restored: {error}"));
                return None;
            }
        };
        let machine = &mut self.machine;
        match catch_unwind(AssertUnwindSafe(|| machine.restore(state))) {
            Ok(true) => Some(Input::Applied { through: last.index }),
            _ => {
                self.halt(&format!("the state machine did not take the snapshot through {last}"));
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
            group: self.slot.group,
            last,
            decode: self.machine.decoder(),
        });
    }

    pub(super) fn send_snapshot(&mut self, to: NodeId) {
        let work = self.snapshots.newest().map(|last| SnapshotWork::Send {
            group: self.slot.group,
            to,
            term: self.core.term(),
            last,
        });
        // Without one this can't be asked for: what is compacted is in a snapshot.
        if work.is_some_and(|work| self.shared.snapshots.push(work)) {
            self.snapshots.sending();
        }
    }

    pub(super) fn forget_snapshots(&self, before: LogIndex) {
        let group = self.slot.group;
        self.shared.snapshots.push(SnapshotWork::Forget { group, before });
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
        if self.halted || !self.snapshots.is_due(applied) {
            return;
        }
        let Some(term) = self.core.term_at(applied) else {
            return;
        };
        let last = LogId { term, index: applied };
        let machine = &self.machine;
        match catch_unwind(AssertUnwindSafe(|| machine.snapshot())) {
            Ok(encode) => {
                self.snapshots.begin(last);
                let group = self.slot.group;
                self.shared.snapshots.push(SnapshotWork::Take { group, last, encode });
            }
            Err(_) => self.halt("the state machine panicked when a snapshot was taken"),
        }
    }
}
