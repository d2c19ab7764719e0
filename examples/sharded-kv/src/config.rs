//! `node.toml`: what one node of a cluster is told at its start.

mod file;
pub(crate) mod times;

use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use raftyard::{NodeId, TlsFiles};
use serde::Deserialize;

use self::file::File;
use crate::access::Password;
use crate::address::HostPort;
use crate::slots::ShardMap;

/// Client connections of a node unless the configuration says otherwise (as in Redis).
pub(crate) const DEFAULT_MAX_CLIENTS: usize = 10_000;

/// Where data is kept unless the configuration says otherwise.
pub(crate) const DEFAULT_DATA_DIR: &str = "./raftyard-data";

/// Writes between two snapshots of a group, unless the configuration says otherwise.
pub(crate) const DEFAULT_SNAPSHOT_ENTRIES: u64 = 100_000;

/// What reads answer after `READONLY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reads {
    /// As current as reads at the leader.
    #[default]
    Linearizable,
    /// What the replica has.
    Stale,
}

/// Where keys and values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StateKind {
    #[default]
    Memory,
    /// In the data directory: there may be more of them than fit into memory.
    Disk,
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        })
    }
}

/// One node, checked and complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeConfig {
    /// Nodes of different clusters never talk to each other.
    pub(crate) cluster: String,
    pub(crate) node: NodeId,
    /// Where Redis clients connect.
    pub(crate) listen_resp: HostPort,
    /// Where the other nodes connect.
    pub(crate) listen_peer: HostPort,
    /// Where clients are told to find this node.
    pub(crate) announce_resp: HostPort,
    pub(crate) data_dir: PathBuf,
    /// How the slots are dealt to groups; the same on every node, for ever.
    pub(crate) shard_map: ShardMap,
    /// Threads that run groups.
    pub(crate) workers: usize,
    /// Client connections at most.
    pub(crate) max_clients: usize,
    /// Connections to other nodes at most over which commands are forwarded. As many as needed, unless the limit of open
    /// files is lower.
    pub(crate) max_upstreams: usize,
    /// Where keys and values are; the same on every node, for ever.
    pub(crate) state: StateKind,
    /// Writes to a group after which it takes a snapshot, unless its keys are on disk, and drops the log before it.
    pub(crate) snapshot_entries: u64,
    /// Commands on groups that other nodes lead are forwarded to them.
    pub(crate) proxy: bool,
    pub(crate) reads: Reads,
    /// Leaders on this node count on clocks, and answer reads without asking the others.
    pub(crate) lease_reads: bool,
    /// How soon a leader, or a node, that is silent is taken for lost, in milliseconds; the same on every node.
    pub(crate) election_timeout_ms: u64,
    /// It hosts no group at its first start, and waits to be added to them.
    pub(crate) join: bool,
    /// With it nodes prove to each other who they are.
    pub(crate) tls: Option<TlsFiles>,
    /// With it clients speak TLS.
    pub(crate) resp_tls: Option<RespTls>,
    /// What clients have to say first; the same on every node.
    pub(crate) password: Option<Password>,
    /// The other nodes. At the first start of a cluster every group has a replica on every node.
    pub(crate) peers: Vec<PeerConfig>,
}

/// Another node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerConfig {
    pub(crate) node: NodeId,
    /// Where this node reaches it.
    pub(crate) peer: HostPort,
    /// Where clients are told to find it.
    pub(crate) resp: HostPort,
}

/// What a node shows its clients.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RespTls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Who issued the certificates that the nodes show clients, for a node that forwards commands to others.
    pub(crate) ca: Option<PathBuf>,
}

/// Why a configuration can't be used. Each names the file, and the field where there is one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// Not TOML, a field that is missing, unknown or of another type.
    #[error("{}: {problem}", path.display())]
    Parse { path: PathBuf, problem: String },
    #[error("{}: {field}: {problem}", path.display())]
    Field {
        path: PathBuf,
        field: String,
        problem: String,
    },
}

impl NodeConfig {
    /// Reads and checks the file at `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Checks `text`, which came from `path`.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            problem: one_line(text, &error),
        })?;
        file.check().map_err(|(field, problem)| ConfigError::Field {
            path: path.to_owned(),
            field,
            problem,
        })
    }
}

/// What is wrong and on which line, without the drawing that toml adds.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', ", ");
    let start = error.span().map_or(0, |span| span.start);
    match text.get(..start) {
        // What is missing has no line.
        None | Some("") => message,
        Some(before) => {
            let number = before.matches('\n').count();
            let line = text.lines().nth(number).unwrap_or_default();
            format!("line {} (`{}`): {message}", number + 1, line.trim())
        }
    }
}

#[cfg(test)]
mod tests;
