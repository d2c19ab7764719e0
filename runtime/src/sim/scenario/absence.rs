//! A minority that is missing when everything else has healed.

use crate::sim::random::Random;
use raftyard_groups::NodeId;
use std::fmt;

/// Nodes that are missing for a while after everything else has healed: who has a majority without them gets on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// Which: fewer than half.
    pub nodes: Vec<NodeId>,
    /// In what way.
    pub how: Missing,
    /// Clients ask nothing meanwhile, nor for a while before: groups sleep when it begins.
    pub quiet: bool,
}

/// In what way nodes are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// They lost power.
    Down,
    /// Nothing gets through between them and all others.
    CutOff,
    /// None of the others hears them.
    Mute,
    /// They hear none of the others.
    Deaf,
}

impl Absence {
    /// One that this node is part of: only what is whole can be expected to get on.
    pub(super) fn draw(node: NodeId, nodes: u64, random: &mut Random) -> Self {
        let size = random.within(1..=(nodes.saturating_sub(1) / 2).max(1));
        let how = [Missing::Down, Missing::CutOff, Missing::Mute, Missing::Deaf];
        Self {
            nodes: (0..size).map(|n| NodeId((node.0 + n - 1) % nodes + 1)).collect(),
            how: random.pick(&how).copied().unwrap_or(Missing::Down),
            quiet: random.chance(500),
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self.nodes.iter().map(NodeId::to_string).collect();
        let nodes = nodes.join(",");
        match self.how {
            Missing::Down => write!(f, "{nodes} down"),
            Missing::CutOff => write!(f, "{nodes} cut off"),
            Missing::Mute => write!(f, "{nodes} not heard"),
            Missing::Deaf => write!(f, "{nodes} hearing nobody"),
        }?;
        if self.quiet {
            f.write_str(", and clients that ask nothing")
        } else {
            Ok(())
        }
    }
}
