//! `raftyard-kv ctl`: an operator's commands, put to the nodes' client ports. Everything here can be asked again: what is
//! done already stays done.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::Subcommand;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::address::HostPort;
use crate::resp::{Reply, ReplyError, ReplyParser, encode_command};

/// To connect.
const CONNECT: Duration = Duration::from_secs(3);

/// For an answer that needs nothing but the node itself.
const ANSWER: Duration = Duration::from_secs(10);

/// For a change of one group: a node may have to catch up first.
const CHANGE: Duration = Duration::from_secs(600);

/// Before the same is asked again.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Subcommand)]
pub(crate) enum Ctl {
    /// Every group: its leader, its members, and how far each of them is.
    Status,
    /// Tells every node where a new one is found, and the new one where they are.
    AddNode {
        id: u64,
        /// Where the other nodes reach it.
        #[arg(long, value_name = "HOST:PORT")]
        peer: HostPort,
        /// Where clients find it.
        #[arg(long, value_name = "HOST:PORT")]
        resp: HostPort,
    },
    /// Adds a node to groups as a learner: it gets their logs and does not count.
    AddLearner {
        id: u64,
        #[command(flatten)]
        groups: Groups,
    },
    /// Adds a node to groups as a voter, once it has caught up.
    Join {
        id: u64,
        #[command(flatten)]
        groups: Groups,
    },
    /// Makes a learner a voter.
    Promote {
        id: u64,
        #[command(flatten)]
        groups: Groups,
    },
    /// Takes a node out of groups, and what it holds of them off its disk.
    Remove {
        id: u64,
        #[command(flatten)]
        groups: Groups,
    },
    /// Puts a node in the place of another, in one change per group.
    Replace {
        old: u64,
        new: u64,
        #[command(flatten)]
        groups: Groups,
    },
    /// Lets a node lead a group.
    Transfer { group: u64, node: u64 },
    /// Gives up changes that wait for nodes to catch up.
    Abandon {
        #[command(flatten)]
        groups: Groups,
    },
}

/// Which groups: all unless one is named.
#[derive(Debug, clap::Args)]
pub(crate) struct Groups {
    /// This group alone.
    #[arg(long, conflicts_with = "all")]
    group: Option<u64>,
    /// All groups (the default).
    #[arg(long)]
    all: bool,
}

/// Why a command was not carried out to its end. To give it again is safe.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CtlError {
    #[error("{address}: {source}")]
    Io { address: HostPort, source: std::io::Error },
    #[error("{address}: no answer in time")]
    Silence { address: HostPort },
    #[error("{address}: {source}")]
    Unreadable { address: HostPort, source: ReplyError },
    #[error("{address}: {text}")]
    Refused { address: HostPort, text: String },
    #[error("{address}: answered with {reply:?}")]
    Odd { address: HostPort, reply: Reply },
    #[error("node {0} is unknown, add-node tells where it is")]
    UnknownNode(u64),
    #[error("no node hosts group {0}")]
    UnknownGroup(u64),
    #[error("group {group}: not done in time: {last}")]
    TooLate { group: u64, last: String },
}

/// A group as a node that hosts it sees it.
type Fields = BTreeMap<String, String>;

/// The cluster as one node knows it.
struct Cluster {
    /// Where clients find each node.
    nodes: BTreeMap<u64, Known>,
}

struct Known {
    peer: String,
    resp: HostPort,
}

