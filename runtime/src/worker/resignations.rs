//! What a worker says in the place of replicas that can't any more: that they lead no more, and that they heard it of
//! others. Their followers would keep what they promised until the session with this node ends, and sleep until then; and
//! their leaders would say it again for as long.

use raftyard_groups::{
    Body, GroupId, Incarnation, Message, Moment, NodeId, Promise, Prompt, SessionId, Sessions, Term,
};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Said again this often, until it is acknowledged.
const REPEAT_MS: u64 = 100;
/// So many are said again at a time: a node whose store fails owes one or two for each group that it led. The others follow
/// with the next ticks.
const AT_ONCE: usize = 1_000;
/// And for so long once this node counts on no session of the peer any more. Who did not hear it by then is free
/// soon, or asks again.
const KEPT_MS: u64 = 10_000;

/// Resignations of replicas that are gone, or stopped for good.
#[derive(Default)]
pub(crate) struct Resignations {
    owed: BTreeMap<Debt, Owed>,
    /// From here on they were not said again yet in the round that is under way.
    rest: Option<Debt>,
    /// When the next round begins.
    next: Moment,
}

/// Which leadership was resigned, and who has to hear of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Debt {
    to: NodeId,
    group: GroupId,
    incarnation: Incarnation,
    term: Term,
}

struct Owed {
    message: Message,
    /// What this node counted on when the replica resigned. When that is over, so are the promises.
    session: Option<SessionId>,
    until: Moment,
}

impl Debt {
    /// Of what `peer` is to be told, or told that it heard.
    fn to(peer: NodeId, message: &Message) -> Self {
        Self {
            to: peer,
            group: message.group,
            incarnation: message.incarnation,
            term: message.term,
        }
    }
}

impl Owed {
    /// Whether somebody may still need to hear it.
    fn is_owed_still(&mut self, now: Moment, sessions: &Sessions) -> bool {
        match sessions.believed(self.message.to) {
            Some(belief) if Some(belief.session) == self.session => {
                self.until = now.plus(KEPT_MS);
                true
            }
            // Another one: the one that was promised in is over.
            Some(_) if self.session.is_some() => false,
            _ => now < self.until,
        }
    }
}

impl Resignations {
    /// `message` was sent, and has to arrive.
    pub(crate) fn owe(&mut self, message: Message, now: Moment, sessions: &Sessions) {
        if self.owed.is_empty() {
            self.next = now.plus(REPEAT_MS);
        }
        let session = sessions.believed(message.to).map(|belief| belief.session);
        let (debt, until) = (Debt::to(message.to, &message), now.plus(KEPT_MS));
        self.owed.insert(
            debt,
            Owed {
                message,
                session,
                until,
            },
        );
    }

    /// Whether nothing is to be said again.
    pub(crate) fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// What is to be said again now.
    pub(crate) fn due(&mut self, now: Moment, sessions: &Sessions) -> Vec<Message> {
        let from = match self.rest.take() {
            Some(rest) => Bound::Included(rest),
            None if self.owed.is_empty() || now < self.next => return Vec::new(),
            None => {
                self.next = now.plus(REPEAT_MS);
                Bound::Unbounded
            }
        };
        let (mut again, mut over) = (Vec::new(), Vec::new());
        for (debt, owed) in self.owed.range_mut((from, Bound::Unbounded)) {
            if again.len() + over.len() == AT_ONCE {
                self.rest = Some(*debt);
                break;
            }
            if owed.is_owed_still(now, sessions) {
                again.push(owed.message.clone());
            } else {
                over.push(*debt);
            }
        }
        for debt in over {
            self.owed.remove(&debt);
        }
        again
    }

    /// A message for a replica that is gone or stopped for good, and what there is to answer.
    pub(crate) fn hear(&mut self, message: &Message) -> Option<Message> {
        match &message.body {
            Body::Prompt(Prompt::ResignedAck) => {
                self.owed.remove(&Debt::to(message.from, message));
                None
            }
            Body::Prompt(Prompt::Resigned) => Some(answer(message, Prompt::ResignedAck)),
            Body::Prompt(Prompt::HeartbeatReply { session: Some(_), .. })
            | Body::Promise(Promise::AppendAccepted { session: Some(_), .. }) => {
                Some(answer(message, Prompt::Resigned))
            }
            _ => None,
        }
    }
}

