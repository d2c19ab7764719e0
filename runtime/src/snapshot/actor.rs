//! The snapshot actor: one per node, on a thread of its own. All work on snapshot files is done here, one
//! thing after the other.

use super::format::{Reader, Seal, Writer};
use super::name::{Name, SnapshotId};
use super::receive::Incoming;
use super::{Decode, Encode, SnapshotError, SnapshotEvent, SyncDisk};
use crate::inbox::Inbox;
use crate::metrics::Counters;
use crate::registry::IdMap;
use crate::router::worker_of;
use crate::store::{GroupRecord, SnapshotStore};
use crate::transport::{Outgoing, SnapshotAnswer, SnapshotOffer, SnapshotPart, TransportHandle};
use crate::worker::Work;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use bytes::Bytes;
use raftyard_groups::{GroupId, LogId, LogIndex, NodeId, Recovered, Term};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a state machine is restored from, with the last entry it holds; none if it starts from nothing.
pub(crate) type Opened = Option<(LogId, Box<dyn Any + Send>)>;

/// The outcome of a restore that a group asked for.
pub(crate) struct Restored {
    pub(crate) last: LogId,
    pub(crate) state: Result<Box<dyn Any + Send>, String>,
}

/// What the actor can be given.
pub(crate) enum SnapshotWork {
    /// A group that is about to run here, with what its log holds: which snapshot does it start from?
    Open {
        record: GroupRecord,
        recovered: Recovered,
        /// The last entry that a state machine on disk has applied; it needs a snapshot only if the log begins
        /// after that.
        applied: Option<LogId>,
        decode: Decode,
        reply: oneshot::Sender<Result<Opened, SnapshotError>>,
    },
    /// To be written and made durable.
    Take {
        group: GroupId,
        last: LogId,
        encode: Encode,
    },
    /// What a state machine on disk applied up to this entry is to be made durable.
    Sync {
        group: GroupId,
        last: LogId,
        sync: SyncDisk,
    },
    /// A snapshot that was received is to be read back.
    Restore {
        group: GroupId,
        last: LogId,
        decode: Decode,
    },
    /// The group's log durably holds this snapshot's last entry: older ones are of no use.
    Forget { group: GroupId, before: LogIndex },
    /// To be sent.
    Send {
        group: GroupId,
        to: NodeId,
        term: Term,
        last: LogId,
        /// To be written first, and removed once it was sent: a group whose state is on disk has no other.
        view: Option<Encode>,
    },
    /// A piece of one that is being sent; nothing if it can't be read.
    Read {
        id: SnapshotId,
        offset: u64,
        len: usize,
        reply: oneshot::Sender<Option<Bytes>>,
    },
    /// Was sent, or not.
    Sent {
        id: SnapshotId,
        to: NodeId,
        is_complete: bool,
    },
    /// A part of one that a peer sends.
    Receive {
        from: NodeId,
        part: SnapshotPart,
        reply: oneshot::Sender<SnapshotAnswer>,
    },
}

pub(crate) struct SnapshotActor {
    pub(super) store: Box<dyn SnapshotStore>,
    inbox: Arc<Inbox<SnapshotWork>>,
    workers: Vec<Arc<Inbox<Work>>>,
    transport: TransportHandle,
    pub(super) counters: Arc<Counters>,
    taken: Vec<SnapshotWork>,
    /// What lies in the store, so that nobody has to list it for each group.
    files: IdMap<GroupId, Vec<Name>>,
    /// Groups that run here.
    groups: IdMap<GroupId, GroupRecord>,
    /// Snapshots that are complete and were verified.
    ready: BTreeMap<SnapshotId, Seal>,
    /// How often each is being sent at the moment: these are not removed.
    sending: BTreeMap<SnapshotId, usize>,
    /// Those that were written only to be sent.
    for_peers: BTreeSet<SnapshotId>,
    /// At most one per group.
    pub(super) incoming: IdMap<GroupId, Incoming>,
    /// Snapshots before these are of no use.
    useless_before: IdMap<GroupId, LogIndex>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Wake;

/// Ends the actor, once all that was queued before is done.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

impl SnapshotActor {
    /// An actor for what lies in `store` under these `names`.
    pub(crate) fn new(
        store: Box<dyn SnapshotStore>,
        names: &[String],
        inbox: Arc<Inbox<SnapshotWork>>,
        workers: Vec<Arc<Inbox<Work>>>,
        transport: TransportHandle,
        counters: Arc<Counters>,
    ) -> Self {
        let mut files = IdMap::<GroupId, Vec<Name>>::default();
        for name in names.iter().filter_map(|text| Name::parse(text)) {
            files.entry(name.id().group).or_default().push(name);
        }
        Self {
            store,
            files,
            inbox,
            workers,
            transport,
            counters,
            taken: Vec::new(),
            groups: IdMap::default(),
            ready: BTreeMap::new(),
            sending: BTreeMap::new(),
            for_peers: BTreeSet::new(),
            incoming: IdMap::default(),
            useless_before: IdMap::default(),
        }
    }

