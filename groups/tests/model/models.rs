//! The models: where each starts, what may happen in it, and what must come up.

use super::explorer::Model;
pub(crate) use super::lives::*;
use super::support::cluster::Cluster;
use super::support::n;
use super::world::{Action, Bounds, World};
use raftyard_groups::{
    Body, ChangeRequest, Group, LogId, LogIndex, Membership, MembershipChange, Message, Prompt, ReadOutcome, RoleKind,
    Term,
};

/// Voters `n1` to `n{count}`, one entry in each append.
fn voters(count: u64) -> World {
    let mut world = World::new(&Membership::of_voters((1..=count).map(n)).unwrap(), 1);
    world.at_once = is_pre_vote;
    world
}

/// Pre-votes change nothing at who is asked, so that when they arrive matters little.
pub(crate) fn is_pre_vote(message: &Message) -> bool {
    matches!(
        message.body,
        Body::Prompt(Prompt::PreVote { .. } | Prompt::PreVoteReply { .. })
    )
}

fn groups(cluster: &Cluster) -> impl Iterator<Item = &Group> {
    cluster.nodes.values().filter_map(|node| node.group.as_ref())
}

fn somebody_leads(cluster: &Cluster) -> bool {
    cluster.leader().is_some()
}

fn two_lead(cluster: &Cluster) -> bool {
    groups(cluster).filter(|group| group.role() == RoleKind::Leader).count() == 2
}

fn another_leads(cluster: &Cluster) -> bool {
    groups(cluster).any(|group| group.role() == RoleKind::Leader && group.term() > Term(1))
}

fn leads_in_term_3(cluster: &Cluster) -> bool {
    groups(cluster).any(|group| group.role() == RoleKind::Leader && group.term() == Term(3))
}

fn an_entry_commits(cluster: &Cluster) -> bool {
    cluster.safety.committed.len() >= 2
}

fn all_hold_all(cluster: &Cluster) -> bool {
    an_entry_commits(cluster) && cluster.all_equal()
}

fn a_write_waits(cluster: &Cluster) -> bool {
    cluster.nodes.values().any(|node| node.writes.len() > 1)
}

fn a_read_is_served(cluster: &Cluster) -> bool {
    cluster
        .reads
        .values()
        .any(|read| matches!(read, ReadOutcome::Ready { .. }))
}

fn a_read_is_refused(cluster: &Cluster) -> bool {
    cluster
        .reads
        .values()
        .any(|read| matches!(read, ReadOutcome::NotLeader { .. }))
}

/// Elections on slow disks, with a crash.
pub(crate) fn elections() -> Model {
    let mut start = voters(3);
    start.slow_disks(&[1, 2, 3]);
    start.left = Bounds {
        timeouts: 2,
        crashes: 1,
        ..Bounds::default()
    };
    Model {
        name: "elections",
        start,
        depth: 11,
        sometimes: vec![("somebody leads", somebody_leads), ("another leads", another_leads)],
    }
}

/// Who asks for pre-votes while others hear a leader, or do not.
pub(crate) fn pre_votes() -> Model {
    let mut start = voters(3);
    start.elect(n(1));
    start.at_once = |_| false;
    start.left = Bounds {
        timeouts: 1,
        lonely_timeouts: 1,
        heartbeats: 1,
        pauses: 1,
        ..Bounds::default()
    };
    Model {
        name: "pre_votes",
        start,
        depth: 10,
        sometimes: vec![("another leads", another_leads), ("two lead", two_lead)],
    }
}

/// A leader replicates while another may take over.
pub(crate) fn replication() -> Model {
    let mut start = voters(3);
    start.elect(n(1));
    start.left = Bounds {
        timeouts: 1,
        heartbeats: 1,
        proposals: 2,
        duplicates: 1,
        ..Bounds::default()
    };
    Model {
        name: "replication",
        start,
        depth: 8,
        sometimes: vec![("another leads", another_leads), ("an entry commits", an_entry_commits)],
    }
}

