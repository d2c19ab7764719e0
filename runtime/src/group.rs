//! What users hold of a group.

mod many;

use crate::error::{ExportError, LeaderError, ProposeError, ReadError, TransferError};
use crate::host::Node;
use crate::machine::{APPLIED, Answer, FORGOTTEN, NOT_APPLIED, ROOM, Replicated};
use crate::registry::{GroupSlot, GroupStatus};
use crate::session::{RequestId, Resolution, Session, SessionId};
use crate::tenancy::GroupLimits;
use crate::worker::{Export, Proposal, Purpose, ReadJob, Work};
use raftyard_groups::{GroupId, Incarnation, LogId, NodeId, TransferOutcome, TransferRefusal};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
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
    /// answered before the read was asked. Served by the leader: at once if it holds the lease, else after it
    /// made sure, with one round to its peers, that it still leads (ReadIndex, thesis §6.4).
    #[default]
    Linearizable,
    /// As current as [`Linearizable`](Self::Linearizable), and served by this replica, whichever it is: a
    /// follower asks the leader for the read index, once for all reads that wait, and answers from its own
    /// state as soon as that has applied so much. Takes the query's work off the leader.
    Follower,
    /// This replica's state as it is, without asking anyone. It may be old, by as much as this replica lags,
    /// and it may go back from one replica to the next. But it does not go back at one replica, restarts
    /// included: after a start it waits until everything in the replica's log that was ever committed is
    /// applied again. How far that is only a leader can say, so a read that comes before one is heard waits for
    /// it, and times out without; so does one at a replica to which nothing was ever applied. One exception: an entry that a
    /// majority holds is applied whether or not it is durable here; if the machine loses power before it is, it is missing
    /// until the leader has sent it again.
    Stale,
}

/// A group, as this node's replica sees it. Clones are handles to the same; usable from any thread and any
/// async runtime.
pub struct Group<S> {
    pub(crate) slot: Arc<GroupSlot>,
    pub(crate) node: Arc<Node>,
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

