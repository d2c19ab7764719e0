//! Which node carries out a command on a slot, and what a client is told if that is another one.

use std::sync::atomic::Ordering;

use futures::future::FutureExt;
use raftyard::NodeId;
use tokio::time::{self, timeout_at};

use super::Node;
use super::put::Started;
use super::refusals::not_served;
use crate::proxy::Route;
use crate::resp::Reply;
use crate::state::Replica;
use crate::topology::Member;

impl Node {
    /// Where a command on `slot` goes, as far as this node knows.
    pub(crate) fn route(&self, slot: u16) -> Route {
        let Some(group) = self.group(slot) else {
            return self
                .anybody(false)
                .map_or(Route::Nowhere, |other| Route::To(other.node));
        };
        match group.leader() {
            Some(leader) if leader == self.me => Route::Here,
            Some(leader) => Route::To(leader),
            None => Route::Nowhere,
        }
    }

    /// The group that holds `slot`, or what is begun instead of a write to it if another node leads it.
    pub(crate) fn leading(&self, slot: u16, by: time::Instant) -> Result<Replica, Started<'_>> {
        self.led(slot).map_err(|reply| self.redirect(slot, reply, by))
    }

    /// Whether this node leads the group at `place`, as far as it knows.
    pub(crate) fn leads(&self, place: usize) -> bool {
        let leader = self.hosting.replica(place).and_then(|group| group.leader());
        leader == Some(self.me)
    }

    /// What to say to a command on `slot` if another node leads its group.
    pub(crate) fn redirection(&self, slot: u16) -> Option<Reply> {
        self.led(slot).err()
    }

    /// The replica here of the group that holds `slot`, if there is one that is of use.
    pub(super) fn group(&self, slot: u16) -> Option<Replica> {
        // One that leads is, and most are asked for where they lead.
        let is_of_use = |group: &Replica| group.leader() == Some(self.me) || group.is_of_use();
        self.replica(slot).filter(is_of_use)
    }

    fn replica(&self, slot: u16) -> Option<Replica> {
        self.hosting.replica(usize::from(self.shard_map().group_of(slot)))
    }

    /// The group that holds `slot`, or what to say if another node leads it.
    pub(super) fn led(&self, slot: u16) -> Result<Replica, Reply> {
        let group = self.group(slot).ok_or_else(|| self.elsewhere(slot, None))?;
        match group.leader() {
            Some(leader) if leader == self.me => Ok(group),
            leader => Err(self.elsewhere(slot, leader)),
        }
    }

    /// Sends the client to the leader, or tells it that there is none. Where no replica of the group is here, any other
    /// node may know better, or one that is of no use: then, in turn, the client is told that there is no leader. The other
    /// nodes' replicas may be of no use either, and it would be sent from one to the next for ever.
    pub(super) fn elsewhere(&self, slot: u16, leader: Option<NodeId>) -> Reply {
        let known = leader.filter(|leader| *leader != self.me);
        let other = match known.and_then(|leader| self.member(leader)) {
            None if self.group(slot).is_none() => self.anybody(self.replica(slot).is_some()),
            known => known,
        };
        match other {
            Some(member) => moved(slot, &member),
            None => not_served(),
        }
    }

    /// What the client is told in the end: at once, where no election is to be waited for.
    pub(super) fn redirect(&self, slot: u16, reply: Reply, by: time::Instant) -> Started<'_> {
        if reply == not_served() && !self.proxy {
            Started::Later(self.redirected(slot, reply, by).boxed())
        } else {
            Started::Ready(reply)
        }
    }

    /// A client that follows `MOVED` sees nothing of an election or a transfer of leadership: where no leader is known
    /// it is told of the next one, if there is one by `by`. (As a proxy this node tries again by itself.)
    pub(crate) async fn redirected(&self, slot: u16, reply: Reply, by: time::Instant) -> Reply {
        let Some(group) = self.group(slot).filter(|_| reply == not_served() && !self.proxy) else {
            return reply;
        };
        let leader = timeout_at(by, group.wait_for_leader()).await;
        let leader = leader.ok().and_then(Result::ok);
        leader
            .and_then(|leader| self.member(leader))
            .map_or(reply, |member| moved(slot, &member))
    }

    /// Another node, each time the next: one that hosts a group which this one does not may know who leads it. After the
    /// last one, `or_nobody` comes before the first.
    fn anybody(&self, or_nobody: bool) -> Option<Member> {
        let topology = self.topology();
        let others: Vec<&Member> = topology
            .members()
            .iter()
            .filter(|member| member.node != self.me)
            .collect();
        let turn = self
            .turn
            .fetch_add(1, Ordering::Relaxed)
            .checked_rem(others.len() as u64 + u64::from(or_nobody))?;
        others.get(usize::try_from(turn).ok()?).map(|member| (*member).clone())
    }
}

fn moved(slot: u16, member: &Member) -> Reply {
    let resp = &member.resp;
    Reply::Error(format!("MOVED {slot} {}:{}", resp.host, resp.port))
}
