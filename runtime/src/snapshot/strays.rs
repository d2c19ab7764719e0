//! What was left behind when a node stopped halfway.

use super::name::Name;
use crate::store::{SnapshotStore, StoreContents};
use raftyard_groups::{GroupId, Incarnation};
use std::collections::BTreeMap;

/// Removes the snapshots of lives that are over, or never began: their group is there in another one, or was
/// destroyed. Returns the names that are left. Those of groups that the log store knows nothing of stay.
pub(crate) fn remove_strays(
    store: &mut dyn SnapshotStore,
    mut names: Vec<String>,
    contents: &StoreContents,
) -> Vec<String> {
    let groups = contents.groups.iter().map(|found| {
        let record = &found.record;
        (record.group, Some(record.incarnation))
    });
    let destroyed = contents.tombstones.iter().map(|tombstone| (tombstone.group, None));
    let lives: BTreeMap<GroupId, Option<Incarnation>> = groups.chain(destroyed).collect();
    names.retain(|text| {
        let life = Name::parse(text).map(|name| name.id().life());
        let is_stray = life.is_some_and(|life| {
            let there = lives.get(&life.group);
            there.is_some_and(|there| *there != Some(life.incarnation))
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
