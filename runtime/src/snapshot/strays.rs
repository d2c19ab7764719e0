//! What was left behind when a node stopped halfway.

use super::name::Name;
use crate::store::{SnapshotStore, StoreContents};
use raftyard_groups::{GroupId, Incarnation};
use std::collections::BTreeMap;

/// The last life of a group that the log store knows of.
struct Last {
    incarnation: Incarnation,
    /// It is not over.
    goes_on: bool,
    /// There was no later one here.
    is_certain: bool,
}

/// Removes the snapshots of lives that are over, or never began: their group is there in another one, or was
/// destroyed. Returns the names that are left. Those of groups that the log store knows nothing of stay. So do those of
/// later lives if the log is damaged, or the replica not repaired yet: it may have lost those.
pub(crate) fn remove_strays(
    store: &mut dyn SnapshotStore,
    mut names: Vec<String>,
    contents: &StoreContents,
) -> Vec<String> {
    let groups = contents.groups.iter().map(|found| {
        let record = &found.record;
        let last = Last {
            incarnation: record.incarnation,
            goes_on: true,
            is_certain: !found.state.must_catch_up() && found.damage.is_none(),
        };
        (record.group, last)
    });
    let destroyed = contents.tombstones.iter().map(|tombstone| {
        let last = Last {
            incarnation: tombstone.incarnation,
            goes_on: false,
            is_certain: !tombstone.is_uncertain,
        };
        (tombstone.group, last)
    });
    let lives: BTreeMap<GroupId, Last> = groups.chain(destroyed).collect();
    let is_damaged = !contents.findings.is_empty();
    names.retain(|text| {
        let life = Name::parse(text).map(|name| name.id().life());
        let is_stray = life.is_some_and(|life| match lives.get(&life.group) {
            None => false,
            Some(last) if life.incarnation > last.incarnation => last.is_certain && !is_damaged,
            Some(last) => life.incarnation != last.incarnation || !last.goes_on,
        });
        if !is_stray {
            return true;
        }
        match store.remove(text) {
            Ok(()) => false,
            Err(error) => {
                tracing::warn!(snapshot = text, %error, "snapshot can't be removed");
                true
            }
        }
    });
    names
}
