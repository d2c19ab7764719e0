//! At most one leader per life and term (paper §5.2), for whom a quorum voted, on its disks; terms and votes never go back,
//! whatever crashes.

use super::Property;
use crate::life::Life;
use crate::sim::shadow::Shadow;
use crate::sim::watch::Event;
use raftyard_groups::{Group, GroupId, HardState, Membership, NodeId, RoleKind, Term};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

#[derive(Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<(GroupId, u64, Term), NodeId>,
    /// By voter.
    votes: BTreeMap<(GroupId, u64, NodeId), (Term, Option<NodeId>)>,
}

impl Property for ElectionSafety {
    fn name(&self) -> &'static str {
        "election safety"
    }

    fn check(&mut self, node: NodeId, event: &Event<'_>, disks: &Shadow) -> Result<(), String> {
        match event {
            Event::Stands(life, group) if group.role() == RoleKind::Leader => {
                let (id, term) = (group.id(), group.term());
                match self.leaders.entry((id, life.incarnation.0, term)) {
                    Entry::Vacant(vacant) => {
                        vacant.insert(node);
                        if !is_voted_for(*life, group, disks) {
                            return Err(format!(
                                "{node} leads {id} in {term}, and its disk or those of a quorum don't say that they voted for it"
                            ));
                        }
                    }
                    Entry::Occupied(leader) if *leader.get() != node => {
                        return Err(format!("{} and {node} both lead {id} in {term}", leader.get()));
                    }
                    Entry::Occupied(_) => {}
                }
            }
            Event::Writes(persist) => {
                let Some((hard_state, replica)) = persist.hard_state.zip(disks.replica(node, persist.group)) else {
                    return Ok(());
                };
                let (id, term, vote) = (persist.group, hard_state.term, hard_state.vote);
                let key = (id, replica.incarnation.0, node);
                if let Some((before, voted)) = self.votes.insert(key, (term, vote)) {
                    if term < before {
                        return Err(format!("{node} goes back from {before} to {term} in {id}"));
                    }
                    if term == before && voted.is_some() && vote != voted {
                        return Err(format!("{node} votes for {voted:?} and {vote:?} in {id} in {term}"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether the votes are durable that made it a leader. What a replica that was destroyed voted is remembered, and not looked
/// at here; nor what one voted that is in a later term.
fn is_voted_for(life: Life, group: &Group, disks: &Shadow) -> bool {
    let (leader, term) = (group.node(), group.term());
    let vote = HardState {
        term,
        vote: Some(leader),
    };
    let voted = |node: NodeId| {
        let replica = disks.replica(node, life.group);
        let replica = replica.filter(|replica| replica.incarnation == life.incarnation);
        let says_so = replica.is_some_and(|replica| replica.hard_state == vote || replica.hard_state.term > term);
        says_so || disks.had(node, life)
    };
    let is_majority = |voters: Vec<NodeId>| {
        voters.is_empty() || voters.iter().filter(|node| voted(**node)).count() * 2 > voters.len()
    };
    let is_by = |membership: &Membership| {
        is_majority(membership.voters().collect()) && is_majority(membership.outgoing().collect())
    };
    let is_own = disks
        .replica(leader, life.group)
        .is_some_and(|replica| replica.hard_state == vote);
    is_own && (is_by(group.membership()) || is_by(group.committed_membership()))
}
