//! A minority is missing: who has a majority without it gets on.

use super::World;
use crate::sim::scenario::{Absence, Missing};
use crate::sim::workload::Workload;
use raftyard_groups::{GroupId, Membership, NodeId};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long clients ask nothing, at most, and how long before somebody is missing.
const QUIET: Duration = Duration::from_secs(60);
const FALLING_ASLEEP: Duration = Duration::from_secs(2);

impl<W: Workload> World<W> {
    /// Lets every group get on that has a majority without these nodes, which come back afterwards.
    pub(super) async fn get_on_without(&self, absence: &Absence) {
        self.trace.line(format!("all but for {absence}"));
        let groups: Vec<GroupId> = self.groups.borrow().keys().copied().collect();
        if absence.quiet {
            let until = Instant::now() + QUIET;
            groups.iter().for_each(|group| self.rest(*group, until));
            sleep(FALLING_ASLEEP).await;
        }
        // By what those say, too, who are about to leave: they may be all that know of the newest membership.
        let with_majority: Vec<GroupId> = groups
            .iter()
            .copied()
            .filter(|group| self.has_majority_without(*group, &absence.nodes))
            .collect();
        self.leave(absence);
        let count = with_majority.len();
        let gets_on = async |group| self.written(group, 1).await;
        self.all_within_bound(&with_majority, gets_on, &format!("with {absence}"))
            .await;
        groups.iter().for_each(|group| self.rest(*group, Instant::now()));
        self.absent.take();
        self.network.heal();
        self.trace
            .line(format!("{count} groups got on without those who are back now"));
    }

    fn leave(&self, Absence { nodes, how, .. }: &Absence) {
        if *how == Missing::Down {
            self.absent.replace(nodes.clone());
            for node in nodes {
                self.end(*node, true);
            }
            return;
        }
        let others = self.ids().into_iter().filter(|other| !nodes.contains(other));
        for other in others {
            for node in nodes {
                if *how != Missing::Deaf {
                    self.network.cut(*node, other);
                }
                if *how != Missing::Mute {
                    self.network.cut(other, *node);
                }
            }
        }
    }

    /// Whether enough members of a group are left, by whatever membership a replica may hold. Not if an operator is
    /// about to change that: it may wait for who is missing.
    fn has_majority_without(&self, group: GroupId, missing: &[NodeId]) -> bool {
        if self.groups.borrow().get(&group).is_none_or(|group| group.is_busy) {
            return false;
        }
        let is_left = |membership: &Membership| {
            has_majority_without(membership.voters(), missing)
                && (!membership.is_joint() || has_majority_without(membership.outgoing(), missing))
        };
        let replicas = self.replicas(group);
        !replicas.is_empty() && replicas.iter().all(|replica| is_left(&replica.status().membership))
    }
}

fn has_majority_without(voters: impl Iterator<Item = NodeId>, missing: &[NodeId]) -> bool {
    let (mut all, mut left) = (0, 0);
    for voter in voters {
        all += 1;
        left += usize::from(!missing.contains(&voter));
    }
    left * 2 > all
}
