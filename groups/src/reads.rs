//! Linearizable reads by ReadIndex (thesis §6.4): the leader notes its commit index, makes sure with one
//! round of heartbeats that it still led at that moment, and the read is served once that index is applied:
//! here, or on the follower that asked for the index.

use crate::effects::{Effects, ReadOutcome};
use crate::group::{Group, Role};
use crate::ids::{LogIndex, NodeId};
use crate::input::{Moment, ReadId};
use crate::message::{Prompt, ReadRequest, ReadRound};
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// Rounds that may be on their way at once. What is asked meanwhile shares the next.
const ROUNDS_MAX: usize = 4;

/// Heartbeat intervals after which a follower's request, or its answer, is taken as lost.
const REQUEST_INTERVALS: u64 = 2;

/// Reads that a leader was asked for.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Reads {
    /// Asked for and not in a round yet.
    asked: Vec<Reader>,
    /// Rounds on their way, ascending.
    rounds: VecDeque<Round>,
    newest: ReadRound,
}

/// Who wants a read index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reader {
    /// Somebody here.
    Here(ReadId),
    /// A follower, for all reads that it put into one request.
    Peer(NodeId, ReadRequest),
}

#[derive(Clone, Debug, Hash)]
struct Round {
    round: ReadRound,
    index: LogIndex,
    readers: Vec<Reader>,
}

impl Reads {
    /// (Who asks for a peer asks again. Here each has its own name.)
    pub(crate) fn ask(&mut self, reader: Reader) {
        if matches!(reader, Reader::Here(_)) || !self.asked.contains(&reader) {
            self.asked.push(reader);
        }
    }

    /// Puts all reads that were asked for into one new round. False if there were none, or too many rounds
    /// are on their way.
    pub(crate) fn start_round(&mut self, commit: LogIndex) -> bool {
        if self.asked.is_empty() || self.rounds.len() >= ROUNDS_MAX {
            return false;
        }
        self.newest.0 += 1;
        self.rounds.push_back(Round {
            round: self.newest,
            index: commit,
            readers: std::mem::take(&mut self.asked),
        });
        true
    }

    pub(crate) fn newest_round(&self) -> ReadRound {
        self.newest
    }

    /// A quorum answered rounds up to `confirmed`: these readers have their index.
    pub(crate) fn confirm(&mut self, confirmed: ReadRound) -> Vec<(Reader, LogIndex)> {
        let mut ready = Vec::new();
        while let Some(round) = self.rounds.pop_front_if(|round| round.round <= confirmed) {
            ready.extend(round.readers.into_iter().map(|reader| (reader, round.index)));
        }
        ready
    }

    /// All reads that were asked for: `commit` is as good an index for them as any before.
    pub(crate) fn take_all(&mut self, commit: LogIndex) -> Vec<(Reader, LogIndex)> {
        let mut ready = self.confirm(self.newest);
        ready.extend(
            std::mem::take(&mut self.asked)
                .into_iter()
                .map(|reader| (reader, commit)),
        );
        ready
    }

    fn give_up(&mut self, through: ReadId) {
        let is_wanted = |reader: &Reader| !matches!(reader, Reader::Here(id) if *id <= through);
        self.asked.retain(is_wanted);
        for round in &mut self.rounds {
            round.readers.retain(is_wanted);
        }
    }

    pub(crate) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.rounds.is_empty()
    }

    /// All reads of this node that were not answered. (Followers ask the next leader on their own.)
    pub(crate) fn abandon(&mut self) -> Vec<ReadId> {
        let rounds = std::mem::take(&mut self.rounds);
        let mut readers: Vec<Reader> = rounds.into_iter().flat_map(|round| round.readers).collect();
        readers.append(&mut self.asked);
        let here = |reader| match reader {
            Reader::Here(id) => Some(id),
            Reader::Peer(..) => None,
        };
        readers.into_iter().filter_map(here).collect()
    }
}

/// Reads of a follower, whose index it asks the leader for: one request for all that wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForwardedReads {
    /// Not in a request yet.
    asked: Vec<ReadId>,
    /// In the request that is on its way.
    waiting: Vec<ReadId>,
    request: ReadRequest,
    /// When it, or its answer, is taken as lost.
    due: Moment,
}

impl ForwardedReads {
    /// There is a new leader: what the old one was asked is asked again.
    pub(crate) fn ask_again(&mut self) {
        self.waiting.append(&mut self.asked);
        std::mem::swap(&mut self.waiting, &mut self.asked);
    }

