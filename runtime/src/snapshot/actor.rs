//! The snapshot actor: one per node, on a thread of its own. All work on snapshot files is done here, one
//! thing after the other.

use super::format::Seal;
use super::name::{Name, SnapshotId};
use super::receive::Incoming;
use super::send::Sending;
use super::{Decode, Encode, SnapshotError, SnapshotEvent, SyncDisk, View};
use crate::clock::Clock;
use crate::error::ExportError;
use crate::inbox::Inbox;
use crate::life::Life;
use crate::metrics::Counters;
use crate::registry::IdMap;
use crate::router::worker_of;
use crate::store::{GroupRecord, SnapshotStore};
use crate::transport::{SnapshotAnswer, SnapshotPart, TransportHandle};
use crate::turns::TakesTurns;
use crate::worker::Work;
use bytes::Bytes;
use raftyard_groups::{GroupId, Incarnation, LogId, LogIndex, Membership, Moment, NodeId, Recovered, Term};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a state machine is restored from, with the last entry it holds; none if it starts from nothing.
pub(crate) type Newest = Option<(LogId, Box<dyn Any + Send>)>;

/// What a group starts from.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) newest: Newest,
    /// A state on disk goes on as it is, and a snapshot is there that makes it durable if it is not yet.
    pub(crate) is_backed: bool,
}

/// The outcome of a restore that a group asked for.
pub(crate) struct Restored {
    pub(crate) last: LogId,
    pub(crate) state: Result<Box<dyn Any + Send>, SnapshotError>,
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
        life: Life,
        last: LogId,
        /// The configuration in force at that entry.
        membership: Arc<Membership>,
        encode: Encode,
    },
    /// What a state machine on disk applied up to this entry is to be made durable.
    Sync { life: Life, last: LogId, sync: SyncDisk },
    /// A snapshot that was received is to be read back.
    Restore { life: Life, last: LogId, decode: Decode },
    /// The group's log durably holds this snapshot's last entry: older ones are of no use.
    Forget { life: Life, before: LogIndex },
    /// How far the newest intact snapshot is that this replica has behind the end of its log.
    Beyond {
        record: GroupRecord,
        last: LogId,
        reply: oneshot::Sender<Option<LogId>>,
    },
    /// A group was imported and could not be noted: its snapshot is nobody's.
    Discard(Life),
    /// Every snapshot of a group is to be removed, but for those of the incarnation that is to be kept.
    Remove {
        group: GroupId,
        keep: Option<Incarnation>,
        reply: oneshot::Sender<()>,
    },
    /// The snapshot that the log of `from` goes on from is to become one of `to`: another incarnation of the
    /// same group.
    Relabel {
        from: GroupRecord,
        recovered: Recovered,
        to: GroupRecord,
        /// The state is on disk, so that there may be none.
        is_on_disk: bool,
        reply: oneshot::Sender<Result<(), SnapshotError>>,
    },
    /// To be written to a file of the user's.
    Export {
        life: Life,
        last: LogId,
        /// The configuration in force at that entry.
        membership: Arc<Membership>,
        encode: Encode,
        path: PathBuf,
        reply: oneshot::Sender<Result<LogId, ExportError>>,
    },
    /// A file of the user's is to become the snapshot that a new group begins with.
    Import(Box<Import>),
    /// To be sent.
    Send {
        life: Life,
        to: NodeId,
        term: Term,
        last: LogId,
        /// The peer is a witness: it gets no state.
        to_witness: bool,
        /// To be written first, and removed once it was sent: a group whose state is on disk has no other.
        view: Option<View>,
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

/// A group that is to begin with what a file of the user's holds.
pub(crate) struct Import {
    pub(crate) path: PathBuf,
    pub(crate) group: GroupId,
    pub(crate) membership: Membership,
    /// The earliest incarnation that may be created.
    pub(crate) next: Incarnation,
    pub(crate) decode: Decode,
    /// Told what to note, once the snapshot is durable.
    pub(crate) reply: oneshot::Sender<Result<GroupRecord, SnapshotError>>,
}

/// What counts of a group that runs here.
#[derive(Clone, Copy)]
pub(super) struct Hosted {
    incarnation: Incarnation,
    pub(super) is_witness: bool,
}

impl Hosted {
    pub(super) fn of(record: &GroupRecord) -> Self {
        Self {
            incarnation: record.incarnation,
            is_witness: record.is_witness,
        }
    }
}

pub(crate) struct SnapshotActor {
    pub(super) store: Box<dyn SnapshotStore>,
    pub(super) inbox: Arc<Inbox<SnapshotWork>>,
    workers: Vec<Arc<Inbox<Work>>>,
    pub(super) transport: TransportHandle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) counters: Arc<Counters>,
    taken: Vec<SnapshotWork>,
    /// What lies in the store, so that nobody has to list it for each group.
    files: IdMap<GroupId, Vec<Name>>,
    /// Groups that run here.
    pub(super) groups: IdMap<GroupId, Hosted>,
    /// Snapshots that are complete and were verified.
    pub(super) ready: BTreeMap<SnapshotId, Seal>,
    /// Those that are being sent at the moment: these are not removed.
    pub(super) sending: BTreeMap<SnapshotId, Sending>,
    /// Those that were written only to be sent.
    pub(super) for_peers: BTreeSet<SnapshotId>,
    /// At most one per group.
    pub(super) incoming: IdMap<GroupId, Incoming>,
    /// Groups of which none found room, and when there may be some again.
    pub(super) crowded_out: IdMap<GroupId, Moment>,
    /// Snapshots before these are of no use.
    pub(super) useless_before: IdMap<GroupId, LogIndex>,
}

