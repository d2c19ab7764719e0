//! The storage actor: one per node, on a thread of its own.
//!
//! It takes what all groups queued while the last fsync ran, folds it into one batch, writes that with one
//! fsync, and only then lets go of the messages that waited for it and tells the groups.

use crate::budget::InboundPermit;
use crate::inbox::Inbox;
use crate::life::Life;
use crate::liveness::Board;
use crate::metrics::Counters;
use crate::registry::IdMap;
use crate::router::worker_of;
use crate::store::{GroupRecord, LogStore, RecoveredGroup, StoreError, Tombstone};
use crate::transport::TransportHandle;
use crate::turns::TakesTurns;
use crate::worker::{Loaded, Work};
use raftyard_groups::{GroupId, Incarnation, Load, LogId, Moment, Persist};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

mod fair;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;

use fair::Pending;

/// So long after a write found no room it is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(250);

/// What the storage can be given.
pub(crate) enum StorageWork {
    /// To be written, for a group in this incarnation.
    Persist(Incarnation, Persist),
    /// Asked at this moment whether it still gets anything done: noted on the board once all that was queued before
    /// is.
    Moves(Moment, Arc<Board>),
    /// Of messages that are taken care of once all that was queued before is durable.
    Release(Vec<InboundPermit>),
    /// To be read, for a group of that worker.
    Load { worker: usize, life: Life, load: Load },
    /// A new replica to be noted, and what is to be done then, here, whoever waits for it.
    Create(GroupRecord, Then),
    /// A new replica to be noted whose log begins after this entry.
    Import(GroupRecord, LogId, Reply<()>),
    /// A replica to be removed, but for its tombstone. It must not run any more.
    Destroy(GroupId, Reply<Tombstone>),
    /// What the disk holds of a group.
    Inspect(GroupId, Reply<RecoveredGroup>),
    /// A replica whose log is of no use any more. It must not run.
    Forget(GroupId, Reply<RecoveredGroup>),
    /// A replica that becomes another incarnation. It must not run any more.
    Rebuild(GroupRecord, Reply<()>),
}

/// Where the outcome is told.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What is told the outcome.
pub(crate) type Then = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(crate) struct StorageActor {
    store: Box<dyn LogStore>,
    inbox: Arc<Inbox<StorageWork>>,
    workers: Vec<Arc<Inbox<Work>>>,
    transport: TransportHandle,
    counters: Arc<Counters>,
    /// The groups that are there: what comes for another incarnation is dropped.
    lives: IdMap<GroupId, Incarnation>,
    taken: Vec<StorageWork>,
    /// What is yet to be written.
    pending: Pending,
    /// A batch that found no room. Until it does, nothing else is written for the groups that are there.
    unwritten: Option<Vec<Persist>>,
    /// The workers were told that there is no room.
    is_full: bool,
    /// What the actor around it has to be told, see [`TakesTurns::take_pause`].
    wants_pause: bool,
    failed: bool,
}

