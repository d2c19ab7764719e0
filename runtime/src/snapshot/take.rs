//! Writing snapshots.

use super::actor::SnapshotActor;
use super::format::{Seal, Stamp, Writer};
use super::name::{Name, SnapshotId};
use super::{Encode, SnapshotEvent, SyncDisk};
use crate::life::Life;
use raftyard_groups::{LogId, Membership};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

impl SnapshotActor {
    pub(super) fn take(&mut self, life: Life, last: LogId, membership: Arc<Membership>, encode: Encode) {
        let Some(hosted) = self.hosted(life) else {
            return;
        };
        let id = SnapshotId::of(life, last);
        let stamp = Stamp {
            membership,
            is_witness: hosted.is_witness,
        };
        let size = self.write_view(&stamp, id, encode).map(|seal| seal.size);
        self.tell(life, SnapshotEvent::Taken { last, size });
    }

    /// Writes a view of a state machine as a snapshot, durably, so that it is ready.
    pub(super) fn write_view(&mut self, stamp: &Stamp, id: SnapshotId, encode: Encode) -> Option<Seal> {
        let (group, last) = (id.group.0, id.last);
        match self.write(stamp, id, |writer| run(encode, writer)) {
            Ok(seal) => {
                tracing::debug!(group, last = %last, bytes = seal.size, "snapshot taken");
                self.ready.insert(id, seal.clone());
                self.counters.snapshots_taken.add(1);
                Some(seal)
            }
            Err(error) => {
                tracing::error!(group, last = %last, %error, "snapshot failed");
                None
            }
        }
    }

    /// Has a state machine on disk make durable what it applied.
    pub(super) fn sync(&mut self, life: Life, last: LogId, sync: SyncDisk) {
        let result = match catch_unwind(AssertUnwindSafe(sync)) {
            Ok(synced) => synced.map_err(|error| error.to_string()),
            Err(_) => Err("it panicked".to_owned()),
        };
        if result.is_ok() {
            self.counters.states_synced.add(1);
        }
        self.tell(life, SnapshotEvent::Synced { last, result });
    }

    /// Writes a snapshot, with the state that `fill` writes, makes it durable, and gives it its name. If it can't, what
    /// it wrote is removed: where there is no room, nothing keeps any for it.
    pub(super) fn write(
        &mut self,
        stamp: &Stamp,
        id: SnapshotId,
        fill: impl FnOnce(&mut Writer<'_>) -> io::Result<()>,
    ) -> io::Result<Seal> {
        let written = self.write_and_publish(stamp, id, fill);
        if written.is_err() {
            self.remove(Name::Taking(id));
        }
        written
    }

    fn write_and_publish(
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
        Ok(encoded) => encoded,
        Err(_) => Err(io::Error::other("serialising the state panicked")),
    }
}
