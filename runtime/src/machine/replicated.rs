//! What handles need to know of a state machine, whichever its kind.

use super::{DiskStateMachine, OnDisk, StateMachine};
use crate::error::ReadError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a [`Group`](crate::Group) can be a handle to: every [`StateMachine`], and [`OnDisk<S>`](OnDisk) for
/// every [`DiskStateMachine`] `S`. Nobody else implements it.
pub trait Replicated: sealed::Sealed + 'static {
    /// What changes the state.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// What applying a command answers to who proposed it.
    type Response: Serialize + DeserializeOwned + Send + 'static;
    /// What is asked without changing the state.
    type Query: Send + 'static;
    /// What a query answers.
    type Answer: Send + 'static;

    /// Answers from the state as it is. Handles [`read`](crate::Group::read) instead, which says how current the
    /// answer is.
    ///
    /// # Errors
    ///
    /// [`ReadError::Failed`] if the state is on a disk that fails.
    fn ask(&self, query: Self::Query) -> Result<Self::Answer, ReadError>;
}

mod sealed {
    pub trait Sealed {}
}

impl<S: StateMachine> sealed::Sealed for S {}

impl<S: StateMachine> Replicated for S {
    type Command = S::Command;
    type Response = S::Response;
    type Query = S::Query;
    type Answer = S::Answer;

    fn ask(&self, query: S::Query) -> Result<S::Answer, ReadError> {
        Ok(self.query(query))
    }
}

impl<S: DiskStateMachine> sealed::Sealed for OnDisk<S> {}

impl<S: DiskStateMachine> Replicated for OnDisk<S> {
    type Command = S::Command;
    type Response = S::Response;
    type Query = S::Query;
    type Answer = S::Answer;

    fn ask(&self, query: S::Query) -> Result<S::Answer, ReadError> {
        self.0
            .query(query)
            .map_err(|error| ReadError::Failed(error.to_string()))
    }
}
