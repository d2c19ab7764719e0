//! What must hold after every step, whatever the inputs were. Checked in debug and test builds.

use crate::group::{Group, Role};
use crate::ids::{LogId, LogIndex, NodeId, Term};

/// What was seen after the step before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    term: Term,
    vote: Option<NodeId>,
    commit: LogId,
    applied: LogIndex,
    led: Option<(Term, LogIndex)>,
}

impl Seen {
    pub(crate) fn check(&mut self, group: &Group) {
        group.log.check();
        let last = group.log.last();
        assert!(
            group.applied() <= group.applying,
            "{group}: applied more than it was given"
        );
        assert!(group.applying <= group.commit, "{group}: applies what is not committed");
        assert!(group.commit <= last, "{group}: commits what it does not hold");
        assert!(
            group.log.base().index <= group.applying,
            "{group}: compacted what no state machine has"
        );
        assert!(group.hard.term >= self.term, "{group}: its term went back");
        if group.hard.term == self.term {
            assert!(
                self.vote.is_none() || self.vote == group.hard.vote,
                "{group}: changed its vote within a term"
            );
        }
        assert!(group.commit >= self.commit.index, "{group}: its commit index went back");
        if self.commit.index >= group.log.base().index {
            assert_eq!(
                group.log.term_at(self.commit.index),
                Some(self.commit.term),
                "{group}: a committed entry changed"
            );
        }
        assert!(group.applied() >= self.applied, "{group}: its applied index went back");
        let led = matches!(group.role, Role::Leader(_)).then_some((group.hard.term, last));
        if let (Some((term, before)), Some((now, last))) = (self.led, led)
            && term == now
        {
            // Leader Append-Only (paper figure 3).
            assert!(last >= before, "{group}: a leader cut its own log");
        }
        if let Role::Leader(leader) = &group.role {
            assert_eq!(
                group.hard.vote,
                Some(group.config.node),
                "{group}: leads without its own vote"
            );
            for (peer, progress) in &leader.peers {
                assert!(
                    progress.matched < progress.next,
                    "{group}: {peer} matched beyond what was sent"
                );
                assert!(
                    progress.next <= last.next(),
                    "{group}: {peer} was sent what is not there"
                );
            }
        }
        *self = Self {
            term: group.hard.term,
            vote: group.hard.vote,
            commit: LogId {
                term: group.log.term_at(group.commit).unwrap_or(self.commit.term),
                index: group.commit,
            },
            applied: group.applied(),
            led,
        };
    }
}
