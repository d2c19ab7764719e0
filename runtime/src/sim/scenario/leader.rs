//! What happens to whoever leads a group at that time.

use super::Fault;
use crate::sim::random::{Purpose, Random};
use raftyard_groups::{GroupId, NodeId};
use std::fmt;

/// What can happen to a group's leader, whichever node that is by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaderFault {
    /// Its process is killed.
    Kill,
    /// It loses power.
    LosePower,
    /// It loses power in the midst of one of its next operations.
    CrashSoon,
    /// It stands still.
    Pause,
    /// Its disk stands still.
    Stall,
    /// Nothing gets through between it and all others.
    CutOff,
    /// Nothing gets through between it with one follower, and all others.
    CutOffWithOne,
    /// Nothing gets through between it and all others but for one, which is cut off from nobody.
    LeftWithOne,
    /// One follower does not hear it.
    NotHeardByOne,
    /// It does not hear one follower.
    DeafToOne,
    /// What it sends and gets is late.
    Slow,
    /// Its connections break.
    Reset,
    /// Its wall clock jumps.
    Jump,
    /// The wall clocks of all others jump alike.
    OthersJump,
    /// All others lose power.
    OthersLosePower,
}

impl LeaderFault {
    pub(super) const ALL: [Self; 15] = [
        Self::Kill,
        Self::LosePower,
        Self::CrashSoon,
        Self::Pause,
        Self::Stall,
        Self::CutOff,
        Self::CutOffWithOne,
        Self::LeftWithOne,
        Self::NotHeardByOne,
        Self::DeafToOne,
        Self::Slow,
        Self::Reset,
        Self::Jump,
        Self::OthersJump,
        Self::OthersLosePower,
    ];

    /// Whether it is over as soon as it happened.
    pub(super) fn is_momentary(self) -> bool {
        matches!(self, Self::Reset | Self::Jump | Self::OthersJump)
    }

    /// What happens to which nodes, where this one leads and the others are there, too. `draw` draws what is left open.
    pub(in crate::sim) fn faults(self, leader: NodeId, others: &[NodeId], draw: u64) -> Vec<Fault> {
        let mut random = Random::new(draw, Purpose::Operator, 2);
        let one = random.pick(others).copied().unwrap_or(leader);
        let node = leader;
        let by_ms = jump_ms(&mut random);
        match self {
            Self::Kill => vec![Fault::Crash { node, silent: false }],
            Self::LosePower => vec![Fault::Crash { node, silent: true }],
            Self::CrashSoon => vec![Fault::CrashAt {
                node,
                operations: random.below(40),
                of_files: false,
                silent: random.chance(500),
            }],
            Self::Pause => vec![Fault::Pause { node }],
            Self::Stall => vec![Fault::Stall { node }],
            Self::CutOff => vec![Fault::Split { side: vec![node] }],
            Self::CutOffWithOne => vec![Fault::Split { side: vec![node, one] }],
            Self::LeftWithOne => others
                .iter()
                .filter(|other| **other != one)
                .flat_map(|other| [(node, *other), (*other, node)])
                .map(|(from, to)| Fault::CutOneWay { from, to })
                .collect(),
            Self::NotHeardByOne => vec![Fault::CutOneWay { from: node, to: one }],
            Self::DeafToOne => vec![Fault::CutOneWay { from: one, to: node }],
            Self::Slow => vec![Fault::Slow {
                node,
                by_ms: random.within(10..=400),
            }],
            Self::Reset => others.iter().map(|other| Fault::Reset { a: node, b: *other }).collect(),
            Self::Jump => vec![Fault::Jump { node, by_ms }],
            Self::OthersJump => others.iter().map(|other| Fault::Jump { node: *other, by_ms }).collect(),
            Self::OthersLosePower => {
                let crash = |other: &NodeId| Fault::Crash {
                    node: *other,
                    silent: true,
                };
                others.iter().map(crash).collect()
            }
        }
    }

    /// As part of a sentence on this group.
    pub(super) fn say(self, group: GroupId, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => write!(f, "the leader of {group} is killed"),
            Self::LosePower => write!(f, "the leader of {group} loses power"),
            Self::CrashSoon => write!(f, "the leader of {group} crashes soon"),
            Self::Pause => write!(f, "the leader of {group} stands still"),
            Self::Stall => write!(f, "the disk of the leader of {group} stands still"),
            Self::CutOff => write!(f, "the leader of {group} cut off from the others"),
            Self::CutOffWithOne => write!(f, "the leader of {group} and another cut off from the others"),
            Self::LeftWithOne => write!(f, "the leader of {group} cut off from all but one"),
            Self::NotHeardByOne => write!(f, "one does not hear the leader of {group}"),
            Self::DeafToOne => write!(f, "the leader of {group} does not hear one"),
            Self::Slow => write!(f, "the network of the leader of {group} is late"),
            Self::Reset => write!(f, "connections of the leader of {group} break"),
            Self::Jump => write!(f, "the wall clock of the leader of {group} jumps"),
            Self::OthersJump => write!(f, "all wall clocks but that of the leader of {group} jump"),
            Self::OthersLosePower => write!(f, "all but the leader of {group} lose power"),
        }
    }
}

/// How far a wall clock is set on, or back: about as much as leases take, or by far more.
pub(super) fn jump_ms(random: &mut Random) -> i64 {
    let far = *random.pick(&[300, 3_000, 60_000]).unwrap_or(&300);
    i64::try_from(random.within(1..=far * 2)).unwrap_or(0) - i64::try_from(far).unwrap_or(0)
}
