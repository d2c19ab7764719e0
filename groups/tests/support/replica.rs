//! One replica without a cluster: told one thing at a time, and asked what it says to that.

use super::disk::Disk;
use super::entries_of_terms;
use raftyard_groups::{
    Body, Effects, Entry, Group, GroupId, HardState, Incarnation, Input, LogId, LogIndex, Membership, Message, Moment,
    NodeId, Persist, Promise, Prompt, ReplicaConfig, RoleKind, Sessions, Term, Tuning,
};
use std::sync::Arc;

/// Replica `n1`, whose clock stands where the test put it.
pub(crate) struct Replica {
    pub(crate) group: Group,
    pub(crate) now: Moment,
}

/// What one step wanted.
pub(crate) struct Said {
    /// What leaves at once, as text.
    pub(crate) at_once: Vec<String>,
    /// The write, and with it what leaves after it.
    pub(crate) write: Option<Persist>,
    pub(crate) applied: Vec<Entry>,
    pub(crate) effects: Effects,
}

impl Said {
    /// What leaves once the write is durable, as text.
    pub(crate) fn after_write(&mut self) -> Vec<String> {
        let write = self.write.take();
        let messages = write.map(|write| write.into_durable().send).unwrap_or_default();
        messages.iter().map(Message::to_string).collect()
    }

    pub(crate) fn hard_state(&self) -> Option<HardState> {
        self.write.as_ref().and_then(|write| write.hard_state)
    }
}

impl Replica {
    /// `n1` of `voters`, with entries of these terms on its disk.
    pub(crate) fn new(voters: u64, term: u64, log: &[u64]) -> Self {
        let membership = Membership::of_voters((1..=voters).map(NodeId)).expect("there are voters");
        Self::with(membership, term, log, 1)
    }

    pub(crate) fn with(membership: Membership, term: u64, log: &[u64], seed: u64) -> Self {
        let disk = Disk {
            hard: HardState {
                term: Term(term),
                vote: None,
            },
            entries: entries_of_terms(log),
            ..Disk::default()
        };
        let config = ReplicaConfig {
            group: GroupId(1),
            incarnation: Incarnation(1),
            node: NodeId(1),
            membership: Arc::new(membership),
            tuning: Arc::new(Tuning::default()),
            seed,
            priority: 0,
        };
        let now = Moment(1_000);
        Self {
            group: Group::new(config, disk.recover().0, now),
            now,
        }
    }

    /// One that was elected in the term after `term` by `n2` and `n3`. Its no-op is on no disk yet.
    pub(crate) fn leader(voters: u64, term: u64, log: &[u64]) -> Self {
        let mut replica = Self::new(voters, term, log);
        let term = term + 1;
        replica.tell(Input::Campaign);
        for peer in [2, 3] {
            replica.hear(peer, term, Prompt::PreVoteReply { granted: true });
        }
        replica.sync();
        for peer in [2, 3] {
            replica.hear(peer, term, Promise::VoteGranted);
        }
        assert_eq!(replica.group.role(), RoleKind::Leader);
        replica
    }

    pub(crate) fn tell(&mut self, input: Input) -> Said {
        self.tell_all([input])
    }

    pub(crate) fn tell_all(&mut self, inputs: impl IntoIterator<Item = Input>) -> Said {
        let mut effects = Effects::default();
        self.group
            .step_all(self.now, &Sessions::default(), inputs, &mut effects);
        Said {
            at_once: effects.send.iter().map(Message::to_string).collect(),
            write: effects.persist.take(),
            applied: std::mem::take(&mut effects.apply),
            effects,
        }
    }

    /// Hears a message.
    pub(crate) fn hear(&mut self, from: u64, term: u64, says: impl Says) -> Said {
        let message = message(from, term, says);
        self.tell(Input::Message(message))
    }

    /// Everything written up to now is durable.
    pub(crate) fn sync(&mut self) -> Said {
        let seq = raftyard_groups::PersistSeq(u64::MAX);
        self.tell(Input::Persisted { seq })
    }

    /// Its deadline comes.
    pub(crate) fn time_out(&mut self) -> Said {
        self.now = self.now.max(self.group.deadline());
        self.tell(Input::Tick)
    }

    pub(crate) fn wait(&mut self, millis: u64) {
        self.now = self.now.plus(millis);
    }

    pub(crate) fn terms(&self) -> Vec<u64> {
        let indexes = 1..=self.group.last().index.0;
        let terms = indexes.filter_map(|index| self.group.term_at(LogIndex(index)));
        terms.map(|term| term.0).collect()
    }
}

/// A message to `n1`.
pub(crate) fn message(from: u64, term: u64, says: impl Says) -> Message {
    Message {
        group: GroupId(1),
        incarnation: Incarnation(1),
        from: NodeId(from),
        to: NodeId(1),
        term: Term(term),
        body: says.body(),
    }
}

/// Anything a message can say.
pub(crate) trait Says {
    fn body(self) -> Body;
}

impl Says for Prompt {
    fn body(self) -> Body {
        Body::Prompt(self)
    }
}

impl Says for Promise {
    fn body(self) -> Body {
        Body::Promise(self)
    }
}

/// An append of entries with these terms after `prev`.
pub(crate) fn append(prev: (u64, u64), terms: &[u64], commit: u64) -> Prompt {
    let prev = LogId::new(prev.1, prev.0);
    let mut entries = entries_of_terms(terms);
    for entry in &mut entries {
        entry.index = LogIndex(entry.index.0 + prev.index.0);
    }
    Prompt::Append {
        prev,
        entries,
        commit: LogIndex(commit),
    }
}

pub(crate) fn heartbeat(commit: u64) -> Prompt {
    Prompt::Heartbeat {
        commit: LogIndex(commit),
        round: raftyard_groups::ReadRound(0),
    }
}

/// A vote request of a candidate whose log ends at `index@term`.
pub(crate) fn vote(index: u64, term: u64) -> Promise {
    Promise::Vote {
        last: LogId::new(term, index),
        transfer: false,
    }
}

pub(crate) fn accepted(matched: u64) -> Promise {
    Promise::AppendAccepted {
        matched: LogIndex(matched),
        session: None,
    }
}
