//! A network of function calls: whoever sends calls the receiver.

use super::{Peer, Types};
use crate::clients::Map;
use openraft::errors::{Infallible, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use std::io::{Error, ErrorKind};
use std::sync::{Arc, OnceLock};

/// The three replicas of a group, once they are there.
#[derive(Clone, Default)]
pub(super) struct Router(pub(super) Arc<OnceLock<[Peer; 3]>>);

impl Router {
    fn peer(&self, node: u64) -> Result<&Peer, Unreachable<Types>> {
        let peers = self.0.get();
        let peer = peers.and_then(|peers| peers.get(usize::try_from(node).ok()?));
        peer.ok_or_else(|| Unreachable::new(&Error::from(ErrorKind::NotConnected)))
    }
}

impl RaftNetworkFactory<Types> for Router {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, (): &()) -> Connection {
        Connection {
            router: self.clone(),
            target,
        }
    }
}

pub(super) struct Connection {
    router: Router,
    target: u64,
}

fn remote(error: &RaftError<Types, Infallible>) -> Unreachable<Types> {
    Unreachable::new(error)
}

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = Map;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let peer = self.router.peer(self.target)?;
        Ok(peer.append_entries(request).await.map_err(|error| remote(&error))?)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let peer = self.router.peer(self.target)?;
        Ok(peer.vote(request).await.map_err(|error| remote(&error))?)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, Map>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let peer = self.router.peer(self.target)?;
        let installed = peer.install_full_snapshot(vote, snapshot).await;
        Ok(installed.map_err(|error| Unreachable::new(&error))?)
    }
}
