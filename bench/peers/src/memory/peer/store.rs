//! Log and state machine in memory, as in openraft's own benchmark, but with a state: a map.

use super::Types;
use crate::clients::Map;
use futures::{Stream, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::type_config::alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader, RaftSnapshotBuilder};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

#[derive(Default)]
struct LogInner {
    vote: Option<VoteOf<Types>>,
    entries: BTreeMap<u64, EntryOf<Types>>,
    purged: Option<LogIdOf<Types>>,
}

#[derive(Clone, Default)]
pub(super) struct LogStore(Arc<Mutex<LogInner>>);

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        Ok(self
            .0
            .lock()
            .entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(self.0.lock().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let log = self.0.lock();
        let last = log.entries.last_key_value().map(|(_, entry)| entry.log_id());
        Ok(LogState {
            last_purged_log_id: log.purged,
            last_log_id: last.or(log.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        self.0.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(|entry| (entry.index(), entry));
        self.0.lock().entries.extend(entries);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        let first = last.map_or(0, |last| last.index() + 1);
        self.0.lock().entries.split_off(&first);
        Ok(())
    }

    async fn purge(&mut self, last: LogIdOf<Types>) -> Result<(), io::Error> {
        let mut log = self.0.lock();
        log.purged = Some(last);
        log.entries = log.entries.split_off(&(last.index() + 1));
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Applied {
    map: Map,
    last: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
}

impl Applied {
    fn snapshot(&self) -> SnapshotOf<Types, Map> {
        SnapshotOf::<Types, Map> {
            meta: SnapshotMetaOf::<Types> {
                last_log_id: self.last,
                last_membership: self.membership.clone(),
            },
            snapshot: self.map.clone(),
        }
    }
}

#[derive(Default)]
struct MachineInner {
    applied: Applied,
    snapshot: Option<SnapshotOf<Types, Map>>,
}

#[derive(Clone, Default)]
pub(super) struct Machine(Arc<Mutex<MachineInner>>);

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Map;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, Map>, io::Error> {
        let mut machine = self.0.lock();
        let snapshot = machine.applied.snapshot();
        machine.snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Map;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        let machine = self.0.lock();
        Ok((machine.applied.last, machine.applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            {
                let applied = &mut self.0.lock().applied;
                applied.last = Some(entry.log_id);
                match entry.payload {
                    EntryPayload::Blank => {}
                    EntryPayload::Normal(put) => {
                        applied.map.insert(put.key, put.value);
                    }
                    EntryPayload::Membership(membership) => {
                        applied.membership = StoredMembershipOf::<Types>::new(Some(entry.log_id), membership);
                    }
                }
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, snapshot: Map) -> Result<(), io::Error> {
        let mut machine = self.0.lock();
        machine.applied = Applied {
            map: snapshot,
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
        };
        machine.snapshot = Some(machine.applied.snapshot());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, Map>>, io::Error> {
        Ok(self.0.lock().snapshot.clone())
    }
}
