//! What a group replicates: the user's state machine, and its face towards the actors, where commands and
//! responses are bytes.

use crate::snapshot::{Decode, Encode};
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

    /// Applies a committed command.
    fn apply(&mut self, command: Self::Command) -> Self::Response;

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

/// What applying a command answered, serialised; an error if it can't be.
pub(crate) type Response = Result<Vec<u8>, postcard::Error>;

/// A state machine without its types, as a group actor holds it.
pub(crate) trait Machine: Send {
    /// Applies a command; returns the response if it is `wanted`: on followers nobody waits for it. An error
    /// says that the command could not be decoded, and so was not applied.
    fn apply(&mut self, command: &[u8], wanted: bool) -> Result<Option<Response>, postcard::Error>;

    /// A view of the state, to be written elsewhere.
    fn snapshot(&self) -> Encode;

    /// How to make of a snapshot's bytes what [`Machine::restore`] takes.
    fn decoder(&self) -> Decode;

    /// Takes over a state; false if it is another state machine's.
    fn restore(&mut self, snapshot: Box<dyn Any + Send>) -> bool;

    /// The user's state machine, to be queried by who knows its type.
    fn as_any(&self) -> &dyn Any;
}

pub(crate) struct Typed<S>(pub(crate) S);

impl<S: StateMachine> Machine for Typed<S> {
    fn apply(&mut self, command: &[u8], wanted: bool) -> Result<Option<Response>, postcard::Error> {
        let (command, rest) = postcard::take_from_bytes(command)?;
        if !rest.is_empty() {
            // A command of another type, whose beginning happens to make sense.
            return Err(postcard::Error::SerdeDeCustom);
        }
        let response = self.0.apply(command);
        Ok(wanted.then(|| postcard::to_stdvec(&response)))
    }

    fn snapshot(&self) -> Encode {
        let snapshot = self.0.snapshot();
        Box::new(move |out| postcard::to_io(&snapshot, out).map(drop))
    }

    fn decoder(&self) -> Decode {
        |bytes| {
            let (snapshot, rest) = postcard::take_from_bytes::<S::Snapshot>(bytes)?;
            if !rest.is_empty() {
                // A state of another type, whose beginning happens to make sense.
                return Err(postcard::Error::SerdeDeCustom);
            }
            Ok(Box::new(snapshot))
        }
    }

    fn restore(&mut self, snapshot: Box<dyn Any + Send>) -> bool {
        snapshot.downcast().map(|snapshot| self.0.restore(*snapshot)).is_ok()
    }

    fn as_any(&self) -> &dyn Any {
        &self.0
    }
}
