//! Two logs that hold an entry of the same index and term hold the same up to there (paper §5.3).

use super::{Property, fingerprint};
use crate::sim::shadow::Shadow;
use crate::sim::watch::Event;
use raftyard_groups::{GroupId, LogId, NodeId, Term};
use std::collections::BTreeMap;

/// For every entry that was ever on a disk, what it carries and the term of the one before.
#[derive(Default)]
pub(super) struct LogMatching(BTreeMap<(GroupId, u64, LogId), (u64, Option<Term>)>);

impl Property for LogMatching {
    fn name(&self) -> &'static str {
        "log matching"
    }

    fn check(&mut self, node: NodeId, event: &Event<'_>, disks: &Shadow) -> Result<(), String> {
        let Event::Writes(persist) = event else {
            return Ok(());
        };
        let id = persist.group;
        let Some(replica) = disks.replica(node, id) else {
            return Ok(());
        };
        for entry in &persist.entries {
            let (carries, before) = (fingerprint(&entry.payload), replica.term_at(entry.index.prev()));
            let known = self.0.entry((id, replica.incarnation.0, entry.id()));
            let known = known.or_insert((carries, before));
            if *known != (carries, before) {
                return Err(format!(
                    "{node} writes {} of {id}, which carries something else, or follows another one, elsewhere",
                    entry.id()
                ));
            }
        }
        Ok(())
    }
}