impl StorageActor {
    pub(crate) fn new(
        store: Box<dyn LogStore>,
        lives: IdMap<GroupId, Incarnation>,
        inbox: Arc<Inbox<StorageWork>>,
        workers: Vec<Arc<Inbox<Work>>>,
        transport: TransportHandle,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            store,
            lives,
            inbox,
            workers,
            transport,
            counters,
            taken: Vec::new(),
            pending: Pending::default(),
            unwritten: None,
            is_full: false,
            wants_pause: false,
            failed: false,
        }
    }

    fn is_there(&self, group: GroupId, incarnation: Incarnation) -> bool {
        self.lives.get(&group) == Some(&incarnation)
    }

    /// Notes new replicas, all with one fsync.
    fn create(&mut self, creates: Vec<(GroupRecord, Then)>) {
        self.together(creates, |store, records| {
            store.create(records).map(|()| vec![(); records.len()])
        })
        .into_iter()
        .for_each(|(record, then, outcome)| {
            if outcome.is_ok() {
                self.lives.insert(record.group, record.incarnation);
            }
            then(outcome);
        });
    }

    /// Removes replicas, all with one fsync.
    fn destroy(&mut self, destroys: Vec<(GroupId, Reply<Tombstone>)>) {
        if self.unwritten.is_some() {
            return destroys
                .into_iter()
                .for_each(|(_, reply)| drop(reply.send(Err(no_room()))));
        }
        self.together(destroys, |store, groups| store.destroy(groups))
            .into_iter()
            .for_each(|(group, reply, outcome)| {
                if outcome.is_ok() {
                    self.lives.remove(&group);
                }
                // Who gave up waiting has dropped the other end.
                reply.send(outcome).ok();
            });
    }

    /// Asks the store for several things at once, and for each alone if one of them makes no sense.
    fn together<A, R, T>(
        &mut self,
        asked: Vec<(A, R)>,
        ask: impl Fn(&mut dyn LogStore, &[A]) -> Result<Vec<T>, StoreError> + Copy,
    ) -> Vec<(A, R, Result<T, StoreError>)> {
        if asked.is_empty() {
            return Vec::new();
        }
        let (things, replies): (Vec<A>, Vec<R>) = asked.into_iter().unzip();
        let outcomes = match self.ask(|store| ask(store, &things)) {
            Err(error) if is_refusal(&error) && things.len() > 1 => {
                let asked = things.into_iter().zip(replies);
                return asked.flat_map(|one| self.together(vec![one], ask)).collect();
            }
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            // The first who asked is told why, the others that the store failed.
            Err(error) => vec![Err(error)],
        };
        let outcomes = outcomes
            .into_iter()
            .chain(std::iter::repeat_with(|| Err(StoreError::Poisoned)));
        let asked = things.into_iter().zip(replies).zip(outcomes);
        asked.map(|((thing, reply), outcome)| (thing, reply, outcome)).collect()
    }

    /// What is done for one group at a time, after all that it wanted written before.
    fn change(&mut self, work: StorageWork) {
        if self.unwritten.is_some() {
            return refuse_for_room(work);
        }
        match work {
            StorageWork::Import(record, base, reply) => {
                let outcome = self.ask(|store| store.import(&record, base));
                self.note(&record, outcome, reply);
            }
            StorageWork::Rebuild(record, reply) => {
                let outcome = self.ask(|store| store.rebuild(&record));
                self.note(&record, outcome, reply);
            }
            StorageWork::Forget(group, reply) => drop(reply.send(self.ask(|store| store.forget(group)))),
            StorageWork::Inspect(group, reply) => drop(reply.send(self.store.inspect(group))),
            _ => {}
        }
    }

    fn note(&mut self, record: &GroupRecord, outcome: Result<(), StoreError>, reply: Reply<()>) {
        if outcome.is_ok() {
            self.lives.insert(record.group, record.incarnation);
        }
        reply.send(outcome).ok();
    }

    /// Asks the store to write; what it does not refuse, but fails at, was its last.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut dyn LogStore) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.failed {
            return Err(StoreError::Poisoned);
        }
        let outcome = ask(&mut *self.store);
        if let Err(error) = &outcome
            && !is_refusal(error)
        {
            self.fail(error);
        }
        outcome
    }

    /// Writes the next batch of what waits, and lets go of what waited for that. Nothing while one waits for room.
    fn write_next(&mut self) {
        if self.unwritten.is_some() {
            return;
        }
        let batch = self.pending.take_batch();
        if !self.pending.is_empty() {
            self.counters.flushes_shared.add(1);
        }
        self.write(batch);
        if self.unwritten.is_none() {
            drop(self.pending.take_permits());
        }
    }

    /// Tries again what found no room.
    fn write_again(&mut self) {
        let Some(batch) = self.unwritten.take() else { return };
        self.write(batch);
        if self.unwritten.is_none() && !self.failed {
            self.is_full = false;
            tracing::info!("the log store has room again");
            self.tell_workers(|| Work::StoreFull(false));
            drop(self.pending.take_permits());
        }
    }

    /// There is no room for a batch: so it waits, and all that comes after it. What was said before holds.
    fn wait_for_room(&mut self, batch: Vec<Persist>, error: &StoreError) {
        if !self.is_full {
            tracing::error!(%error, "the log store finds no room; writes wait for it");
            self.tell_workers(|| Work::StoreFull(true));
        }
        self.is_full = true;
        self.unwritten = Some(batch);
        self.wants_pause = true;
    }

    fn tell_workers(&self, work: impl Fn() -> Work) {
        for inbox in &self.workers {
            inbox.push(work());
        }
    }

    fn write(&mut self, batch: Vec<Persist>) {
        if batch.is_empty() || self.failed {
            return;
        }
        if batch.iter().any(|persist| !persist.is_barrier()) {
            match self.store.write(&batch) {
                Ok(()) => {}
                Err(error @ StoreError::Full { .. }) => return self.wait_for_room(batch, &error),
                Err(error) => return self.fail(&error),
            }
            self.counters.fsyncs.add(1);
            self.counters
                .entries_written
                .add(batch.iter().map(|persist| persist.entries.len() as u64).sum());
        }
        let mut send = Vec::new();
        let mut done: Vec<Vec<_>> = self.workers.iter().map(|_| Vec::new()).collect();
        for persist in batch {
            let mut durable = persist.into_durable();
            send.append(&mut durable.send);
            let life = self.lives.get(&durable.group).map(|incarnation| Life {
                group: durable.group,
                incarnation: *incarnation,
            });
            if let Some((life, done)) = life.zip(done.get_mut(worker_of(durable.group, self.workers.len()))) {
                done.push((life, durable.seq));
            }
        }
        if !send.is_empty() {
            self.transport.send(&send);
        }
        for (inbox, done) in self.workers.iter().zip(done) {
            if !done.is_empty() {
                inbox.push(Work::Persisted(done));
            }
        }
    }

    fn load(&self, worker: usize, life: Life, load: &Load) {
        let group = life.group;
        if !self.is_there(group, life.incarnation) {
            return;
        }
        let read = self.store.read(group, load.from, load.through, load.bytes_max);
        let work = match read {
            // Read again, it would be the same: a leader that can't apply would lead a group that stands still.
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(group = group.0, from = load.from.0, %error, "a log is damaged");
                Work::Unreadable(life)
            }
            read => Work::Loaded(Box::new(Loaded {
                life,
                purpose: load.purpose,
                from: load.from,
                // Empty: asked for again later.
                entries: read.unwrap_or_else(|error| {
                    tracing::error!(group = group.0, from = load.from.0, %error, "entries can't be read");
                    Vec::new()
                }),
            })),
        };
        if let Some(inbox) = self.workers.get(worker) {
            inbox.push(work);
        }
    }

    /// A failed write is terminal: what was to be written is unknown, nothing more is written, nothing that
    /// waited is sent, and every replica of the node stops.
    fn fail(&mut self, error: &StoreError) {
        if !self.failed {
            self.failed = true;
            tracing::error!(%error, "the store failed; all replicas of this node stop");
            self.tell_workers(|| Work::StorageFailed(0));
        }
    }
}

