//! What a witness has in the place of a state machine: nothing.

use crate::error::ProposeError;
use crate::machine::{Answer, Machine, MachineError, StateMachine};
use crate::session::RequestId;
use crate::snapshot::{Decode, Encode};
use crate::time::Timestamp;
use raftyard_groups::LogId;
use std::any::Any;
use std::io;

/// The state machine of a witness: it has no state, whatever the group's other replicas have. Its handles serve to
/// look at the replica: a witness never leads, so it takes no proposals and answers no linearizable reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Witness;

impl StateMachine for Witness {
    type Command = ();
    type Response = ();
    type Query = ();
    type Answer = ();
    type Snapshot = ();

    fn apply(&mut self, (): (), _: Timestamp) {}

    fn query(&self, (): ()) {}

    fn snapshot(&self) {}

    fn restore(&mut self, (): ()) {}
}

/// The entries that reach a witness have no commands, and its snapshots no state.
pub(crate) struct WitnessMachine(pub(crate) Witness);

impl Machine for WitnessMachine {
    fn apply(&mut self, _: &[u8], _: bool) -> Result<Option<Answer>, MachineError> {
        // A command that reached a witness all the same: acknowledging it was right, and nothing else is its business.
        Ok(None)
    }

    fn recall(&self, _: RequestId) -> Answer {
        // It never led, so that nobody waits here.
        Err(ProposeError::Dropped)
    }

    fn snapshot(&self) -> io::Result<Encode> {
        Ok(Box::new(|_| Ok(())))
    }

    fn decoder(&self) -> Decode {
        Box::new(|_| Ok(Box::new(())))
    }

    fn restore(&mut self, _: Box<dyn Any + Send>, _: LogId) -> io::Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        &self.0
    }
}
