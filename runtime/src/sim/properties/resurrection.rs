//! What was destroyed stays so: no replica of a life that is over writes, applies or leads again.

use super::Property;
use crate::life::Life;
use crate::sim::shadow::Shadow;
use crate::sim::watch::Event;
use raftyard_groups::{GroupId, Incarnation, NodeId, RoleKind};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct NoResurrection {
    /// Lives that a node destroyed, and did not note anew since.
    destroyed: BTreeSet<(NodeId, GroupId, u64)>,
    /// The newest life of each group that is over on all nodes.
    over: BTreeMap<GroupId, Incarnation>,
}

impl Property for NoResurrection {
    fn name(&self) -> &'static str {
        "no resurrection"
    }

    fn check(&mut self, node: NodeId, event: &Event<'_>, disks: &Shadow) -> Result<(), String> {
        let (life, does) = match event {
            Event::Destroys(life) => {
                self.destroyed.insert((node, life.group, life.incarnation.0));
                return Ok(());
            }
            Event::Over(life) => {
                let over = self.over.entry(life.group).or_default();
                *over = life.incarnation.max(*over);
                return Ok(());
            }
            Event::Creates(record) => {
                let life = Life::from(*record);
                self.destroyed.remove(&(node, life.group, life.incarnation.0));
                (life, "is created")
            }
            Event::Applies { life, .. } => (*life, "applies"),
            Event::Writes(persist) => match disks.replica(node, persist.group) {
                Some(replica) => (
                    Life {
                        group: persist.group,
                        incarnation: replica.incarnation,
                    },
                    "writes",
                ),
                None => {
                    return Err(format!(
                        "{node} writes to {}, which its disk does not hold",
                        persist.group
                    ));
                }
            },
            Event::Stands(life, _) => (*life, "goes on"),
            Event::Opens(contents) => {
                // What lost that it was destroyed may stand there until an operator sees to it.
                for found in contents
                    .groups
                    .iter()
                    .filter(|found| disks.is_amiss(node, found.record.group))
                {
                    let life = Life::from(&found.record);
                    self.destroyed.remove(&(node, life.group, life.incarnation.0));
                }
                return Ok(());
            }
            Event::Forgets(_) | Event::Rots { .. } => return Ok(()),
        };
        let (group, incarnation) = (life.group, life.incarnation);
        if self.destroyed.contains(&(node, group, incarnation.0)) {
            return Err(format!("{group} {incarnation} {does} on {node}, which destroyed it"));
        }
        let is_idle = match event {
            Event::Stands(_, group) => group.role() != RoleKind::Leader,
            Event::Writes(persist) => persist.entries.is_empty(),
            _ => false,
        };
        if is_idle && disks.is_amiss(node, group) {
            return Ok(());
        }
        if self.over.get(&group).is_some_and(|over| incarnation <= *over) {
            return Err(format!(
                "{group} {incarnation} {does} on {node}, after it was destroyed everywhere"
            ));
        }
        Ok(())
    }
}
