//! What users hold of a group.

use crate::error::{Closed, ProposeError, ReadError, TransferError};
use crate::host::Node;
use crate::machine::{Replicated, STAMP_BYTES};
use crate::registry::{GroupSlot, GroupStatus};
use crate::worker::{Proposal, ReadJob, Work};
use raftyard_groups::{GroupId, NodeId, TransferOutcome, TransferRefusal};
use serde::Serialize;
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a request counts for in the node's budget beside its command, in bytes: about what the memory it
/// takes until it is answered comes to.
const REQUEST_OVERHEAD: usize = 256;

/// How current an answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// As current as if all had happened one after the other: the answer reflects every proposal that was
    /// answered before the read was asked. Served by the leader, after it made sure, with one round to its
    /// peers, that it still leads (ReadIndex, thesis §6.4).
    #[default]
    Linearizable,
    /// As current as [`Linearizable`](Self::Linearizable), and served by this replica, whichever it is: a
    /// follower asks the leader for the read index, once for all reads that wait, and answers from its own
    /// state as soon as that has applied so much. Takes the query's work off the leader.
    Follower,
}

/// A group, as this node's replica sees it. Clones are handles to the same; usable from any thread and any
/// async runtime.
pub struct Group<S> {
    slot: Arc<GroupSlot>,
    node: Arc<Node>,
    machine: PhantomData<fn() -> S>,
}

impl<S> Clone for Group<S> {
    fn clone(&self) -> Self {
        Self {
            slot: self.slot.clone(),
            node: self.node.clone(),
            machine: PhantomData,
        }
    }
}

impl<S> fmt::Debug for Group<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.slot.group, self.node.id)
    }
}

impl<S: Replicated> Group<S> {
    pub(crate) fn new(slot: Arc<GroupSlot>, node: Arc<Node>) -> Self {
        Self {
            slot,
            node,
            machine: PhantomData,
        }
    }