    /// Carries out all that queued. True if more came meanwhile.
    fn turn(&mut self) -> bool {
        let mut taken = std::mem::take(&mut self.taken);
        self.inbox.take(&mut taken);
        for work in taken.drain(..) {
            self.carry_out(work);
        }
        self.taken = taken;
        self.inbox.end_turn()
    }

    pub(super) fn carry_out(&mut self, work: SnapshotWork) {
        // Who gave up waiting for a reply has dropped the other end.
        match work {
            SnapshotWork::Open {
                record,
                recovered,
                applied,
                decode,
                reply,
            } => drop(reply.send(self.open(&record, &recovered, applied, &decode))),
            SnapshotWork::Take { group, last, encode } => self.take(group, last, encode),
            SnapshotWork::Sync { group, last, sync } => self.sync(group, last, sync),
            SnapshotWork::Restore { group, last, decode } => self.restore(group, last, &decode),
            SnapshotWork::Forget { group, before } => {
                let useless = self.useless_before.entry(group).or_default();
                *useless = before.max(*useless);
                self.remove_useless(group);
            }
            SnapshotWork::Send {
                group,
                to,
                term,
                last,
                view,
            } => self.send(group, to, term, last, view),
            SnapshotWork::Read { id, offset, len, reply } => {
                let piece = self.store.read(&Name::Complete(id).text(), offset, len);
                let piece = piece.map_err(|error| tracing::error!(snapshot = ?id, %error, "snapshot can't be read"));
                drop(reply.send(piece.ok()));
            }
            SnapshotWork::Sent { id, to, is_complete } => self.sent(id, to, is_complete),
            SnapshotWork::Receive { from, part, reply } => drop(reply.send(self.receive(from, part))),
        }
    }

    /// The names of a group's files.
    pub(super) fn names(&self, group: GroupId) -> Vec<Name> {
        self.files.get(&group).cloned().unwrap_or_default()
    }

    /// Notes that a file is there from now on.
    pub(super) fn note(&mut self, name: Name) {
        let files = self.files.entry(name.id().group).or_default();
        if !files.contains(&name) {
            files.push(name);
        }
    }

    /// Notes that a file is gone.
    fn unnote(&mut self, name: Name) {
        if let Some(files) = self.files.get_mut(&name.id().group) {
            files.retain(|file| *file != name);
        }
    }

    /// Gives a finished file the name that counts.
    pub(super) fn publish(&mut self, name: Name) -> std::io::Result<()> {
        let complete = Name::Complete(name.id());
        self.store.publish(&name.text(), &complete.text())?;
        self.unnote(name);
        self.note(complete);
        Ok(())
    }

    pub(super) fn remove(&mut self, name: Name) {
        let text = name.text();
        self.unnote(name);
        if let Err(error) = self.store.remove(&text) {
            tracing::warn!(snapshot = text, %error, "snapshot can't be removed");
        }
    }