/// Carries out `ctl` on the cluster that the node at `address` belongs to. `say` is told what was done.
pub(crate) async fn run(address: &HostPort, ctl: Ctl, mut say: impl FnMut(&str)) -> Result<(), CtlError> {
    let cluster = Cluster::ask(address).await?;
    match ctl {
        Ctl::Status => cluster.status(&mut say).await,
        Ctl::AddNode { id, peer, resp } => cluster.add_node(id, &peer, &resp, &mut say).await,
        Ctl::AddLearner { id, groups } => {
            for group in cluster.groups(&groups).await? {
                cluster.host(group, id).await?;
                let done = cluster
                    .change(group, &["ADDLEARNER", &group.to_string(), &id.to_string()])
                    .await?;
                say(&format!("group {group}: {done}"));
            }
            Ok(())
        }
        Ctl::Join { id, groups } => {
            for group in cluster.groups(&groups).await? {
                cluster.host(group, id).await?;
                let done = cluster
                    .change(group, &["ADDVOTER", &group.to_string(), &id.to_string()])
                    .await?;
                say(&format!("group {group}: {done}"));
            }
            Ok(())
        }
        Ctl::Promote { id, groups } => {
            for group in cluster.groups(&groups).await? {
                let done = cluster
                    .change(group, &["ADDVOTER", &group.to_string(), &id.to_string()])
                    .await?;
                say(&format!("group {group}: {done}"));
            }
            Ok(())
        }
        Ctl::Remove { id, groups } => {
            for group in cluster.groups(&groups).await? {
                let done = cluster
                    .change(group, &["REMOVE", &group.to_string(), &id.to_string()])
                    .await?;
                say(&format!("group {group}: {done}"));
                cluster.leave(group, id, &mut say).await;
            }
            Ok(())
        }
        Ctl::Replace { old, new, groups } => {
            for group in cluster.groups(&groups).await? {
                cluster.host(group, new).await?;
                let words = ["REPLACE", &group.to_string(), &old.to_string(), &new.to_string()];
                let done = cluster.change(group, &words).await?;
                say(&format!("group {group}: {done}"));
                cluster.leave(group, old, &mut say).await;
            }
            Ok(())
        }
        Ctl::Transfer { group, node } => {
            if !cluster.nodes.contains_key(&node) {
                return Err(CtlError::UnknownNode(node));
            }
            cluster
                .change(group, &["TRANSFER", &group.to_string(), &node.to_string()])
                .await?;
            say(&format!("group {group}: led by {node}"));
            Ok(())
        }
        Ctl::Abandon { groups } => {
            for group in cluster.groups(&groups).await? {
                match cluster.change(group, &["ABANDON", &group.to_string()]).await {
                    Ok(done) => say(&format!("group {group}: {done}")),
                    Err(CtlError::Refused { text, .. }) => say(&format!("group {group}: {text}")),
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
    }
}

impl Cluster {
    async fn ask(address: &HostPort) -> Result<Self, CtlError> {
        let mut nodes = BTreeMap::new();
        for line in lines(address, &["NODES"]).await? {
            let field = |name: &str| line.get(name).cloned();
            let id = field("node").and_then(|node| node.parse().ok());
            let resp = field("resp").and_then(|resp| resp.parse().ok());
            if let (Some(id), Some(peer), Some(resp)) = (id, field("peer"), resp) {
                nodes.insert(id, Known { peer, resp });
            }
        }
        Ok(Self { nodes })
    }

    fn resp(&self, node: u64) -> Result<&HostPort, CtlError> {
        let known = self.nodes.get(&node).ok_or(CtlError::UnknownNode(node))?;
        Ok(&known.resp)
    }

    /// What every node that answers says of the groups it hosts.
    async fn replicas(&self) -> Vec<(u64, Result<Vec<Fields>, CtlError>)> {
        let mut all = Vec::new();
        for (node, known) in &self.nodes {
            all.push((*node, lines(&known.resp, &["STATUS"]).await));
        }
        all
    }

    async fn status(&self, say: &mut impl FnMut(&str)) -> Result<(), CtlError> {
        let mut groups: BTreeMap<u64, Vec<Fields>> = BTreeMap::new();
        for (node, known) in &self.nodes {
            match lines(&known.resp, &["STATUS"]).await {
                Ok(lines) => {
                    say(&format!(
                        "node {node} peer={} resp={} groups={}",
                        known.peer,
                        known.resp,
                        lines.len()
                    ));
                    for line in lines {
                        groups.entry(number(&line, "group")).or_default().push(line);
                    }
                }
                Err(error) => say(&format!(
                    "node {node} peer={} resp={} unreachable: {error}",
                    known.peer, known.resp
                )),
            }
        }
        for (group, replicas) in groups {
            let newest = replicas.iter().max_by_key(|line| {
                let leads = line.get("role").is_some_and(|role| role == "leader");
                (leads, number(line, "term"), number(line, "commit"))
            });
            let Some(line) = newest else { continue };
            let shown = [
                "leader",
                "term",
                "last",
                "commit",
                "applied",
                "voters",
                "outgoing",
                "learners",
                "next-voters",
                "progress",
            ];
            let fields = shown
                .iter()
                .filter_map(|name| line.get(*name).map(|value| format!("{name}={value}")));
            say(&format!("group {group} {}", fields.collect::<Vec<_>>().join(" ")));
        }
        Ok(())
    }

    async fn add_node(
        &self,
        id: u64,
        peer: &HostPort,
        resp: &HostPort,
        say: &mut impl FnMut(&str),
    ) -> Result<(), CtlError> {
        let set = |id: u64, peer: String, resp: String| ["SETNODE".to_owned(), id.to_string(), peer, resp];
        for (node, known) in self.nodes.iter().filter(|(node, _)| **node != id) {
            ask(&known.resp, &set(id, peer.to_string(), resp.to_string()), ANSWER).await?;
            ask(resp, &set(*node, known.peer.clone(), known.resp.to_string()), ANSWER).await?;
            say(&format!("node {node} knows node {id}"));
        }
        Ok(())
    }

    async fn groups(&self, wanted: &Groups) -> Result<Vec<u64>, CtlError> {
        if let Some(group) = wanted.group {
            return Ok(vec![group]);
        }
        let mut groups = Vec::new();
        for (_, lines) in self.replicas().await {
            groups.extend(lines.unwrap_or_default().iter().map(|line| number(line, "group")));
        }
        groups.sort_unstable();
        groups.dedup();
        Ok(groups)
    }

    /// Has `node` host a replica of the group that waits to be added.
    async fn host(&self, group: u64, node: u64) -> Result<(), CtlError> {
        let at = self.resp(node)?;
        let mut incarnation = None;
        for (_, lines) in self.replicas().await {
            let lines = lines.unwrap_or_default();
            let of_group = lines.iter().filter(|line| number(line, "group") == group);
            incarnation = of_group.map(|line| number(line, "incarnation")).max().max(incarnation);
        }
        let incarnation = incarnation.ok_or(CtlError::UnknownGroup(group))?;
        let words = ["JOIN".to_owned(), group.to_string(), incarnation.to_string()];
        ask(at, &words, ANSWER).await.map(drop)
    }

    /// Has `node` end its replica of a group that it was removed from, if it is there.
    async fn leave(&self, group: u64, node: u64, say: &mut impl FnMut(&str)) {
        let words = ["LEAVE".to_owned(), group.to_string()];
        let left = match self.resp(node) {
            Ok(at) => ask(at, &words, ANSWER).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = left {
            say(&format!("group {group}: node {node} still holds its replica: {error}"));
        }
    }

    /// Asks whoever leads the group, until it is done.
    async fn change(&self, group: u64, words: &[&str]) -> Result<String, CtlError> {
        let give_up = Instant::now() + CHANGE;
        let mut last = "nobody was asked".to_owned();
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut turn = self.nodes.keys().copied().cycle();
        let mut next = None;
        while Instant::now() < give_up {
            let Some(node) = next.take().or_else(|| turn.next()) else {
                break;
            };
            let Ok(at) = self.resp(node) else {
                continue;
            };
            match ask(at, &words, CHANGE).await {
                Ok(Reply::Status(done)) => return Ok(done.into_owned()),
                Ok(Reply::Bulk(done)) => return Ok(String::from_utf8_lossy(&done).into_owned()),
                Ok(reply) => {
                    let address = at.clone();
                    return Err(CtlError::Odd { address, reply });
                }
                Err(CtlError::Refused { text, .. }) if text.starts_with("NOTLEADER ") => {
                    let leader = text.rsplit(' ').next().and_then(|leader| leader.parse().ok());
                    next = leader.filter(|leader| self.nodes.contains_key(leader) && *leader != node);
                    last = text;
                }
                Err(CtlError::Refused { text, .. }) if text.starts_with("TRYAGAIN ") => {
                    next = Some(node);
                    last = text;
                }
                Err(error @ CtlError::Refused { .. }) => return Err(error),
                Err(error) => last = error.to_string(),
            }
            sleep(PAUSE).await;
        }
        Err(CtlError::TooLate { group, last })
    }
}

fn number(line: &Fields, name: &str) -> u64 {
    line.get(name).and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// The answer's lines, taken apart into `name=value`.
async fn lines(address: &HostPort, words: &[&str]) -> Result<Vec<Fields>, CtlError> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let odd = |reply| CtlError::Odd {
        address: address.clone(),
        reply,
    };
    let Reply::Array(lines) = ask(address, &words, ANSWER).await? else {
        return Err(odd(Reply::Null));
    };
    lines
        .into_iter()
        .map(|line| match line {
            Reply::Bulk(line) => {
                let line = String::from_utf8_lossy(&line).into_owned();
                let fields = line.split(' ').filter_map(|field| field.split_once('='));
                Ok(fields
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect())
            }
            other => Err(odd(other)),
        })
        .collect()
}

/// Puts one command of `RAFTYARD ADMIN` to a node.
async fn ask(address: &HostPort, words: &[String], patience: Duration) -> Result<Reply, CtlError> {
    let failed = |source| CtlError::Io {
        address: address.clone(),
        source,
    };
    let silence = || CtlError::Silence {
        address: address.clone(),
    };
    let connecting = TcpStream::connect((address.host.as_str(), address.port));
    let connected = timeout(CONNECT, connecting).await.map_err(|_| silence())?;
    let mut socket = connected.map_err(failed)?;
    let head = ["RAFTYARD", "ADMIN"].map(|word| Bytes::from_static(word.as_bytes()));
    let words = words.iter().map(|word| Bytes::from(word.clone()));
    let arguments: Vec<Bytes> = head.into_iter().chain(words).collect();
    let mut buffer = BytesMut::new();
    encode_command(&arguments, &mut buffer);
    socket.write_all(&buffer).await.map_err(failed)?;
    buffer.clear();
    let mut parser = ReplyParser::default();
    let answer = async {
        loop {
            let parsed = parser.next(&mut buffer).map_err(|source| CtlError::Unreadable {
                address: address.clone(),
                source,
            })?;
            if let Some((reply, _)) = parsed {
                return Ok(reply);
            }
            if socket.read_buf(&mut buffer).await.map_err(failed)? == 0 {
                return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    };
    match timeout(patience, answer).await.map_err(|_| silence())?? {
        Reply::Error(text) => Err(CtlError::Refused {
            address: address.clone(),
            text,
        }),
        reply => Ok(reply),
    }
}
