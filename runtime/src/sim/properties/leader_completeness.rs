//! Every leader holds what was committed in earlier terms (paper §5.4).

use super::Property;
use crate::sim::shadow::Shadow;
use crate::sim::watch::Event;
use raftyard_groups::{GroupId, LogId, NodeId, RoleKind, Term};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct LeaderCompleteness {
    /// The last entry of each life that was seen to be committed, and the term of who saw it.
    committed: BTreeMap<(GroupId, u64), (LogId, Term)>,
    /// Leaders that were looked at.
    seen: BTreeSet<(GroupId, u64, Term)>,
}

impl Property for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader completeness"
    }

    fn check(&mut self, node: NodeId, event: &Event<'_>, _: &Shadow) -> Result<(), String> {
        let Event::Stands(life, group) = event else {
            return Ok(());
        };
        let (id, incarnation, term) = (group.id(), life.incarnation.0, group.term());
        if group.role() == RoleKind::Leader
            && self.seen.insert((id, incarnation, term))
            && let Some((committed, in_term)) = self.committed.get(&(id, incarnation))
            && *in_term < term
        {
            let holds = committed.index < group.base().index || group.term_at(committed.index) == Some(committed.term);
            if !holds {
                return Err(format!(
                    "{node} leads {id} in {term} without {committed}, committed in {in_term}"
                ));
            }
        }
        if let Some(of) = group.term_at(group.commit()) {
            let commit = LogId {
                term: of,
                index: group.commit(),
            };
            let known = self.committed.entry((id, incarnation)).or_default();
            if known.0.index < commit.index {
                *known = (commit, term);
            }
        }
        Ok(())
    }
}