/// In the term of what is answered.
fn answer(message: &Message, prompt: Prompt) -> Message {
    Message {
        from: message.to,
        to: message.from,
        body: Body::Prompt(prompt),
        ..message.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raftyard_groups::ReadRound;
    use std::collections::BTreeSet;

    fn message(from: u64, to: u64, term: u64, prompt: Prompt) -> Message {
        Message {
            group: GroupId(1),
            incarnation: Incarnation(1),
            from: NodeId(from),
            to: NodeId(to),
            term: Term(term),
            body: Body::Prompt(prompt),
        }
    }

    fn reply(session: Option<SessionId>) -> Message {
        let prompt = Prompt::HeartbeatReply {
            round: ReadRound(1),
            priority: 0,
            commit: raftyard_groups::LogIndex(0),
            session,
        };
        message(2, 1, 4, prompt)
    }

    #[test]
    fn it_is_said_again_until_it_is_acknowledged() {
        let (mut owed, sessions) = (Resignations::default(), Sessions::default());
        let resigned = |to, term| message(1, to, term, Prompt::Resigned);
        for (to, term) in [(2, 4), (3, 4), (2, 5)] {
            owed.owe(resigned(to, term), Moment(0), &sessions);
        }
        assert_eq!(owed.due(Moment(REPEAT_MS - 1), &sessions), []);
        assert_eq!(owed.due(Moment(REPEAT_MS), &sessions).len(), 3);
        assert_eq!(owed.due(Moment(REPEAT_MS), &sessions), []);
        assert_eq!(owed.hear(&message(2, 1, 4, Prompt::ResignedAck)), None);
        let again = owed.due(Moment(2 * REPEAT_MS), &sessions);
        assert_eq!(
            again,
            [resigned(2, 5), resigned(3, 4)],
            "only that one was acknowledged"
        );
        assert_eq!(owed.due(Moment(KEPT_MS), &sessions), [], "nobody hears it");
    }

    /// As of a node that led a hundred thousand groups when its store failed.
    #[test]
    fn of_many_a_part_is_said_again_at_a_time_and_each_once_in_a_round() {
        const MANY: u64 = 50_000;
        let (mut owed, sessions) = (Resignations::default(), Sessions::default());
        let of = |group, from, to, prompt| Message {
            group: GroupId(group),
            ..message(from, to, 4, prompt)
        };
        for group in 0..MANY {
            owed.owe(of(group, 1, 2, Prompt::Resigned), Moment(0), &sessions);
        }
        for round in 1..=2 {
            let mut said = BTreeSet::new();
            while said.len() as u64 != MANY {
                let due = owed.due(Moment(round * REPEAT_MS), &sessions);
                assert!(!due.is_empty() && due.len() <= AT_ONCE, "{} at once", due.len());
                assert!(due.iter().all(|message| said.insert(message.group)), "twice in a round");
            }
            assert_eq!(owed.due(Moment(round * REPEAT_MS), &sessions), []);
        }
        for group in 0..MANY {
            owed.hear(&of(group, 2, 1, Prompt::ResignedAck));
        }
        assert!(owed.is_empty());
    }

    #[test]
    fn who_resigns_to_one_that_is_gone_is_told_that_it_was_heard() {
        let mut owed = Resignations::default();
        let heard = owed.hear(&message(2, 1, 4, Prompt::Resigned));
        assert_eq!(heard, Some(message(1, 2, 4, Prompt::ResignedAck)));
        assert!(owed.is_empty(), "nothing is owed for that");
    }

    #[test]
    fn who_acknowledges_with_a_stamp_is_told_that_nobody_leads_here() {
        let mut owed = Resignations::default();
        assert_eq!(
            owed.hear(&reply(Some(SessionId::default()))),
            Some(message(1, 2, 4, Prompt::Resigned)),
            "of the term that was acknowledged"
        );
        assert_eq!(owed.hear(&reply(None)), None, "it promised nothing");
        assert_eq!(owed.hear(&message(2, 1, 4, Prompt::VoteRefused)), None);
    }
}