/// Each of two former leaders holds an entry that nobody else has (paper figure 8).
pub(crate) fn diverged_logs() -> Model {
    let mut start = voters(3);
    start.elect(n(1));
    start.apart(&[n(1)], &[n(2), n(3)], |world| {
        world.propose(n(1));
        world.restart(n(1), 0);
        world.elect_in_vain(n(2));
    });
    // It asks for pre-votes in vain, and hears of the newer term.
    start.tick(n(1));
    start.deliver_all();
    assert_eq!(start.cluster.group(n(1)).term(), Term(2));
    start.left = Bounds {
        timeouts: 2,
        ..Bounds::default()
    };
    Model {
        name: "diverged_logs",
        start,
        depth: 15,
        sometimes: vec![
            ("leads in term 3", leads_in_term_3),
            ("an entry commits", an_entry_commits),
        ],
    }
}

/// Writes become durable late, in memory they may be replaced by then.
pub(crate) fn late_writes() -> Model {
    let mut start = voters(3);
    start.elect(n(1));
    start.slow_disks(&[1, 2]);
    start.left = Bounds {
        timeouts: 1,
        proposals: 2,
        crashes: 1,
        ..Bounds::default()
    };
    Model {
        name: "late_writes",
        start,
        depth: 9,
        sometimes: vec![("writes wait", a_write_waits), ("an entry commits", an_entry_commits)],
    }
}

/// Reads at a leader that may have been deposed.
pub(crate) fn reads() -> Model {
    let mut start = voters(3);
    start.elect(n(1));
    start.left = Bounds {
        timeouts: 1,
        reads: 2,
        ..Bounds::default()
    };
    Model {
        name: "reads",
        start,
        depth: 11,
        sometimes: vec![
            ("a read is served", a_read_is_served),
            ("a read is refused", a_read_is_refused),
            ("two lead", two_lead),
        ],
    }
}

/// A follower whose log ends with an entry that no leader knows reads.
pub(crate) fn reads_at_followers() -> Model {
    let mut start = voters(3);
    start.elect(n(3));
    start.apart(&[n(3)], &[n(1), n(2)], |world| {
        world.propose(n(3));
        world.elect(n(1));
    });
    start.left = Bounds {
        timeouts: 1,
        heartbeats: 1,
        follower_reads: 2,
        ..Bounds::default()
    };
    Model {
        name: "reads_at_followers",
        start,
        depth: 9,
        sometimes: vec![("a read is served", a_read_is_served), ("two lead", two_lead)],
    }
}

/// Leadership is handed over while entries are on their way.
pub(crate) fn transfers() -> Model {
    let mut start = voters(3);
    start.elect(n(1));
    start.left = Bounds {
        timeouts: 1,
        heartbeats: 1,
        pauses: 1,
        proposals: 1,
        transfers: 1,
        ..Bounds::default()
    };
    Model {
        name: "transfers",
        start,
        depth: 8,
        sometimes: vec![("another leads", another_leads), ("an entry commits", an_entry_commits)],
    }
}

fn a_snapshot_is_installed(cluster: &Cluster) -> bool {
    let installed = cluster.nodes.get(&n(3)).and_then(|node| node.group.as_ref());
    installed.is_some_and(|group| group.base().index > LogIndex::ZERO)
}

/// One that holds what was never committed needs a snapshot.
pub(crate) fn snapshots() -> Model {
    let mut start = voters(3);
    start.elect(n(3));
    start.apart(&[n(3)], &[n(1), n(2)], |world| {
        world.propose(n(3));
        world.elect(n(1));
        world.propose(n(1));
        world.deliver_all();
        world.cluster.compact(n(1), LogIndex(2));
    });
    assert_eq!(start.cluster.group(n(1)).base(), LogId::new(2, 2));
    start.left = Bounds {
        timeouts: 1,
        heartbeats: 1,
        proposals: 1,
        crashes: 1,
        duplicates: 1,
        compactions: 1,
        ..Bounds::default()
    };
    Model {
        name: "snapshots",
        start,
        depth: 7,
        sometimes: vec![("a snapshot is installed", a_snapshot_is_installed)],
    }
}

