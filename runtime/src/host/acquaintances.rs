//! The other nodes as this one remembers them.

use super::placement::Spot;
use crate::store::{DiskId, PeerBook, StoreError};
use crate::transport::{MeetError, PeerDisks};
use futures::future::LocalBoxFuture;
use parking_lot::Mutex;
use raftyard_groups::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A node's peer book, and what of it has to be known without waiting for a disk. Clones are the same.
#[derive(Clone)]
pub(super) struct Acquaintances {
    own: DiskId,
    shared: Arc<Shared>,
    /// Where the book is written: one change after the other.
    place: Spot,
}

struct Shared {
    /// Locked while it is written.
    book: Mutex<PeerBook>,
    /// The disks in it.
    disks: Mutex<BTreeMap<NodeId, DiskId>>,
    /// Who was removed, and not set again. A connection of such a one may have come so far that it is only now met.
    removed: Mutex<BTreeSet<NodeId>>,
}

impl Acquaintances {
    /// Those in the book of a node whose disk is `own`; it is written on `place`.
    pub(super) fn new(own: DiskId, book: PeerBook, place: Spot) -> Self {
        let disks = Mutex::new(book.disks().clone());
        let book = Mutex::new(book);
        Self {
            own,
            shared: Arc::new(Shared {
                book,
                disks,
                removed: Mutex::default(),
            }),
            place,
        }
    }

    /// As [`PeerBook::set`]. Blocks.
    pub(super) fn set(&self, peer: NodeId, address: String, is_new: bool) -> Result<(), StoreError> {
        self.shared.change(|book| book.set(peer, address, is_new))?;
        self.shared.removed.lock().remove(&peer);
        Ok(())
    }

    /// As [`PeerBook::remove`], and nobody meets it any more until it is [`set`](Self::set). Blocks.
    pub(super) fn remove(&self, peer: NodeId) -> Result<(), StoreError> {
        self.shared.change(|book| book.remove(peer))?;
        self.shared.removed.lock().insert(peer);
        Ok(())
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut PeerBook) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut book = self.book.lock();
        change(&mut book)?;
        self.disks.lock().clone_from(book.disks());
        Ok(())
    }

    /// Whether a peer that was met before has its disk still.
    fn check(&self, peer: NodeId, disk: DiskId) -> Option<Result<(), MeetError>> {
        let known = self.disks.lock().get(&peer).copied()?;
        Some(if known == disk {
            Ok(())
        } else {
            Err(MeetError::OtherDisk)
        })
    }

    /// Blocks.
    fn meet_first(&self, peer: NodeId, disk: DiskId) -> Result<(), MeetError> {
        if self.removed.lock().contains(&peer) {
            return Err(MeetError::Removed);
        }
        // It may have been noted meanwhile, on another lane.
        if let Some(checked) = self.check(peer, disk) {
            return checked;
        }
        let noted = self.change(|book| book.set_disk(peer, disk));
        noted.map_err(|error| {
            tracing::error!(peer = peer.0, %error, "a peer's disk can't be noted: it is not talked to");
            MeetError::NotNoted(error.to_string())
        })?;
        tracing::info!(peer = peer.0, %disk, "peer met for the first time");
        Ok(())
    }
}

impl PeerDisks for Acquaintances {
    fn own(&self) -> DiskId {
        self.own
    }

    fn meet(&self, peer: NodeId, disk: DiskId) -> LocalBoxFuture<'_, Result<(), MeetError>> {
        Box::pin(async move {
            if let Some(checked) = self.shared.check(peer, disk) {
                return checked;
            }
            let shared = self.shared.clone();
            let noted = self
                .place
                .complete(move || async move { shared.meet_first(peer, disk) });
            let ended = || Err(MeetError::NotNoted("the node shuts down".to_owned()));
            noted.await.unwrap_or_else(ended)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Its hello came before the removal, and its turn comes after it.
    #[test]
    fn who_was_removed_is_not_met_before_it_is_set_again() {
        const PEER: NodeId = NodeId(2);
        actix_rt::System::new().block_on(async {
            let peers = Acquaintances::new(DiskId(1), PeerBook::default(), Spot::Here);
            peers.set(PEER, "there".to_owned(), true).unwrap();
            assert_eq!(peers.meet(PEER, DiskId(2)).await, Ok(()));
            peers.remove(PEER).unwrap();
            assert_eq!(peers.meet(PEER, DiskId(2)).await, Err(MeetError::Removed));
            assert!(peers.shared.book.lock().disks().is_empty(), "its disk is forgotten");
            peers.set(PEER, "there".to_owned(), true).unwrap();
            assert_eq!(peers.meet(PEER, DiskId(3)).await, Ok(()), "on another disk");
        });
    }
}
