//! Lets a client use any node: a command on a key whose group another node leads is forwarded to it, where otherwise the
//! client is told `MOVED`.
//!
//! Each client connection has connections of its own to the nodes it needs. They cost sockets (at most one per client
//! connection and other node) and save all sharing: a client's commands keep their order by themselves, what it has in
//! flight is bounded by its own pipeline, and a client that takes no replies holds up nobody else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raftyard::{Consistency, NodeId};

use crate::dial::Dial;
use crate::machine::{Command, Query};
use crate::replies::Room;
use crate::resp::Reply;
use crate::topology::Member;
use crate::upstream::{Forwarded, Patience, Upstream};

/// A node has to answer within it. Longer than a leader itself waits for an outcome (5 s), so that its own answer comes first
/// if it has one.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(2),
    silence: Duration::from_secs(7),
};

/// How long after it came a command is still tried again.
const RETRY_FOR: Duration = Duration::from_secs(3);

/// The pause before a command is tried again: the first one, and the longest; each is twice the one before. With
/// [`RETRY_FOR`] it bounds the number of times.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(5);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(200);

/// Where a command on a group goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// This node puts it to its own replica; if that does not lead, it refuses.
    Here,
    /// Another node leads the group.
    To(NodeId),
    /// No leader is known.
    Nowhere,
}

/// What a group is asked.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Write(Command),
    Read(Query, Consistency),
}

impl Work {
    /// Whether it is a write that returns values.
    pub(crate) fn returns_values(&self) -> bool {
        matches!(self, Self::Write(command) if command.returned_bytes_max() > 0)
    }
}

/// A command on a group, kept until it is answered so that it can be tried again.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) slot: u16,
    pub(crate) work: Work,
    /// As the client sent it.
    pub(crate) arguments: Vec<Bytes>,
    pub(crate) retries: Retries,
}

/// When to try again what was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retries {
    since: Instant,
    pause: Duration,
}

impl Request {
    /// A command that came just now.
    pub(crate) fn new(slot: u16, work: Work, arguments: Vec<Bytes>) -> Self {
        Self {
            slot,
            work,
            arguments,
            retries: Retries::from_now(),
        }
    }
}

impl Retries {
    /// Of a command that came just now.
    pub(crate) fn from_now() -> Self {
        Self {
            since: Instant::now(),
            pause: RETRY_PAUSE_MIN,
        }
    }

    /// How long to wait before the next attempt, `None` if there is to be none.
    pub(crate) fn next_pause(&mut self) -> Option<Duration> {
        let pause = self.pause;
        self.pause = (pause * 2).min(RETRY_PAUSE_MAX);
        (self.since.elapsed() + pause < RETRY_FOR).then_some(pause)
    }
}

/// A client connection's connections to other nodes.
pub(crate) struct Proxy {
    dial: Arc<Dial>,
    upstreams: HashMap<NodeId, Upstream>,
}

impl Proxy {
    /// Without any, until they are needed.
    pub(crate) fn new(dial: Arc<Dial>) -> Self {
        Self {
            dial,
            upstreams: HashMap::new(),
        }
    }

    /// Forwards `request` to `leader`, after those that were forwarded to it before. It is sent whether or not the reply is
    /// awaited, as long as the proxy lives. `room` is for the reply.
    pub(crate) fn forward(
        &mut self,
        leader: &Member,
        request: &Request,
        room: Room,
    ) -> impl Future<Output = Reply> + Send + use<> {
        let dial = &self.dial;
        let open = || Upstream::open(Arc::clone(dial), leader.resp.clone(), PATIENCE);
        let upstream = self.upstreams.entry(leader.node).or_insert_with(open);
        if upstream.has_ended() {
            *upstream = open();
        }
        let outcome = upstream.send(request.arguments.clone(), room);
        let is_write = matches!(request.work, Work::Write(_));
        async move {
            match outcome.await {
                Forwarded::Answered(reply) => reply,
                Forwarded::Unreadable(error) if !is_write => Reply::Error(format!("ERR the leader's reply: {error}")),
                Forwarded::Lost | Forwarded::Unreadable(_) if is_write => {
                    Reply::error("UNKNOWN the leader did not answer, the write may or may not have been applied")
                }
                Forwarded::NotSent | Forwarded::Lost | Forwarded::Unreadable(_) => {
                    Reply::error("TRYAGAIN the leader can't be reached")
                }
            }
        }
    }
}

/// Whether `reply`, this node's or another's, says that the command was not carried out because of who leads the group:
/// another attempt can't carry it out twice.
pub(crate) fn is_refusal(reply: &Reply) -> bool {
    let Reply::Error(text) = reply else {
        return false;
    };
    ["MOVED ", "CLUSTERDOWN ", "TRYAGAIN "]
        .iter()
        .any(|code| text.starts_with(code))
}

/// What a client that does not follow `MOVED` is told instead of a refusal that is not tried again.
pub(crate) fn final_refusal(reply: Reply) -> Reply {
    match reply {
        Reply::Error(text) if text.starts_with("MOVED ") => {
            Reply::error("TRYAGAIN another node has to carry it out, and it was not tried again")
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_is_tried_again() {
        for text in [
            "MOVED 1 127.0.0.1:7001",
            "CLUSTERDOWN Hash slot not served",
            "TRYAGAIN the group changed its leader",
        ] {
            assert!(is_refusal(&Reply::error(text)), "{text}");
        }
        for reply in [
            Reply::error("UNKNOWN the write may or may not have been applied"),
            Reply::error("BUSY overloaded, try again"),
            Reply::error("ERR no"),
            Reply::text("MOVED 1 127.0.0.1:7001"),
            Reply::status("TRYAGAIN "),
            Reply::OK,
            Reply::Null,
        ] {
            assert!(!is_refusal(&reply), "{reply:?}");
        }
    }

    #[test]
    fn attempts_are_bounded() {
        let mut retries = Retries::from_now();
        retries.since -= RETRY_FOR;
        assert_eq!(retries.next_pause(), None);
        let mut retries = Retries::from_now();
        let pauses: Vec<Duration> = (0..30).map_while(|_| retries.next_pause()).collect();
        assert_eq!(pauses[0], RETRY_PAUSE_MIN);
        assert!(pauses[10..].iter().all(|pause| *pause == RETRY_PAUSE_MAX));
    }

    #[test]
    fn nobody_is_told_to_move_in_the_end() {
        let refusal = final_refusal(Reply::error("MOVED 1 127.0.0.1:7001"));
        assert_eq!(
            refusal,
            Reply::error("TRYAGAIN another node has to carry it out, and it was not tried again")
        );
        let down = Reply::error("CLUSTERDOWN Hash slot not served");
        assert_eq!(final_refusal(down.clone()), down);
    }
}
