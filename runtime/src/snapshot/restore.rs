//! Reading snapshots back.

use super::actor::{Opened, Restored, SnapshotActor};
use super::format;
use super::name::{Name, SnapshotId};
use super::{Decode, SnapshotError, SnapshotEvent};
use crate::life::Life;
use crate::store::GroupRecord;
use raftyard_groups::{LogId, Recovered};
use std::any::Any;
use std::panic::catch_unwind;

impl SnapshotActor {
    /// Finds the newest intact snapshot whose last entry the log holds.
    pub(super) fn start(
        &mut self,
        record: &GroupRecord,
        recovered: &Recovered,
        decode: Decode,
    ) -> Result<Opened, SnapshotError> {
        let group = record.group;
        for name in self.names(group) {
            if matches!(name, Name::Taking(_)) {
                self.remove(name);
            }
        }
        let opened = self.newest(record, recovered, decode)?;
        self.groups.insert(group, record.clone());
        Ok(opened)
    }

    /// The newest intact snapshot whose last entry the log holds; none if there is none, and the log is whole.
    pub(super) fn newest(
        &mut self,
        record: &GroupRecord,
        recovered: &Recovered,
        decode: Decode,
    ) -> Result<Opened, SnapshotError> {
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
            match self.read_back(record, id, decode) {
                Ok(state) => {
                    opened = Some((id.last, state));
                    break;
                }
                Err(error) => {
                    tracing::error!(group = group.0, %error, "snapshot can't be used");
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

    fn read_back(
        &mut self,
        record: &GroupRecord,
        id: SnapshotId,
        decode: Decode,
    ) -> Result<Box<dyn Any + Send>, SnapshotError> {
        let name = Name::Complete(id).text();
        let (seal, state) = format::read(&*self.store, &name, id, record.is_witness)?;
        let damaged = |what: String| SnapshotError::Damaged { name, what };
        let decoded = match catch_unwind(|| decode(&state)) {
            Ok(Ok(decoded)) => decoded,
            Ok(Err(error)) => return Err(damaged(format!("its state can't be decoded: {error}"))),
            Err(_) => return Err(damaged("decoding its state panicked".to_owned())),
        };
        self.ready.insert(id, seal);
        Ok(decoded)
    }

    pub(super) fn restore(&mut self, life: Life, last: LogId, decode: Decode) {
        let Some(record) = self.record_of(life).cloned() else {
            return;
        };
        let state = self.read_back(&record, SnapshotId::of(&record, last), decode);
        let state = state.map_err(|error| error.to_string());
        if state.is_ok() {
            self.counters.snapshots_installed.add(1);
        }
        self.tell(life, SnapshotEvent::Restored(Restored { last, state }));
    }
}
