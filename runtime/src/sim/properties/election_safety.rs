//! At most one leader per life and term (paper §5.2); terms and votes never go back, whatever crashes.

use super::Property;
use crate::sim::shadow::Shadow;
use crate::sim::watch::Event;
use raftyard_groups::{GroupId, NodeId, RoleKind, Term};
use std::collections::BTreeMap;

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
                let leader = self.leaders.entry((id, life.incarnation.0, term)).or_insert(node);
                if *leader != node {
                    return Err(format!("{leader} and {node} both lead {id} in {term}"));
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