    /// Which life of the group this is a handle to. After the group was destroyed here it stays closed, also when
    /// the group is created again.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.slot.incarnation
    }

    /// Who leads, as far as this replica knows. Costs an atomic load.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.slot.status.leader()
    }

    /// The node whose replica this is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node.id
    }

    pub(crate) fn host(&self) -> &Arc<Node> {
        &self.node
    }

    /// Waits until this replica knows who leads, as long as that takes.
    ///
    /// # Errors
    ///
    /// [`LeaderError`] if it never will.
    pub async fn wait_for_leader(&self) -> Result<NodeId, LeaderError> {
        let closed = || self.node.is_closed();
        self.slot.status.wait_for_leader(closed).await
    }

    /// How this replica stood at the end of its last turn. Who was just answered may find it one turn behind.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        GroupStatus {
            usage: self.slot.tenancy.usage(),
            ..self.slot.status.get()
        }
    }

    /// What this replica may take of its node.
    #[must_use]
    pub fn limits(&self) -> GroupLimits {
        self.slot.tenancy.limits()
    }

    /// Changes what this replica may take of its node, from now on: what was let in before is carried out. Each node
    /// has limits of its own, and those of the leader's replica count for proposals: set them on all. Forgotten when
    /// the node ends.
    pub fn set_limits(&self, limits: GroupLimits) {
        self.slot.tenancy.set(limits, &*self.node.clock);
        // For its log to be compacted, should it be longer than it may.
        self.slot.inbox.push(Work::Continue(self.slot.life()));
    }

    /// Proposes a command: it is replicated, committed, and applied by every replica; the future is the
    /// response of this replica's `apply`. Only the leader takes proposals.
    ///
    /// It goes into a session that the replica keeps for all that is proposed so (see [`Group::propose_plain`] for
    /// going without). If another leader's entry takes its place in the log and this replica leads again, it is
    /// appended again, within the request timeout, unless something that was proposed here later is in the log
    /// already: the order stays. If its outcome stays unknown, [`ProposeError::OutcomeUnknown`] names it, and
    /// [`Group::resolve`] settles it. To call `propose` again makes another request: whoever wants to ask again and
    /// be applied once uses [`Group::propose_as`], or a [`Client`](crate::Client).
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
        let purpose = if self.node.plain { Purpose::Plain } else { Purpose::Own };
        self.propose_bytes(serialise(&command), purpose)
    }

    /// Proposes a command without a session: nothing is remembered of it, so nobody can settle its outcome
    /// if that stays unknown. For commands that do no harm when they are applied twice, or whose
    /// responses are too large to be kept: it saves the bytes of a request's name in the log, and the memory for
    /// its answer on every replica. At most once, like every single proposal.
    ///
    /// # Errors
    ///
    /// As [`Group::propose`].
    #[expect(clippy::needless_pass_by_value, reason = "whoever proposes a command gives it away")]
    pub fn propose_plain(
        &self,
        command: S::Command,
    ) -> impl Future<Output = Result<S::Response, ProposeError>> + Send + use<S> {
        self.propose_bytes(serialise(&command), Purpose::Plain)
    }

    /// Proposes a command under a name. Under one name a command is applied once, however often and at
    /// whichever nodes it is proposed, also at the same time; each attempt gets the first answer. The command
    /// has to be the same each time: nobody compares.
    ///
    /// # Errors
    ///
    /// As [`Group::propose`], and [`ProposeError::SessionExpired`], [`ProposeError::RequestForgotten`],
    /// [`ProposeError::SessionFull`], [`ProposeError::Fenced`]. All but the last speak of this attempt: an
    /// earlier one may have been applied.
    #[expect(clippy::needless_pass_by_value, reason = "whoever proposes a command gives it away")]
    pub fn propose_as(
        &self,
        request: RequestId,
        command: S::Command,
    ) -> impl Future<Output = Result<S::Response, ProposeError>> + Send + use<S> {
        self.propose_bytes(serialise(&command), Purpose::Request(request))
    }

    /// Proposes what [`serialise`] made of a command.
    pub(crate) fn propose_bytes(
        &self,
        command: Result<Vec<u8>, postcard::Error>,
        purpose: Purpose,
    ) -> impl Future<Output = Result<S::Response, ProposeError>> + Send + use<S> {
        let answer = self.queue(command, purpose);
        async move { decode(&answer.await?) }
    }

    /// Opens a session: for clients that outlive a node or talk to several. It lasts until it was not used for
    /// [`SessionLimits::idle_ms`](crate::SessionLimits), or is closed. Only the leader can do this.
    ///
    /// # Errors
    ///
    /// As [`Group::propose`]. A session whose outcome is unknown may be there, without harm: it expires.
    pub async fn open_session(&self) -> Result<Session, ProposeError> {
        let answer = self.queue(Ok(vec![0; ROOM]), Purpose::Open).await?;
        decode_id(&answer).map(Session::new)
    }

    /// Closes a session: all that is remembered of it is forgotten. Only the leader can do this. To repeat
    /// it does no harm.
    ///
    /// # Errors
    ///
    /// As [`Group::propose`].
    pub async fn close_session(&self, session: SessionId) -> Result<(), ProposeError> {
        self.queue(Ok(vec![0; ROOM]), Purpose::Close(session)).await.map(drop)
    }

    /// Settles what became of a request, wherever and by whom it was made. If it was not applied, it never will
    /// be from now on: the name is fenced. Only the leader can do this. To repeat it does no harm, and gives
    /// the same answer until the request is forgotten.
    ///
    /// # Errors
    ///
    /// As [`Group::propose`], and [`ProposeError::SessionFull`]. About the request nothing is known then, but after
    /// [`ProposeError::UndecodableResponse`]: it was applied.
    pub fn resolve(
        &self,
        request: RequestId,
    ) -> impl Future<Output = Result<Resolution<S::Response>, ProposeError>> + Send + use<S> {
        let answer = self.queue(Ok(vec![0; ROOM]), Purpose::Resolve(request));
        async move {
            match answer.await?.split_first() {
                Some((&APPLIED, response)) => decode(response).map(Resolution::Applied),
                Some((&NOT_APPLIED, _)) => Ok(Resolution::NotApplied),
                Some((&FORGOTTEN, _)) => Ok(Resolution::Forgotten),
                _ => Err(ProposeError::UndecodableResponse("it is no resolution".to_owned())),
            }
        }
    }

    fn queue(
        &self,
        command: Result<Vec<u8>, postcard::Error>,
        purpose: Purpose,
    ) -> impl Future<Output = Answer> + Send + use<S> {
        let request = match &purpose {
            Purpose::Request(request) | Purpose::Resolve(request) => Some(*request),
            Purpose::Plain | Purpose::Own | Purpose::Open | Purpose::Close(_) => None,
        };
        let queued = self.queue_proposal(command, purpose);
        // The other end is dropped without an answer only when the replica ends.
        async move { queued?.await.map_err(|_| ProposeError::OutcomeUnknown { request })? }
    }

    fn queue_proposal(
        &self,
        command: Result<Vec<u8>, postcard::Error>,
        purpose: Purpose,
    ) -> Result<oneshot::Receiver<Answer>, ProposeError> {
        let limits = &self.node.limits;
        let command = command.map_err(|error| ProposeError::Unserialisable(error.to_string()))?;
        let (bytes, bytes_limit) = (command.len().saturating_sub(ROOM), limits.command_bytes_max);
        if bytes > bytes_limit {
            return Err(ProposeError::TooLarge { bytes, bytes_limit });
        }
        if self.is_closed() {
            return Err(ProposeError::Closed);
        }
        let (tenancy, clock) = (&self.slot.tenancy, &*self.node.clock);
        let counted = bytes + REQUEST_OVERHEAD;
        tenancy.check_size(1, counted)?;
        let permit = tenancy.admit_proposals(1, bytes, counted, clock);
        let permit = permit.inspect_err(|_| self.node.counters.requests_refused.add(1))?;
        let (reply, outcome) = oneshot::channel();
        let proposal = Proposal {
            command,
            purpose,
            reply: reply.into(),
            permit,
        };
        if self.slot.inbox.push(Work::Propose(self.slot.life(), proposal)) {
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
        let queued = self.queue_read(query, consistency);
        async move { queued?.await.map_err(|_| ReadError::Closed)? }
    }

    fn queue_read(
        &self,
        query: S::Query,
        consistency: Consistency,
    ) -> Result<oneshot::Receiver<Result<S::Answer, ReadError>>, ReadError> {
        if self.is_closed() {
            return Err(ReadError::Closed);
        }
        let permit = self.slot.tenancy.admit_read(REQUEST_OVERHEAD);
        let permit = permit.inspect_err(|_| self.node.counters.requests_refused.add(1))?;
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
        let job = ReadJob {
            consistency,
            run,
            permit,
        };
        if self.slot.inbox.push(Work::Read(self.slot.life(), job)) {
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
        let ended = || match self.slot.status.quarantined() {
            Some(reason) if !self.is_closed() => TransferError::Quarantined(reason.clone()),
            _ => TransferError::Closed,
        };
        let outcome = self.queue_transfer(Some(to)).ok_or(TransferError::Closed)?;
        match outcome.await.map_err(|_| ended())? {
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
        if self.is_closed() {
            return None;
        }
        self.slot.transfer(to)
    }

    /// Writes the state as this replica has applied it, at one moment, to a file:
    /// [`RaftHost::import_group`](crate::RaftHost::import_group) makes a group of it. Returns the last entry whose
    /// effect is in it. At a follower that is behind the leader; what was acknowledged before a linearizable read of
    /// this replica is in an export that follows the read.
    ///
    /// The file is complete and durable; after an error what was there before is as it was, or the new one, complete, stands in
    /// its place and may not be durable. Beside it a file of the same name
    /// with `.new` appended may be left by a crash.
    ///
    /// # Errors
    ///
    /// [`ExportError`].
    pub async fn export(&self, path: impl Into<PathBuf>) -> Result<LogId, ExportError> {
        if self.is_closed() {
            return Err(ExportError::Closed);
        }
        let (reply, outcome) = oneshot::channel();
        let export = Export {
            path: path.into(),
            reply,
        };
        self.slot.inbox.push(Work::Export(self.slot.life(), export));
        outcome.await.map_err(|_| ExportError::Closed)?
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.node.is_closed() || self.slot.status.is_destroyed()
    }
}

fn decode<R: DeserializeOwned>(response: &[u8]) -> Result<R, ProposeError> {
    postcard::from_bytes(response).map_err(|error| ProposeError::UndecodableResponse(error.to_string()))
}

fn decode_id(answer: &[u8]) -> Result<SessionId, ProposeError> {
    let id = answer.try_into().map(u64::from_le_bytes).map(SessionId);
    id.map_err(|_| ProposeError::UndecodableResponse("it is no session".to_owned()))
}

thread_local! {
    /// Memory to serialise in: a command is copied out of it once its length is known, so that each costs one
    /// allocation of the right size instead of several that grow.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// More than this is not kept for the next command, in bytes.
const SCRATCH_KEPT: usize = 64 << 10;

/// The command, with [`ROOM`] in front of it.
pub(crate) fn serialise<T: Serialize>(command: &T) -> Result<Vec<u8>, postcard::Error> {
    // Taken, not borrowed: what serialises a command may propose another.
    let mut scratch = postcard::to_extend(command, SCRATCH.take())?;
    let mut bytes = Vec::with_capacity(ROOM + scratch.len());
    bytes.extend_from_slice(&[0; ROOM]);
    bytes.extend_from_slice(&scratch);
    if scratch.capacity() <= SCRATCH_KEPT {
        scratch.clear();
        SCRATCH.set(scratch);
    }
    Ok(bytes)
}
