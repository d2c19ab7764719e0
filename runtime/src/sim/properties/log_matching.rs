//! Two logs that hold an entry of the same index and term hold the same up to there (paper §5.3).

use super::{Property, fingerprint};
use crate::sim::shadow::Shadow;
use crate::sim::watch::Event;
use crate::store::StoreContents;
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
        let persist = match event {
            Event::Writes(persist) => persist,
            Event::Opens(contents) => return self.check_opened(node, contents, disks),
            _ => return Ok(()),
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

impl LogMatching {
    /// What is left of a log is as it was written.
    fn check_opened(&self, node: NodeId, contents: &StoreContents, disks: &Shadow) -> Result<(), String> {
        for found in &contents.groups {
            let (group, incarnation) = (found.record.group, found.record.incarnation.0);
            let Some(replica) = disks.replica(node, group) else {
                continue;
            };
            // Not from where the log begins: a disk that rotted may have lost no more than that it was compacted.
            let mut index = replica.base().index.next();
            while let Some(term) = replica.term_at(index) {
                let (id, before) = (LogId { term, index }, replica.term_at(index.prev()));
                let written = self.0.get(&(group, incarnation, id));
                if written.is_some_and(|written| written.1 != before) {
                    return Err(format!(
                        "{node} was opened with {id} of {group}, which follows another one elsewhere"
                    ));
                }
                index = index.next();
            }
        }
        Ok(())
    }
}
