//! The part of a group's actor that applies what is committed.

use super::group_actor::GroupActor;
use crate::machine::{Answer, MachineError};
use crate::quarantine::QuarantineReason;
use raftyard_groups::{Entry, LogId, LogIndex, Payload};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How long a group may apply and answer reads in one turn if other groups have work in the turn, by its weight: after the
/// batch, or the read, that goes beyond it comes no other. Nanoseconds.
const NANOS_PER_TURN: u64 = 2_000_000;

/// How long it answers reads if no others have work, before it applies and after each batch: many may have gathered, and the
/// worker has to keep the time. Nanoseconds.
const READ_NANOS_MAX: u64 = 20_000_000;

impl GroupActor {
    /// Applies the entries at hand; returns the last index, or `None` if the state machine failed.
    pub(super) fn apply(&mut self) -> Option<LogIndex> {
        let entries = std::mem::take(&mut self.shared.effects.borrow_mut().apply);
        let (first, last) = (entries.first()?.index, entries.last()?.id());
        let begun = self.shared.clock.nanos();
        let (mut commands, mut bytes) = (0, 0);
        let is_on_disk = self.machine.is_on_disk();
        // What is not committed on disk is not answered.
        let mut held = Vec::new();
        for Entry { index, term, payload } in entries {
            let id = LogId { term, index };
            #[cfg(feature = "sim")]
            if let Some(watch) = &self.shared.watch {
                watch.applies(self.slot.life(), id, &payload);
            }
            let (mut answer, mut is_full) = (None, false);
            if let Payload::Command(command) = payload
                && index > self.ahead
            {
                commands += 1;
                bytes += Entry::OVERHEAD + command.len();
                let wanted = if is_on_disk {
                    self.proposals.is_any_awaited()
                } else {
                    self.proposals.is_awaited(id)
                };
                let machine = &mut self.machine;
                let apply = || Ok((machine.apply(&command, wanted)?, machine.is_full()));
                match catch_unwind(AssertUnwindSafe(apply)) {
                    Ok(Ok(applied)) => (answer, is_full) = applied,
                    Ok(Err(error)) => {
                        self.quarantine(&match error {
                            MachineError::Undecodable(error) => QuarantineReason::Undecodable {
                                entry: id,
                                error: error.to_string(),
                            },
                            MachineError::Disk(error) => state_failed(id, &error),
                        });
                        return None;
                    }
                    Err(_) => {
                        self.quarantine(&QuarantineReason::ApplyPanicked(id));
                        return None;
                    }
                }
            }
            if is_on_disk {
                held.push((id, answer));
                if is_full {
                    self.commit(id, &mut held)?;
                }
            } else {
                self.proposals.applied(id, answer);
            }
        }
        self.commit(last, &mut held)?;
        self.snapshots.count_applied(first, last.index, bytes);
        self.account(commands, bytes as u64, begun);
        Some(last.index)
    }

    /// Notes what applying took.
    fn account(&mut self, commands: u64, bytes: u64, begun: u64) {
        let nanos = self.shared.clock.nanos().saturating_sub(begun);
        self.turn_nanos = self.turn_nanos.saturating_add(nanos);
        self.slot.tenancy.applied(commands, bytes, nanos);
        let counters = &self.shared.counters;
        counters.commands_applied.add(commands);
        counters.bytes_applied.add(bytes);
        counters.apply_nanos.add(nanos);
    }

    /// Whether what else is to be applied or read has to wait for the next turn, for the sake of other groups.
    pub(super) fn has_had_its_share(&self) -> bool {
        self.shared.is_contended.get() && self.turn_nanos >= self.share()
    }

    /// Nanoseconds of a turn.
    fn share(&self) -> u64 {
        NANOS_PER_TURN * u64::from(self.slot.tenancy.weight())
    }

    /// Answers what reads can be, one of them at least, as long as the turn's share lasts. Whether some of them are left.
    pub(super) fn answer_reads(&mut self) -> bool {
        let index = self.core.applied();
        let term = self.core.term_at(index).unwrap_or_default();
        let applied = LogId { term, index };
        let (clock, before) = (&self.shared.clock, self.turn_nanos);
        let max = if self.shared.is_contended.get() {
            self.share().saturating_sub(before)
        } else {
            READ_NANOS_MAX
        };
        let begun = clock.nanos();
        let is_time = || {
            let nanos = clock.nanos().saturating_sub(begun);
            self.turn_nanos = before.saturating_add(nanos);
            nanos < max
        };
        self.reads
            .answer(applied, self.is_of_its_kind, self.machine.as_any(), is_time)
    }

    /// Commits what was applied up to `last`, then answers those that waited for it; `None` if the state machine failed.
    fn commit(&mut self, last: LogId, held: &mut Vec<(LogId, Option<Answer>)>) -> Option<()> {
        if last.index > self.ahead && !held.is_empty() {
            let machine = &mut self.machine;
            let reason = match catch_unwind(AssertUnwindSafe(|| machine.commit(last))) {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(state_failed(last, &error)),
                Err(_) => Some(state_failed(last, &"it panicked when it committed")),
            };
            if let Some(reason) = reason {
                self.quarantine(&reason);
                return None;
            }
        }
        for (id, answer) in held.drain(..) {
            self.proposals.applied(id, answer);
        }
        Some(())
    }
}

/// A state machine's own disk failed.
pub(super) fn state_failed(last: LogId, error: &dyn fmt::Display) -> QuarantineReason {
    QuarantineReason::StateFailed {
        last,
        error: error.to_string(),
    }
}
