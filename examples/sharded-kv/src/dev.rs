//! A whole cluster in one process, for trying things out.

use std::fs;
use std::io;
use std::path::PathBuf;

use raftyard::NodeId;

use crate::access::{Password, PasswordError};
use crate::address::HostPort;
use crate::certificates::{self, CertificateError, Wanted};
use crate::config::{
    DEFAULT_DATA_DIR, DEFAULT_MAX_CLIENTS, DEFAULT_SNAPSHOT_ENTRIES, NodeConfig, PeerConfig, Reads, RespTls, StateKind,
    times,
};
use crate::number_file::{GROUPS, NODES, NumberFileError};
use crate::slots::{SLOT_COUNT, ShardMap};

/// What the cluster is called.
const CLUSTER: &str = "dev";

/// A node's peer port is its RESP port plus this.
const PEER_PORT_OFFSET: u16 = 1000;

/// Days for which the certificates of `dev --tls` are valid.
const CERTIFICATE_DAYS: u32 = 30;

/// What `dev` is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Dev {
    /// Number of nodes; can't be changed once there is data.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    nodes: u16,
    /// Number of Raft groups that share the 16,384 slots; can't be changed once there is data.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=i64::from(SLOT_COUNT)))]
    groups: u16,
    /// Where data is kept.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data: PathBuf,
    /// RESP port of node 1.
    #[arg(long, default_value_t = 7001, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Where keys and values are: in memory, or on disk, for more than fits into memory; can't be changed once there
    /// is data.
    #[arg(long, value_enum, default_value_t)]
    state: StateKind,
    /// Forward commands to the leader of the key's group instead of answering MOVED, for clients that know nothing of
    /// clusters.
    #[arg(long)]
    proxy: bool,
    /// What reads answer after READONLY: as current as at the leader, or what the replica has.
    #[arg(long, value_enum, default_value_t)]
    reads: Reads,
    /// How soon a leader that is silent is taken for lost, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = times::default_election_timeout_ms(),
        value_parser = clap::value_parser!(u64).range(times::ELECTION_TIMEOUT_MS))]
    election_timeout_ms: u64,
    /// Speak TLS with clients and between nodes, with certificates in DIR/certs that are made at each start; clients
    /// trust DIR/certs/ca.pem.
    #[arg(long)]
    tls: bool,
    /// What clients have to say first (AUTH): the line in this file.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Why there is no such cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevError {
    #[error("--port {port}: the ports of {nodes} nodes would be above 65535")]
    Ports { port: u16, nodes: u16 },
    #[error("--groups {0} is not between 1 and {SLOT_COUNT}")]
    Groups(u16),
    #[error(transparent)]
    NumberFile(#[from] NumberFileError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Dev {
    /// Refuses the data of another number of nodes. Changes nothing: a start that is refused for something else is none.
    pub(crate) fn check(&self) -> Result<(), DevError> {
        NODES.check(&self.data, self.nodes)?;
        if !NODES.exists(&self.data) {
            match self.nodes_with_data()? {
                0 => {}
                written => NODES.compare(self.data.clone(), written, self.nodes)?,
            }
        }
        Ok(())
    }

    /// Notes in the data directory how many nodes there are.
    pub(crate) fn claim(&self) -> Result<(), DevError> {
        Ok(NODES.write(&self.data, self.nodes)?)
    }

    /// How many nodes have left data, in a directory that does not say how many there are.
    fn nodes_with_data(&self) -> Result<u16, NumberFileError> {
        let error = |source| NumberFileError::Io {
            path: self.data.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.data) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(source) => return Err(error(source)),
        };
        let mut count = 0_u16;
        for entry in entries {
            let entry = entry.map_err(error)?;
            let is_nodes = entry.file_name().as_encoded_bytes().starts_with(b"node-");
            count = count.saturating_add((is_nodes && GROUPS.exists(&entry.path())).into());
        }
        Ok(count)
    }

    /// Each node's configuration. Node `i` (from 1) serves clients on `port + i - 1` and other nodes 1000 ports above it,
    /// on the loopback address only; its data is in `node-i`. With TLS its certificates are made.
    pub(crate) fn configs(&self) -> Result<Vec<NodeConfig>, DevError> {
        let nodes = self.addresses().ok_or(DevError::Ports {
            port: self.port,
            nodes: self.nodes,
        })?;
        let shard_map = ShardMap::new(self.groups).ok_or(DevError::Groups(self.groups))?;
        let password = self.password_file.as_deref().map(Password::read).transpose()?;
        let certificates = self.tls.then(|| self.data.join("certs"));
        if let Some(dir) = &certificates {
            let wanted = Wanted {
                cluster: CLUSTER,
                nodes: &nodes.iter().map(|node| node.node.0).collect::<Vec<_>>(),
                hosts: &[],
                days: CERTIFICATE_DAYS,
            };
            certificates::write(dir, &wanted)?;
        }
        let config = |me: &PeerConfig| {
            let tls = certificates.as_deref().map(|dir| certificates::files(dir, me.node.0));
            NodeConfig {
                cluster: CLUSTER.into(),
                node: me.node,
                listen_resp: me.resp.clone(),
                listen_peer: me.peer.clone(),
                announce_resp: me.resp.clone(),
                data_dir: self.data.join(format!("node-{}", me.node.0)),
                shard_map,
                // The nodes share one machine.
                workers: 1,
                max_clients: DEFAULT_MAX_CLIENTS,
                max_upstreams: usize::MAX,
                state: self.state,
                snapshot_entries: DEFAULT_SNAPSHOT_ENTRIES,
                proxy: self.proxy,
                reads: self.reads,
                lease_reads: true,
                election_timeout_ms: self.election_timeout_ms,
                join: false,
                resp_tls: tls.clone().map(|files| RespTls {
                    cert: files.cert,
                    key: files.key,
                    ca: Some(files.ca),
                }),
                tls,
                password: password.clone(),
                peers: nodes.iter().filter(|peer| peer.node != me.node).cloned().collect(),
            }
        };
        Ok(nodes.iter().map(config).collect())
    }

    /// Where all nodes are. `None` if a port would be above 65535.
    fn addresses(&self) -> Option<Vec<PeerConfig>> {
        let nodes = (1..=self.nodes).map(|number| {
            let port = self.port.checked_add(number - 1)?;
            Some(PeerConfig {
                node: NodeId(number.into()),
                peer: loopback(port.checked_add(PEER_PORT_OFFSET)?),
                resp: loopback(port),
            })
        });
        nodes.collect()
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

    use std::path::Path;

    use super::*;

    fn dev(port: u16) -> Dev {
        Dev {
            nodes: 3,
            groups: 16,
            data: "data".into(),
            port,
            state: StateKind::Disk,
            proxy: false,
            reads: Reads::Stale,
            election_timeout_ms: 700,
            tls: false,
            password_file: None,
        }
    }

    #[test]
    fn nodes_know_each_other() {
        let configs = dev(7001).configs().unwrap();
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
        assert!(configs.iter().all(|config| config.election_timeout_ms == 700));
    }

    #[test]
    fn ports_do_not_wrap() {
        assert!(dev(64533).configs().is_ok());
        let refused = dev(64534).configs();
        assert!(matches!(refused, Err(DevError::Ports { port: 64534, nodes: 3 })));
    }
}
