//! A transport for tests of those who use one: it reaches nobody.

use super::{MeetError, MemoryNetwork, PeerDisks, TransportConfig, TransportHandle, TransportLimits, bind};
use crate::budget::InboundBudget;
use crate::router::Router;
use crate::store::DiskId;
use futures::future::{LocalBoxFuture, ready};
use raftyard_groups::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What node 1 holds of it; what would arrive would go to `router`.
pub(crate) async fn nowhere(router: Router) -> TransportHandle {
    let network = MemoryNetwork::new();
    let config = TransportConfig {
        cluster: "test".to_owned(),
        node: NodeId(1),
        listen: "1".to_owned(),
        network: network.node(NodeId(1)),
        seed: 1,
        limits: TransportLimits::default(),
    };
    let bound = bind(config).await.unwrap();
    let (peers, budget) = (BTreeMap::new(), InboundBudget::new(1));
    let (_, handle) = bound.into_actor(peers, Arc::new(Nobody), Arc::new(router), budget);
    handle
}

/// Meets nobody.
struct Nobody;

impl PeerDisks for Nobody {
    fn own(&self) -> DiskId {
        DiskId(1)
    }

    fn meet(&self, _: NodeId, _: DiskId) -> LocalBoxFuture<'_, Result<(), MeetError>> {
        Box::pin(ready(Err(MeetError::OtherDisk)))
    }
}
