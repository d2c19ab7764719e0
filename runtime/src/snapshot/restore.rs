//! Reading snapshots back.

use super::actor::{Hosted, Newest, Opened, Restored, SnapshotActor};
use super::format::Reader;
use super::name::{Name, SnapshotId};
use super::{Decode, SnapshotError, SnapshotEvent};
use crate::life::Life;
use crate::store::GroupRecord;
use raftyard_groups::{LogId, Recovered};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl SnapshotActor {
    /// Finds the newest intact snapshot whose last entry the log holds. A state that is on disk, up to `applied`,
    /// needs none if the log holds where it goes on. One that it may have been restored from stays until it is
    /// synced, since nobody knows whether it was; all others are removed.
    pub(super) fn start(
        &mut self,
        record: &GroupRecord,
        recovered: &Recovered,
        applied: Option<LogId>,
        decode: &Decode,
    ) -> Result<Opened, SnapshotError> {
        let group = record.group;
        // Its log may begin anew.
        self.useless_before.remove(&group);
        for name in self.names(group) {
            if matches!(name, Name::Taking(_)) {
                self.remove(name);
            }
        }
        let goes_on = applied.is_some_and(|applied| recovered.holds(applied));
        let newest = if goes_on {
            None
        } else {
            self.newest(record, recovered, decode)?
        };
        let mut is_backed = false;
        if applied.is_some() {
            let restored = newest.as_ref().map(|(last, _)| *last);
            // Where the log was replaced by one that was installed.
            let installed = Some(recovered.base).filter(|base| goes_on && *base != LogId::ZERO);
            let kept = restored
                .or(installed)
                .map(|last| SnapshotId::of(Life::from(record), last));
            for name in self.names(group) {
                match name {
                    Name::Complete(id) if Some(id) == kept => is_backed = goes_on,
                    Name::Complete(id) if id.incarnation == record.incarnation => {
                        self.ready.remove(&id);
                        self.remove(name);
                    }
                    _ => {}
                }
            }
        }
        self.groups.insert(group, Hosted::of(record));
        Ok(Opened { newest, is_backed })
    }

    /// The newest intact snapshot whose last entry the log holds; none if there is none, and the log is whole. One that
    /// may be intact and can't be used now is an error: neither does an older one count in its place, nor is anything to
    /// be given up for it.
    pub(super) fn newest(
        &mut self,
        record: &GroupRecord,
        recovered: &Recovered,
        decode: &Decode,
    ) -> Result<Newest, SnapshotError> {
        let group = record.group;
        let complete = self.names(group).into_iter().filter_map(|name| match name {
            Name::Complete(id) => Some(id),
            _ => None,
        });
        let mut usable: Vec<SnapshotId> = complete
            .filter(|id| id.incarnation == record.incarnation && recovered.holds(id.last))
            .collect();
        usable.sort_unstable_by_key(|id| std::cmp::Reverse(id.last.index));
        let (mut damaged, mut opened) = (Vec::new(), None);
        for id in usable {
            match self.read_back(record.is_witness, id, decode) {
                Ok(state) => {
                    opened = Some((id.last, state));
                    break;
                }
                Err(error) => {
                    tracing::error!(group = group.0, %error, "snapshot can't be used");
                    let SnapshotError::Damaged { .. } = error else {
                        return Err(error);
                    };
                    damaged.push(error.to_string());
                }
            }
        }
        if opened.is_none() && recovered.base != LogId::ZERO {
            let base = recovered.base;
            return Err(SnapshotError::Missing { group, base, damaged });
        }
        Ok(opened)
    }

    pub(super) fn read_back(
        &mut self,
        is_witness: bool,
        id: SnapshotId,
        decode: &Decode,
    ) -> Result<Box<dyn Any + Send>, SnapshotError> {
        let name = Name::Complete(id).text();
        let mut reader = Reader::open(&*self.store, &name, id, is_witness)?;
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(&mut reader)));
        // First: what was made of a damaged file does not matter.
        let seal = reader.finish()?;
        let undecodable = |what: String| SnapshotError::Undecodable { name, what };
        let decoded = match decoded {
            Ok(Ok(decoded)) => decoded,
            Ok(Err(error)) => return Err(undecodable(format!("its state can't be restored: {error}"))),
            Err(_) => return Err(undecodable("restoring its state panicked".to_owned())),
        };
        self.ready.insert(id, seal);
        Ok(decoded)
    }

    pub(super) fn restore(&mut self, life: Life, last: LogId, decode: &Decode) {
        let Some(hosted) = self.hosted(life) else {
            return;
        };
        let state = self.read_back(hosted.is_witness, SnapshotId::of(life, last), decode);
        if state.is_ok() {
            self.counters.snapshots_installed.add(1);
        }
        self.tell(life, SnapshotEvent::Restored(Restored { last, state }));
    }
}
