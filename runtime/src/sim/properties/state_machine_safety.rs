//! All replicas apply the same entry at the same index, each in order (paper §5.4.3).

use super::{Property, fingerprint};
use crate::sim::shadow::Shadow;
use crate::sim::watch::Event;
use raftyard_groups::{GroupId, LogIndex, NodeId, Term};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct StateMachineSafety {
    applied: BTreeMap<(GroupId, u64, LogIndex), (Term, u64)>,
    /// What each replica applied last.
    last: BTreeMap<(NodeId, GroupId), LogIndex>,
}

impl Property for StateMachineSafety {
    fn name(&self) -> &'static str {
        "state machine safety"
    }

    fn check(&mut self, node: NodeId, event: &Event<'_>, _: &Shadow) -> Result<(), String> {
        match event {
            Event::Applies { life, id, payload } => {
                let group = life.group;
                let mine = (id.term, fingerprint(payload));
                let applied = self
                    .applied
                    .entry((group, life.incarnation.0, id.index))
                    .or_insert(mine);
                if *applied != mine {
                    return Err(format!(
                        "{node} applies {id} of {group}, another replica one of {} there",
                        applied.0
                    ));
                }
                let last = self.last.insert((node, group), id.index);
                if last.is_some_and(|last| id.index <= last) {
                    return Err(format!("{node} applies {id} of {group} again"));
                }
            }
            // It begins again, with what its snapshots hold.
            Event::Opens(_) => self.last.retain(|(of, _), _| *of != node),
            Event::Creates(record) => drop(self.last.remove(&(node, record.group))),
            _ => {}
        }
        Ok(())
    }
}