impl SnapshotActor {
    /// An actor for what lies in `store` under these `names`.
    pub(crate) fn new(
        store: Box<dyn SnapshotStore>,
        names: &[String],
        inbox: Arc<Inbox<SnapshotWork>>,
        workers: Vec<Arc<Inbox<Work>>>,
        transport: TransportHandle,
        clock: Arc<dyn Clock>,
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
            clock,
            counters,
            taken: Vec::new(),
            groups: IdMap::default(),
            ready: BTreeMap::new(),
            sending: BTreeMap::new(),
            for_peers: BTreeSet::new(),
            incoming: IdMap::default(),
            crowded_out: IdMap::default(),
            useless_before: IdMap::default(),
        }
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
            } => drop(reply.send(self.start(&record, &recovered, applied, &decode))),
            SnapshotWork::Take {
                life,
                last,
                membership,
                encode,
            } => self.take(life, last, membership, encode),
            SnapshotWork::Sync { life, last, sync } => self.sync(life, last, sync),
            SnapshotWork::Restore { life, last, decode } => self.restore(life, last, &decode),
            SnapshotWork::Forget { life, before } => {
                if self.hosted(life).is_some() {
                    let useless = self.useless_before.entry(life.group).or_default();
                    *useless = before.max(*useless);
                    self.remove_useless(life.group);
                }
            }
            SnapshotWork::Beyond { record, last, reply } => drop(reply.send(self.beyond(&record, last))),
            SnapshotWork::Discard(life) => {
                for name in self.names(life.group) {
                    if name.id().life() == life {
                        self.remove(name);
                    }
                }
            }
            SnapshotWork::Remove { group, keep, reply } => {
                self.remove_all(group, keep);
                reply.send(()).ok();
            }
            SnapshotWork::Relabel {
                from,
                recovered,
                to,
                is_on_disk,
                reply,
            } => drop(reply.send(self.relabel(&from, &recovered, &to, is_on_disk))),
            SnapshotWork::Export {
                life,
                last,
                membership,
                encode,
                path,
                reply,
            } => drop(reply.send(self.export(life, last, membership, encode, &path))),
            SnapshotWork::Import(import) => self.import(*import),
            SnapshotWork::Send {
                life,
                to,
                term,
                last,
                to_witness,
                view,
            } => self.send(life, to, term, last, to_witness, view),
            SnapshotWork::Read { id, offset, len, reply } => drop(reply.send(self.read_piece(id, offset, len))),
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
            if files.is_empty() {
                self.files.remove(&name.id().group);
            }
        }
    }

    /// Gives a finished file the name that counts. If that fails nothing stays of it, under either name: what could not
    /// be made durable a disk may take for durable from then on.
    pub(super) fn publish(&mut self, name: Name) -> std::io::Result<()> {
        let complete = Name::Complete(name.id());
        let is_replaced = self.names(name.id().group).contains(&complete);
        if let Err(error) = self.store.publish(&name.text(), &complete.text()) {
            self.remove(name);
            if !is_replaced {
                self.remove(complete);
            }
            return Err(error);
        }
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

    /// The group is gone in all other incarnations: so is all that there is of them.
    fn remove_all(&mut self, group: GroupId, keep: Option<Incarnation>) {
        if keep.is_none_or(|keep| self.groups.get(&group).is_some_and(|hosted| hosted.incarnation != keep)) {
            self.groups.remove(&group);
            self.useless_before.remove(&group);
            self.incoming.remove(&group);
            self.crowded_out.remove(&group);
        }
        for name in self.names(group) {
            if Some(name.id().incarnation) != keep {
                self.ready.remove(&name.id());
                self.remove(name);
            }
        }
    }

    /// Removes a group's older snapshots, and what was being received that no newer one is: but for those that
    /// are being sent, which follow when they are done.
    pub(super) fn remove_useless(&mut self, group: GroupId) {
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

    /// A group that runs here in this very life.
    pub(super) fn hosted(&self, life: Life) -> Option<Hosted> {
        let hosted = self.groups.get(&life.group).copied();
        hosted.filter(|hosted| hosted.incarnation == life.incarnation)
    }

    /// The snapshot, if it is complete and was verified.
    pub(super) fn ready(&self, id: SnapshotId) -> Option<&Seal> {
        self.ready.get(&id)
    }

    pub(super) fn is_ready_now(&mut self, id: SnapshotId, seal: Seal) {
        self.ready.insert(id, seal);
    }

    pub(super) fn tell(&self, life: Life, event: SnapshotEvent) {
        if let Some(inbox) = self.workers.get(worker_of(life.group, self.workers.len())) {
            inbox.push(Work::Snapshot(life, event));
        }
    }
}

impl TakesTurns for SnapshotActor {
    type Work = SnapshotWork;

    fn inbox(&self) -> &Arc<Inbox<SnapshotWork>> {
        &self.inbox
    }

    fn turn(&mut self) -> bool {
        let mut taken = std::mem::take(&mut self.taken);
        self.inbox.take(&mut taken);
        for work in taken.drain(..) {
            self.carry_out(work);
        }
        self.taken = taken;
        self.inbox.end_turn()
    }
}