    /// The group.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.slot.group
    }

    /// Who leads, as far as this replica knows. Costs an atomic load.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.slot.status.leader()
    }

    /// Waits until this replica knows who leads, as long as that takes; one that halted never does.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the node shuts down.
    pub async fn wait_for_leader(&self) -> Result<NodeId, Closed> {
        let closed = || self.node.is_closed();
        self.slot.status.wait_for_leader(closed).await.ok_or(Closed)
    }

    /// How this replica stood at the end of its last turn. Who was just answered may find it one turn behind.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        self.slot.status.get()
    }

    /// Proposes a command: it is replicated, committed, and applied by every replica; the future is the
    /// response of this replica's `apply`. Only the leader takes proposals.
    ///
    /// The command is queued **by the call**, not when the future is polled: who calls twice has the
    /// commands in this order in the log, without waiting in between. To drop the future does not take the
    /// command back.
    ///
    /// # Errors
    ///
    /// The future's [`ProposeError`]; [`ProposeError::may_have_happened`] tells whether the command may have
    /// been applied.
    #[expect(clippy::needless_pass_by_value, reason = "whoever proposes a command gives it away")]
    pub fn propose(
        &self,
        command: S::Command,
    ) -> impl Future<Output = Result<S::Response, ProposeError>> + Send + use<S> {
        let queued = self.queue_proposal(&command);
        async move {
            // The other end is dropped without an answer only when the replica ends.
            let response = queued?.await.map_err(|_| ProposeError::OutcomeUnknown)??;
            postcard::from_bytes(&response).map_err(|error| ProposeError::UndecodableResponse(error.to_string()))
        }
    }

    fn queue_proposal(
        &self,
        command: &S::Command,
    ) -> Result<oneshot::Receiver<Result<Vec<u8>, ProposeError>>, ProposeError> {
        let limits = &self.node.limits;
        let command = serialise(command).map_err(|error| ProposeError::Unserialisable(error.to_string()))?;
        let (bytes, bytes_limit) = (command.len() - STAMP_BYTES, limits.command_bytes_max);
        if bytes > bytes_limit {
            return Err(ProposeError::TooLarge { bytes, bytes_limit });
        }
        if self.node.is_closed() {
            return Err(ProposeError::Closed);
        }
        let permit = self.node.budget.try_acquire(bytes + REQUEST_OVERHEAD);
        let permit = permit.ok_or(ProposeError::Overloaded {
            bytes_limit: self.node.budget.limit(),
        })?;
        let (reply, outcome) = oneshot::channel();
        let proposal = Proposal { command, reply, permit };
        if self.slot.inbox.push(Work::Propose(self.slot.group, proposal)) {
            Ok(outcome)
        } else {
            Err(ProposeError::Closed)
        }
    }

    /// Asks the state machine. The read is queued by the call, like a proposal.
    ///
    /// # Errors
    ///
    /// The future's [`ReadError`]. A read changes nothing: to retry is always safe.
    pub fn read(
        &self,
        query: S::Query,
        consistency: Consistency,
    ) -> impl Future<Output = Result<S::Answer, ReadError>> + Send + use<S> {
        let queued = self.queue_read(query, consistency == Consistency::Follower);
        async move { queued?.await.map_err(|_| ReadError::Closed)? }
    }

    fn queue_read(
        &self,
        query: S::Query,
        forwarded: bool,
    ) -> Result<oneshot::Receiver<Result<S::Answer, ReadError>>, ReadError> {
        if self.node.is_closed() {
            return Err(ReadError::Closed);
        }
        let permit = self.node.budget.try_acquire(REQUEST_OVERHEAD);
        let permit = permit.ok_or(ReadError::Overloaded {
            bytes_limit: self.node.budget.limit(),
        })?;
        let (reply, outcome) = oneshot::channel();
        let run = Box::new(move |machine: Result<&dyn Any, ReadError>| {
            let answer = machine.and_then(|machine| {
                // Handles are made only for the type that the group has.
                let machine = machine.downcast_ref::<S>().ok_or(ReadError::Closed)?;
                // A query that panics must not take the replica with it: asked again at the next leader, it
                // would take them all.
                catch_unwind(AssertUnwindSafe(|| machine.ask(query))).unwrap_or(Err(ReadError::Panicked))
            });
            // Who gave up waiting has dropped the other end.
            reply.send(answer).ok();
        });
        if self
            .slot
            .inbox
            .push(Work::Read(self.slot.group, ReadJob { forwarded, run, permit }))
        {
            Ok(outcome)
        } else {
            Err(ReadError::Closed)
        }
    }

    /// Lets another replica lead, without waiting for anyone to time out (thesis §3.10): `to` catches up, is
    /// told to campaign, and takes over. Proposals that come meanwhile wait a moment. Only the leader's own
    /// replica can do this.
    ///
    /// # Errors
    ///
    /// [`TransferError`]. Leadership may move to `to` yet after [`TransferError::TimedOut`].
    pub async fn transfer_leadership(&self, to: NodeId) -> Result<(), TransferError> {
        let outcome = self.queue_transfer(Some(to)).ok_or(TransferError::Closed)?;
        match outcome.await.map_err(|_| TransferError::Closed)? {
            TransferOutcome::HandedOver { .. } => Ok(()),
            TransferOutcome::TimedOut => Err(TransferError::TimedOut),
            TransferOutcome::SteppedDown => Err(TransferError::NotLeader { leader: self.leader() }),
            TransferOutcome::Refused(TransferRefusal::NotLeader { leader }) => Err(TransferError::NotLeader { leader }),
            TransferOutcome::Refused(TransferRefusal::Busy) => Err(TransferError::Busy),
            TransferOutcome::Refused(TransferRefusal::NotVoter | TransferRefusal::NoSuccessor) => {
                Err(TransferError::NotVoter(to))
            }
        }
    }

    fn queue_transfer(&self, to: Option<NodeId>) -> Option<oneshot::Receiver<TransferOutcome>> {
        if self.node.is_closed() {
            return None;
        }
        self.slot.transfer(to)
    }
}

thread_local! {
    /// Memory to serialise in: a command is copied out of it once its length is known, so that each costs one
    /// allocation of the right size instead of several that grow.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// More than this is not kept for the next command, in bytes.
const SCRATCH_KEPT: usize = 64 << 10;

/// The command, with room for its stamp in front.
fn serialise<T: Serialize>(command: &T) -> Result<Vec<u8>, postcard::Error> {
    // Taken, not borrowed: what serialises a command may propose another.
    let mut scratch = postcard::to_extend(command, SCRATCH.take())?;
    let mut bytes = Vec::with_capacity(STAMP_BYTES + scratch.len());
    bytes.extend_from_slice(&[0; STAMP_BYTES]);
    bytes.extend_from_slice(&scratch);
    if scratch.capacity() <= SCRATCH_KEPT {
        scratch.clear();
        SCRATCH.set(scratch);
    }
    Ok(bytes)
}
