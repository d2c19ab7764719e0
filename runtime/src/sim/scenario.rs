//! What a simulation is of: how large the world is, and what happens to it when. All of it follows from a seed, and
//! can be made smaller.

mod absence;
mod draw;
mod leader;

pub use absence::{Absence, Missing};
pub use leader::LeaderFault;

use raftyard_groups::{GroupId, NodeId};
use std::fmt;
use std::time::Duration;

/// A world, and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What all chance comes from.
    pub seed: u64,
    /// Nodes, from n1 on.
    pub nodes: u64,
    /// Groups, from g1 on.
    pub groups: u64,
    /// How long faults go on; then everything heals, and every group must get on.
    pub faulty: Duration,
    /// Disks say of what they are only about to write that it is durable. Nothing can be promised then: it is to see
    /// that this is noticed.
    pub disks_lie: bool,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Who is missing for a while after that, if anybody is.
    pub absence: Option<Absence>,
}

/// Something that happens to a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, since the beginning.
    pub at: Duration,
    /// How long it lasts, where it does.
    pub lasts: Duration,
    /// What.
    pub fault: Fault,
}

/// What can happen to a world. Times are in the [`Step`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A node's process ends, at whichever await each of its tasks is, and starts again. Its peers hear of it, or not.
    Crash {
        /// Which.
        node: NodeId,
        /// Connections just stay silent, as when the machine loses power.
        silent: bool,
    },
    /// A node's process ends in the midst of an operation on its disk or the network, the one after so many.
    CrashAt {
        /// Which.
        node: NodeId,
        /// After so many operations.
        operations: u64,
        /// They count from the next file of its log on that begins or is removed.
        of_files: bool,
        /// Because the machine loses power.
        silent: bool,
    },
    /// All nodes end, and start again.
    CrashAll,
    /// A node's process stands still, and then goes on.
    Pause {
        /// Which.
        node: NodeId,
    },
    /// A node's disk stands still, and then goes on.
    Stall {
        /// Which.
        node: NodeId,
    },
    /// A node loses power, and something of what is durable of its logs and snapshots is damaged before it starts again. In a
    /// scenario only one node's disk may rot: what it acknowledged counts on the others.
    Rot {
        /// Which.
        node: NodeId,
        /// Draws what is damaged.
        draw: u64,
    },
    /// A write of a node's disk fails, or a sync. The node ends and starts again after the time that the fault lasts.
    FailDisk {
        /// Which.
        node: NodeId,
        /// It is a sync.
        sync: bool,
        /// The node ends because it loses power.
        silent: bool,
    },
    /// There is room on a node's disk for so many bytes more, and then no more; until the fault ends.
    FillDisk {
        /// Which.
        node: NodeId,
        /// Bytes.
        room: u64,
    },
    /// Nothing gets through between these nodes and all others.
    Split {
        /// One side.
        side: Vec<NodeId>,
    },
    /// Nothing gets through between any two nodes.
    CutAll,
    /// Nothing gets through from one node to another.
    CutOneWay {
        /// Who is not heard.
        from: NodeId,
        /// By whom.
        to: NodeId,
    },
    /// Nobody hears a node, which hears all.
    Mute {
        /// Which.
        node: NodeId,
    },
    /// A node hears nobody, and is heard.
    Deafen {
        /// Which.
        node: NodeId,
    },
    /// What a node sends and gets is late by up to this.
    Slow {
        /// Which.
        node: NodeId,
        /// Milliseconds.
        by_ms: u64,
    },
    /// What a node sends and gets is lost now and then, and sent again.
    Lose {
        /// Which.
        node: NodeId,
        /// How often, in thousandths.
        permille: u64,
    },
    /// All connections between two nodes break.
    Reset {
        /// One.
        a: NodeId,
        /// The other.
        b: NodeId,
    },
    /// A node's clock goes faster or slower from now on.
    Drift {
        /// Which.
        node: NodeId,
        /// What it gains in a thousand milliseconds, or loses.
        permille: i64,
    },
    /// A node's wall clock is set on, or back.
    Jump {
        /// Which.
        node: NodeId,
        /// Milliseconds.
        by_ms: i64,
    },
    /// Something happens to a group's leader; if nobody leads it, as soon as somebody does.
    Leader {
        /// Whose.
        group: GroupId,
        /// What.
        what: LeaderFault,
        /// Draws what that leaves open.
        draw: u64,
    },
    /// Clients of a group ask nothing, so that it falls asleep.
    Rest {
        /// Whose.
        group: GroupId,
    },
    /// A group's leader hands over to this node.
    Transfer {
        /// Which.
        group: GroupId,
        /// To whom, if that is a member.
        to: NodeId,
    },
    /// A node that is not a member takes the place of one that is.
    Replace {
        /// Whose.
        group: GroupId,
        /// Draws both.
        draw: u64,
    },
    /// A group is destroyed on all nodes, and created again.
    Recreate {
        /// Which.
        group: GroupId,
    },
}