    /// Finds the newest intact snapshot whose last entry the log holds. A state that is on disk, up to `applied`,
    /// needs none if the log holds where it goes on.
    fn open(
        &mut self,
        record: &GroupRecord,
        recovered: &Recovered,
        applied: Option<LogId>,
        decode: &Decode,
    ) -> Result<Opened, SnapshotError> {
        let group = record.group;
        let is_whole = recovered.holds(applied.unwrap_or_default());
        let (mut usable, mut useless) = (Vec::new(), Vec::new());
        for name in self.names(group) {
            match name {
                Name::Taking(_) => self.remove(name),
                Name::Complete(id) if id.incarnation == record.incarnation => {
                    if recovered.holds(id.last) && !(is_whole && applied.is_some()) {
                        usable.push(id);
                    } else if applied.is_some() {
                        useless.push(name);
                    }
                }
                _ => {}
            }
        }
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
        if opened.is_none() && !is_whole {
            let base = recovered.base;
            return Err(SnapshotError::Missing { group, base, damaged });
        }
        for name in useless {
            self.remove(name);
        }
        self.groups.insert(group, record.clone());
        Ok(opened)
    }

    fn read_back(
        &mut self,
        record: &GroupRecord,
        id: SnapshotId,
        decode: &Decode,
    ) -> Result<Box<dyn Any + Send>, SnapshotError> {
        let name = Name::Complete(id).text();
        let mut reader = Reader::open(&*self.store, &name, id, &record.membership)?;
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(&mut reader)));
        // First: what was made of a damaged file does not matter.
        let seal = reader.finish()?;
        let damaged = |what: String| SnapshotError::Damaged { name, what };
        let decoded = match decoded {
            Ok(Ok(decoded)) => decoded,
            Ok(Err(error)) => return Err(damaged(format!("its state can't be restored: {error}"))),
            Err(_) => return Err(damaged("restoring its state panicked".to_owned())),
        };
        self.ready.insert(id, seal);
        Ok(decoded)
    }

    fn take(&mut self, group: GroupId, last: LogId, encode: Encode) {
        let Some(record) = self.groups.get(&group).cloned() else {
            return;
        };
        let is_durable = self.write(&record, record_id(&record, last), encode).is_some();
        self.tell(group, SnapshotEvent::Taken { last, is_durable });
    }

    fn sync(&mut self, group: GroupId, last: LogId, sync: SyncDisk) {
        let result = match catch_unwind(AssertUnwindSafe(sync)) {
            Ok(synced) => synced.map_err(|error| error.to_string()),
            Err(_) => Err("it panicked".to_owned()),
        };
        if result.is_ok() {
            self.counters.states_synced.add(1);
        }
        self.tell(group, SnapshotEvent::Synced { last, result });
    }

    /// Writes a snapshot, durably, so that it is ready.
    fn write(&mut self, record: &GroupRecord, id: SnapshotId, encode: Encode) -> Option<Seal> {
        let (group, last) = (id.group.0, id.last);
        match self.try_write(record, id, encode) {
            Ok(seal) => {
                self.ready.insert(id, seal);
                self.counters.snapshots_taken.add(1);
                tracing::debug!(group, last = %last, bytes = seal.size, "snapshot taken");
                Some(seal)
            }
            Err(error) => {
                tracing::error!(group, last = %last, %error, "snapshot failed");
                self.remove(Name::Taking(id));
                None
            }
        }
    }

    fn try_write(&mut self, record: &GroupRecord, id: SnapshotId, encode: Encode) -> std::io::Result<Seal> {
        let taking = Name::Taking(id);
        let name = taking.text();
        let mut writer = Writer::start(&mut *self.store, &name, id, &record.membership)?;
        match catch_unwind(AssertUnwindSafe(|| encode(&mut writer))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(std::io::Error::other("serialising the state panicked")),
        }
        let seal = writer.finish()?;
        self.publish(taking)?;
        Ok(seal)
    }

    fn restore(&mut self, group: GroupId, last: LogId, decode: &Decode) {
        let Some(record) = self.groups.get(&group).cloned() else {
            return;
        };
        let state = self.read_back(&record, record_id(&record, last), decode);
        let state = state.map_err(|error| error.to_string());
        if state.is_ok() {
            self.counters.snapshots_installed.add(1);
        }
        self.tell(group, SnapshotEvent::Restored(Restored { last, state }));
    }

    /// Removes a group's older snapshots, and what was being received that no newer one is: but for those that
    /// are being sent, which follow when they are done.
    fn remove_useless(&mut self, group: GroupId) {
        let Some(before) = self.useless_before.get(&group).copied() else {
            return;
        };
        for name in self.names(group) {
            let id = name.id();
            let is_useless = match name {
                Name::Complete(_) => id.last.index < before && !self.sending.contains_key(&id),
                Name::Taking(_) => false,
                Name::Incoming { .. } => id.last.index <= before,
            };
            if is_useless {
                if matches!(name, Name::Complete(_)) {
                    self.ready.remove(&id);
                } else if self.incoming.get(&group).is_some_and(|incoming| incoming.id == id) {
                    self.incoming.remove(&group);
                }
                self.remove(name);
            }
        }
    }

    fn send(&mut self, group: GroupId, to: NodeId, term: Term, last: LogId, view: Option<Encode>) {
        let Some(record) = self.groups.get(&group).cloned() else {
            return;
        };
        let id = record_id(&record, last);
        let mut seal = self.ready.get(&id).copied();
        if let (None, Some(view)) = (seal, view) {
            seal = self.write(&record, id, view);
            if seal.is_some() {
                self.for_peers.insert(id);
            }
        }
        let Some(seal) = seal else {
            return self.tell(group, SnapshotEvent::Sent { to, through: None });
        };
        *self.sending.entry(id).or_default() += 1;
        let offer = SnapshotOffer {
            group: group.0,
            incarnation: id.incarnation.0,
            term: term.0,
            last_term: last.term.0,
            last_index: last.index.0,
            size: seal.size,
            crc: seal.crc,
        };
        let (source, done) = (self.inbox.clone(), self.inbox.clone());
        self.transport.send_snapshot(Outgoing {
            to,
            offer,
            read: Box::new(move |offset, len| {
                let (reply, piece) = oneshot::channel();
                source.push(SnapshotWork::Read { id, offset, len, reply });
                piece
            }),
            done: Box::new(move |is_complete| {
                done.push(SnapshotWork::Sent { id, to, is_complete });
            }),
        });
    }

    fn sent(&mut self, id: SnapshotId, to: NodeId, is_complete: bool) {
        if let Some(count) = self.sending.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.sending.remove(&id);
                if self.for_peers.remove(&id) {
                    self.ready.remove(&id);
                    self.remove(Name::Complete(id));
                }
                self.remove_useless(id.group);
            }
        }
        if is_complete {
            self.counters.snapshots_sent.add(1);
        }
        let through = is_complete.then_some(id.last.index);
        self.tell(id.group, SnapshotEvent::Sent { to, through });
    }

    pub(super) fn record(&self, group: GroupId) -> Option<&GroupRecord> {
        self.groups.get(&group)
    }

    pub(super) fn is_ready(&self, id: SnapshotId) -> bool {
        self.ready.contains_key(&id)
    }

    pub(super) fn is_ready_now(&mut self, id: SnapshotId, seal: Seal) {
        self.ready.insert(id, seal);
    }

    pub(super) fn tell(&self, group: GroupId, event: SnapshotEvent) {
        if let Some(inbox) = self.workers.get(worker_of(group, self.workers.len())) {
            inbox.push(Work::Snapshot(group, event));
        }
    }
}

fn record_id(record: &GroupRecord, last: LogId) -> SnapshotId {
    SnapshotId {
        group: record.group,
        incarnation: record.incarnation,
        last,
    }
}

impl Actor for SnapshotActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let snapshots = ctx.address();
        self.inbox.connect(move || snapshots.do_send(Wake));
    }
}

impl Handler<Wake> for SnapshotActor {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        if self.turn() {
            ctx.notify(Wake);
        }
    }
}

impl Handler<Stop> for SnapshotActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        while self.turn() {}
        self.inbox.close();
        ctx.stop();
    }
}
