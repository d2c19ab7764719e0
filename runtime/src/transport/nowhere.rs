//! A transport for tests of those who use one: it reaches nobody.

use super::{MemoryNetwork, TransportConfig, TransportHandle, TransportLimits, bind};
use crate::budget::InboundBudget;
use crate::router::Router;
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
    let (_, handle) = bound.into_actor(BTreeMap::new(), Arc::new(router), InboundBudget::new(1));
    handle
}