/// Two voters, one with a slow disk: both must agree.
pub(crate) fn two_voters() -> Model {
    let mut start = voters(2);
    start.slow_disks(&[1]);
    start.left = Bounds {
        timeouts: 2,
        heartbeats: 1,
        proposals: 1,
        crashes: 1,
        ..Bounds::default()
    };
    Model {
        name: "two_voters",
        start,
        depth: 64,
        sometimes: vec![("another leads", another_leads), ("all hold all", all_hold_all)],
    }
}

fn is_joint(cluster: &Cluster) -> bool {
    groups(cluster).any(|group| group.membership().is_joint())
}

/// The configuration of the newest index that is committed anywhere.
fn committed(cluster: &Cluster) -> &Membership {
    let newest = groups(cluster).max_by_key(|group| group.commit());
    newest.expect("somebody is up").committed_membership()
}

fn n1_has_left(cluster: &Cluster) -> bool {
    !committed(cluster).is_changing() && !committed(cluster).contains(n(1))
}

/// A learner is added and promoted while the leader changes.
pub(crate) fn learner() -> Model {
    let mut start = voters(2);
    start.elect(n(1));
    start.join(n(3));
    start.will_change(&[
        || ChangeRequest::Change(MembershipChange::add_learner(n(3))),
        || ChangeRequest::Change(MembershipChange::promote(n(3))),
    ]);
    start.left = Bounds {
        timeouts: 1,
        changes: 2,
        ..Bounds::default()
    };
    Model {
        name: "learner",
        start,
        depth: 20,
        sometimes: vec![("a joint configuration", is_joint)],
    }
}

/// One of three voters is replaced, while the leader may change.
pub(crate) fn replaced_voter() -> Model {
    let mut start = voters(3);
    start.elect(n(1));
    start.join(n(4));
    start.will_change(&[|| ChangeRequest::Change(MembershipChange::replace(n(3), n(4)))]);
    start.left = Bounds {
        timeouts: 1,
        changes: 1,
        ..Bounds::default()
    };
    Model {
        name: "replaced_voter",
        start,
        depth: 13,
        sometimes: vec![("a joint configuration", is_joint)],
    }
}

/// The leader is removed.
pub(crate) fn leader_removed() -> Model {
    let mut start = voters(2);
    start.elect(n(1));
    start.will_change(&[|| ChangeRequest::Change(MembershipChange::remove(n(1)))]);
    start.left = Bounds {
        timeouts: 2,
        heartbeats: 1,
        proposals: 1,
        crashes: 1,
        changes: 1,
        ..Bounds::default()
    };
    Model {
        name: "leader_removed",
        start,
        depth: 11,
        sometimes: vec![("a joint configuration", is_joint), ("n1 has left", n1_has_left)],
    }
}

/// The only voter is replaced.
pub(crate) fn replaced_alone() -> Model {
    let mut start = voters(1);
    start.elect(n(1));
    start.join(n(2));
    start.slow_disks(&[1, 2]);
    start.will_change(&[|| ChangeRequest::Change(MembershipChange::replace(n(1), n(2)))]);
    start.left = Bounds {
        timeouts: 1,
        proposals: 1,
        crashes: 1,
        changes: 1,
        ..Bounds::default()
    };
    Model {
        name: "replaced_alone",
        start,
        depth: 17,
        sometimes: vec![("a joint configuration", is_joint), ("n1 has left", n1_has_left)],
    }
}

/// From one voter to two, without mishaps, and to three.
pub(crate) fn growing() -> Model {
    let mut start = voters(1);
    start.elect(n(1));
    start.join(n(2));
    start.join(n(3));
    start.will_change(&[
        || ChangeRequest::Change(MembershipChange::add_voter(n(2))),
        || ChangeRequest::Change(MembershipChange::add_voter(n(3))),
    ]);
    start.left = Bounds {
        timeouts: 1,
        changes: 2,
        ..Bounds::default()
    };
    start.act(Action::Change(n(1)));
    start.deliver_all();
    assert!(start.cluster.group(n(1)).committed_membership().is_voter(n(2)));
    Model {
        name: "growing",
        start,
        depth: 13,
        sometimes: vec![("a joint configuration", is_joint)],
    }
}
