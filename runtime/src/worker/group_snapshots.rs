//! The part of a group's actor that has to do with snapshots.

use super::group_actor::GroupActor;
use crate::snapshot::{Encode, Restored, SnapshotEvent, SnapshotWork};
use raftyard_groups::{Input, LogId, LogIndex, Moment, NodeId};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

const VIEW_PANICKED: &str = "the state machine panicked when a view of it was taken";

impl GroupActor {
    /// What an event means for the core.
    pub(super) fn on_snapshot(&mut self, event: SnapshotEvent) -> Option<Input> {
        if self.halted {
            return None;
        }
        match event {
            SnapshotEvent::Taken { last, is_durable } => {
                self.snapshots.taken(last, is_durable);
                None
            }
            SnapshotEvent::Synced { last, result: Ok(()) } => {
                self.snapshots.taken(last, true);
                // The state itself is durable beyond them.
                self.forget_snapshots(last.index.next());
                None
            }
            SnapshotEvent::Synced {
                last,
                result: Err(error),
            } => {
                // Whether what it was to cover is durable is unknown, whatever a second one says.
                self.halt(&format!("what was applied up to {last} can't be made durable: {error}"));
                None
            }
            SnapshotEvent::Received { from, term, last } => Some(Input::SnapshotReceived { from, term, last }),
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
        if self.core.base().index > last.index {
            // Another took its place meanwhile.
            return None;
        }
        let machine = &mut self.machine;
        match catch_unwind(AssertUnwindSafe(|| machine.restore(state, last))) {
            Ok(Ok(())) => {
                self.proposals.restored(|request| machine.recall(request));
                if self.machine.is_on_disk() {
                    self.snapshots.restored();
                }
                Some(Input::Applied { through: last.index })
            }
            Ok(Err(error)) => {
                self.halt(&format!(
                    "the state machine did not take the snapshot through {last}: {error}"
                ));
                None
            }
            Err(_) => {
                self.halt(&format!("the state machine panicked at the snapshot through {last}"));
                None
            }
        }
    }

    /// A received snapshot takes the place of the state machine's state: its log is being replaced.
    pub(super) fn install(&mut self, last: LogId) {
        tracing::info!(group = self.slot.group.0, replica = %self.core, last = %last, "snapshot installed");
        self.snapshots.installed(last);
        self.proposals.overtaken(last.index);
    }

    /// Has the state of an installed snapshot read, once the log was durably replaced. In this order: a crash in
    /// between leaves a state that is behind its log, and the snapshot, which brings it there. A state that is
    /// ahead of its log would look like a log that lost what it acknowledged.
    pub(super) fn restore_if_due(&mut self) {
        if let Some(last) = self.snapshots.take_restorable(self.core.durable()) {
            self.shared.snapshots.push(SnapshotWork::Restore {
                group: self.slot.group,
                last,
                decode: self.machine.decoder(),
            });
        }
    }

    pub(super) fn send_snapshot(&mut self, to: NodeId) {
        // Without one this can't be asked for: what is compacted is in a snapshot, or durable in a state on disk.
        let Some((last, view)) = self.pick_snapshot() else {
            return;
        };
        let work = SnapshotWork::Send {
            group: self.slot.group,
            to,
            term: self.core.term(),
            last,
            view,
        };
        if self.shared.snapshots.push(work) {
            self.snapshots.sending();
        }
    }

    /// The snapshot for a peer that needs one, and what is to be written into it first.
    fn pick_snapshot(&mut self) -> Option<(LogId, Option<Encode>)> {
        if !self.machine.is_on_disk() {
            return self.snapshots.newest().map(|last| (last, None));
        }
        let base = self.core.base();
        if let Some(last) = self.snapshots.outgoing(base.index) {
            return Some((last, None));
        }
        let Some(last) = self.applied_id() else {
            // What it received itself is still being restored.
            return Some((base, None));
        };
        let machine = &self.machine;
        match catch_unwind(AssertUnwindSafe(|| machine.snapshot())) {
            Ok(Ok(view)) => {
                self.snapshots.offer(last);
                Some((last, Some(view)))
            }
            Ok(Err(error)) => {
                self.halt(&format!("the state machine can't be viewed at {last}: {error}"));
                None
            }
            Err(_) => {
                self.halt(VIEW_PANICKED);
                None
            }
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

    /// Takes a snapshot if enough was applied since the last one; a state on disk is synced instead. What is
    /// applied may not be durable here yet: it does not count before.
    pub(super) fn snapshot_if_due(&mut self) {
        if self.halted || !self.snapshots.is_due(self.core.applied()) {
            return;
        }
        let Some(last) = self.applied_id() else {
            return;
        };
        let (group, machine) = (self.slot.group, &self.machine);
        let work = catch_unwind(AssertUnwindSafe(|| {
            if machine.is_on_disk() {
                let sync = machine.sync();
                return Ok(SnapshotWork::Sync { group, last, sync });
            }
            let encode = machine.snapshot()?;
            Ok::<_, io::Error>(SnapshotWork::Take { group, last, encode })
        }));
        match work {
            Ok(Ok(work)) => {
                self.snapshots.begin(last);
                self.shared.snapshots.push(work);
            }
            Ok(Err(error)) => self.halt(&format!("the state machine can't be viewed at {last}: {error}")),
            Err(_) => self.halt(VIEW_PANICKED),
        }
    }

    /// The last entry that the state machine applied; `None` while a snapshot that holds it is being restored.
    fn applied_id(&self) -> Option<LogId> {
        let index = self.core.applied();
        self.core.term_at(index).map(|term| LogId { term, index })
    }
}
