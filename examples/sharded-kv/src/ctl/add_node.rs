//! `add-node`: who a new node is, and who is told of it.

use std::collections::BTreeMap;

use super::CtlError;
use super::ask::{ANSWER, lines};
use super::cluster::{Cluster, Known};
use super::survey::{Replica, Survey};
use crate::address::HostPort;
use crate::dial::Dial;
use crate::resp::Reply;

/// What a node says of itself.
pub(super) struct Myself {
    node: u64,
    pub(super) groups: u64,
    /// Where it keeps its keys.
    pub(super) state: String,
    /// The same as long as its process runs.
    run: u64,
}

impl Cluster<'_> {
    /// Goes on when a node that is there already can't be reached: it may be the one whose place the new one takes.
    pub(super) async fn add_node(
        &self,
        id: u64,
        peer: &HostPort,
        resp: &HostPort,
        say: &mut impl FnMut(&str),
    ) -> Result<(), CtlError> {
        self.check_new(id, resp).await?;
        let groups = self.groups;
        let set = |id: u64, peer: String, resp: String| {
            let [id, groups] = [id, groups].map(|number| number.to_string());
            ["SETNODE".to_owned(), id, peer, resp, groups]
        };
        let mut missed = Vec::new();
        for (node, known) in self.nodes.iter().filter(|(node, _)| **node != id) {
            let words = set(id, peer.to_string(), resp.to_string());
            match self.put(&known.resp, &words, ANSWER).await {
                Ok(_) => say(&format!("node {node} knows node {id}")),
                Err(error) if error.is_silence() => {
                    say(&format!("node {node} does not know node {id}: {error}"));
                    missed.push(*node);
                }
                Err(error) => return Err(error),
            }
            let words = set(*node, known.peer.clone(), known.resp.to_string());
            self.put(resp, &words, ANSWER).await?;
        }
        if missed.is_empty() {
            Ok(())
        } else {
            Err(CtlError::NotTold { id, missed })
        }
    }

    /// That what the node hosts, if anything, is of this cluster's groups.
    async fn check_replicas(&self, id: u64, resp: &HostPort) -> Result<(), CtlError> {
        let hosted = lines(self.dial, resp, "STATUS").await?;
        if hosted.is_empty() {
            return Ok(());
        }
        let survey = self.survey().await;
        for fields in hosted {
            self.check_alien(&survey, &Replica { node: id, fields })?;
        }
        Ok(())
    }

    /// Refuses a replica of a group that its node created by itself.
    pub(super) fn check_alien(&self, survey: &Survey, replica: &Replica) -> Result<(), CtlError> {
        let nodes = self.nodes.keys().copied().collect();
        if survey.is_alien(replica, &nodes) {
            let (id, group) = (replica.node, replica.group());
            return Err(CtlError::Alien { id, group });
        }
        Ok(())
    }

    /// That it is the node `id` which serves clients at `resp`, of a cluster like this one, and no other node has that id.
    async fn check_new(&self, id: u64, resp: &HostPort) -> Result<(), CtlError> {
        let (_, new) = introduce(self.dial, resp).await?;
        let address = resp.clone();
        if new.node != id {
            let found = new.node;
            return Err(CtlError::OtherNode { address, found });
        }
        if new.groups != self.groups {
            let (found, wanted) = (new.groups, self.groups);
            return Err(CtlError::OtherGroups { id, found, wanted });
        }
        if new.state != self.state {
            let (found, wanted) = (new.state, self.state.clone());
            return Err(CtlError::OtherState { id, found, wanted });
        }
        let before = self.nodes.get(&id).map(|known| &known.resp);
        if let Some(before) = before.filter(|before| *before != resp)
            && let Ok((_, there)) = introduce(self.dial, before).await
            && there.node == id
            && there.run != new.run
        {
            let address = before.clone();
            return Err(CtlError::Taken { id, address });
        }
        self.check_replicas(id, resp).await
    }
}

/// The nodes that the one at `address` knows, and what it says of itself.
pub(super) async fn introduce(dial: &Dial, address: &HostPort) -> Result<(BTreeMap<u64, Known>, Myself), CtlError> {
    let mut nodes = BTreeMap::new();
    let mut myself = None;
    for line in lines(dial, address, "NODES").await? {
        let number = |name: &str| line.get(name).and_then(|value| value.parse().ok());
        let Some(node) = number("node") else {
            continue;
        };
        if let (Some(groups), Some(state), Some(run)) = (number("groups"), line.get("state").cloned(), number("run")) {
            myself = Some(Myself {
                node,
                groups,
                state,
                run,
            });
        }
        let resp = line.get("resp").and_then(|resp| resp.parse().ok());
        if let (Some(peer), Some(resp)) = (line.get("peer").cloned(), resp) {
            nodes.insert(node, Known { peer, resp });
        }
    }
    let address = address.clone();
    let myself = myself.ok_or(CtlError::Odd {
        address,
        reply: Reply::Null,
    })?;
    Ok((nodes, myself))
}
