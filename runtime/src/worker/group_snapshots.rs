//! The part of a group's actor that has to do with snapshots.

use super::Export;
use super::group_actor::GroupActor;
use super::group_applies::state_failed;
use super::snapshots::outgoing::Outgoing;
use crate::error::ExportError;
use crate::quarantine::QuarantineReason;
use crate::snapshot::{Encode, Restored, SnapshotError, SnapshotEvent, SnapshotWork, SyncDisk, View};
use raftyard_groups::{Input, LogId, LogIndex, Membership, Moment, NodeId};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

impl GroupActor {
    /// What an event means for the core.
    pub(super) fn on_snapshot(&mut self, event: SnapshotEvent, now: Moment) -> Option<Input> {
        if self.quarantined {
            return None;
        }
        match event {
            SnapshotEvent::Taken { last, size } => {
                self.snapshots.taken(last, size, now);
                None
            }
            SnapshotEvent::Synced { last, result: Ok(()) } => {
                self.snapshots.taken(last, Some(0), now);
                // The state itself is durable beyond them.
                self.forget_snapshots(last.index.next());
                None
            }
            SnapshotEvent::Synced {
                last,
                result: Err(error),
            } => {
                // Whether what it was to cover is durable is unknown, whatever a second one says.
                self.quarantine(&state_failed(last, &format!("it can't be made durable: {error}")));
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
            SnapshotEvent::Restored(restored) => self.restore(restored, now),
            SnapshotEvent::Rotted { last } => {
                // A state on disk is written anew for the next peer.
                if !self.machine.is_on_disk() {
                    self.snapshots.rotted(last);
                }
                None
            }
            SnapshotEvent::Viewed { size } => {
                self.snapshots.outgoing_mut().written(size, now);
                None
            }
            SnapshotEvent::Sent { to, through } => {
                self.snapshots.outgoing_mut().end(to, through, now);
                Some(Input::SnapshotDone { to, through })
            }
        }
    }

    fn restore(&mut self, Restored { last, state }: Restored, now: Moment) -> Option<Input> {
        let is_on_disk = self.machine.is_on_disk();
        // What arrived was checked: it is a disk that can't take it.
        let failed = |error: String| {
            if is_on_disk {
                return state_failed(last, &error);
            }
            QuarantineReason::RestoreFailed { last, error }
        };
        if self.core.base().index > last.index {
            // Another took its place meanwhile.
            return None;
        }
        if let Err(error @ SnapshotError::Io { .. }) = &state
            && !is_on_disk
        {
            // It may be intact, and nothing was restored: so a start would see it, too.
            tracing::error!(group = self.slot.group.0, last = %last, %error, "snapshot can't be read now");
            self.snapshots.unread(last, now);
            return None;
        }
        let state = state.map_err(|error| failed(error.to_string()));
        let restored = state.and_then(|state| {
            let machine = &mut self.machine;
            match catch_unwind(AssertUnwindSafe(|| machine.restore(state, last))) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(failed(error.to_string())),
                Err(_) => Err(failed("the state machine panicked".to_owned())),
            }
        });
        match restored {
            Ok(()) => {
                self.ahead = LogIndex::ZERO;
                let machine = &self.machine;
                self.proposals.restored(|request| machine.recall(request));
                if is_on_disk {
                    self.snapshots.restored();
                }
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
        self.proposals.overtaken(last);
    }

    /// Has the state of an installed snapshot read, once the log was durably replaced. In this order: a crash in
    /// between leaves a state that is behind its log, and the snapshot, which brings it there. A state that is
    /// ahead of its log would look like a log that lost what it acknowledged.
    pub(super) fn restore_if_due(&mut self, now: Moment) {
        if let Some(last) = self.snapshots.take_restorable(self.core.durable(), now) {
            self.shared.snapshots.push(SnapshotWork::Restore {
                life: self.slot.life(),
                last,
                decode: self.machine.decoder(),
            });
        }
    }

    /// Sends a snapshot to each peer that needs one. Of one that can't be sent any now the core is told, as if it had
    /// failed: it asks again when the peer answers a heartbeat, and otherwise never would.
    pub(super) fn send_snapshots(&mut self, now: Moment) {
        let mut peers = std::mem::take(&mut self.shared.effects.borrow_mut().snapshots);
        peers.retain(|peer| !self.send_snapshot(*peer, now));
        if peers.is_empty() || self.quarantined {
            return;
        }
        let failed = peers.into_iter().map(|to| Input::SnapshotDone { to, through: None });
        let sessions = self.shared.sessions();
        let effects = &mut *self.shared.effects.borrow_mut();
        self.core.step_all(now, &sessions, failed, effects);
    }

    /// Whether there is one to be sent. What is compacted is in a snapshot, or durable in a state on disk; but that may
    /// be being replaced by a received one, or ahead of a log that is being repaired.
    fn send_snapshot(&mut self, to: NodeId, now: Moment) -> bool {
        let to_witness = self.core.membership().is_witness(to);
        let Some((last, view)) = self.pick_snapshot(to_witness, now) else {
            return false;
        };
        let work = SnapshotWork::Send {
            life: self.slot.life(),
            to,
            term: self.core.term(),
            last,
            to_witness,
            view,
        };
        if self.shared.snapshots.push(work) {
            self.snapshots.outgoing_mut().begin(to);
        }
        true
    }

    /// The snapshot for a peer that needs one, and what is to be written into it first.
    fn pick_snapshot(&mut self, to_witness: bool, now: Moment) -> Option<(LogId, Option<View>)> {
        if !self.machine.is_on_disk() {
            return self.snapshots.newest().map(|last| (last, None));
        }
        let base = self.core.base();
        if let Some(last) = self
            .snapshots
            .outgoing()
            .and_then(|outgoing| outgoing.after(base.index))
        {
            return Some((last, None));
        }
        let Some((last, membership)) = self.applied_state() else {
            // What it received itself is still being restored, and there to be sent.
            return Some((base, None)).filter(|_| self.core.applied() >= self.ahead);
        };
        let may_offer = self.snapshots.outgoing().is_none_or(|outgoing| outgoing.may_offer(now));
        if !to_witness && !may_offer {
            return None;
        }
        let encode = self.view()?;
        if !to_witness {
            // What a witness gets has no state, and is no file that others could be sent.
            self.snapshots.outgoing_mut().offer(last);
        }
        Some((last, Some(View { membership, encode })))
    }

    /// The last entry that the state machine applied, and the configuration in force there. `None` while a snapshot
    /// that holds it is being restored, or while the log has yet to get what a state on disk has applied, or if it joined and
    /// its log does not hold that configuration: soon a newer one is applied.
    fn applied_state(&self) -> Option<(LogId, Arc<Membership>)> {
        let index = self.core.applied();
        if index < self.ahead {
            return None;
        }
        let term = self.core.term_at(index)?;
        let membership = self.core.membership_at(index)?;
        (!membership.is_empty()).then(|| (LogId { term, index }, membership.clone()))
    }

    pub(super) fn forget_snapshots(&self, before: LogIndex) {
        let life = self.slot.life();
        self.shared.snapshots.push(SnapshotWork::Forget { life, before });
    }

    /// Lets the log be compacted if a snapshot was taken, and its tail if it is too long.
    pub(super) fn compact(&mut self, now: Moment) {
        let written = self.snapshots.count_written(self.core.durable());
        self.snapshots.log.compacted(self.core.base().index);
        let tail = self.snapshots.droppable_tail();
        if let Some(through) = written.max(tail).filter(|through| *through > self.core.base().index) {
            let sessions = self.shared.sessions();
            let effects = &mut *self.shared.effects.borrow_mut();
            self.core.step(now, &sessions, Input::Compacted { through }, effects);
            self.snapshots.log.compacted(self.core.base().index);
        }
    }

    /// Takes a snapshot if enough was applied since the last one; a state on disk is synced instead. What is
    /// applied may not be durable here yet: it does not count before.
    pub(super) fn snapshot_if_due(&mut self, now: Moment) {
        if self.snapshots.outgoing().is_some_and(Outgoing::is_followed) {
            self.snapshots.peers_are_at(&self.core.peers(), self.core.applied());
        }
        if self.quarantined || !self.snapshots.is_due(self.core.applied(), now) {
            return;
        }
        let Some((last, membership)) = self.applied_state() else {
            self.snapshots.put_off(now);
            return;
        };
        let life = self.slot.life();
        let work = if self.machine.is_on_disk() {
            self.sync().map(|sync| SnapshotWork::Sync { life, last, sync })
        } else {
            self.view().map(|encode| SnapshotWork::Take {
                life,
                last,
                membership,
                encode,
            })
        };
        if let Some(work) = work {
            self.snapshots.begin(last);
            self.shared.snapshots.push(work);
        }
    }

    /// What makes a state on disk durable; none if the state machine panicked.
    fn sync(&mut self) -> Option<SyncDisk> {
        let machine = &self.machine;
        let sync = catch_unwind(AssertUnwindSafe(|| machine.sync()));
        if sync.is_err() {
            self.quarantine(&QuarantineReason::SnapshotPanicked);
        }
        sync.ok()
    }

    /// Hands a view of the state to be written to a file of the user's. Not of one that has applied more than its log, which
    /// is being repaired: the last entry that is in the file has to be told.
    pub(super) fn export(&mut self, Export { path, reply }: Export) {
        let index = self.core.applied();
        let is_told = !self.quarantined && index >= self.ahead;
        // Who gave up waiting has dropped the other end.
        let Some(term) = self.core.term_at(index).filter(|_| is_told) else {
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

    /// A view of the state machine; none if it panicked, or its disk failed.
    fn view(&mut self) -> Option<Encode> {
        let machine = &self.machine;
        match catch_unwind(AssertUnwindSafe(|| machine.snapshot())) {
            Ok(Ok(view)) => return Some(view),
            Ok(Err(error)) => {
                let index = self.core.applied();
                let term = self.core.term_at(index).unwrap_or_default();
                self.quarantine(&state_failed(LogId { term, index }, &error));
            }
            Err(_) => self.quarantine(&QuarantineReason::SnapshotPanicked),
        }
        None
    }
}
