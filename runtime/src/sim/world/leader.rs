//! What happens to whoever leads a group: looked up when it happens.

use super::World;
use crate::sim::scenario::{Fault, LeaderFault};
use crate::sim::workload::Workload;
use raftyard_groups::{GroupId, NodeId};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long it is waited for somebody to lead, and how often it is looked.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

impl<W: Workload> World<W> {
    /// What this is to which nodes, once somebody leads the group; nothing, if nobody does in time.
    pub(super) async fn faults_of_leader(&self, group: GroupId, what: LeaderFault, draw: u64) -> Vec<Fault> {
        let given_up = Instant::now() + PATIENCE;
        while !self.is_calm() && Instant::now() < given_up {
            if let Some(leader) = self.leader(group) {
                let members = leader.status().membership.nodes();
                let others: Vec<NodeId> = members.into_iter().filter(|member| *member != leader.node()).collect();
                self.trace.line(format!("it is {}", leader.node()));
                return what.faults(leader.node(), &others, draw);
            }
            sleep(PAUSE).await;
        }
        Vec::new()
    }
}
