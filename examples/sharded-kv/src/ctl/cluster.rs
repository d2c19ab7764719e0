//! The cluster as an operator sees it: what its nodes say, and what is put to whom.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::CtlError;
use super::add_node::introduce;
use super::ask::{ANSWER, ask, lines};
use super::survey::{ROLES, Replica, Survey};
use crate::address::HostPort;
use crate::dial::Dial;
use crate::resp::Reply;

/// After it a node that did not answer is asked again, if it is worth it.
const SILENT: Duration = Duration::from_secs(5);

/// The cluster as one node knows it.
pub(super) struct Cluster<'a> {
    pub(super) dial: &'a Dial,
    /// Where clients find each node.
    pub(super) nodes: BTreeMap<u64, Known>,
    /// How many groups share the slots.
    pub(super) groups: u64,
    /// Where its nodes keep their keys.
    pub(super) state: String,
    /// The nodes that did not answer, and when that was.
    silent: RefCell<BTreeMap<u64, Instant>>,
    /// The nodes that nobody told that they were removed from a group: their peers do not know them any more.
    unheard: RefCell<BTreeSet<u64>>,
}

pub(super) struct Known {
    pub(super) peer: String,
    pub(super) resp: HostPort,
}

impl<'a> Cluster<'a> {
    pub(super) async fn ask(dial: &'a Dial, address: &HostPort) -> Result<Self, CtlError> {
        let (nodes, myself) = introduce(dial, address).await?;
        Ok(Self {
            dial,
            nodes,
            groups: myself.groups,
            state: myself.state,
            silent: RefCell::default(),
            unheard: RefCell::default(),
        })
    }

    pub(super) fn resp(&self, node: u64) -> Result<&HostPort, CtlError> {
        let known = self.nodes.get(&node).ok_or(CtlError::UnknownNode(node))?;
        Ok(&known.resp)
    }

    /// Puts one command of `RAFTYARD ADMIN` to the node at `address`.
    pub(super) async fn put(
        &self,
        address: &HostPort,
        words: &[String],
        patience: Duration,
    ) -> Result<Reply, CtlError> {
        ask(self.dial, address, words, patience).await
    }

    /// What all nodes say of the groups that they host.
    pub(super) async fn survey(&self) -> Survey {
        let asked = self
            .nodes
            .iter()
            .map(|(node, known)| async { (*node, lines(self.dial, &known.resp, "STATUS").await) });
        let mut survey = Survey::default();
        for (node, answer) in join_all(asked).await {
            self.note(node, answer.as_ref().err());
            survey.add(node, answer);
        }
        survey
    }

    /// Remembers whether `node` answered, be it with a refusal.
    pub(super) fn note(&self, node: u64, error: Option<&CtlError>) {
        let mut silent = self.silent.borrow_mut();
        if error.is_some_and(CtlError::is_silence) {
            silent.insert(node, Instant::now());
        } else {
            silent.remove(&node);
        }
    }

    /// The nodes but those that did not answer when they were asked last.
    pub(super) fn answering(&self) -> impl Iterator<Item = u64> {
        let silent: Vec<u64> = self.silent.borrow().keys().copied().collect();
        self.nodes.keys().copied().filter(move |node| !silent.contains(node))
    }

    /// Whether it makes sense to ask `node`: one that did not answer a moment ago would not now.
    pub(super) fn may_answer(&self, node: u64) -> bool {
        let silent = self.silent.borrow();
        let is_silent = silent.get(&node).is_some_and(|since| since.elapsed() < SILENT);
        self.nodes.contains_key(&node) && !is_silent
    }

    /// Who leads the group, if that node answers.
    pub(super) fn leader(&self, survey: &Survey, group: u64) -> Option<u64> {
        survey.leader(group).filter(|leader| self.may_answer(*leader))
    }

    pub(super) async fn status(&self, say: &mut impl FnMut(&str)) {
        let survey = self.survey().await;
        for ((node, said), known) in survey.nodes().zip(self.nodes.values()) {
            let Known { peer, resp } = known;
            match said {
                Ok(count) => say(&format!("node {node} peer={peer} resp={resp} groups={count}")),
                Err(error) => say(&format!("node {node} peer={peer} resp={resp} unreachable: {error}")),
            }
        }
        for (group, replicas) in survey.groups() {
            say(&format!("group {group} {}", standing(replicas)));
        }
    }

