//! `node.toml`: what one node of a cluster is told at its start.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use raftyard::{NodeId, TlsFiles};
use serde::Deserialize;

use crate::access::{Password, PasswordError};
use crate::address::{AddressError, HostPort};
use crate::slots::{SLOT_COUNT, ShardMap};

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
    /// Where keys and values are; the same on every node, for ever.
    pub(crate) state: StateKind,
    /// Writes to a group after which it takes a snapshot, unless its keys are on disk, and drops the log before it.
    pub(crate) snapshot_entries: u64,
    /// Commands on groups that other nodes lead are forwarded to them.
    pub(crate) proxy: bool,
    pub(crate) reads: Reads,
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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cluster: String,
    node: u64,
    listen_resp: String,
    listen_peer: String,
    announce_resp: Option<String>,
    data: Option<PathBuf>,
    groups: u64,
    workers: Option<usize>,
    max_clients: Option<usize>,
    #[serde(default)]
    state: StateKind,
    snapshot_entries: Option<u64>,
    #[serde(default)]
    proxy: bool,
    #[serde(default)]
    reads: Reads,
    #[serde(default)]
    join: bool,
    tls: Option<FileTls>,
    resp_tls: Option<FileRespTls>,
    password_file: Option<PathBuf>,
    #[serde(default)]
    peers: Vec<FilePeer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTls {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRespTls {
    ca: Option<PathBuf>,
    cert: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePeer {
    node: u64,
    peer: String,
    resp: String,
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

/// A field and what is wrong with it.
type Problem = (String, String);

impl File {
    fn check(self) -> Result<NodeConfig, Problem> {
        check_cluster(&self.cluster)?;
        let listen_resp = address("listen_resp", &self.listen_resp)?;
        let announce_resp = match &self.announce_resp {
            Some(text) => address("announce_resp", text)?,
            None => listen_resp.clone(),
        };
        check_reachable("announce_resp", &announce_resp)?;
        let shard_map = u16::try_from(self.groups).ok().and_then(ShardMap::new).ok_or_else(|| {
            let problem = format!("{} is not between 1 and {SLOT_COUNT}", self.groups);
            ("groups".to_owned(), problem)
        })?;
        let config = NodeConfig {
            cluster: self.cluster,
            node: node_id("node", self.node)?,
            listen_peer: address("listen_peer", &self.listen_peer)?,
            listen_resp,
            announce_resp,
            data_dir: self.data.unwrap_or_else(|| DEFAULT_DATA_DIR.into()),
            shard_map,
            workers: at_least_one("workers", self.workers.unwrap_or_else(cores))?,
            max_clients: at_least_one("max_clients", self.max_clients.unwrap_or(DEFAULT_MAX_CLIENTS))?,
            state: self.state,
            snapshot_entries: snapshot_entries(self.snapshot_entries)?,
            proxy: self.proxy,
            reads: self.reads,
            join: self.join,
            tls: self.tls.map(|FileTls { ca, cert, key }| TlsFiles { ca, cert, key }),
            resp_tls: self
                .resp_tls
                .map(|FileRespTls { ca, cert, key }| RespTls { cert, key, ca }),
            password: password(self.password_file.as_deref())?,
            peers: self
                .peers
                .iter()
                .enumerate()
                .map(|(place, peer)| peer.check(place))
                .collect::<Result<_, _>>()?,
        };
        if config.proxy && config.resp_tls.as_ref().is_some_and(|tls| tls.ca.is_none()) {
            let problem = "with proxy, this node needs to know whose certificates to trust";
            return Err(("resp_tls.ca".to_owned(), problem.to_owned()));
        }
        let mut seen = BTreeSet::from([config.node.0]);
        for (place, peer) in config.peers.iter().enumerate() {
            if !seen.insert(peer.node.0) {
                let problem = format!("node {} is there twice", peer.node.0);
                return Err((format!("peers[{place}].node"), problem));
            }
        }
        Ok(config)
    }
}

impl FilePeer {
    fn check(&self, place: usize) -> Result<PeerConfig, Problem> {
        let field = |name: &str| format!("peers[{place}].{name}");
        Ok(PeerConfig {
            node: node_id(&field("node"), self.node)?,
            peer: reachable(&field("peer"), &self.peer)?,
            resp: reachable(&field("resp"), &self.resp)?,
        })
    }
}

/// The name appears in replies and on disk.
fn check_cluster(name: &str) -> Result<(), Problem> {
    let valid = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if valid {
        return Ok(());
    }
    let problem = format!("{name:?} is not a name of 1 to 64 letters, digits, '-', '_' and '.'");
    Err(("cluster".into(), problem))
}

fn address(field: &str, text: &str) -> Result<HostPort, Problem> {
    text.parse()
        .map_err(|error: AddressError| (field.to_owned(), error.to_string()))
}

fn reachable(field: &str, text: &str) -> Result<HostPort, Problem> {
    let address = address(field, text)?;
    check_reachable(field, &address)?;
    Ok(address)
}

fn check_reachable(field: &str, address: &HostPort) -> Result<(), Problem> {
    if address.is_unspecified() {
        let problem = format!("nobody can connect to {address}, name an address of one machine");
        return Err((field.to_owned(), problem));
    }
    Ok(())
}

fn node_id(field: &str, id: u64) -> Result<NodeId, Problem> {
    if id == 0 {
        return Err((field.to_owned(), "node ids start at 1".into()));
    }
    Ok(NodeId(id))
}

fn at_least_one(field: &str, count: usize) -> Result<usize, Problem> {
    if count == 0 {
        return Err((field.to_owned(), "must be at least 1".into()));
    }
    Ok(count)
}

fn snapshot_entries(entries: Option<u64>) -> Result<u64, Problem> {
    match entries {
        Some(0) => Err(("snapshot_entries".to_owned(), "must be at least 1".into())),
        Some(entries) => Ok(entries),
        None => Ok(DEFAULT_SNAPSHOT_ENTRIES),
    }
}

fn password(file: Option<&Path>) -> Result<Option<Password>, Problem> {
    let read = file.map(Password::read).transpose();
    read.map_err(|error: PasswordError| ("password_file".to_owned(), error.to_string()))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
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
