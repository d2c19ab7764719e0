//! Carries out what operators ask of a node. Errors begin with a code: after `NOTLEADER`, with the leader's id or `0`,
//! another node has to be asked; after `TRYAGAIN` the same again. To ask for what is done already does no harm.

mod describe;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use raftyard::{
    ChangeError, Consistency, GroupId, GroupOptions, Incarnation, Membership, MembershipChange, NodeId, TransferError,
};
use tokio::task::spawn_blocking;

use self::describe::describe;
use crate::command::{Admin, other_groups};
use crate::config::PeerConfig;
use crate::machine::Query;
use crate::node::Node;
use crate::nodes_file::{self, NodesFileError};
use crate::resp::Reply;
use crate::state::Replica;
use crate::topology::Member;

/// For a leader to confirm that a replica is a member, after an election if there has to be one.
const CONFIRMED: Duration = Duration::from_secs(3);

/// Between two looks whether a replica has heard that it was removed.
const LOOK: Duration = Duration::from_millis(5);

impl Node {
    pub(crate) async fn administer(&self, admin: Admin) -> Reply {
        let done = match admin {
            Admin::Status => Ok(self.describe_groups().await),
            Admin::Nodes => Ok(self.describe_nodes()),
            Admin::SetNode(peer, groups) => self.set_node(peer, groups).await,
            Admin::Join(group, incarnation, groups) => self.join(group, incarnation, groups).await,
            Admin::Leave(group, later) => self.leave(group, later).await,
            Admin::Change(group, change) => self.change(group, change).await,
            Admin::Abandon(group) => self.abandon(group).await,
            Admin::Rebuild(group) => self.rebuild(group).await,
            Admin::Transfer(group, to) => self.transfer(group, to).await,
        };
        done.unwrap_or_else(Reply::Error)
    }

    fn led_group(&self, group: GroupId) -> Result<Replica, String> {
        let place = self.place_of(group)?;
        // A node that hosts nothing of it can't tell who leads.
        self.hosting()
            .replica(usize::from(place))
            .ok_or("NOTLEADER 0".to_owned())
    }

    fn place_of(&self, group: GroupId) -> Result<u16, String> {
        self.hosting().place_of(group).ok_or(format!("ERR there is no {group}"))
    }

    async fn change(&self, group: GroupId, change: MembershipChange) -> Result<Reply, String> {
        let group = self.led_group(group)?;
        // Refused here rather than by a leader that could never reach it.
        let known = self.topology();
        if let Some((node, _)) = change
            .roles()
            .find(|(node, role)| role.is_some() && known.member(*node).is_none())
        {
            return Err(format!("ERR {node} is unknown, add-node tells where it is"));
        }
        settled(group.change_membership(change).await)
    }

    async fn abandon(&self, group: GroupId) -> Result<Reply, String> {
        settled(self.led_group(group)?.abandon_change().await)
    }

    async fn transfer(&self, group: GroupId, to: NodeId) -> Result<Reply, String> {
        match self.led_group(group)?.transfer_leadership(to).await {
            Ok(()) => Ok(Reply::OK),
            Err(TransferError::NotLeader { leader }) => Err(not_leader(leader)),
            Err(error @ (TransferError::Busy | TransferError::TimedOut)) => Err(format!("TRYAGAIN {error}")),
            Err(error) => Err(format!("ERR {error}")),
        }
    }

    async fn join(&self, group: GroupId, incarnation: Incarnation, groups: i64) -> Result<Reply, String> {
        self.check_groups(groups)?;
        let place = self.place_of(group)?;
        let options = GroupOptions::default().incarnation(incarnation);
        let joined = self.hosting().join(place, options).await;
        joined.map(|()| Reply::OK).map_err(|error| format!("ERR {error}"))
    }

