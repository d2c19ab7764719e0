//! The file as it is written, and what is wrong in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use raftyard::{NodeId, TlsFiles};
use serde::Deserialize;

use super::{
    DEFAULT_DATA_DIR, DEFAULT_MAX_CLIENTS, DEFAULT_SNAPSHOT_ENTRIES, NodeConfig, PeerConfig, Reads, RespTls, StateKind,
    times,
};
use crate::access::{Password, PasswordError};
use crate::address::{AddressError, HostPort};
use crate::slots::{SLOT_COUNT, ShardMap};

/// All of its fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
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
    lease_reads: Option<bool>,
    election_timeout_ms: Option<u64>,
    #[serde(default)]
    join: bool,
    tls: Option<FileTls>,
    resp_tls: Option<RespTls>,
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
struct FilePeer {
    node: u64,
    peer: String,
    resp: String,
}

/// A field and what is wrong with it.
pub(super) type Problem = (String, String);

impl File {
    pub(super) fn check(self) -> Result<NodeConfig, Problem> {
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
            max_upstreams: usize::MAX,
            max_clients: at_least_one("max_clients", self.max_clients.unwrap_or(DEFAULT_MAX_CLIENTS))?,
            state: self.state,
            snapshot_entries: at_least_one(
                "snapshot_entries",
                self.snapshot_entries.unwrap_or(DEFAULT_SNAPSHOT_ENTRIES),
            )?,
            proxy: self.proxy,
            reads: self.reads,
            lease_reads: self.lease_reads.unwrap_or(true),
            election_timeout_ms: election_timeout(self.election_timeout_ms)?,
            join: self.join,
            tls: self.tls.map(|FileTls { ca, cert, key }| TlsFiles { ca, cert, key }),
            resp_tls: self.resp_tls,
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

fn at_least_one<N: PartialEq + From<u8>>(field: &str, count: N) -> Result<N, Problem> {
    if count == N::from(0) {
        return Err((field.to_owned(), "must be at least 1".into()));
    }
    Ok(count)
}

fn election_timeout(millis: Option<u64>) -> Result<u64, Problem> {
    let millis = millis.unwrap_or_else(times::default_election_timeout_ms);
    let allowed = times::ELECTION_TIMEOUT_MS;
    if allowed.contains(&millis) {
        return Ok(millis);
    }
    let (least, most) = (allowed.start(), allowed.end());
    let problem = format!("{millis} is not between {least} and {most}");
    Err(("election_timeout_ms".to_owned(), problem))
}

fn password(file: Option<&Path>) -> Result<Option<Password>, Problem> {
    let read = file.map(Password::read).transpose();
    read.map_err(|error: PasswordError| ("password_file".to_owned(), error.to_string()))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
