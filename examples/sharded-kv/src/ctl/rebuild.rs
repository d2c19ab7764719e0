//! `rebuild`: the last resort, and what speaks against it. Groups that can go on by themselves are not to be rebuilt: what the
//! others acknowledged beyond the one replica that the group goes on from is lost.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::CtlError;
use super::change::CHANGE;
use super::cluster::Cluster;
use super::survey::{Replica, Survey};
use crate::resp::Reply;

/// What speaks against a rebuild may pass by itself within it: a node that was lost just now still counts as the leader.
const PASSING: Duration = Duration::from_secs(5);

/// Between two looks whether it has passed.
const LOOK: Duration = Duration::from_millis(200);

/// Incarnations from here on are those of groups that were rebuilt, each a multiple of it further.
const REBUILT: u64 = 1 << 32;

/// Why a group is not rebuilt from the replica of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Objection {
    /// The node says nothing of a replica.
    NoReplica {
        node: u64,
    },
    /// The group went on without the replica.
    LeftBehind {
        node: u64,
        others: u64,
    },
    Led {
        leader: u64,
    },
    /// They can elect a leader, or will repair each other.
    Quorum {
        nodes: BTreeSet<u64>,
    },
    /// Another replica has entries that this one lacks.
    Newer {
        node: u64,
        last: (u64, u64),
        of: (u64, u64),
    },
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReplica { node } => write!(f, "node {node} says nothing of a replica"),
            Self::LeftBehind { node, others } => {
                write!(
                    f,
                    "it was rebuilt before, and goes on at node {others} without what node {node} holds; join adds it"
                )
            }
            Self::Led { leader } => write!(f, "node {leader} leads it (--force does it nevertheless)"),
            Self::Quorum { nodes } => write!(
                f,
                "{nodes:?} answer, and are enough to elect a leader (--force does it nevertheless)"
            ),
            Self::Newer {
                node,
                last: (term, index),
                of: (own_term, own),
            } => write!(
                f,
                "node {node} holds entries up to {index} of term {term}, this one up to {own} of term {own_term} (--force \
                 does it nevertheless)"
            ),
        }
    }
}

impl Objection {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Led { .. } | Self::Quorum { .. })
    }

    /// Whether a rebuild makes sense nevertheless, for who knows better.
    fn may_be_forced(&self) -> bool {
        !matches!(self, Self::NoReplica { .. } | Self::LeftBehind { .. })
    }
}

/// What speaks against going on from the replica of `node`, of all `replicas` of a group that are known.
fn objection(replicas: &[Replica], node: u64) -> Option<Objection> {
    let Some(wanted) = replicas.iter().find(|replica| replica.node == node) else {
        return Some(Objection::NoReplica { node });
    };
    let newest = replicas.iter().map(Replica::incarnation).max();
    let current: Vec<&Replica> = replicas
        .iter()
        .filter(|replica| Some(replica.incarnation()) == newest)
        .collect();
    if Some(wanted.incarnation()) != newest {
        let others = current.first().map_or(node, |replica| replica.node);
        return Some(Objection::LeftBehind { node, others });
    }
    let furthest = current.iter().max_by_key(|replica| replica.last())?;
    // Only these elect, and are told by their leader that it is there.
    let electors: Vec<&&Replica> = current
        .iter()
        .filter(|replica| {
            let voters = ["voters", "outgoing"].map(|role| replica.nodes(role));
            replica.is_whole() && voters.iter().any(|voters| voters.contains(&replica.node))
        })
        .collect();
    if let Some(leader) = electors.iter().find_map(|replica| replica.leader()) {
        return Some(Objection::Led { leader });
    }
    let nodes: BTreeSet<u64> = electors.iter().map(|replica| replica.node).collect();
    let decides = |role: &str| {
        let all = furthest.nodes(role);
        all.is_empty() || all.intersection(&nodes).count() > all.len() / 2
    };
    if !nodes.is_empty() && decides("voters") && decides("outgoing") {
        return Some(Objection::Quorum { nodes });
    }
    (furthest.last() > wanted.last()).then(|| Objection::Newer {
        node: furthest.node,
        last: furthest.last(),
        of: wanted.last(),
    })
}

/// Whether the group goes on from the replica of `node` already: it was rebuilt, that node votes in it, and it has a leader.
fn is_rebuilt(replicas: &[Replica], node: u64) -> bool {
    let newest = replicas.iter().map(Replica::incarnation).max();
    let mut current = replicas.iter().filter(|replica| Some(replica.incarnation()) == newest);
    newest >= Some(REBUILT) && current.any(|replica| replica.leads() && replica.nodes("voters").contains(&node))
}

/// The nodes that hold what a rebuilt group left behind, or that wait to be added to it.
fn missing(replicas: &[Replica]) -> Vec<u64> {
    let newest = replicas.iter().map(Replica::incarnation).max();
    let leader = replicas.iter().filter(|replica| Some(replica.incarnation()) == newest);
    let coming = leader.filter(|replica| replica.leads());
    let coming: BTreeSet<u64> = coming.flat_map(|replica| replica.nodes("next-voters")).collect();
    let is_missing = |replica: &&Replica| {
        let is_old = Some(replica.incarnation()) < newest;
        is_old || replica.waits() || coming.contains(&replica.node) && !replica.nodes("voters").contains(&replica.node)
    };
    replicas.iter().filter(is_missing).map(|replica| replica.node).collect()
}

impl Cluster<'_> {
    /// Lets the group go on from what `node` holds of it. Other nodes that answer give up what they hold and join again;
    /// those that don't are no members any more. What was done before is not done again.
    pub(super) async fn rebuild(
        &self,
        group: u64,
        node: u64,
        force: bool,
        say: &mut impl FnMut(&str),
    ) -> Result<(), CtlError> {
        let at = self.resp(node)?;
        let survey = self.survey_to_rebuild(group, node, force).await?;
        if !force && is_rebuilt(survey.of(group), node) {
            say(&format!("group {group}: it is rebuilt already"));
        } else {
            for replica in survey.of(group) {
                let (node, (term, last)) = (replica.node, replica.last());
                say(&format!(
                    "group {group}: node {node} holds entries up to {last} of term {term}"
                ));
            }
            let report = self.put(at, &["REBUILD".to_owned(), group.to_string()], CHANGE).await?;
            if let Reply::Bulk(report) = report {
                say(&String::from_utf8_lossy(&report));
            }
        }
        let survey = self.survey().await;
        if survey.of(group).iter().all(|replica| replica.node != node) {
            // Without it what the others hold would pass for what goes on.
            return Err(CtlError::Silence { address: at.clone() });
        }
        for other in missing(survey.of(group)) {
            self.host(&survey, group, other).await?;
            let done = self.change(group, Some(node), "ADDVOTER", &[other]).await?;
            say(&format!("group {group}: {done}"));
        }
        Ok(())
    }

    /// Looks until nothing speaks against it that may pass.
    async fn survey_to_rebuild(&self, group: u64, node: u64, force: bool) -> Result<Survey, CtlError> {
        let give_up = Instant::now() + PASSING;
        loop {
            let survey = self.survey().await;
            let replicas = survey.of(group);
            if !force && is_rebuilt(replicas, node) {
                return Ok(survey);
            }
            match objection(replicas, node) {
                None => return Ok(survey),
                Some(objection) if force && objection.may_be_forced() => return Ok(survey),
                Some(objection) if !objection.may_pass() || Instant::now() >= give_up => {
                    return Err(CtlError::NotRebuilt { group, objection });
                }
                Some(_) => sleep(LOOK).await,
            }
        }
    }
}

#[cfg(test)]
mod tests;
