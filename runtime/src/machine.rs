//! What a group replicates: the user's state machine, and its face towards the actors, where commands and
//! responses are bytes.

mod disk;
mod own_state;
mod replicated;

pub(crate) use disk::DiskTyped;
pub use disk::applied;
pub use disk::{DiskStateMachine, OnDisk, Record};
use own_state::OwnState;
pub(crate) use own_state::{APPLIED, FORGOTTEN, NOT_APPLIED};
pub use replicated::Replicated;

use crate::error::ProposeError;
use crate::session::{ENVELOPE_ROOM, Envelope, RequestId};
use crate::snapshot::{Decode, Encode, SyncDisk};
use crate::time::Timestamp;
use bytes::{Buf, Bytes};
use raftyard_groups::LogId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::io;

/// A replicated state machine (paper §2). Every replica of a group applies the same commands in the same
/// order, so `apply` must be deterministic: nothing but the state and the command may decide what it does:
/// no clock, no randomness, no I/O, no iteration order of a hash map.
pub trait StateMachine: Send + 'static {
    /// What changes the state. Serialised with postcard into the log: to change it incompatibly is to
    /// change the format of what is on disk.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// What applying a command answers to who proposed it.
    type Response: Serialize + DeserializeOwned + Send + 'static;
    /// What is asked without changing the state.
    type Query: Send + 'static;
    /// What a query answers.
    type Answer: Send + 'static;
    /// The state at one moment. Serialised with postcard into snapshots, in the background: to change it
    /// incompatibly is to change the format of what is on disk.
    type Snapshot: Serialize + DeserializeOwned + Send + 'static;

    /// Applies a committed command. `now` is the time that the leader stamped it with: the same on every
    /// replica, and never earlier than at the command before.
    fn apply(&mut self, command: Self::Command, now: Timestamp) -> Self::Response;

    /// Answers from the state as it is.
    fn query(&self, query: Self::Query) -> Self::Answer;

    /// A view of the state as it is. The group, and its worker, wait for this call, so it should be cheap:
    /// shared or persistent data rather than a deep copy, if the state is large. It has to say everything
    /// that decides what later commands do.
    fn snapshot(&self) -> Self::Snapshot;

    /// Takes over a state that [`StateMachine::snapshot`] gave, here or on another replica, in the place of its
    /// own. The group waits for this call; deserialising happened before, elsewhere, from a snapshot that is
    /// in memory as a whole.
    fn restore(&mut self, snapshot: Self::Snapshot);
}

/// What applying an entry answers to who proposed it, serialised. After a refusal nothing was applied.
pub(crate) type Answer = Result<Vec<u8>, ProposeError>;

