//! State machines that keep their state on disk, and their face towards the actors.

use super::{Answer, Machine, MachineError, OwnState};
use crate::error::DiskStateError;
use crate::life::is_rebuilt_from;
use crate::session::{RequestId, SessionLimits, Sessions};
use crate::snapshot::{Decode, Encode, SyncDisk};
use crate::store::GroupRecord;
use crate::time::Timestamp;
use raftyard_groups::{Incarnation, LogId, NodeId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::io::{self, Read as _};

/// A replicated state machine that keeps its state on disk, in a store of its own: for state that is larger
/// than memory, or too large to be written a second time whenever the log is compacted (thesis §5.2).
///
/// Every replica applies the same commands in the same order, so `apply` must be deterministic, as
/// [`StateMachine`](crate::StateMachine)'s: nothing but the state, the command and its time may decide what
/// it does.
///
/// # What the store has to keep
///
/// Beside its own data it keeps [`Record`]s for the runtime, a few small keys and values that mean nothing to
/// it. Among them is how far the log was applied. From that the log is replayed after a restart, so data and
/// records must never tell different things:
///
/// - All of a [`commit`](Self::commit), its commands' effects and its records, is there after a crash, or
///   nothing of it.
/// - A crash may lose commits that [`sync`](Self::sync) did not cover. It loses the newest: never one without all
///   that came after it. What is lost is applied again from the log, so that no commit needs an fsync.
/// - The handles that `sync`, [`snapshot`](Self::snapshot) and [`restorer`](Self::restorer) give are run on another
///   thread, while commands go on being applied.
///
/// # Errors
///
/// An error, or a panic, of anything but [`query`](Self::query) and the handle of `snapshot` quarantines this
/// one replica: it takes part in nothing until the group is created again after a restart, and the node's
/// other groups go on. [`io::Error::other`] makes an error of any other.
///
/// `apply`, `commit` and `query` run on a worker's thread: all groups of that worker wait for them.
pub trait DiskStateMachine: Send + 'static {
    /// What changes the state. Serialised with postcard into the log: to change it incompatibly is to
    /// change the format of what is on disk.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// What applying a command answers to who proposed it.
    type Response: Serialize + DeserializeOwned + Send + 'static;
    /// What is asked without changing the state.
    type Query: Send + 'static;
    /// What a query answers.
    type Answer: Send + 'static;
    /// A state that was read from a snapshot and lies beside the present one, until it takes its place.
    type Restored: Send + 'static;

    /// All records that are kept, in any order: what was committed last under each key, but for those removed.
    /// None in a new state. Asked once, after the state machine was opened.
    ///
    /// # Errors
    ///
    /// The group is not created.
    fn records(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>>;

    /// Applies a committed command. `now` is the time that the leader stamped it with: the same on every
    /// replica, and never earlier than at the command before. The next command has to find its effects; a
    /// query need not before they are committed, and is not asked before.
    ///
    /// # Errors
    ///
    /// The disk's. What a command may ask for and not get is a response instead: the same on every replica.
    fn apply(&mut self, command: Self::Command, now: Timestamp) -> io::Result<Self::Response>;

    /// Whether the effects of what was applied since the last commit take so much memory that they should be committed
    /// before more is applied. Asked after each [`apply`](Self::apply); without it a batch of commands is as long as
    /// the log allows.
    fn is_full(&self) -> bool {
        false
    }

    /// Writes the effects of all commands that were applied since the last commit together with these records,
    /// atomically. Need not be durable. Responses leave only after this.
    ///
    /// # Errors
    ///
    /// The disk's. Whether it was written is then unknown.
    fn commit(&mut self, records: &[Record]) -> io::Result<()>;

    /// Answers from what is committed.
    ///
    /// # Errors
    ///
    /// The disk's: given to who asked. The replica goes on.
    fn query(&self, query: Self::Query) -> io::Result<Self::Answer>;

    /// A handle that makes durable all that is committed or restored up to this call. Run in the background once
    /// enough was applied; only then is the log compacted up to here. All: also what a sync by an earlier process failed to
    /// make durable. A machine may take for durable what it could not write once, so what an open finds where that may have
    /// happened has to be written again before a sync says something of it.
    fn sync(&self) -> impl FnOnce() -> io::Result<()> + Send + 'static;

    /// A handle that writes the state as it is committed now, without the records: a view of one point in time.
    /// Run in the background for a peer that lacks what was compacted, so this call should be cheap; what is
    /// committed meanwhile must not show.
    ///
    /// # Errors
    ///
    /// The disk's. One of the handle concerns only the peer, which is sent another view later.
    fn snapshot(&self) -> io::Result<impl FnOnce(&mut dyn io::Write) -> io::Result<()> + Send + 'static>;

    /// A handle that reads a state which [`snapshot`](Self::snapshot) wrote on another replica, piece by piece
    /// and up to its end, and puts it down beside the present one. It is run in the background, and again if a
    /// snapshot turns out to be damaged. What such runs left behind before a crash or an error is for the next
    /// one to clear away.
    fn restorer(&self) -> impl Fn(&mut dyn io::Read) -> io::Result<Self::Restored> + Send + 'static;

    /// Lets what was restored take the place of state and records, atomically: a crash leaves the old ones or
    /// the new ones. Need not be durable: `sync` covers it. The worker waits for this call, so it should be
    /// cheap: what is to be moved or removed can be so later.
    ///
    /// # Errors
    ///
    /// The disk's. Whether it took place is then unknown.
    fn restore(&mut self, restored: Self::Restored, records: &[Record]) -> io::Result<()>;
}

/// What the runtime wants kept beside a state on disk, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key: a few bytes.
    pub key: Vec<u8>,
    /// What is kept from now on under the key; `None`: nothing.
    pub value: Option<Vec<u8>>,
}