    /// Whether no read waits for an answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.asked.is_empty()
    }

    fn give_up(&mut self, through: ReadId) {
        self.asked.retain(|id| *id > through);
        self.waiting.retain(|id| *id > through);
    }
}

impl ForwardedReads {
    /// Without the name of the request, which is random, and without its deadline.
    pub(crate) fn fingerprint(&self, state: &mut impl Hasher) {
        let Self {
            asked,
            waiting,
            request: _,
            due: _,
        } = self;
        (asked, waiting).hash(state);
    }
}

impl Group {
    /// Somebody here wants to read what is current. On a follower the leader is asked for the index if the
    /// read may be `forwarded`.
    pub(crate) fn on_read(&mut self, id: ReadId, forwarded: bool, effects: &mut Effects) {
        match &mut self.role {
            Role::Leader(leader) => leader.reads.ask(Reader::Here(id)),
            Role::Follower(follower) if forwarded && follower.leader().is_some() => self.forwarded.asked.push(id),
            _ => {
                self.doubt(effects);
                let leader = self.leader();
                effects.reads.push((id, ReadOutcome::NotLeader { leader }));
            }
        }
    }

    /// A follower wants to know the read index.
    pub(crate) fn on_read_index(&mut self, from: NodeId, request: ReadRequest) {
        if let Role::Leader(leader) = &mut self.role {
            leader.reads.ask(Reader::Peer(from, request));
        }
    }

    /// The leader, sure that it led after it was asked, says what was committed then.
    pub(crate) fn on_read_index_is(&mut self, request: ReadRequest, index: LogIndex, effects: &mut Effects) {
        if self.forwarded.request == request {
            self.heard_commit = self.heard_commit.max(Some(index));
            let waiting = std::mem::take(&mut self.forwarded.waiting);
            effects
                .reads
                .extend(waiting.into_iter().map(|id| (id, ReadOutcome::Ready { index })));
        }
    }

    /// Whom a follower's reads are asked of.
    fn asks_for_reads(&self) -> Option<NodeId> {
        self.leader().filter(|leader| *leader != self.config.node)
    }

    /// When a follower's request is sent again, if one has no answer yet.
    pub(crate) fn reads_due(&self) -> Option<Moment> {
        let is_waiting = !self.forwarded.waiting.is_empty() && self.asks_for_reads().is_some();
        is_waiting.then_some(self.forwarded.due)
    }

    /// Sends the next request of a follower, or again the one that has no answer, if that is due: by the clock, since a
    /// leader sends no heartbeats while it sleeps, or to those who acknowledge anyway. Whenever it is answered, that was
    /// after all its reads were asked.
    pub(crate) fn forward_reads(&mut self, effects: &mut Effects) {
        let Some(leader) = self.asks_for_reads() else {
            return;
        };
        if self.forwarded.waiting.is_empty() {
            if self.forwarded.asked.is_empty() {
                return;
            }
            // Never the number of an earlier request, of an earlier life neither: its late answer would
            // pass for this one's.
            self.forwarded.request = ReadRequest(self.rng.next());
            self.forwarded.waiting = std::mem::take(&mut self.forwarded.asked);
            // Should there be no answer at all, who slept until now has to ask whether its leader is still there.
            let deadline = self.next_election_deadline();
            if let Role::Follower(follower) = &mut self.role
                && follower.is_asleep
            {
                follower.deadline = deadline;
            }
        } else if self.now < self.forwarded.due {
            return;
        }
        let interval = self.config.tuning.heartbeat_interval_ms.max(1);
        self.forwarded.due = self.now.plus(interval.saturating_mul(REQUEST_INTERVALS));
        let request = self.forwarded.request;
        self.send(leader, Prompt::ReadIndex { request }, effects);
    }

    /// Nobody waits any more for the reads up to this one.
    pub(crate) fn give_up_reads(&mut self, through: ReadId) {
        self.forwarded.give_up(through);
        if let Role::Leader(leader) = &mut self.role {
            leader.reads.give_up(through);
        }
    }

    /// No leader was heard for so long that this replica wants to be one.
    pub(crate) fn abandon_forwarded_reads(&mut self, effects: &mut Effects) {
        let forwarded = std::mem::take(&mut self.forwarded);
        let leader = self.leader();
        let reads = forwarded.waiting.into_iter().chain(forwarded.asked);
        effects
            .reads
            .extend(reads.map(|id| (id, ReadOutcome::NotLeader { leader })));
    }
}
