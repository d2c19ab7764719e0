//! Leadership transfer (thesis §3.10): a leader lets a peer catch up, tells it to campaign at once, and takes
//! no proposals meanwhile. If nothing comes of it within an election timeout, it goes on leading.

use crate::effects::{Effects, TransferOutcome, TransferRefusal};
use crate::fingerprint::Reference;
use crate::group::{Group, Role};
use crate::ids::NodeId;
use crate::input::{Moment, ProposalId, TransferId};
use crate::message::Prompt;
use bytes::Bytes;
use std::cmp::Reverse;
use std::hash::{Hash, Hasher};

#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    /// Who asked for it, unless the leader does so by itself.
    id: Option<TransferId>,
    to: NodeId,
    /// When the leader gives up.
    deadline: Moment,
    /// The target has the whole log and was told to campaign.
    told: bool,
    /// Proposals that came meanwhile: appended if it fails, refused once another leads. (To append them at
    /// once would keep the target from ever catching up.)
    held: Vec<(ProposalId, Vec<Bytes>)>,
}

impl Transfer {
    pub(crate) fn hold(&mut self, id: ProposalId, commands: Vec<Bytes>) {
        self.held.push((id, commands));
    }

    /// Who probably leads next, if this leader stops now.
    pub(crate) fn successor(&self) -> Option<NodeId> {
        self.told.then_some(self.to)
    }

    /// This replica stopped leading. Returns the proposals that were held.
    pub(crate) fn conclude(self, effects: &mut Effects) -> Vec<ProposalId> {
        let outcome = if self.told {
            TransferOutcome::HandedOver { to: self.to }
        } else {
            TransferOutcome::SteppedDown
        };
        effects.transfers.extend(self.id.map(|id| (id, outcome)));
        self.held.into_iter().map(|(id, _)| id).collect()
    }
}

impl Transfer {
    pub(crate) fn fingerprint(&self, reference: Reference, state: &mut impl Hasher) {
        let Self {
            id,
            to,
            deadline,
            told,
            held,
        } = self;
        (id, to, *deadline <= reference.now, told, held).hash(state);
    }
}

impl Group {
    /// Somebody here wants another replica to lead: `to`, or whichever is the best.
    pub(crate) fn on_transfer(&mut self, id: TransferId, to: Option<NodeId>, effects: &mut Effects) {
        let outcome = match self.start_transfer(Some(id), to) {
            Ok(()) => return,
            Err(outcome) => outcome,
        };
        effects.transfers.push((id, outcome));
    }

    pub(crate) fn start_transfer(&mut self, id: Option<TransferId>, to: Option<NodeId>) -> Result<(), TransferOutcome> {
        let refused = |refusal| Err(TransferOutcome::Refused(refusal));
        if to == Some(self.config.node) && matches!(self.role, Role::Leader(_)) {
            return Err(TransferOutcome::HandedOver { to: self.config.node });
        }
        self.note_backers();
        let Some(to) = to.or_else(|| self.best_successor()) else {
            return refused(TransferRefusal::NoSuccessor);
        };
        let leader = self.leader();
        let deadline = self.now.plus(self.config.tuning.election_timeout_ms);
        let Role::Leader(state) = &mut self.role else {
            return refused(TransferRefusal::NotLeader { leader });
        };
        if !self.memberships.in_force().may_lead(to) || !state.peers.contains_key(&to) {
            return refused(TransferRefusal::NotVoter);
        }
        if state.transfer.is_some() {
            return refused(TransferRefusal::Busy);
        }
        state.transfer = Some(Transfer {
            id,
            to,
            deadline,
            told: false,
            held: Vec::new(),
        });
        Ok(())
    }

    /// The voter with the longest log among those that were heard within an election timeout, the first by
    /// id among equals.
    pub(crate) fn best_successor(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else {
            return None;
        };
        let matched = |peer: &NodeId| leader.peers.get(peer).map(|progress| progress.matched);
        self.successors().min_by_key(|peer| (Reverse(matched(peer)), *peer))
    }

    /// The voters that may lead and were heard within an election timeout, but for this one.
    pub(crate) fn successors(&self) -> impl Iterator<Item = NodeId> + '_ {
        let (now, timeout) = (self.now, self.config.tuning.election_timeout_ms);
        let peers = match &self.role {
            Role::Leader(leader) => Some(leader.peers.iter()),
            _ => None,
        };
        let heard = peers.into_iter().flatten().filter(move |(peer, progress)| {
            self.membership().may_lead(**peer) && now.since(progress.heard()) < timeout
        });
        heard.map(|(peer, _)| *peer)
    }

    /// Tells the target to campaign, unless it was told, once it has the whole log.
    pub(crate) fn advance_transfer(&mut self, effects: &mut Effects) {
        self.tell_successor(|transfer| !transfer.told, effects);
    }

    /// With each heartbeat: tells the target again, for what was said may be lost, or gives the transfer up if
    /// its time is over.
    pub(crate) fn pursue_transfer(&mut self, effects: &mut Effects) {
        self.expire_transfer(effects);
        self.tell_successor(|transfer| transfer.told, effects);
    }

    fn tell_successor(&mut self, if_due: impl FnOnce(&Transfer) -> bool, effects: &mut Effects) {
        let last = self.log.last();
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(transfer) = leader.transfer.as_mut().filter(|transfer| if_due(transfer)) else {
            return;
        };
        let matched = leader.peers.get(&transfer.to).map(|progress| progress.matched);
        if matched == Some(last) {
            transfer.told = true;
            leader.handed_over = true;
            let to = transfer.to;
            self.send(to, Prompt::TimeoutNow, effects);
        }
    }

    /// Gives up a transfer whose time is over: proposals that were held go into the log now. The target may
    /// still campaign and win, as any replica may.
    fn expire_transfer(&mut self, effects: &mut Effects) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(transfer) = leader.transfer.take_if(|transfer| transfer.deadline <= self.now) else {
            return;
        };
        effects
            .transfers
            .extend(transfer.id.map(|id| (id, TransferOutcome::TimedOut)));
        for (id, commands) in transfer.held {
            self.on_propose(id, commands, effects);
        }
    }

    /// The leader, which has made sure that this replica holds its whole log, wants it to lead.
    pub(crate) fn on_timeout_now(&mut self, from: NodeId, effects: &mut Effects) {
        let is_able = self.may_campaign() && self.is_up_to_date(self.log.last_id()) && !self.is_barred();
        if self.leader() == Some(from) && is_able {
            self.free_for_transfer();
            self.campaign(true, effects);
        }
    }
}
