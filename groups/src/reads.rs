//! Linearizable reads by ReadIndex (thesis §6.4): the leader notes its commit index, makes sure with one
//! round of heartbeats that it still led at that moment, and the read is served once that index is applied.

use crate::effects::ReadOutcome;
use crate::ids::LogIndex;
use crate::input::ReadId;
use crate::message::ReadRound;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Asked for and not in a round yet.
    asked: Vec<ReadId>,
    /// Rounds on their way, ascending.
    rounds: VecDeque<Round>,
    newest: ReadRound,
}

#[derive(Debug)]
struct Round {
    round: ReadRound,
    index: LogIndex,
    reads: Vec<ReadId>,
}

impl Reads {
    pub(crate) fn ask(&mut self, id: ReadId) {
        self.asked.push(id);
    }

    /// Puts all reads that were asked for into one new round. False if there were none.
    pub(crate) fn start_round(&mut self, commit: LogIndex) -> bool {
        if self.asked.is_empty() {
            return false;
        }
        self.newest.0 += 1;
        self.rounds.push_back(Round {
            round: self.newest,
            index: commit,
            reads: std::mem::take(&mut self.asked),
        });
        true
    }

    pub(crate) fn newest_round(&self) -> ReadRound {
        self.newest
    }

    /// A quorum answered rounds up to `confirmed`.
    pub(crate) fn confirm(&mut self, confirmed: ReadRound, outcomes: &mut Vec<(ReadId, ReadOutcome)>) {
        while let Some(round) = self.rounds.pop_front_if(|round| round.round <= confirmed) {
            let index = round.index;
            outcomes.extend(round.reads.into_iter().map(|id| (id, ReadOutcome::Ready { index })));
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.rounds.is_empty()
    }

    /// All reads that were not answered.
    pub(crate) fn abandon(&mut self) -> Vec<ReadId> {
        let rounds = std::mem::take(&mut self.rounds);
        let mut reads: Vec<ReadId> = rounds.into_iter().flat_map(|round| round.reads).collect();
        reads.append(&mut self.asked);
        reads
    }
}
