//! The cluster as an operator sees it: what its nodes say, and what is put to whom.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::ask::ask;
use super::{CtlError, Groups};
use crate::address::HostPort;
use crate::dial::Dial;
use crate::resp::Reply;

/// For an answer that needs nothing but the node itself.
const ANSWER: Duration = Duration::from_secs(10);

/// For a change of one group: a node may have to catch up first.
const CHANGE: Duration = Duration::from_secs(600);

/// Before the same is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// A group as a node that hosts it sees it.
type Fields = BTreeMap<String, String>;

/// The cluster as one node knows it.
pub(super) struct Cluster<'a> {
    dial: &'a Dial,
    /// Where clients find each node.
    pub(super) nodes: BTreeMap<u64, Known>,
}

pub(super) struct Known {
    peer: String,
    resp: HostPort,
}

impl<'a> Cluster<'a> {
    pub(super) async fn ask(dial: &'a Dial, address: &HostPort) -> Result<Self, CtlError> {
        let mut nodes = BTreeMap::new();
        for line in lines(dial, address, &["NODES"]).await? {
            let field = |name: &str| line.get(name).cloned();
            let id = field("node").and_then(|node| node.parse().ok());
            let resp = field("resp").and_then(|resp| resp.parse().ok());
            if let (Some(id), Some(peer), Some(resp)) = (id, field("peer"), resp) {
                nodes.insert(id, Known { peer, resp });
            }
        }
        Ok(Self { dial, nodes })
    }

    pub(super) fn resp(&self, node: u64) -> Result<&HostPort, CtlError> {
        let known = self.nodes.get(&node).ok_or(CtlError::UnknownNode(node))?;
        Ok(&known.resp)
    }

    /// What every node that answers says of the groups it hosts.
    pub(super) async fn replicas(&self) -> Vec<(u64, Result<Vec<Fields>, CtlError>)> {
        let mut all = Vec::new();
        for (node, known) in &self.nodes {
            all.push((*node, lines(self.dial, &known.resp, &["STATUS"]).await));
        }
        all
    }

