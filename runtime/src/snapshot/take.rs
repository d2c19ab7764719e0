//! Writing snapshots.

use super::actor::SnapshotActor;
use super::format::{Seal, Stamp, Writer};
use super::name::{Name, SnapshotId};
use super::{Encode, SnapshotEvent};
use crate::life::Life;
use raftyard_groups::{LogId, Membership};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

impl SnapshotActor {
    pub(super) fn take(&mut self, life: Life, last: LogId, membership: Arc<Membership>, encode: Encode) {
        let group = life.group;
        let Some(record) = self.record_of(life) else {
            return;
        };
        let id = SnapshotId::of(record, last);
        let stamp = Stamp {
            membership,
            is_witness: record.is_witness,
        };
        let written = self.write(&stamp, id, |writer| run(encode, writer));
        if let Err(error) = &written {
            tracing::error!(group = group.0, last = %last, %error, "snapshot failed");
            self.remove(Name::Taking(id));
        }
        let is_durable = written.is_ok();
        if let Ok(seal) = written {
            tracing::debug!(group = group.0, last = %last, bytes = seal.size, "snapshot taken");
            self.ready.insert(id, seal);
            self.counters.snapshots_taken.add(1);
        }
        self.tell(life, SnapshotEvent::Taken { last, is_durable });
    }

    /// Writes a snapshot, with the state that `fill` writes, makes it durable, and gives it its name.
    pub(super) fn write(
        &mut self,
        stamp: &Stamp,
        id: SnapshotId,
        fill: impl FnOnce(&mut Writer<'_>) -> io::Result<()>,
    ) -> io::Result<Seal> {
        let taking = Name::Taking(id);
        let name = taking.text();
        let mut writer = Writer::start(&mut *self.store, &name, id, stamp)?;
        fill(&mut writer)?;
        let seal = writer.finish()?;
        self.publish(taking)?;
        Ok(seal)
    }
}

/// Serialises a state machine's view.
pub(super) fn run(encode: Encode, writer: &mut Writer<'_>) -> io::Result<()> {
    match catch_unwind(AssertUnwindSafe(|| encode(writer))) {
        Ok(encoded) => encoded.map_err(io::Error::other),
        Err(_) => Err(io::Error::other("serialising the state panicked")),
    }
}
