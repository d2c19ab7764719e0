//! The part of a group's handle that has to do with who belongs to it.

use crate::error::{ChangeError, ProgressError};
use crate::group::Group;
use crate::machine::Replicated;
use crate::transport::SnapshotTransfer;
use crate::worker::{Change, Work};
use raftyard_groups::{
    ChangeOutcome, ChangeRefusal, ChangeRequest, LogIndex, Membership, MembershipChange, NodeId, PeerMode, PeerProgress,
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// How far another replica of a group is, as the leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberProgress {
    /// The node it lives on.
    pub node: NodeId,
    /// It holds the leader's log up to here, durably.
    pub matched: u64,
    /// What the leader sends it.
    pub mode: PeerMode,
    /// Milliseconds since it was heard.
    pub silent_ms: u64,
    /// The newest configuration leaves it out: it is still told so.
    pub is_leaving: bool,
    /// The snapshot that is on its way to it, if one is.
    pub snapshot: Option<SnapshotTransfer>,
}

impl<S: Replicated> Group<S> {
    /// The group's configuration: the newest in this replica's log, committed or not (paper §6). Of nobody if the
    /// replica waits to be added.
    #[must_use]
    pub fn membership(&self) -> Arc<Membership> {
        self.slot.status.membership()
    }

    /// Changes who belongs to the group (thesis §4): any number of nodes at once, through a joint configuration. Only
    /// the leader takes it. Returns the new configuration once that is committed: after nodes that shall vote have
    /// caught up, however long that takes. It is queued **by the call**; to drop the future does not take it back
    /// ([`Group::abandon_change`] does, for as long as nodes catch up).
    ///
    /// A node that comes in needs a replica that waits for it, [`RaftHost::join_group`](crate::RaftHost::join_group),
    /// and all members need its address, [`RaftHost::set_peer`](crate::RaftHost::set_peer). To ask for what is
    /// already so is answered once an entry that says it again is committed.
    ///
    /// # Errors
    ///
    /// The future's [`ChangeError`]; [`ChangeError::may_yet_happen`] tells whether the change may still be made.
    pub fn change_membership(
        &self,
        change: MembershipChange,
    ) -> impl Future<Output = Result<Arc<Membership>, ChangeError>> + Send + use<S> {
        let comes_in = |(node, role): (NodeId, Option<_>)| role.is_some().then_some(node);
        let unknown = change
            .roles()
            .filter_map(comes_in)
            .find(|node| *node != self.node.id && !self.node.knows_peer(*node));
        let queued = match unknown {
            Some(node) => Err(ChangeError::UnknownPeer(node)),
            None => self.queue_change(ChangeRequest::Change(change)),
        };
        self.outcome(queued)
    }

    /// Gives up the change of membership under way, as long as the nodes that shall vote catch up: before the joint
    /// configuration is in the leader's log. Returns the configuration that stays, once that is committed.
    ///
    /// # Errors
    ///
    /// The future's [`ChangeError`].
    pub fn abandon_change(&self) -> impl Future<Output = Result<Arc<Membership>, ChangeError>> + Send + use<S> {
        let queued = self.queue_change(ChangeRequest::Abandon);
        self.outcome(queued)
    }

    fn queue_change(&self, request: ChangeRequest) -> Result<oneshot::Receiver<ChangeOutcome>, ChangeError> {
        let (reply, outcome) = oneshot::channel();
        let work = Work::Change(self.slot.life(), Change { request, reply });
        if self.is_closed() || !self.slot.inbox.push(work) {
            return Err(ChangeError::Closed);
        }
        Ok(outcome)
    }

    fn outcome(
        &self,
        queued: Result<oneshot::Receiver<ChangeOutcome>, ChangeError>,
    ) -> impl Future<Output = Result<Arc<Membership>, ChangeError>> + Send + use<S> {
        let slot = self.slot.clone();
        async move {
            let outcome = queued?.await.map_err(|_| match slot.status.quarantined() {
                Some(reason) => ChangeError::Quarantined(reason.clone()),
                None => ChangeError::OutcomeUnknown,
            })?;
            match outcome {
                ChangeOutcome::Done { membership, .. } => Ok(membership),
                ChangeOutcome::Abandoned => Err(ChangeError::Abandoned),
                ChangeOutcome::SteppedDown { leader } => Err(ChangeError::SteppedDown { leader }),
                ChangeOutcome::Refused(refusal) => Err(match refusal {
                    ChangeRefusal::NotLeader { leader } => ChangeError::NotLeader { leader },
                    ChangeRefusal::NotReady => ChangeError::NotReady,
                    ChangeRefusal::Busy => ChangeError::Busy,
                    ChangeRefusal::NotPreparing => ChangeError::NotPreparing,
                    ChangeRefusal::Transferring => ChangeError::Transferring,
                    ChangeRefusal::Invalid(error) => ChangeError::Invalid(error),
                }),
            }
        }
    }

    /// How far every other replica is, sorted by node: what the leader knows, nothing at any other replica.
    ///
    /// # Errors
    ///
    /// [`ProgressError`] if the replica is gone.
    pub async fn progress(&self) -> Result<Vec<MemberProgress>, ProgressError> {
        let (reply, progress) = oneshot::channel();
        let work = Work::Progress(self.slot.life(), reply);
        if self.is_closed() || !self.slot.inbox.push(work) {
            return Err(ProgressError);
        }
        let peers: Vec<PeerProgress> = progress.await.map_err(|_| ProgressError)?;
        let member = |peer: PeerProgress| {
            let PeerProgress {
                node,
                matched: LogIndex(matched),
                mode,
                silent_ms,
                is_leaving,
            } = peer;
            MemberProgress {
                node,
                matched,
                mode,
                silent_ms,
                is_leaving,
                snapshot: self.node.snapshot_transfer(node, self.slot.group),
            }
        };
        Ok(peers.into_iter().map(member).collect())
    }
}
