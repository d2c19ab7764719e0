//! A whole cluster in one process, for trying things out.

use std::path::{Path, PathBuf};

use raftyard::NodeId;

use crate::access::Password;
use crate::address::HostPort;
use crate::certificates;
use crate::config::{DEFAULT_MAX_CLIENTS, DEFAULT_SNAPSHOT_ENTRIES, NodeConfig, PeerConfig, Reads, RespTls, StateKind};
use crate::slots::ShardMap;

/// What the cluster is called.
pub(crate) const CLUSTER: &str = "dev";

/// A node's peer port is its RESP port plus this.
const PEER_PORT_OFFSET: u16 = 1000;

/// What `dev` was asked for.
#[derive(Debug, Clone)]
pub(crate) struct DevCluster {
    pub(crate) nodes: u16,
    pub(crate) shard_map: ShardMap,
    pub(crate) data: PathBuf,
    /// The RESP port of node 1.
    pub(crate) port: u16,
    pub(crate) state: StateKind,
    pub(crate) proxy: bool,
    pub(crate) reads: Reads,
    /// With TLS: where the certificates are.
    pub(crate) certificates: Option<PathBuf>,
    pub(crate) password: Option<Password>,
}

impl DevCluster {
    /// Each node's configuration. Node `i` (from 1) serves clients on `port + i - 1` and other nodes 1000 ports above it,
    /// on the loopback address only; its data is in `node-i`. `None` if a port would be above 65535.
    pub(crate) fn configs(&self) -> Option<Vec<NodeConfig>> {
        let peers: Vec<PeerConfig> = (1..=self.nodes)
            .map(|number| {
                let port = self.port.checked_add(number - 1)?;
                Some(PeerConfig {
                    node: NodeId(number.into()),
                    peer: loopback(port.checked_add(PEER_PORT_OFFSET)?),
                    resp: loopback(port),
                })
            })
            .collect::<Option<_>>()?;
        Some(peers.iter().map(|me| self.config(me, &peers)).collect())
    }

    fn config(&self, me: &PeerConfig, all: &[PeerConfig]) -> NodeConfig {
        let certificates = self.certificates.as_deref();
        let tls = certificates.map(|dir| certificates::files(dir, me.node.0));
        NodeConfig {
            cluster: CLUSTER.into(),
            node: me.node,
            listen_resp: me.resp.clone(),
            listen_peer: me.peer.clone(),
            announce_resp: me.resp.clone(),
            data_dir: self.node_dir(me.node),
            shard_map: self.shard_map,
            // The nodes share one machine.
            workers: 1,
            max_clients: DEFAULT_MAX_CLIENTS,
            state: self.state,
            snapshot_entries: DEFAULT_SNAPSHOT_ENTRIES,
            proxy: self.proxy,
            reads: self.reads,
            join: false,
            resp_tls: tls.clone().map(|files| RespTls {
                cert: files.cert,
                key: files.key,
                ca: Some(files.ca),
            }),
            tls,
            password: self.password.clone(),
            peers: all.iter().filter(|peer| peer.node != me.node).cloned().collect(),
        }
    }

    fn node_dir(&self, node: NodeId) -> PathBuf {
        Path::new(&self.data).join(format!("node-{}", node.0))
    }
}

fn loopback(port: u16) -> HostPort {
    HostPort {
        host: "127.0.0.1".into(),
        port,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn cluster(port: u16) -> DevCluster {
        DevCluster {
            nodes: 3,
            shard_map: ShardMap::new(16).unwrap(),
            data: "data".into(),
            port,
            state: StateKind::Disk,
            proxy: false,
            reads: Reads::Stale,
            certificates: None,
            password: None,
        }
    }

    #[test]
    fn nodes_know_each_other() {
        let configs = cluster(7001).configs().unwrap();
        assert_eq!(configs.len(), 3);
        let second = &configs[1];
        assert_eq!(second.listen_resp.to_string(), "127.0.0.1:7002");
        assert_eq!(second.listen_peer.to_string(), "127.0.0.1:8002");
        assert_eq!(second.data_dir, Path::new("data/node-2"));
        let peers: Vec<u64> = second.peers.iter().map(|peer| peer.node.0).collect();
        assert_eq!(peers, [1, 3]);
        assert_eq!(second.peers[1].peer, configs[2].listen_peer);
        assert_eq!(second.peers[1].resp, configs[2].listen_resp);
        assert!(configs.iter().all(|config| config.reads == Reads::Stale));
        assert!(configs.iter().all(|config| config.state == StateKind::Disk));
    }

    #[test]
    fn ports_do_not_wrap() {
        assert!(cluster(64533).configs().is_some());
        assert!(cluster(64534).configs().is_none());
    }
}
