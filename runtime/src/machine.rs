//! What a group replicates: the user's state machine, and its face towards the actors, where commands and
//! responses are bytes.

use crate::error::ProposeError;
use crate::session::{Admission, ENVELOPE_ROOM, Envelope, Kept, RequestId, Sessions};
use crate::snapshot::{Decode, Encode};
use crate::time::Timestamp;
use bytes::{Buf, Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;

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

/// A state machine without its types, as a group actor holds it.
pub(crate) trait Machine: Send {
    /// Applies an entry, stamped and in its envelope as it is in the log; returns the answer if it is `wanted`:
    /// on followers nobody waits for it. An error says that it could not be decoded, and so was not applied.
    fn apply(&mut self, entry: &[u8], wanted: bool) -> Result<Option<Answer>, postcard::Error>;

    /// What this request of a session was answered, if it was applied; a refusal if it was not, or if nobody
    /// can tell.
    fn recall(&self, request: RequestId) -> Answer;

    /// A view of the state, to be written elsewhere.
    fn snapshot(&self) -> Encode;

    /// How to make of a snapshot's bytes what [`Machine::restore`] takes.
    fn decoder(&self) -> Decode;

    /// Takes over a state; false if it is another state machine's.
    fn restore(&mut self, snapshot: Box<dyn Any + Send>) -> bool;

    /// The user's state machine, to be queried by who knows its type.
    fn as_any(&self) -> &dyn Any;
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

/// How the outcome of [`Envelope::Resolve`] is answered: a byte, and after [`APPLIED`] the answer.
pub(crate) const NOT_APPLIED: u8 = 0;
pub(crate) const FORGOTTEN: u8 = 1;
pub(crate) const APPLIED: u8 = 2;

pub(crate) struct Typed<S> {
    machine: S,
    /// The time of the last command.
    now: Timestamp,
    sessions: Sessions,
}

impl<S> Typed<S> {
    pub(crate) fn new(machine: S) -> Self {
        Self {
            machine,
            now: Timestamp::default(),
            sessions: Sessions::default(),
        }
    }
}

/// All that decides what later entries do.
type State<S> = (Timestamp, Sessions, <S as StateMachine>::Snapshot);

impl<S: StateMachine> Typed<S> {
    fn apply_plain(&mut self, command: S::Command, wanted: bool) -> Option<Answer> {
        let response = self.machine.apply(command, self.now);
        wanted.then(|| postcard::to_stdvec(&response).map_err(|error| unusable(&error)))
    }

    /// Applies a command of a session, unless it was applied before or can't be.
    fn apply_once(&mut self, request: RequestId, command: S::Command, wanted: bool) -> Option<Answer> {
        let response = self.machine.apply(command, self.now);
        // On every replica, since any of them may be asked for it next.
        let (kept, answer) = match Kept::answer(&response) {
            Ok(kept) => {
                let answer = wanted.then(|| answer_of(&kept));
                (kept, answer)
            }
            Err(error) => (Kept::Unusable, wanted.then(|| Err(unusable(&error)))),
        };
        self.sessions.keep(request, kept);
        answer
    }
}

fn decode<C: DeserializeOwned>(bytes: &[u8]) -> Result<C, postcard::Error> {
    let (command, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() {
        Ok(command)
    } else {
        // A command of another type, whose beginning happens to make sense.
        Err(postcard::Error::SerdeDeCustom)
    }
}

fn unusable(error: &postcard::Error) -> ProposeError {
    ProposeError::UndecodableResponse(error.to_string())
}

/// What is kept of a request, as its answer.
fn answer_of(kept: &Kept) -> Answer {
    match kept {
        Kept::Small(..) | Kept::Large(_) => Ok(kept.bytes().unwrap_or_default().to_vec()),
        Kept::Unusable => Err(ProposeError::UndecodableResponse("it can't be serialised".to_owned())),
        Kept::Fenced => Err(ProposeError::Fenced),
        Kept::Nothing => Err(ProposeError::Dropped),
    }
}

/// Why a request of a session is not applied, or what it was answered before; `None` for one that is new.
fn known(admission: &Admission) -> Option<Answer> {
    match admission {
        Admission::New => None,
        Admission::Known(kept) => Some(answer_of(kept)),
        Admission::NoSession => Some(Err(ProposeError::SessionExpired)),
        Admission::Forgotten => Some(Err(ProposeError::RequestForgotten)),
        Admission::Full => Some(Err(ProposeError::SessionFull)),
    }
}

/// What became of a request, for who resolves it.
fn resolution(admission: &Admission) -> Answer {
    match admission {
        Admission::Known(Kept::Fenced) => Ok(vec![NOT_APPLIED]),
        Admission::NoSession | Admission::Forgotten => Ok(vec![FORGOTTEN]),
        Admission::Full => Err(ProposeError::SessionFull),
        Admission::New => Err(ProposeError::Dropped),
        Admission::Known(kept) => {
            let mut answer = answer_of(kept)?;
            answer.insert(0, APPLIED);
            Ok(answer)
        }
    }
}

impl<S: StateMachine> Machine for Typed<S> {
    fn apply(&mut self, entry: &[u8], wanted: bool) -> Result<Option<Answer>, postcard::Error> {
        let (stamp, envelope, command) = unseal(entry)?;
        let command = match envelope {
            Envelope::Plain | Envelope::Command { .. } => Some(decode(command)?),
            Envelope::Open(..) | Envelope::Close(_) | Envelope::Resolve(..) => None,
        };
        // Leaders' clocks differ. The group's time never goes back.
        self.now = self.now.max(stamp);
        self.sessions.pass(self.now);
        Ok(match (envelope, command) {
            (Envelope::Command { request, opens }, Some(command)) => {
                match self.sessions.admit(request, opens, self.now) {
                    Admission::New => self.apply_once(request, command, wanted),
                    admission => wanted.then(|| known(&admission)).flatten(),
                }
            }
            (Envelope::Open(session, limits), _) => {
                let session = self.sessions.open(session, limits, self.now);
                wanted.then(|| Ok(session.0.to_le_bytes().to_vec()))
            }
            (Envelope::Close(session), _) => {
                self.sessions.close(session);
                wanted.then(|| Ok(Vec::new()))
            }
            (Envelope::Resolve(session, number), _) => {
                let admission = self.sessions.resolve(session, number, self.now);
                wanted.then(|| resolution(&admission))
            }
            (_, command) => command.and_then(|command| self.apply_plain(command, wanted)),
        })
    }

    fn recall(&self, request: RequestId) -> Answer {
        known(&self.sessions.recall(request)).unwrap_or(Err(ProposeError::Dropped))
    }

    fn snapshot(&self) -> Encode {
        let state: State<S> = (self.now, self.sessions.clone(), self.machine.snapshot());
        Box::new(move |out| postcard::to_io(&state, out).map(drop))
    }

    fn decoder(&self) -> Decode {
        |bytes| {
            let (state, rest) = postcard::take_from_bytes::<State<S>>(bytes)?;
            if !rest.is_empty() {
                // A state of another type, whose beginning happens to make sense.
                return Err(postcard::Error::SerdeDeCustom);
            }
            Ok(Box::new(state))
        }
    }

    fn restore(&mut self, snapshot: Box<dyn Any + Send>) -> bool {
        let Ok(snapshot) = snapshot.downcast::<State<S>>() else {
            return false;
        };
        let (now, sessions, state) = *snapshot;
        self.now = now;
        self.sessions = sessions;
        self.machine.restore(state);
        true
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
        machine.snapshot()(&mut bytes).unwrap();
        let mut restored = Typed::new(Times::default());
        assert!(restored.restore(restored.decoder()(&bytes).unwrap()));
        apply(&mut restored, 10);
        assert_eq!(restored.machine.0, [70, 70].map(Timestamp));
    }

    #[test]
    fn a_command_without_a_stamp_is_refused() {
        let mut machine = Typed::new(Times::default());
        assert!(machine.apply(&[0; STAMP_BYTES - 1], false).is_err());
    }
}
