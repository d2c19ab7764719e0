//! `raftyard-kv ctl`: an operator's commands, put to the nodes' client ports. All of them can be given again: what is
//! done already stays done, and a group that was rebuilt is not rebuilt once more.

mod add_node;
mod ask;
mod change;
mod cluster;
mod rebuild;
pub(crate) mod store;
mod survey;

use clap::Subcommand;

use self::cluster::Cluster;
use self::rebuild::Objection;
use self::store::StoreCommand;
use crate::address::HostPort;
use crate::dial::Dial;
use crate::resp::{Reply, ReplyError};

#[derive(Debug, Subcommand)]
pub(crate) enum Ctl {
    #[command(flatten)]
    Cluster(ClusterCommand),
    /// Looks at what is on a node's disk, while the node is down.
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
}

/// What a cluster is asked.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Every group: its leader, its members, and how far each of them is.
    Status,
    /// Tells every node where a new one is found, and the new one where they are.
    AddNode {
        id: u64,
        /// Where the other nodes reach it.
        #[arg(long, value_name = "HOST:PORT")]
        peer: HostPort,
        /// Where clients find it.
        #[arg(long, value_name = "HOST:PORT")]
        resp: HostPort,
    },
    /// Adds a node to groups as a learner: it gets their logs and does not count.
    AddLearner {
        id: u64,
        #[command(flatten)]
        groups: Groups,
    },
    /// Adds a node to groups as a voter, once it has caught up.
    Join {
        id: u64,
        #[command(flatten)]
        groups: Groups,
    },
    /// Makes a learner a voter.
    Promote {
        id: u64,
        #[command(flatten)]
        groups: Groups,
    },
    /// Takes a node out of groups, and what it holds of them off its disk.
    Remove {
        id: u64,
        #[command(flatten)]
        groups: Groups,
    },
    /// Puts a node in the place of another, in one change per group.
    Replace {
        old: u64,
        new: u64,
        #[command(flatten)]
        groups: Groups,
    },
    /// Lets a node lead a group.
    Transfer { group: u64, node: u64 },
    /// Last resort, for a group that lost its quorum for good: goes on from the replica of one node, and has the other
    /// nodes that answer begin anew from it. Says what may be lost. Refused if the group can go on by itself, or another
    /// node holds more of it.
    Rebuild {
        group: u64,
        node: u64,
        /// Rebuild it whatever speaks against it: what the others have beyond this replica is lost.
        #[arg(long)]
        force: bool,
    },
    /// Gives up changes that wait for nodes to catch up.
    Abandon {
        #[command(flatten)]
        groups: Groups,
    },
}

/// Which groups: all unless one is named.
#[derive(Debug, clap::Args)]
pub(crate) struct Groups {
    /// This group alone.
    #[arg(long, conflicts_with = "all")]
    group: Option<u64>,
    /// All groups (the default).
    #[arg(long)]
    all: bool,
}

/// Why a command was not carried out to its end. To give it again is safe, without `--force`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CtlError {
    #[error("{address}: {source}")]
    Io { address: HostPort, source: std::io::Error },
    #[error("{address}: no answer in time")]
    Silence { address: HostPort },
    #[error("{address}: {source}")]
    Unreadable { address: HostPort, source: ReplyError },
    #[error("{address}: {text}")]
    Refused { address: HostPort, text: String },
    #[error("{address}: answered with {reply:?}")]
    Odd { address: HostPort, reply: Reply },
    #[error("node {0} is unknown, add-node tells where it is")]
    UnknownNode(u64),
    #[error("{address} is node {found}")]
    OtherNode { address: HostPort, found: u64 },
    #[error("node {id} has groups = {found}, the cluster has {wanted}: it would look for keys where they are not")]
    OtherGroups { id: u64, found: u64, wanted: u64 },
    #[error(
        "node {id} has state = \"{found}\", the cluster has \"{wanted}\": they can't be sent each other's snapshots"
    )]
    OtherState { id: u64, found: String, wanted: String },
    #[error(
        "node {id} created group {group} by itself, which this cluster hosts: was it started without `join = true`? Have it \
         begin anew with that, and an empty data directory"
    )]
    Alien { id: u64, group: u64 },
    #[error("another node {id} answers at {address}")]
    Taken { id: u64, address: HostPort },
    #[error(
        "node {id} is not known to these nodes, which could not be reached: {missed:?}; do it again once they are back, \
         unless they are gone for good"
    )]
    NotTold { id: u64, missed: Vec<u64> },
    #[error("no node hosts group {0}")]
    UnknownGroup(u64),
    #[error("group {group}: not done in time: {last}")]
    TooLate { group: u64, last: String },
    #[error("group {group} is not rebuilt: {objection}")]
    NotRebuilt { group: u64, objection: Objection },
    #[error("node {0} can't take its own place")]
    OwnPlace(u64),
    #[error("group {group}: node {node} keeps its replica, it still belongs to the group: {membership}")]
    StillMember { group: u64, node: u64, membership: String },
}