/// Why a state machine could not apply a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineError {
    /// It was not applied.
    #[error("it can't be decoded: {0}")]
    Undecodable(#[from] postcard::Error),
    /// A state machine on disk: what it did is not committed.
    #[error("the state machine's disk failed: {0}")]
    Disk(#[from] io::Error),
}

/// A state machine without its types, as a group actor holds it.
pub(crate) trait Machine: Send {
    /// Whether it keeps its state on disk: then what was applied counts once it was committed, and
    /// [`Machine::sync`] lets the log be compacted. If not, a snapshot does.
    fn is_on_disk(&self) -> bool {
        false
    }

    /// Applies an entry, stamped and in its envelope as it is in the log; returns the answer if it is `wanted`:
    /// on followers nobody waits for it. An error says that it was not applied.
    fn apply(&mut self, entry: &[u8], wanted: bool) -> Result<Option<Answer>, MachineError>;

    /// Whether what was applied should be committed before more is.
    fn is_full(&self) -> bool {
        false
    }

    /// Commits what was applied, up to the entry `last`.
    fn commit(&mut self, _last: LogId) -> io::Result<()> {
        Ok(())
    }

    /// What this request of a session was answered, if it was applied; a refusal if it was not, or if nobody
    /// can tell.
    fn recall(&self, request: RequestId) -> Answer;

    /// How to make durable what is committed, to be done elsewhere.
    fn sync(&self) -> SyncDisk {
        Box::new(|| Ok(()))
    }

    /// A view of the state, to be written elsewhere.
    fn snapshot(&self) -> io::Result<Encode>;

    /// How to make of a snapshot's bytes what [`Machine::restore`] takes.
    fn decoder(&self) -> Decode;

    /// Takes over the state of a snapshot that ends with the entry `last`.
    fn restore(&mut self, snapshot: Box<dyn Any + Send>, last: LogId) -> io::Result<()>;

    /// The user's state machine, to be queried by who knows its type.
    fn as_any(&self) -> &dyn Any;
}

/// A snapshot was decoded by the decoder of a state machine of another type.
fn another_machines() -> io::Error {
    io::Error::other("it is another state machine's")
}

/// Bytes of the stamp that an entry begins with: the time at which the leader took it, in milliseconds since
/// the Unix epoch, little endian. Its envelope follows.
const STAMP_BYTES: usize = 8;

/// Room that is left in front of a command for what will stand there in the log, in bytes.
pub(crate) const ROOM: usize = STAMP_BYTES + ENVELOPE_ROOM;

/// Makes an entry of a command that has [`ROOM`] in front of it.
pub(crate) fn seal(mut command: Vec<u8>, envelope: &Envelope, now: Timestamp) -> Bytes {
    let (stamp, envelope) = (now.0.to_le_bytes(), envelope.encode());
    let envelope = envelope.as_bytes();
    let head = stamp.len() + envelope.len();
    let unused = ROOM.checked_sub(head);
    let room = unused.and_then(|unused| command.get_mut(unused..ROOM));
    match (room, unused) {
        (Some(room), Some(unused)) => {
            let (stamped, enveloped) = room.split_at_mut(STAMP_BYTES);
            stamped.copy_from_slice(&stamp);
            enveloped.copy_from_slice(envelope);
            let mut entry = Bytes::from(command);
            entry.advance(unused);
            entry
        }
        _ => {
            // An envelope larger than most.
            let command = command.get(ROOM..).unwrap_or_default();
            Bytes::from([stamp.as_slice(), envelope, command].concat())
        }
    }
}

/// What a sealed entry is about, and its command.
pub(crate) fn unseal(entry: &[u8]) -> Result<(Timestamp, Envelope, &[u8]), postcard::Error> {
    let (stamp, entry) = entry
        .split_first_chunk::<STAMP_BYTES>()
        .ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
    let (envelope, command) = Envelope::decode(entry)?;
    Ok((Timestamp(u64::from_le_bytes(*stamp)), envelope, command))
}

pub(crate) struct Typed<S> {
    machine: S,
    own: OwnState,
}

impl<S> Typed<S> {
    pub(crate) fn new(machine: S) -> Self {
        Self {
            machine,
            own: OwnState::default(),
        }
    }
}

/// All that decides what later entries do.
type State<S> = (OwnState, <S as StateMachine>::Snapshot);

impl<S: StateMachine> Machine for Typed<S> {
    fn apply(&mut self, entry: &[u8], wanted: bool) -> Result<Option<Answer>, MachineError> {
        let machine = &mut self.machine;
        self.own
            .apply(entry, wanted, |command, now| Ok(machine.apply(command, now)))
    }

    fn recall(&self, request: RequestId) -> Answer {
        self.own.recall(request)
    }

    fn snapshot(&self) -> io::Result<Encode> {
        let state: State<S> = (self.own.clone(), self.machine.snapshot());
        Ok(Box::new(move |out| {
            postcard::to_io(&state, out).map(drop).map_err(io::Error::other)
        }))
    }

    fn decoder(&self) -> Decode {
        Box::new(|from| {
            // As a whole: postcard lends what it deserialises from what it was given.
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes)?;
            let (state, rest) = postcard::take_from_bytes::<State<S>>(&bytes).map_err(io::Error::other)?;
            if !rest.is_empty() {
                // A state of another type, whose beginning happens to make sense.
                return Err(io::ErrorKind::InvalidData.into());
            }
            Ok(Box::new(state))
        })
    }

    fn restore(&mut self, snapshot: Box<dyn Any + Send>, _last: LogId) -> io::Result<()> {
        let snapshot = snapshot.downcast::<State<S>>();
        let (own, state) = *snapshot.map_err(|_| another_machines())?;
        self.own = own;
        self.machine.restore(state);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        &self.machine
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Remembers when each command was applied.
    #[derive(Default)]
    struct Times(Vec<Timestamp>);

    impl StateMachine for Times {
        type Command = ();
        type Response = ();
        type Query = ();
        type Answer = ();
        type Snapshot = Vec<Timestamp>;

        fn apply(&mut self, (): (), now: Timestamp) {
            self.0.push(now);
        }

        fn query(&self, (): ()) {}

        fn snapshot(&self) -> Vec<Timestamp> {
            self.0.clone()
        }

        fn restore(&mut self, times: Vec<Timestamp>) {
            self.0 = times;
        }
    }

    fn apply(machine: &mut Typed<Times>, time: u64) {
        let command = seal(vec![0; ROOM], &Envelope::Plain, Timestamp(time));
        machine.apply(&command, false).unwrap();
    }

    #[test]
    fn time_never_goes_back_whatever_the_next_leaders_clock_says() {
        let mut machine = Typed::new(Times::default());
        for time in [50, 40, 60] {
            apply(&mut machine, time);
        }
        assert_eq!(machine.machine.0, [50, 50, 60].map(Timestamp));
    }

    #[test]
    fn time_goes_on_where_the_snapshot_was_taken() {
        let mut machine = Typed::new(Times::default());
        apply(&mut machine, 70);
        let mut bytes = Vec::new();
        machine.snapshot().unwrap()(&mut bytes).unwrap();
        let mut restored = Typed::new(Times::default());
        let decoded = restored.decoder()(&mut bytes.as_slice()).unwrap();
        restored.restore(decoded, LogId::new(1, 1)).unwrap();
        apply(&mut restored, 10);
        assert_eq!(restored.machine.0, [70, 70].map(Timestamp));
    }

    #[test]
    fn a_command_without_a_stamp_is_refused() {
        let mut machine = Typed::new(Times::default());
        assert!(machine.apply(&[0; STAMP_BYTES - 1], false).is_err());
    }
}
