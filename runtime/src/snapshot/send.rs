//! Sending a snapshot to a peer, in pieces that the transport asks for.

use super::actor::{SnapshotActor, SnapshotWork};
use super::format::{self, Seal, Stamp};
use super::name::{Name, SnapshotId};
use super::{SnapshotEvent, View};
use crate::life::Life;
use crate::transport::{Done, Outgoing, SnapshotOffer};
use bytes::Bytes;
use raftyard_groups::{LogId, NodeId, Term};
use tokio::sync::oneshot;

/// One that is being sent.
#[derive(Default)]
pub(super) struct Sending {
    /// To how many peers.
    peers: usize,
    /// Its end was read, or something could not be read: a peer that does not take it then may be right.
    is_suspect: bool,
}

impl SnapshotActor {
    pub(super) fn send(
        &mut self,
        life: Life,
        to: NodeId,
        term: Term,
        last: LogId,
        to_witness: bool,
        view: Option<View>,
    ) {
        if self.hosted(life).is_none() {
            return;
        }
        let id = SnapshotId::of(life, last);
        let is_view = view.is_some() && !to_witness;
        let outgoing = self.outgoing(id, to_witness, view);
        if is_view {
            let size = outgoing.as_ref().map(|(seal, _)| seal.size);
            self.tell(life, SnapshotEvent::Viewed { size });
        }
        let Some((seal, stateless)) = outgoing else {
            // Whoever took it, and counts on it, has another one taken.
            self.tell(life, SnapshotEvent::Rotted { last });
            return self.tell(life, SnapshotEvent::Sent { to, through: None });
        };
        self.sending.entry(id).or_default().peers += 1;
        let offer = SnapshotOffer {
            group: life.group.0,
            incarnation: id.incarnation.0,
            term: term.0,
            last_term: last.term.0,
            last_index: last.index.0,
            size: seal.size,
            crc: seal.crc,
        };
        let (source, done) = (self.inbox.clone(), self.inbox.clone());
        self.transport.send_snapshot(Outgoing {
            to,
            offer,
            read: Box::new(move |offset, len| {
                let (reply, piece) = oneshot::channel();
                match &stateless {
                    // Who gave up waiting has dropped the other end.
                    Some(all) => drop(reply.send(Some(part_of(all, offset, len)))),
                    None => {
                        source.push(SnapshotWork::Read { id, offset, len, reply });
                    }
                }
                piece
            }),
            done: Done::new(move |is_complete| {
                done.push(SnapshotWork::Sent { id, to, is_complete });
            }),
        });
    }

    /// The snapshot `id` as a peer gets it, written from `view` if it is not there; if it is to have no state, all
    /// of it.
    fn outgoing(&mut self, id: SnapshotId, to_witness: bool, view: Option<View>) -> Option<(Seal, Option<Bytes>)> {
        let ready = self.ready(id).cloned();
        if to_witness {
            let membership = ready.map(|seal| seal.membership).or(view.map(|view| view.membership))?;
            let (seal, all) = format::stateless(id, membership).ok()?;
            return Some((seal, Some(all)));
        }
        if ready.is_some() {
            return ready.map(|seal| (seal, None));
        }
        let View { membership, encode } = view?;
        let stamp = Stamp {
            membership,
            is_witness: false,
        };
        let seal = self.write_view(&stamp, id, encode)?;
        self.for_peers.insert(id);
        Some((seal, None))
    }

    /// A piece of one that is being sent; none if it can't be read, or was removed because its group is gone.
    pub(super) fn read_piece(&mut self, id: SnapshotId, offset: u64, len: usize) -> Option<Bytes> {
        let size = self.ready(id)?.size;
        let piece = self.store.read(&Name::Complete(id).text(), offset, len);
        let piece = piece.map_err(|error| tracing::error!(snapshot = ?id, %error, "snapshot can't be read"));
        let wanted = size.saturating_sub(offset).min(len as u64);
        let read = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if let Some(sending) = self.sending.get_mut(&id) {
            sending.is_suspect |= read < wanted || offset.saturating_add(read) >= size;
        }
        piece.ok()
    }

    pub(super) fn sent(&mut self, id: SnapshotId, to: NodeId, is_complete: bool) {
        let suspect = |sending: &mut Sending| std::mem::take(&mut sending.is_suspect);
        if !is_complete && self.sending.get_mut(&id).is_some_and(suspect) {
            self.look_again(id);
        }
        if let Some(sending) = self.sending.get_mut(&id) {
            sending.peers -= 1;
            if sending.peers == 0 {
                self.sending.remove(&id);
                if self.for_peers.remove(&id) {
                    self.ready.remove(&id);
                    self.remove(Name::Complete(id));
                }
                self.remove_useless(id.group);
            }
        }
        if is_complete {
            self.counters.snapshots_sent.add(1);
        }
        let through = is_complete.then_some(id.last.index);
        self.tell(id.life(), SnapshotEvent::Sent { to, through });
    }
}

impl SnapshotActor {
    /// A peer did not take a snapshot. If it is not what was written any more, it is offered to nobody from now on, and its
    /// group told: a state in memory is written once more.
    fn look_again(&mut self, id: SnapshotId) {
        if self.ready(id).is_none() {
            return;
        }
        let verified = self.hosted(id.life()).map(|hosted| {
            let name = Name::Complete(id).text();
            format::verify(&*self.store, &name, id, hosted.is_witness)
        });
        if let Some(Err(error)) = verified {
            tracing::error!(group = id.group.0, last = %id.last, %error, "snapshot is not sent any more");
            self.ready.remove(&id);
            self.tell(id.life(), SnapshotEvent::Rotted { last: id.last });
        }
    }
}

/// `len` bytes from `offset` on, or as many as there are.
fn part_of(all: &Bytes, offset: u64, len: usize) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
    all.slice(start..start.saturating_add(len).min(all.len()))
}
