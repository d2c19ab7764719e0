//! What a node says of itself and of its replicas: lines of `name=value`.

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use raftyard::{MemberRole, Membership, NodeId, PeerMode, ReplicaState, RoleKind};

use crate::node::Node;
use crate::resp::Reply;
use crate::state::Replica;
use crate::topology::Member;

/// This run of the process, by a random number.
static RUN: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));

impl Node {
    /// A line per node: `node=1 peer=kv1:8001 resp=kv1:7001`; of itself also `groups=48 state=memory run=…`, the last of
    /// which tells one run of a process from another.
    pub(super) fn describe_nodes(&self) -> Reply {
        let peers = self.hosting().host().peers();
        let topology = self.topology();
        let line = |member: &Member| {
            let peer = match peers.get(&member.node) {
                Some(address) => address.clone(),
                None => format!("{}:{}", member.resp.host, member.peer_port),
            };
            let mut text = format!("node={} peer={peer} resp={}", member.node.0, member.resp);
            if member.node == self.me() {
                // Writing to a string can't fail.
                let (groups, state) = (self.shard_map().groups(), self.state());
                let _ = write!(text, " groups={groups} state={state} run={}", *RUN);
            }
            Reply::text(text)
        };
        Reply::Array(topology.members().iter().map(line).collect())
    }

    pub(super) async fn describe_groups(&self) -> Reply {
        let mut lines = Vec::new();
        for group in self.hosting().replicas().into_iter().flatten() {
            lines.push(Reply::text(describe_group(self.me(), &group).await));
        }
        Reply::Array(lines)
    }
}

/// `group=1 incarnation=1 node=1 role=leader state=running leader=1 term=2 last-term=2 last=9 commit=9 applied=9
/// voters=1,2,3 …`.
async fn describe_group(me: NodeId, group: &Replica) -> String {
    let status = group.status();
    let role = match (status.role, status.member) {
        (RoleKind::Leader, _) => "leader",
        (_, None) => "none",
        (_, Some(MemberRole::Learner)) => "learner",
        (_, Some(MemberRole::Witness)) => "witness",
        (RoleKind::Follower, _) => "follower",
        (RoleKind::PreCandidate | RoleKind::Candidate, _) => "candidate",
    };
    let state = match status.state {
        ReplicaState::Running if status.damaged => "damaged",
        ReplicaState::Running => "running",
        _ => "stopped",
    };
    let mut text = format!(
        "group={} incarnation={} node={} role={role} state={state} leader={} term={} last-term={} last={} commit={} \
         applied={} {}",
        group.id().0,
        group.incarnation().0,
        me.0,
        status.leader.map_or(0, |leader| leader.0),
        status.term,
        status.last_term,
        status.last,
        status.commit,
        status.applied,
        describe(&status.membership),
    );
    // Nothing of a replica that ended meanwhile.
    let progress = group.progress().await.unwrap_or_default();
    let peers = progress.into_iter().map(|peer| {
        let mode = match (peer.mode, peer.snapshot) {
            (PeerMode::Snapshot, Some(transfer)) => {
                format!("snapshot:{}/{}", transfer.sent_bytes, transfer.total_bytes)
            }
            (PeerMode::Snapshot, None) => "snapshot".to_owned(),
            (PeerMode::Probing, _) => "probing".to_owned(),
            (PeerMode::Replicating, _) => "replicating".to_owned(),
        };
        format!("{}:{}:{mode}", peer.node.0, peer.matched)
    });
    let peers: Vec<String> = peers.collect();
    if !peers.is_empty() {
        // Writing to a string can't fail.
        let _ = write!(text, " progress={}", peers.join(","));
    }
    text
}

/// `voters=1,2,3 learners=4 next-voters=1,2,3,4`; what is empty is left out.
pub(super) fn describe(membership: &Membership) -> String {
    let list = |nodes: &mut dyn Iterator<Item = NodeId>| {
        let nodes: Vec<String> = nodes.map(|node| node.0.to_string()).collect();
        nodes.join(",")
    };
    let mut fields = vec![
        ("voters", list(&mut membership.voters())),
        ("outgoing", list(&mut membership.outgoing())),
        ("learners", list(&mut membership.learners())),
        ("witnesses", list(&mut membership.witnesses())),
    ];
    if let Some(next) = membership.next() {
        fields.push(("next-voters", list(&mut next.voters())));
        fields.push(("next-learners", list(&mut next.learners())));
    }
    let fields = fields.into_iter().filter(|(_, nodes)| !nodes.is_empty());
    let fields: Vec<String> = fields.map(|(name, nodes)| format!("{name}={nodes}")).collect();
    fields.join(" ")
}