impl Scenario {
    /// Whether a disk rots.
    pub(super) fn rots(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.fault, Fault::Rot { .. }))
    }
}

impl Fault {
    /// Nodes that it names.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        match self {
            Self::Crash { node, .. }
            | Self::CrashAt { node, .. }
            | Self::Pause { node }
            | Self::Stall { node }
            | Self::FailDisk { node, .. }
            | Self::FillDisk { node, .. }
            | Self::Rot { node, .. }
            | Self::Mute { node }
            | Self::Deafen { node }
            | Self::Slow { node, .. }
            | Self::Lose { node, .. }
            | Self::Drift { node, .. }
            | Self::Jump { node, .. }
            | Self::Transfer { to: node, .. } => vec![*node],
            Self::CutOneWay { from: a, to: b } | Self::Reset { a, b } => vec![*a, *b],
            Self::Split { side } => side.clone(),
            Self::CrashAll
            | Self::CutAll
            | Self::Leader { .. }
            | Self::Rest { .. }
            | Self::Replace { .. }
            | Self::Recreate { .. } => Vec::new(),
        }
    }

    /// The group that it names.
    pub(super) fn group(&self) -> Option<GroupId> {
        match self {
            Self::Leader { group, .. }
            | Self::Rest { group }
            | Self::Transfer { group, .. }
            | Self::Replace { group, .. }
            | Self::Recreate { group } => Some(*group),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash { node, silent: true } => write!(f, "{node} loses power"),
            Self::Crash { node, silent: false } => write!(f, "{node} is killed"),
            Self::CrashAt {
                node,
                operations,
                of_files,
                silent,
            } => {
                let how = if *silent { "loses power" } else { "is killed" };
                let since = if *of_files {
                    " from the next change of its files on"
                } else {
                    ""
                };
                write!(f, "{node} {how} after {operations} operations{since}")
            }
            Self::CrashAll => f.write_str("all nodes lose power"),
            Self::Pause { node } => write!(f, "{node} stands still"),
            Self::Stall { node } => write!(f, "the disk of {node} stands still"),
            Self::Rot { node, .. } => write!(f, "{node} loses power, and its disk rots"),
            Self::FailDisk { node, sync, silent } => {
                let what = if *sync { "sync" } else { "write" };
                let end = if *silent { ", and it loses power" } else { "" };
                write!(f, "the next {what} of {node} fails{end}")
            }
            Self::FillDisk { node, room } => write!(f, "the disk of {node} is full after {room} bytes more"),
            Self::Split { side } => {
                let side: Vec<String> = side.iter().map(NodeId::to_string).collect();
                write!(f, "{} cut off from the others", side.join(","))
            }
            Self::CutAll => f.write_str("all nodes cut off from each other"),
            Self::CutOneWay { from, to } => write!(f, "{to} does not hear {from}"),
            Self::Mute { node } => write!(f, "nobody hears {node}"),
            Self::Deafen { node } => write!(f, "{node} hears nobody"),
            Self::Slow { node, by_ms } => write!(f, "the network of {node} is late by up to {by_ms} ms"),
            Self::Lose { node, permille } => write!(f, "the network of {node} loses {permille} of a thousand"),
            Self::Reset { a, b } => write!(f, "connections between {a} and {b} break"),
            Self::Drift { node, permille } => write!(f, "the clock of {node} drifts by {permille} in a thousand"),
            Self::Jump { node, by_ms } => write!(f, "the wall clock of {node} jumps by {by_ms} ms"),
            Self::Leader { group, what, .. } => what.say(*group, f),
            Self::Rest { group } => write!(f, "clients of {group} ask nothing"),
            Self::Transfer { group, to } => write!(f, "{group} shall be led by {to}"),
            Self::Replace { group, .. } => write!(f, "a member of {group} is replaced"),
            Self::Recreate { group } => write!(f, "{group} is destroyed and created again"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3} s  {}", self.at.as_secs_f64(), self.fault)?;
        if self.lasts > Duration::ZERO {
            write!(f, ", for {:.3} s", self.lasts.as_secs_f64())?;
        }
        Ok(())
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            nodes,
            groups,
            faulty,
            disks_lie,
            steps,
            absence,
        } = self;
        let seconds = faulty.as_secs_f64();
        let count = steps.len();
        let lie = if *disks_lie { ", disks that lie" } else { "" };
        writeln!(
            f,
            "seed {seed}: {nodes} nodes, {groups} groups, {seconds} s, {count} faults{lie}"
        )?;
        steps.iter().try_for_each(|step| writeln!(f, "{step}"))?;
        absence
            .iter()
            .try_for_each(|absence| writeln!(f, "then healed, but for {absence}"))
    }
}