    /// Has `node` host a replica of the group that waits to be added. One of an earlier incarnation, which the group
    /// left behind when it was rebuilt, makes room for it.
    pub(super) async fn host(&self, survey: &Survey, group: u64, node: u64) -> Result<(), CtlError> {
        let at = self.resp(node)?;
        let replicas = survey.of(group);
        let incarnation = replicas.iter().map(Replica::incarnation).max();
        let incarnation = incarnation.ok_or(CtlError::UnknownGroup(group))?;
        let there = replicas.iter().find(|replica| replica.node == node);
        if let Some(there) = there {
            self.check_alien(survey, there)?;
        }
        if there.is_some_and(|there| there.incarnation() < incarnation) {
            let words = ["LEAVE".to_owned(), group.to_string(), incarnation.to_string()];
            self.put(at, &words, ANSWER).await?;
        }
        let numbers = [group, incarnation, self.groups].map(|number| number.to_string());
        let words: Vec<String> = ["JOIN".to_owned()].into_iter().chain(numbers).collect();
        self.put(at, &words, ANSWER).await.map(drop)
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
        let left = match self.resp(node) {
            Ok(at) if self.answering().any(|other| other == node) => self.leave_at(at, group, node).await,
            Ok(at) => Err(CtlError::Silence { address: at.clone() }),
            Err(error) => Err(error),
        };
        self.note(node, left.as_ref().err());
        if let Err(error) = left {
            say(&format!("group {group}: node {node} still holds its replica: {error}"));
        }
        Ok(())
    }

    async fn leave_at(&self, at: &HostPort, group: u64, node: u64) -> Result<(), CtlError> {
        // It would wait for word of each group anew.
        if self.unheard.borrow().contains(&node) && self.leave_unheard(at, group, node).await? {
            return Ok(());
        }
        let words = ["LEAVE".to_owned(), group.to_string()];
        match self.put(at, &words, ANSWER).await {
            Err(CtlError::Refused { address, text }) if text.starts_with("TRYAGAIN ") => {
                self.unheard.borrow_mut().insert(node);
                let is_gone = self.leave_unheard(at, group, node).await?;
                is_gone.then_some(()).ok_or(CtlError::Refused { address, text })
            }
            answer => answer.map(drop),
        }
    }

    /// The same for a node that nobody told that it was removed, if who leads the group says that it was.
    async fn leave_unheard(&self, at: &HostPort, group: u64, node: u64) -> Result<bool, CtlError> {
        let survey = self.survey().await;
        let replicas = survey.of(group);
        let there = replicas.iter().find(|replica| replica.node == node);
        let leaders = replicas.iter().filter(|replica| replica.leads());
        let leader = leaders.max_by_key(|leader| (leader.incarnation(), leader.number("term")));
        let Some((there, _)) = there.zip(leader.filter(|leader| !leader.members().contains(&node))) else {
            return Ok(false);
        };
        let later = there.incarnation() + 1;
        let words = ["LEAVE".to_owned(), group.to_string(), later.to_string()];
        self.put(at, &words, ANSWER).await.map(|_| true)
    }
}

/// How a group stands, as its newest replica says, and which nodes' replicas are of no use to it.
fn standing(replicas: &[Replica]) -> String {
    let newest = replicas.iter().max_by_key(|replica| {
        let of = ["incarnation", "term", "commit"].map(|name| replica.number(name));
        (replica.leads(), of)
    });
    let said = |name: &str| {
        let value = newest?.fields.get(name)?;
        Some(format!("{name}={value}"))
    };
    let in_state = |state: &str| {
        let there = replicas.iter().filter(|replica| replica.state() == state);
        let nodes: Vec<String> = there.map(|replica| replica.node.to_string()).collect();
        (!nodes.is_empty()).then(|| format!("{state}={}", nodes.join(",")))
    };
    let names = ["leader", "term", "last", "commit", "applied"];
    let fields = names.iter().chain(&ROLES).filter_map(|name| said(name));
    let useless = ["damaged", "stopped"].iter().filter_map(|state| in_state(state));
    let fields: Vec<String> = fields.chain(useless).chain(said("progress")).collect();
    fields.join(" ")
}

