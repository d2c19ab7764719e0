//! What is committed is on the disks of a quorum, and stays on each that holds it; and, in `shadow`, disks hold what they
//! said they would.

use super::Property;
use crate::life::Life;
use crate::sim::shadow::Shadow;
use crate::sim::watch::Event;
use raftyard_groups::{GroupId, LogId, LogIndex, Membership, NodeId, RoleKind, Term};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Durability {
    /// How far leaders of each life said that it is committed, and in which terms: the first one up to there.
    said: BTreeMap<(GroupId, u64), Vec<(LogIndex, Term)>>,
    /// What is committed, because some replica applied it.
    committed: BTreeMap<(GroupId, u64, LogIndex), Term>,
}

impl Property for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn check(&mut self, node: NodeId, event: &Event<'_>, disks: &Shadow) -> Result<(), String> {
        let (life, group) = match event {
            Event::Stands(life, group) => (life, group),
            Event::Applies { life, id, .. } => {
                self.committed
                    .insert((life.group, life.incarnation.0, id.index), id.term);
                return Ok(());
            }
            Event::Writes(persist) => return self.stays(node, persist.group, disks),
            _ => return Ok(()),
        };
        if group.role() != RoleKind::Leader {
            return Ok(());
        }
        let said = self.said.entry((life.group, life.incarnation.0)).or_default();
        let is_new = said.last().is_none_or(|(commit, _)| group.commit() > *commit);
        let Some(term) = group.term_at(group.commit()).filter(|_| is_new) else {
            return Ok(());
        };
        said.push((group.commit(), group.term()));
        let id = LogId {
            term,
            index: group.commit(),
        };
        // It counts by the newest configuration that it holds; within a turn that may have come after the commit.
        let is_held = [group.membership(), group.committed_membership()]
            .into_iter()
            .any(|membership| is_on_quorum(*life, membership, id, disks));
        if is_held {
            return Ok(());
        }
        let (group, members) = (group.id(), group.membership());
        Err(format!(
            "{node} commits {id} of {group}, which is not on the disks of a quorum of {members}"
        ))
    }
}

impl Durability {
    /// The term in which an entry was committed, at the latest.
    fn committed_in(&self, group: GroupId, incarnation: u64, index: LogIndex) -> Option<Term> {
        let said = self.said.get(&(group, incarnation))?;
        let first = said.partition_point(|(commit, _)| *commit < index);
        said.get(first).map(|(_, term)| *term)
    }

    /// Whether all is still there after a write that is committed. Where nobody knows of the term in which it was, an
    /// earlier leader, who does not know of it either, may have it replaced: it is on the disks of a quorum without that one.
    fn stays(&self, node: NodeId, group: GroupId, disks: &Shadow) -> Result<(), String> {
        let Some(replica) = disks.replica(node, group) else {
            return Ok(());
        };
        let is_committed = |id: &&LogId| {
            let key = (group, replica.incarnation.0, id.index);
            let since = self.committed_in(group, replica.incarnation.0, id.index);
            self.committed.get(&key) == Some(&id.term) && since.is_some_and(|term| term <= replica.hard_state.term)
        };
        match replica.dropped().iter().find(is_committed) {
            Some(id) => Err(format!(
                "{node} drops {id} of {group} from its disk, which is committed"
            )),
            None => Ok(()),
        }
    }
}

fn is_on_quorum(life: Life, membership: &Membership, id: LogId, disks: &Shadow) -> bool {
    let holds = |node: &NodeId| disks.holds(*node, life, id);
    let is_majority =
        |voters: Vec<NodeId>| voters.is_empty() || voters.iter().filter(|node| holds(node)).count() * 2 > voters.len();
    is_majority(membership.voters().collect()) && is_majority(membership.outgoing().collect())
}
