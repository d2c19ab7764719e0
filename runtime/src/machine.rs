//! What a group replicates: the user's state machine, and its face towards the actors, where commands and
//! responses are bytes.

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

    /// Applies a committed command.
    fn apply(&mut self, command: Self::Command) -> Self::Response;

    /// Answers from the state as it is.
    fn query(&self, query: Self::Query) -> Self::Answer;
}

/// What applying a command answered, serialised; an error if it can't be.
pub(crate) type Response = Result<Vec<u8>, postcard::Error>;

/// A state machine without its types, as a group actor holds it.
pub(crate) trait Machine: Send {
    /// Applies a command; returns the response if it is `wanted`: on followers nobody waits for it. An error
    /// says that the command could not be decoded, and so was not applied.
    fn apply(&mut self, command: &[u8], wanted: bool) -> Result<Option<Response>, postcard::Error>;

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

    fn as_any(&self) -> &dyn Any {
        &self.0
    }
}