impl CtlError {
    /// Whether nothing was heard of the node.
    fn is_silence(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Silence { .. })
    }
}

/// What is done for each of some groups.
struct Plan {
    groups: Groups,
    /// Hosts a replica that waits to be added, first.
    comes: Option<u64>,
    /// The change that is asked of the leader, and the nodes it names.
    change: &'static str,
    nodes: Vec<u64>,
    /// Is asked to end its replica, last.
    leaves: Option<u64>,
}

/// Carries out `command` on the cluster that the node at `address` belongs to. `say` is told what was done.
pub(crate) async fn run(
    address: &HostPort,
    dial: &Dial,
    command: ClusterCommand,
    mut say: impl FnMut(&str),
) -> Result<(), CtlError> {
    let cluster = Cluster::ask(dial, address).await?;
    let plan = |groups, comes, change, nodes: &[u64], leaves| Plan {
        groups,
        comes,
        change,
        nodes: nodes.to_vec(),
        leaves,
    };
    let plan = match command {
        ClusterCommand::Status => {
            cluster.status(&mut say).await;
            return Ok(());
        }
        ClusterCommand::AddNode { id, peer, resp } => return cluster.add_node(id, &peer, &resp, &mut say).await,
        ClusterCommand::Transfer { group, node } => {
            cluster.resp(node)?;
            let leader = cluster.leader(&cluster.survey().await, group);
            cluster.change(group, leader, "TRANSFER", &[node]).await?;
            say(&format!("group {group}: led by {node}"));
            return Ok(());
        }
        ClusterCommand::Rebuild { group, node, force } => return cluster.rebuild(group, node, force, &mut say).await,
        ClusterCommand::Abandon { groups } => return abandon(&cluster, &groups, &mut say).await,
        ClusterCommand::AddLearner { id, groups } => plan(groups, Some(id), "ADDLEARNER", &[id], None),
        ClusterCommand::Join { id, groups } => plan(groups, Some(id), "ADDVOTER", &[id], None),
        ClusterCommand::Promote { id, groups } => plan(groups, None, "ADDVOTER", &[id], None),
        ClusterCommand::Remove { id, groups } => plan(groups, None, "REMOVE", &[id], Some(id)),
        ClusterCommand::Replace { old, new, .. } if old == new => return Err(CtlError::OwnPlace(old)),
        ClusterCommand::Replace { old, new, groups } => plan(groups, Some(new), "REPLACE", &[old, new], Some(old)),
    };
    let survey = cluster.survey().await;
    for group in survey.meant(&plan.groups) {
        if let Some(node) = plan.comes {
            cluster.host(&survey, group, node).await?;
        }
        let leader = cluster.leader(&survey, group);
        let done = cluster.change(group, leader, plan.change, &plan.nodes).await?;
        say(&format!("group {group}: {done}"));
        if let Some(node) = plan.leaves {
            cluster.leave(group, node, &done, &mut say).await?;
        }
    }
    Ok(())
}

/// Groups in which there is nothing to give up are no mistake.
async fn abandon(cluster: &Cluster<'_>, groups: &Groups, say: &mut impl FnMut(&str)) -> Result<(), CtlError> {
    let survey = cluster.survey().await;
    for group in survey.meant(groups) {
        let leader = cluster.leader(&survey, group);
        match cluster.change(group, leader, "ABANDON", &[]).await {
            Ok(done) => say(&format!("group {group}: {done}")),
            Err(CtlError::Refused { text, .. }) => say(&format!("group {group}: {text}")),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
