//! The storage actor: one per node, on a thread of its own.
//!
//! It takes what all groups queued while the last fsync ran, folds it into one batch, writes that with one
//! fsync, and only then lets go of the messages that waited for it and tells the groups.

use crate::budget::InboundPermit;
use crate::inbox::Inbox;
use crate::metrics::Counters;
use crate::registry::IdMap;
use crate::router::worker_of;
use crate::store::{GroupRecord, LogStore, StoreError};
use crate::transport::TransportHandle;
use crate::worker::{Loaded, Work};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use raftyard_groups::{GroupId, Load, Persist};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What the storage can be given.
pub(crate) enum StorageWork {
    /// To be written.
    Persist(Persist),
    /// Of messages that are taken care of once all that was queued before is durable.
    Release(Vec<InboundPermit>),
    /// To be read, for a group of that worker.
    Load { worker: usize, group: GroupId, load: Load },
    /// A new replica to be noted.
    Create(GroupRecord, oneshot::Sender<Result<(), StoreError>>),
}

pub(crate) struct StorageActor {
    store: Box<dyn LogStore>,
    inbox: Arc<Inbox<StorageWork>>,
    workers: Vec<Arc<Inbox<Work>>>,
    transport: TransportHandle,
    counters: Arc<Counters>,
    taken: Vec<StorageWork>,
    failed: bool,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Wake;

/// Ends the actor and closes the store, once all that was queued before is written.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

impl StorageActor {
    pub(crate) fn new(
        store: Box<dyn LogStore>,
        inbox: Arc<Inbox<StorageWork>>,
        workers: Vec<Arc<Inbox<Work>>>,
        transport: TransportHandle,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            store,
            inbox,
            workers,
            transport,
            counters,
            taken: Vec::new(),
            failed: false,
        }
    }

    /// Carries out all that queued. True if more came meanwhile.
    fn turn(&mut self) -> bool {
        let mut taken = std::mem::take(&mut self.taken);
        self.inbox.take(&mut taken);
        let (mut batch, mut positions) = (Vec::<Persist>::new(), IdMap::<GroupId, usize>::default());
        let (mut permits, mut loads) = (Vec::new(), Vec::new());
        let mut creates = Vec::new();
        for work in taken.drain(..) {
            match work {
                StorageWork::Persist(persist) => match positions.get(&persist.group) {
                    Some(position) => {
                        if let Some(earlier) = batch.get_mut(*position) {
                            earlier.absorb(persist);
                        }
                    }
                    None => {
                        positions.insert(persist.group, batch.len());
                        batch.push(persist);
                    }
                },
                StorageWork::Release(mut more) => permits.append(&mut more),
                StorageWork::Load { worker, group, load } => loads.push((worker, group, load)),
                StorageWork::Create(record, reply) => creates.push((record, reply)),
            }
        }
        self.taken = taken;
        self.create(creates);
        self.write(batch);
        drop(permits);
        for (worker, group, load) in loads {
            self.load(worker, group, &load);
        }
        self.inbox.end_turn()
    }

    /// Notes new replicas, all with one fsync.
    fn create(&mut self, creates: Vec<(GroupRecord, oneshot::Sender<Result<(), StoreError>>)>) {
        if creates.is_empty() {
            return;
        }
        let (records, replies): (Vec<_>, Vec<_>) = creates.into_iter().unzip();
        if self.failed {
            for reply in replies {
                reply.send(Err(StoreError::Poisoned)).ok();
            }
            return;
        }
        match self.store.create(&records) {
            // One of them makes no sense, none was noted: each for itself, then.
            Err(StoreError::Refused { .. }) if records.len() > 1 => {
                for one in records.into_iter().zip(replies) {
                    self.create(vec![one]);
                }
            }
            result => {
                if let Err(error) = &result
                    && !matches!(error, StoreError::Refused { .. })
                {
                    self.fail(error);
                }
                let mut result = Some(result);
                for reply in replies {
                    // The first who asked is told why, the others that the store failed.
                    let answer = match &result {
                        Some(Ok(())) => Ok(()),
                        _ => result.take().unwrap_or(Err(StoreError::Poisoned)),
                    };
                    // Who gave up waiting has dropped the other end.
                    reply.send(answer).ok();
                }
            }
        }
    }

    fn write(&mut self, batch: Vec<Persist>) {
        if batch.is_empty() || self.failed {
            return;
        }
        if batch.iter().any(|persist| !persist.is_barrier()) {
            if let Err(error) = self.store.write(&batch) {
                return self.fail(&error);
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
            if let Some(done) = done.get_mut(worker_of(durable.group, self.workers.len())) {
                done.push((durable.group, durable.seq));
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

    fn load(&self, worker: usize, group: GroupId, load: &Load) {
        let read = self.store.read(group, load.from, load.through, load.bytes_max);
        let work = match read {
            // Read again, it would be the same: a leader that can't apply would lead a group that stands still.
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(group = group.0, from = load.from.0, %error, "a log is damaged");
                Work::Unreadable(group)
            }
            read => Work::Loaded(Box::new(Loaded {
                group,
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
            for inbox in &self.workers {
                inbox.push(Work::StorageFailed);
            }
        }
    }
}

impl Actor for StorageActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let storage = ctx.address();
        self.inbox.connect(move || storage.do_send(Wake));
    }
}

impl Handler<Wake> for StorageActor {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        if self.turn() {
            ctx.notify(Wake);
        }
    }
}

impl Handler<Stop> for StorageActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        while self.turn() {}
        self.inbox.close();
        ctx.stop();
    }
}

impl Drop for StorageActor {
    fn drop(&mut self) {
        // However it ends: nobody must wait for an answer from an inbox that nobody empties.
        self.inbox.close();
        if std::thread::panicking() {
            // The store did: what it was about to write is unknown.
            self.fail(&StoreError::Poisoned);
        }
    }
}
