//! All that lies in a store, and whether it is what was written.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use fjall::Keyspace;
use raftyard::GroupId;

use super::digest::{Digest, hash};
use super::rows::{self, Head, Kind};
use super::store::other;

#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) heads: BTreeMap<GroupId, Head>,
    records: BTreeMap<GroupId, Digest>,
    /// By generation.
    keys: BTreeMap<u64, Keys>,
}

/// What there is of a generation.
#[derive(Debug, Default, Clone, Copy)]
struct Keys {
    /// Without their deadlines.
    count: u64,
    digest: Digest,
}

impl Contents {
    /// Reads every row once.
    ///
    /// # Errors
    ///
    /// The disk's; a table is damaged; a row can't be read.
    pub(super) fn read(rows: &Keyspace) -> io::Result<Self> {
        let mut contents = Self::default();
        // Of the generation that the row before belonged to.
        let mut last: Option<(u64, Keys)> = None;
        for row in rows.iter() {
            let (name, row) = row.into_inner().map_err(other)?;
            let number = rows::number(&name)?;
            let hash = hash(&name, &row);
            let kind = Kind::of(&name)?;
            match kind {
                Kind::Head => {
                    contents.heads.insert(GroupId(number), Head::decode(&row)?);
                }
                Kind::Record => contents.records.entry(GroupId(number)).or_default().add(hash),
                Kind::Cell | Kind::Deadline => {
                    let (_, keys) = match &mut last {
                        Some(last) if last.0 == number => last,
                        last => {
                            contents.keys.extend(last.take());
                            last.insert((number, contents.keys.get(&number).copied().unwrap_or_default()))
                        }
                    };
                    keys.count += u64::from(kind == Kind::Cell);
                    keys.digest.add(hash);
                }
            }
        }
        contents.keys.extend(last);
        Ok(contents)
    }

    /// Groups that are not as they were after any of their batches, and what is wrong.
    pub(super) fn damaged(&self) -> BTreeMap<GroupId, String> {
        let groups: BTreeSet<_> = self.heads.keys().chain(self.records.keys()).copied().collect();
        let damaged = groups
            .into_iter()
            .filter_map(|group| Some((group, self.problem(group)?)));
        damaged.collect()
    }

    fn problem(&self, group: GroupId) -> Option<String> {
        let Some(head) = self.heads.get(&group) else {
            return Some("its head is gone".to_owned());
        };
        let keys = self.keys.get(&head.generation).copied().unwrap_or_default();
        let records = self.records.get(&group).copied().unwrap_or_default();
        if keys.digest != head.keys {
            let (found, count) = (keys.count, head.count);
            return Some(format!(
                "it has {found} keys, and they are not the {count} that it committed"
            ));
        }
        (records != head.records).then(|| "its records are not those that it committed".to_owned())
    }

    /// The generations that have any rows.
    pub(super) fn generations(&self) -> impl Iterator<Item = u64> {
        self.keys.keys().copied()
    }

    /// Those of them that belong to no group.
    pub(super) fn unknown(&self) -> impl Iterator<Item = u64> {
        let known: BTreeSet<u64> = self.heads.values().map(|head| head.generation).collect();
        self.generations().filter(move |generation| !known.contains(generation))
    }

    /// The latest generation; 0 if there is none.
    pub(super) fn newest(&self) -> u64 {
        let known = self.heads.values().map(|head| head.generation);
        known.chain(self.keys.keys().copied()).max().unwrap_or_default()
    }
}
