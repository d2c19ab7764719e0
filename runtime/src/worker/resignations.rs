//! What a worker says in the place of replicas that can't any more: that they lead no more, and that they heard it of
//! others. Their followers would keep what they promised until the session with this node ends, and sleep until then; and
//! their leaders would say it again for as long.

use raftyard_groups::{Body, Message, Moment, Promise, Prompt, SessionId, Sessions};

/// Said again this often, until it is acknowledged.
const REPEAT_MS: u64 = 100;
/// And for so long once this node counts on no session of the peer any more. Who did not hear it by then is free
/// soon, or asks again.
const KEPT_MS: u64 = 10_000;

/// Resignations of replicas that are gone, or stopped for good.
#[derive(Default)]
pub(crate) struct Resignations {
    owed: Vec<Owed>,
    /// When they are said again.
    next: Moment,
}

struct Owed {
    message: Message,
    /// What this node counted on when the replica resigned. When that is over, so are the promises.
    session: Option<SessionId>,
    until: Moment,
}

impl Resignations {
    /// `message` was sent, and has to arrive.
    pub(crate) fn owe(&mut self, message: Message, now: Moment, sessions: &Sessions) {
        if self.owed.is_empty() {
            self.next = now.plus(REPEAT_MS);
        }
        let session = sessions.believed(message.to).map(|belief| belief.session);
        self.owed.push(Owed {
            message,
            session,
            until: now.plus(KEPT_MS),
        });
    }

    /// Whether nothing is to be said again.
    pub(crate) fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// What is to be said again now.
    pub(crate) fn due(&mut self, now: Moment, sessions: &Sessions) -> Vec<Message> {
        if self.owed.is_empty() || now < self.next {
            return Vec::new();
        }
        self.next = now.plus(REPEAT_MS);
        self.owed.retain_mut(|owed| match sessions.believed(owed.message.to) {
            Some(belief) if Some(belief.session) == owed.session => {
                owed.until = now.plus(KEPT_MS);
                true
            }
            // Another one: the one that was promised in is over.
            Some(_) if owed.session.is_some() => false,
            _ => now < owed.until,
        });
        self.owed.iter().map(|owed| owed.message.clone()).collect()
    }

    /// A message for a replica that is gone or stopped for good, and what there is to answer.
    pub(crate) fn hear(&mut self, message: &Message) -> Option<Message> {
        match &message.body {
            Body::Prompt(Prompt::ResignedAck) => {
                self.owed.retain(|Owed { message: owed, .. }| {
                    let is_it = owed.group == message.group
                        && owed.incarnation == message.incarnation
                        && owed.to == message.from
                        && owed.term == message.term;
                    !is_it
                });
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
    use raftyard_groups::{GroupId, Incarnation, NodeId, ReadRound, Term};

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
            [resigned(3, 4), resigned(2, 5)],
            "only that one was acknowledged"
        );
        assert_eq!(owed.due(Moment(KEPT_MS), &sessions), [], "nobody hears it");
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
