//! What becomes of a write or a read that is put to a group.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, Either, FutureExt, join_all};
use raftyard::{Consistency, ReadError, ReplicaState};
use tokio::time;

use super::Node;
use super::refusals::not_served;
use crate::machine::{Answer, Command, Query, Read, Response, Version};
use crate::proxy::{self, Work};
use crate::replies::Room;
use crate::resp::Reply;
use crate::state::Replica;
use crate::writes::Outcome;

/// How long a command waits for a group that has no leader to get one: longer than an election takes by default. Not longer
/// where the election timeout is: a client that is told to try again knows more than one that hears nothing.
pub(crate) const ELECTION: Duration = Duration::from_secs(2);

/// A command that was begun.
pub(crate) enum Started<'a> {
    Ready(Reply),
    Later(BoxFuture<'a, Reply>),
}

impl Started<'_> {
    /// Waits for the reply.
    pub(crate) async fn reply(self) -> Reply {
        match self {
            Self::Ready(reply) => reply,
            Self::Later(reply) => reply.await,
        }
    }
}

impl Node {
    /// Puts `work` to the group that holds `slot`. It takes its place in the group's order now, not
    /// when the reply is awaited. If the group has no leader, it is waited for until `by`.
    /// `room` is for the reply.
    pub(crate) fn put(&self, slot: u16, work: Work, by: time::Instant, room: Room) -> Started<'_> {
        match work {
            Work::Write(command) => self.write(slot, command, by, Some(room)),
            Work::Read(query, consistency) => self.read(slot, query, consistency, by, room),
        }
    }

    fn write(&self, slot: u16, command: Command, by: time::Instant, room: Option<Room>) -> Started<'_> {
        let group = match self.leading(slot, by) {
            Ok(group) => group,
            Err(started) => return started,
        };
        let outcome = if command.returned_bytes_max() > 0 {
            // In a session every replica would keep what it returns, which may be long, until the next is applied. All
            // that is lost: where this node leads again before anybody noticed, it does not append the command again.
            Either::Left(group.propose_plain(command))
        } else {
            Either::Right(group.propose(command))
        };
        let reply = async move {
            let reply = self.written(slot, outcome.await, by).await;
            drop(room);
            reply
        };
        Started::Later(reply.boxed())
    }

    /// What a client is told of a write to `slot`.
    pub(crate) async fn written(&self, slot: u16, outcome: Outcome, by: time::Instant) -> Reply {
        match outcome {
            Ok(response) => Reply::from(response),
            Err(error) => self.redirected(slot, self.write_error(slot, &error), by).await,
        }
    }

    /// With its place taken now; by this node's replica whoever leads, if a follower may.
    fn read(&self, slot: u16, query: Query, consistency: Consistency, by: time::Instant, room: Room) -> Started<'_> {
        let group = match consistency {
            Consistency::Follower | Consistency::Stale => self.group(slot).ok_or_else(|| self.elsewhere(slot, None)),
            _ => self.led(slot),
        };
        let group = match group {
            Ok(group) => group,
            Err(reply) => return self.redirect(slot, reply, by),
        };
        let room = Arc::new(room);
        let read = |query, room| Read {
            query,
            room: Some(room),
        };
        let answer = group.read(read(query.clone(), Arc::clone(&room)), consistency);
        let reply = async move {
            let mut answer = answer.await;
            if answer == Ok(Answer::NoRoom) {
                // Who waits for it now sends it next.
                let room = Arc::new(room.for_next());
                answer = group.read(read(query, room), consistency).await;
            }
            match answer {
                Ok(answer) => Reply::from(answer),
                Err(error) => self.redirected(slot, self.read_error(slot, &error), by).await,
            }
        };
        Started::Later(reply.boxed())
    }

    /// Asks the group at `place`. Where any replica may answer and no leader is known, it waits for one until `by`.
    pub(crate) async fn ask(
        &self,
        place: u16,
        query: Query,
        consistency: Consistency,
        by: time::Instant,
    ) -> Result<Answer, ReadError> {
        let nobody = Err(ReadError::NotLeader { leader: None });
        let Some(group) = self.hosting.replica(usize::from(place)) else {
            return nobody;
        };
        let answer = group.read(query.clone().into(), consistency).await;
        if consistency != Consistency::Follower || answer != nobody || !group.is_of_use() {
            return answer;
        }
        match time::timeout_at(by, group.wait_for_leader()).await {
            Ok(Ok(_)) => group.read(query.into(), consistency).await,
            _ => answer,
        }
    }

    /// The versions of `keys`, which have the slot `slot`; by this node's replica whoever leads, if `anywhere`.
    ///
    /// # Errors
    ///
    /// What to answer instead.
    pub(crate) async fn versions(&self, slot: u16, keys: Vec<Bytes>, anywhere: bool) -> Result<Vec<Version>, Reply> {
        let (group, consistency) = if anywhere {
            (
                self.group(slot).ok_or_else(|| self.elsewhere(slot, None))?,
                Consistency::Follower,
            )
        } else {
            (self.led(slot)?, Consistency::Linearizable)
        };
        match group.read(Query::Versions(keys).into(), consistency).await {
            Ok(Answer::Versions(versions)) => Ok(versions),
            Ok(other) => Err(Reply::from(other)),
            Err(error) => Err(self.read_error(slot, &error)),
        }
    }

    /// Has the groups that this node leads delete all keys. A group here that is not known to be another node's to flush is
    /// reason to refuse this in the end, unless this node is no member of it.
    pub(crate) async fn flush(&self) -> Reply {
        let by = time::Instant::now() + ELECTION;
        let replicas = (0..self.shard_map().groups()).filter_map(|place| {
            let group = self.hosting.replica(place.into())?;
            // One that stopped is no reason to think that the others did not.
            let is_asked = group.is_of_use() || group.status().state != ReplicaState::Running;
            is_asked.then_some((place, group))
        });
        let flushes = replicas.map(|(place, group)| {
            if self.leads(place.into()) {
                let slot = *self.shard_map().slots_of(place).start();
                Either::Left(self.write(slot, Command::Flush, by, None).reply())
            } else {
                Either::Right(left_to_its_leader(group))
            }
        });
        let replies = join_all(flushes).await;
        let refusal = replies.into_iter().find(|reply| *reply != Reply::OK);
        refusal.map_or(Reply::OK, proxy::final_refusal)
    }

    /// Has the group at `place` remove keys that have expired. False if it is not known to have removed any.
    pub(crate) async fn purge(&self, place: usize) -> bool {
        let Some(group) = self.hosting.replica(place) else {
            return false;
        };
        matches!(group.propose_plain(Command::Purge).await, Ok(Response::Integer(1..)))
    }
}

/// `OK` if another node leads the group, as its quorum confirms, from now on until this is answered. A follower alone can't
/// tell: it names a leader that is gone until its election timeout is over.
async fn left_to_its_leader(group: Replica) -> Reply {
    let leader = group.leader();
    let confirmed = match leader {
        Some(_) => group.read(Query::KeyCount.into(), Consistency::Follower).await.is_ok(),
        None => false,
    };
    if confirmed && group.leader() == leader {
        Reply::OK
    } else {
        not_served()
    }
}