/// Whether `membership`, as `voters=1,2 learners=3`, says anything of `node`.
fn names(membership: &str, node: u64) -> bool {
    let lists = membership.split(' ').filter_map(|field| field.split_once('='));
    let mut nodes = lists.flat_map(|(_, nodes)| nodes.split(','));
    nodes.any(|named| named.parse() == Ok(node))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::BytesMut;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::ctl::ask::fields;
    use crate::resp::{Parser, Protocol};

    /// A node that leads two groups of itself alone, or is in them as nobody told it that it was removed. Notes what it is asked.
    async fn fake(node: u64, asked: Arc<Mutex<Vec<String>>>) -> Known {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (mut parser, mut buffer, mut words) = (Parser::default(), BytesMut::new(), Vec::new());
                while !parser.next(&mut buffer, &mut words).unwrap() {
                    assert!(socket.read_buf(&mut buffer).await.unwrap() > 0);
                }
                // After `RAFTYARD ADMIN`.
                let words: Vec<_> = words[2..].iter().map(|word| String::from_utf8_lossy(word)).collect();
                let words = words.join(" ");
                let answer = match words.as_str() {
                    "STATUS" => {
                        let (leader, voters) = if node == 1 { (1, "1") } else { (0, "1,2") };
                        let line =
                            |group| format!("group={group} incarnation=1 leader={leader} term=2 voters={voters}");
                        Reply::Array([1, 2].map(|group| Reply::text(line(group))).to_vec())
                    }
                    "LEAVE 1" | "LEAVE 2" => Reply::error("TRYAGAIN nobody confirms it"),
                    _ => Reply::OK,
                };
                asked.lock().unwrap().push(words);
                let mut out = BytesMut::new();
                answer.encode(Protocol::Resp2, &mut out);
                socket.write_all(&out).await.unwrap();
            }
        });
        let resp = address.parse().unwrap();
        Known { peer: address, resp }
    }

    #[tokio::test]
    async fn a_node_whose_peers_do_not_know_it_any_more_waits_for_word_of_one_group_alone() {
        let [leader, removed] = [(); 2].map(|()| Arc::default());
        let nodes = [fake(1, leader).await, fake(2, Arc::clone(&removed)).await];
        let cluster = Cluster {
            dial: &Dial::default(),
            nodes: (1..).zip(nodes).collect(),
            groups: 2,
            state: "memory".to_owned(),
            silent: RefCell::default(),
            unheard: RefCell::default(),
        };
        let mut said = Vec::new();
        let mut say = |line: &str| said.push(line.to_owned());
        for group in [1, 2] {
            cluster.leave(group, 2, "voters=1", &mut say).await.unwrap();
        }
        assert!(said.is_empty(), "{said:?}");
        let asked = removed.lock().unwrap();
        assert_eq!(*asked, ["LEAVE 1", "STATUS", "LEAVE 1 2", "STATUS", "LEAVE 2 2"]);
    }

    #[test]
    fn a_group_stands_as_its_leader_says_and_shows_which_replicas_are_of_no_use() {
        let said = [
            (1, "state=running leader=1 term=3 commit=9 progress=2:9:probing"),
            (2, "state=damaged leader=1 term=3 commit=4"),
            (3, "state=running leader=0 term=4 commit=2"),
            (4, "state=stopped leader=0 term=1 commit=2"),
            (5, "state=stopped leader=0 term=1 commit=2"),
        ];
        let replicas = said.map(|(node, line)| {
            let fields = fields(line);
            Replica { node, fields }
        });
        let all = "leader=1 term=3 commit=9 damaged=2 stopped=4,5 progress=2:9:probing";
        assert_eq!(standing(&replicas), all);
        let whole = "leader=1 term=3 commit=9 progress=2:9:probing";
        assert_eq!(standing(&replicas[..1]), whole);
    }

    #[test]
    fn who_is_named_in_whatever_role_belongs_to_a_group() {
        let membership = "voters=1,12 learners=3 next-voters=1,12,3";
        for (node, named) in [(1, true), (12, true), (3, true), (2, false)] {
            assert_eq!(names(membership, node), named, "{node}");
        }
        assert!(names("voters=1 outgoing=2", 2), "its vote still counts");
    }
}