    /// What belongs to a group is not destroyed, whoever asks for it: the entries that it acknowledged would be gone. Who knows
    /// better names a later incarnation.
    async fn leave(&self, group: GroupId, later: Option<Incarnation>) -> Result<Reply, String> {
        let place = self.place_of(group)?;
        if let Some(replica) = self.hosting().replica(usize::from(place)) {
            match later {
                Some(later) if replica.incarnation() >= later => return Ok(Reply::OK),
                Some(_) => {}
                None => match is_member(&replica).await {
                    Some(false) => {}
                    Some(true) => {
                        return Err(format!(
                            "ERR this node is a member of {group}, it has to be removed first"
                        ));
                    }
                    None => {
                        return Err(format!(
                            "TRYAGAIN nobody confirms that this node was removed from {group}"
                        ));
                    }
                },
            }
        }
        let left = self.hosting().leave(place).await;
        left.map(|()| Reply::OK).map_err(|error| format!("ERR {error}"))
    }

    async fn rebuild(&self, group: GroupId) -> Result<Reply, String> {
        let place = self.place_of(group)?;
        let rebuilt = self.hosting().rebuild(place).await;
        rebuilt
            .map(|report| Reply::text(report.to_string()))
            .map_err(|error| format!("ERR {error}"))
    }

    /// Refuses who means a cluster with another number of groups, in which keys are elsewhere.
    fn check_groups(&self, groups: i64) -> Result<(), String> {
        other_groups(groups, self.shard_map().groups().into()).map_or(Ok(()), Err)
    }

    /// Durable before it counts.
    async fn set_node(&self, peer: PeerConfig, groups: i64) -> Result<Reply, String> {
        self.check_groups(groups)?;
        if peer.node == self.me() {
            return Ok(Reply::OK);
        }
        let noted = self.hosting().host().set_peer(peer.node, peer.peer.to_string()).await;
        noted.map_err(|error| format!("ERR {error}"))?;
        self.learn(peer).await.map_err(|error| format!("ERR {error}"))?;
        Ok(Reply::OK)
    }

    /// Notes where clients find a node.
    async fn learn(&self, peer: PeerConfig) -> Result<(), NodesFileError> {
        let member = Member::new(self.cluster(), peer.node, peer.resp.clone(), peer.peer.port);
        let mut learned = self.learned().lock().await;
        let mut nodes = learned.clone();
        nodes.retain(|known| known.node != peer.node);
        nodes.push(peer);
        // On a thread that may wait for the disk.
        let dir = self.data_dir().to_owned();
        let written = spawn_blocking(move || nodes_file::write(&dir, &nodes).map(|()| nodes)).await;
        *learned = written.map_err(|error| NodesFileError::Io {
            path: self.data_dir().to_owned(),
            source: io::Error::other(error),
        })??;
        self.add_member(member);
        Ok(())
    }
}

/// Whether a replica belongs to its group, as a leader confirms; `None` if nobody does. One that was removed may not have heard
/// of it, nor ever hear.
async fn is_member(replica: &Replica) -> Option<bool> {
    let heard = async {
        while is_named(replica) {
            tokio::time::sleep(LOOK).await;
        }
    };
    let asked = async {
        while replica
            .read(Query::KeyCount.into(), Consistency::Follower)
            .await
            .is_err()
        {
            tokio::time::sleep(LOOK).await;
        }
        // What is current is here, the change that removed it too.
        is_named(replica)
    };
    tokio::select! {
        biased;
        () = heard => Some(false),
        is_member = asked => Some(is_member),
        () = tokio::time::sleep(CONFIRMED) => None,
    }
}

/// Whether its log names it, or may not leave it out for good: who is left out by what is not committed may yet be needed.
fn is_named(replica: &Replica) -> bool {
    let status = replica.status();
    status.member.is_some() || status.commit < status.last
}

fn not_leader(leader: Option<NodeId>) -> String {
    format!("NOTLEADER {}", leader.map_or(0, |leader| leader.0))
}

/// What a group is left with, or why it stays as it was.
fn settled(changed: Result<Arc<Membership>, ChangeError>) -> Result<Reply, String> {
    changed
        .map(|membership| Reply::text(describe(&membership)))
        .map_err(|error| refusal(&error))
}

fn refusal(error: &ChangeError) -> String {
    match error {
        ChangeError::NotLeader { leader } => not_leader(*leader),
        // The next leader goes on with it, if it is in its log: to ask again settles it.
        ChangeError::NotReady
        | ChangeError::Busy
        | ChangeError::Transferring
        | ChangeError::SteppedDown { .. }
        | ChangeError::OutcomeUnknown => format!("TRYAGAIN {error}"),
        error => format!("ERR {error}"),
    }
}