    pub(super) async fn status(&self, say: &mut impl FnMut(&str)) {
        let mut groups: BTreeMap<u64, Vec<Fields>> = BTreeMap::new();
        for (node, known) in &self.nodes {
            match lines(self.dial, &known.resp, &["STATUS"]).await {
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
    }

    /// Goes on when a node that is there already can't be reached: it may be the one whose place the new one takes.
    pub(super) async fn add_node(
        &self,
        id: u64,
        peer: &HostPort,
        resp: &HostPort,
        say: &mut impl FnMut(&str),
    ) -> Result<(), CtlError> {
        let set = |id: u64, peer: String, resp: String| ["SETNODE".to_owned(), id.to_string(), peer, resp];
        let mut missed = Vec::new();
        for (node, known) in self.nodes.iter().filter(|(node, _)| **node != id) {
            let words = set(id, peer.to_string(), resp.to_string());
            match ask(self.dial, &known.resp, &words, ANSWER).await {
                Ok(_) => say(&format!("node {node} knows node {id}")),
                Err(error @ (CtlError::Io { .. } | CtlError::Silence { .. })) => {
                    say(&format!("node {node} does not know node {id}: {error}"));
                    missed.push(*node);
                }
                Err(error) => return Err(error),
            }
            let words = set(*node, known.peer.clone(), known.resp.to_string());
            ask(self.dial, resp, &words, ANSWER).await?;
        }
        if missed.is_empty() {
            Ok(())
        } else {
            Err(CtlError::NotTold { id, missed })
        }
    }

    pub(super) async fn groups(&self, wanted: &Groups) -> Result<Vec<u64>, CtlError> {
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

    /// Has `node` host a replica of the group that waits to be added. One of an earlier incarnation, which the group
    /// left behind when it was rebuilt, makes room for it.
    pub(super) async fn host(&self, group: u64, node: u64) -> Result<(), CtlError> {
        let at = self.resp(node)?;
        let (mut incarnation, mut there) = (None, None);
        for (of, lines) in self.replicas().await {
            let lines = lines.unwrap_or_default();
            let of_group = lines.iter().filter(|line| number(line, "group") == group);
            let newest = of_group.map(|line| number(line, "incarnation")).max();
            incarnation = newest.max(incarnation);
            if of == node {
                there = newest;
            }
        }
        let incarnation = incarnation.ok_or(CtlError::UnknownGroup(group))?;
        if there.is_some_and(|there| there < incarnation) {
            let words = ["LEAVE".to_owned(), group.to_string(), incarnation.to_string()];
            ask(self.dial, at, &words, ANSWER).await?;
        }
        let words = ["JOIN".to_owned(), group.to_string(), incarnation.to_string()];
        ask(self.dial, at, &words, ANSWER).await.map(drop)
    }

    /// Has `node` end its replica of a group that it was removed from, if it is there. `membership` is what the group was
    /// left with.
    pub(super) async fn leave(
        &self,
        group: u64,
        node: u64,
        membership: &str,
        say: &mut impl FnMut(&str),
    ) -> Result<(), CtlError> {
        if names(membership, node) {
            let membership = membership.to_owned();
            return Err(CtlError::StillMember {
                group,
                node,
                membership,
            });
        }
        let words = ["LEAVE".to_owned(), group.to_string()];
        let left = match self.resp(node) {
            Ok(at) => ask(self.dial, at, &words, ANSWER).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = left {
            say(&format!("group {group}: node {node} still holds its replica: {error}"));
        }
        Ok(())
    }

    /// Lets the group go on from what `node` holds of it. Other nodes that answer give up what they hold and join again;
    /// those that don't are no members any more.
    pub(super) async fn rebuild(&self, group: u64, node: u64, say: &mut impl FnMut(&str)) -> Result<(), CtlError> {
        let at = self.resp(node)?;
        let mut others = Vec::new();
        for (other, lines) in self.replicas().await {
            let lines = lines.unwrap_or_default();
            for line in lines.iter().filter(|line| number(line, "group") == group) {
                let (term, last) = (number(line, "term"), number(line, "last"));
                say(&format!(
                    "group {group}: node {other} holds entries up to {last}, its term is {term}"
                ));
                if other != node {
                    others.push(other);
                }
            }
        }
        let report = ask(self.dial, at, &["REBUILD".to_owned(), group.to_string()], CHANGE).await?;
        if let Reply::Bulk(report) = report {
            say(&String::from_utf8_lossy(&report));
        }
        for other in others {
            self.host(group, other).await?;
            let done = self.change(group, "ADDVOTER", &[other]).await?;
            say(&format!("group {group}: {done}"));
        }
        Ok(())
    }

    /// Asks whoever leads the group, until it is done.
    pub(super) async fn change(&self, group: u64, what: &str, nodes: &[u64]) -> Result<String, CtlError> {
        let give_up = Instant::now() + CHANGE;
        let mut last = "nobody was asked".to_owned();
        let numbers = [group].into_iter().chain(nodes.iter().copied());
        let words: Vec<String> = [what.to_owned()]
            .into_iter()
            .chain(numbers.map(|number| number.to_string()))
            .collect();
        let mut turn = self.nodes.keys().copied().cycle();
        let mut next = None;
        while Instant::now() < give_up {
            let Some(node) = next.take().or_else(|| turn.next()) else {
                break;
            };
            let Ok(at) = self.resp(node) else {
                continue;
            };
            match ask(self.dial, at, &words, CHANGE).await {
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

/// Whether `membership`, as `voters=1,2 learners=3`, says anything of `node`.
fn names(membership: &str, node: u64) -> bool {
    let lists = membership.split(' ').filter_map(|field| field.split_once('='));
    let mut nodes = lists.flat_map(|(_, nodes)| nodes.split(','));
    nodes.any(|named| named.parse() == Ok(node))
}

fn number(line: &Fields, name: &str) -> u64 {
    line.get(name).and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// The answer's lines, taken apart into `name=value`.
async fn lines(dial: &Dial, address: &HostPort, words: &[&str]) -> Result<Vec<Fields>, CtlError> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let odd = |reply| CtlError::Odd {
        address: address.clone(),
        reply,
    };
    let Reply::Array(lines) = ask(dial, address, &words, ANSWER).await? else {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_named_in_whatever_role_belongs_to_a_group() {
        let membership = "voters=1,12 learners=3 next-voters=1,12,3";
        for (node, named) in [(1, true), (12, true), (3, true), (2, false)] {
            assert_eq!(names(membership, node), named, "{node}");
        }
        assert!(names("voters=1 outgoing=2", 2), "its vote still counts");
    }
}