/// The kind of a group whose state machine is a [`DiskStateMachine`]: its handles are
/// [`Group<OnDisk<S>>`](crate::Group).
pub struct OnDisk<S>(pub(crate) S);

pub(crate) struct DiskTyped<S> {
    machine: OnDisk<S>,
    /// Whose state it is.
    record: GroupRecord,
    own: OwnState,
}

/// The key of [`Applied`].
const APPLIED: &[u8] = b"applied";

/// How far a state is, and whose: what is committed with every batch.
#[derive(Debug, Serialize, Deserialize)]
struct Applied {
    group: u64,
    incarnation: u64,
    term: u64,
    index: u64,
    now: Timestamp,
    limits: SessionLimits,
}

/// The last entry that a state on disk has applied, as the records say that it keeps
/// ([`DiskStateMachine::records`]); none if they don't.
#[must_use]
pub fn applied(records: &[(Vec<u8>, Vec<u8>)]) -> Option<LogId> {
    let (_, value) = records.iter().find(|(key, _)| key == APPLIED)?;
    let applied: Applied = postcard::from_bytes(value).ok()?;
    Some(LogId::new(applied.term, applied.index))
}

/// What a snapshot was made of: first the runtime's own part, postcard behind its length (8 bytes, little
/// endian), then what the state machine wrote.
struct Staged<R> {
    own: OwnState,
    state: R,
}