/// Whether nothing was written, nor ever will be, and the store goes on.
pub(crate) fn is_refusal(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Refused { .. } | StoreError::Corrupt { .. } | StoreError::Unread { .. } | StoreError::Full { .. }
    )
}

fn refuse_for_room(work: StorageWork) {
    // Who gave up waiting has dropped the other end.
    match work {
        StorageWork::Import(_, _, reply) | StorageWork::Rebuild(_, reply) => drop(reply.send(Err(no_room()))),
        StorageWork::Forget(_, reply) | StorageWork::Inspect(_, reply) => drop(reply.send(Err(no_room()))),
        _ => {}
    }
}

/// What is answered while an earlier write waits for room: it must come first.
fn no_room() -> StoreError {
    StoreError::Full {
        context: "an earlier write waits for room".to_owned(),
        source: ErrorKind::StorageFull.into(),
    }
}

impl TakesTurns for StorageActor {
    type Work = StorageWork;

    fn inbox(&self) -> &Arc<Inbox<StorageWork>> {
        &self.inbox
    }

    fn turn(&mut self) -> bool {
        let mut taken = std::mem::take(&mut self.taken);
        self.inbox.take(&mut taken);
        let (mut loads, mut asked) = (Vec::new(), None);
        let (mut creates, mut destroys, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        for work in taken.drain(..) {
            match work {
                StorageWork::Persist(incarnation, persist) if !self.is_there(persist.group, incarnation) => {
                    tracing::debug!(
                        group = persist.group.0,
                        incarnation = incarnation.0,
                        "late write dropped"
                    );
                }
                StorageWork::Persist(_, persist) => self.pending.push(persist),
                StorageWork::Moves(moment, board) => asked = Some((moment, board)),
                StorageWork::Release(permits) => self.pending.hold(permits),
                StorageWork::Load { worker, life, load } => loads.push((worker, life, load)),
                StorageWork::Create(record, reply) => creates.push((record, reply)),
                StorageWork::Destroy(group, reply) => destroys.push((group, reply)),
                other => changes.push(other),
            }
        }
        self.taken = taken;
        self.create(creates);
        self.write_next();
        // After the writes: a group is changed only once it is ended, and these are what it wanted before.
        while self.unwritten.is_none() && !self.pending.is_empty() && (!destroys.is_empty() || !changes.is_empty()) {
            self.write_next();
        }
        self.destroy(destroys);
        for change in changes {
            self.change(change);
        }
        for (worker, life, load) in loads {
            self.load(worker, life, &load);
        }
        if let Some((moment, board)) = asked.filter(|_| !self.failed) {
            board.storage_moved(moment);
        }
        // What did not fit into the batch goes into the next one, with what came meanwhile.
        (self.unwritten.is_none() && !self.pending.is_empty()) || self.inbox.end_turn()
    }

    fn take_pause(&mut self) -> Option<Duration> {
        std::mem::take(&mut self.wants_pause).then_some(FULL_PAUSE)
    }

    fn end_pause(&mut self) {
        self.write_again();
    }
}

impl Drop for StorageActor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The store did: what it was about to write is unknown.
            self.fail(&StoreError::Poisoned);
        }
    }
}
