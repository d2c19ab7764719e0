//! Putting a peer's snapshot together. What arrived stays in a file whose name says which snapshot it will
//! be, so that a broken connection, and a restart, go on where it ends. Nobody trusts what is in it before
//! the whole was verified.

use super::SnapshotEvent;
use super::actor::SnapshotActor;
use super::format;
use super::name::{Name, SnapshotId};
use crate::store::is_full;
use crate::transport::{SnapshotAnswer, SnapshotChunk, SnapshotOffer, SnapshotPart, chunk_crc};
use raftyard_groups::{GroupId, Incarnation, LogId, NodeId, Term};

/// How long no snapshot of a group is received once one found no room, in milliseconds. Others find what it left.
pub(super) const CROWDED_OUT_MS: u64 = 5_000;

/// One that is being received.
pub(super) struct Incoming {
    pub(super) id: SnapshotId,
    from: NodeId,
    term: Term,
    size: u64,
    crc: u32,
    /// Bytes that are here.
    at: u64,
}

impl Incoming {
    fn name(&self) -> Name {
        Name::Incoming {
            id: self.id,
            size: self.size,
            crc: self.crc,
        }
    }
}

impl SnapshotActor {
    pub(super) fn receive(&mut self, from: NodeId, part: SnapshotPart) -> SnapshotAnswer {
        let (group, received) = match part {
            SnapshotPart::Offer(offer) => (offer.group, self.on_offer(from, &offer)),
            SnapshotPart::Chunk(chunk) => (chunk.group, self.on_chunk(from, &chunk)),
        };
        received.unwrap_or_else(|error| {
            tracing::error!(group, peer = from.0, %error, "snapshot can't be received");
            if is_full(&error) {
                self.make_room(GroupId(group));
            }
            SnapshotAnswer::Refused
        })
    }

    /// Gives up what was received of a group's snapshot: kept to be resumed, it would take the last room that there is
    /// from the logs of all groups.
    fn make_room(&mut self, group: GroupId) {
        self.incoming.remove(&group);
        for name in self.names(group) {
            if matches!(name, Name::Incoming { .. }) {
                self.remove(name);
            }
        }
        self.crowded_out.insert(group, self.clock.now().plus(CROWDED_OUT_MS));
    }

    fn is_crowded_out(&mut self, group: GroupId) -> bool {
        let Some(until) = self.crowded_out.get(&group) else {
            return false;
        };
        let is_so = self.clock.now() < *until;
        if !is_so {
            self.crowded_out.remove(&group);
        }
        is_so
    }

    fn on_offer(&mut self, from: NodeId, offer: &SnapshotOffer) -> std::io::Result<SnapshotAnswer> {
        let group = GroupId(offer.group);
        let id = SnapshotId {
            group,
            incarnation: Incarnation(offer.incarnation),
            last: LogId::new(offer.last_term, offer.last_index),
        };
        if self.hosted(id.life()).is_none() {
            return Ok(SnapshotAnswer::Refused);
        }
        let term = Term(offer.term);
        if let Some(seal) = self.ready(id) {
            let membership = seal.membership.clone();
            self.tell(
                id.life(),
                SnapshotEvent::Received {
                    from,
                    term,
                    last: id.last,
                    membership,
                },
            );
            return Ok(SnapshotAnswer::Complete);
        }
        let is_older = self.incoming.get(&group).is_some_and(|incoming| incoming.term > term);
        if is_older || self.is_crowded_out(group) {
            return Ok(SnapshotAnswer::Refused);
        }
        let mut incoming = Incoming {
            id,
            from,
            term,
            size: offer.size,
            crc: offer.crc,
            at: 0,
        };
        let wanted = incoming.name();
        let mut is_begun = false;
        for other in self.names(group) {
            if other == wanted {
                is_begun = true;
            } else if matches!(other, Name::Incoming { .. }) {
                self.remove(other);
            }
        }
        // What was given up, and could not be removed, counts for nothing.
        if is_begun {
            let there = self.store.size(&wanted.text())?.unwrap_or_default();
            incoming.at = there.min(incoming.size);
        }
        // Also if it fails: what was begun is to be removed.
        self.note(wanted);
        if incoming.at == 0 {
            self.store.write(&wanted.text(), 0, &[])?;
        }
        self.incoming.insert(group, incoming);
        self.go_on(group)
    }

    fn on_chunk(&mut self, from: NodeId, chunk: &SnapshotChunk) -> std::io::Result<SnapshotAnswer> {
        let group = GroupId(chunk.group);
        let Some(incoming) = self.incoming.get_mut(&group).filter(|incoming| incoming.from == from) else {
            return Ok(SnapshotAnswer::Refused);
        };
        if chunk.crc != chunk_crc(chunk.group, chunk.offset, &chunk.bytes) {
            tracing::warn!(group = group.0, peer = from.0, "damaged chunk of a snapshot rejected");
            return Ok(SnapshotAnswer::Refused);
        }
        let end = chunk.offset.checked_add(chunk.bytes.len() as u64);
        let fits = end.is_some_and(|end| end <= incoming.size) && !chunk.bytes.is_empty();
        if chunk.offset != incoming.at || !fits {
            // Repeated, or one before it is missing.
            return Ok(SnapshotAnswer::Wanted { offset: incoming.at });
        }
        self.store.write(&incoming.name().text(), chunk.offset, &chunk.bytes)?;
        incoming.at += chunk.bytes.len() as u64;
        self.go_on(group)
    }

    /// Says what is wanted next. If nothing is: verifies it, makes it durable, and tells the group.
    fn go_on(&mut self, group: GroupId) -> std::io::Result<SnapshotAnswer> {
        let Some(incoming) = self.incoming.get(&group) else {
            return Ok(SnapshotAnswer::Refused);
        };
        let (id, from, term) = (incoming.id, incoming.from, incoming.term);
        if incoming.at < incoming.size {
            return Ok(SnapshotAnswer::Wanted { offset: incoming.at });
        }
        let (name, crc) = (incoming.name(), incoming.crc);
        self.incoming.remove(&group);
        let Some(is_witness) = self.hosted(id.life()).map(|hosted| hosted.is_witness) else {
            return Ok(SnapshotAnswer::Refused);
        };
        match format::verify(&*self.store, &name.text(), id, is_witness) {
            Ok(seal) if seal.crc == crc => {
                self.publish(name)?;
                tracing::debug!(group = group.0, last = %id.last, bytes = seal.size, "snapshot received");
                let membership = seal.membership.clone();
                self.is_ready_now(id, seal);
                self.tell(
                    id.life(),
                    SnapshotEvent::Received {
                        from,
                        term,
                        last: id.last,
                        membership,
                    },
                );
                Ok(SnapshotAnswer::Complete)
            }
            checked => {
                let error = checked
                    .err()
                    .map_or_else(|| "another was offered".to_owned(), |error| error.to_string());
                tracing::error!(group = group.0, peer = from.0, error, "received snapshot rejected");
                self.remove(name);
                Ok(SnapshotAnswer::Refused)
            }
        }
    }
}