impl<S: DiskStateMachine> DiskTyped<S> {
    /// The state machine of a group on this node, and the last entry it applied; zero if it is new.
    pub(crate) fn open(machine: S, record: &GroupRecord, node: NodeId) -> Result<(Self, LogId), DiskStateError> {
        let group = record.group;
        let failed = |source| DiskStateError::Io { group, source };
        let damaged = |what: &str| DiskStateError::Damaged {
            group,
            what: what.to_owned(),
        };
        let records = machine.records().map_err(failed)?;
        let (mut last, mut own) = (LogId::ZERO, OwnState::default());
        match records.iter().find(|(key, _)| key == APPLIED) {
            None if records.is_empty() => {}
            None => return Err(damaged("it has records, but none says how far it is")),
            Some((_, value)) => {
                let applied: Applied =
                    postcard::from_bytes(value).map_err(|_| damaged("the record of how far it is can't be read"))?;
                let (found, incarnation) = (applied.group, applied.incarnation);
                // The replica that it was is this one, if that was rebuilt since.
                let is_ours = |found| found == record.incarnation || is_rebuilt_from(record.incarnation, found, node);
                if found != group.0 || !is_ours(Incarnation(incarnation)) {
                    return Err(DiskStateError::NotOurs {
                        group,
                        incarnation: record.incarnation.0,
                        found: raftyard_groups::GroupId(found),
                        found_incarnation: incarnation,
                    });
                }
                last = LogId::new(applied.term, applied.index);
                let sessions = Sessions::from_records(applied.limits, &records);
                own = OwnState {
                    now: applied.now,
                    sessions: sessions.ok_or_else(|| damaged("the records of its sessions can't be read"))?,
                };
            }
        }
        own.sessions.track_changes();
        let opened = Self {
            machine: OnDisk(machine),
            record: record.clone(),
            own,
        };
        Ok((opened, last))
    }

    /// The record of a state that applied up to `last`.
    fn applied(&self, last: LogId) -> Result<Record, postcard::Error> {
        let applied = Applied {
            group: self.record.group.0,
            incarnation: self.record.incarnation.0,
            term: last.term.0,
            index: last.index.0,
            now: self.own.now,
            limits: self.own.sessions.limits(),
        };
        Ok(Record {
            key: APPLIED.to_vec(),
            value: Some(postcard::to_stdvec(&applied)?),
        })
    }
}

impl<S: DiskStateMachine> Machine for DiskTyped<S> {
    fn is_on_disk(&self) -> bool {
        true
    }

    fn apply(&mut self, entry: &[u8], wanted: bool) -> Result<Option<Answer>, MachineError> {
        let machine = &mut self.machine.0;
        self.own
            .apply(entry, wanted, |command, now| machine.apply(command, now))
    }

    fn is_full(&self) -> bool {
        self.machine.0.is_full()
    }

    fn commit(&mut self, last: LogId) -> io::Result<()> {
        let mut records = self.own.sessions.take_changes().map_err(io::Error::other)?;
        records.push(self.applied(last).map_err(io::Error::other)?);
        self.machine.0.commit(&records)
    }

    fn recall(&self, request: RequestId) -> Answer {
        self.own.recall(request)
    }

    fn sync(&self) -> SyncDisk {
        Box::new(self.machine.0.sync())
    }

    fn snapshot(&self) -> io::Result<Encode> {
        let own = self.own.clone();
        let write = self.machine.0.snapshot()?;
        Ok(Box::new(move |out| {
            let own = postcard::to_stdvec(&own).map_err(io::Error::other)?;
            out.write_all(&(own.len() as u64).to_le_bytes())?;
            out.write_all(&own)?;
            write(out)
        }))
    }

    fn decoder(&self) -> Decode {
        let restore = self.machine.0.restorer();
        Box::new(move |from| {
            let mut length = [0; 8];
            from.read_exact(&mut length)?;
            // Grows with what is there, whatever the length says.
            let mut own = Vec::new();
            (&mut *from).take(u64::from_le_bytes(length)).read_to_end(&mut own)?;
            let own = postcard::from_bytes(&own).map_err(io::Error::other)?;
            let state = restore(from)?;
            Ok(Box::new(Staged { own, state }))
        })
    }

    fn restore(&mut self, snapshot: Box<dyn Any + Send>, last: LogId) -> io::Result<()> {
        let staged = snapshot.downcast::<Staged<S::Restored>>();
        let Staged { own, state } = *staged.map_err(|_| super::another_machines())?;
        self.own = own;
        self.own.sessions.track_changes();
        let mut records = self.own.sessions.records().map_err(io::Error::other)?;
        records.push(self.applied(last).map_err(io::Error::other)?);
        self.machine.0.restore(state, &records)
    }

    fn as_any(&self) -> &dyn Any {
        &self.machine
    }
}
