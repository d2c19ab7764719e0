//! Models with nodes that know each other to live: a leader that holds the lease, by the promise of one follower
//! alone. What passes between the two arrives late, in any order or never; that follower and the third replica
//! understand each other at once, and nothing passes between the third and the leader. So whoever is elected beside
//! the leader is so in few steps.

use super::explorer::Model;
use super::models::is_pre_vote;
use super::support::cluster::Cluster;
use super::support::n;
use super::world::{Action, Bounds, World};
use raftyard_groups::{Group, Message, RoleKind, Term};

/// What passes between `n1` and `n2` takes its time from now on. `n1` alone sends heartbeats.
fn slow(mut world: World, at_once: fn(&Message) -> bool) -> World {
    world.cluster.hold_beats((n(1), n(2)));
    world.cluster.hold_beats((n(2), n(1)));
    world.beat = vec![n(1)];
    world.at_once = at_once;
    world
}

/// And nothing passes between `n1` and `n3`.
fn chain() -> World {
    let mut world = World::with_sessions();
    world.cluster.network.cut_between(&[n(1)], &[n(3)]);
    slow(world, is_between_others)
}

fn is_between_others(message: &Message) -> bool {
    let ends = [message.from, message.to];
    is_pre_vote(message) || !(ends.contains(&n(1)) && ends.contains(&n(2)))
}

fn groups(cluster: &Cluster) -> impl Iterator<Item = &Group> {
    cluster.nodes.values().filter_map(|node| node.group.as_ref())
}

fn another_leads(cluster: &Cluster) -> bool {
    groups(cluster).any(|group| group.role() == RoleKind::Leader && group.node() != n(1))
}

fn two_lead(cluster: &Cluster) -> bool {
    groups(cluster).filter(|group| group.role() == RoleKind::Leader).count() == 2
}

fn the_lease_is_lost(cluster: &Cluster) -> bool {
    cluster.group(n(1)).role() == RoleKind::Leader && !cluster.holds_lease(n(1))
}

fn it_leads_again(cluster: &Cluster) -> bool {
    cluster.group(n(1)).role() == RoleKind::Leader && cluster.group(n(1)).term() > Term(1)
}

fn all_sleep(cluster: &Cluster) -> bool {
    groups(cluster).all(Group::is_asleep)
}

fn nobody_sleeps(cluster: &Cluster) -> bool {
    !groups(cluster).any(Group::is_asleep)
}

/// Sessions are extended and end, while somebody waits to be elected.
pub(crate) fn leases() -> Model {
    let mut start = chain();
    start.left = Bounds {
        passes: 3,
        beats: 2,
        campaigns: 1,
        ..Bounds::default()
    };
    Model {
        name: "leases",
        start,
        depth: 11,
        sometimes: vec![
            ("another leads", another_leads),
            ("two lead", two_lead),
            ("the lease is lost", the_lease_is_lost),
        ],
    }
}

/// A node starts anew and knows nothing of what its last life promised, or was promised.
pub(crate) fn leases_and_restarts() -> Model {
    let mut start = chain();
    start.left = Bounds {
        passes: 3,
        beats: 1,
        campaigns: 1,
        crashes: 1,
        ..Bounds::default()
    };
    Model {
        name: "leases_and_restarts",
        start,
        depth: 8,
        sometimes: vec![("another leads", another_leads), ("two lead", two_lead)],
    }
}

/// The leader hands over, or gives that up.
pub(crate) fn leases_and_transfers() -> Model {
    let mut start = chain();
    start.left = Bounds {
        passes: 1,
        ticks: 1,
        campaigns: 1,
        transfers: 1,
        ..Bounds::default()
    };
    Model {
        name: "leases_and_transfers",
        start,
        depth: 12,
        sometimes: vec![
            ("another leads", another_leads),
            ("two lead", two_lead),
            ("the lease is lost", the_lease_is_lost),
        ],
    }
}

/// The leader resigns and is elected again, by the third replica, of whose node it knows nothing. An acknowledgement
/// of its first term is still on its way.
pub(crate) fn leases_of_two_terms() -> Model {
    let mut start = World::with_sessions();
    start = slow(start, |_| false);
    start.left.ticks = 1;
    start.left.passes = 1;
    start.act(Action::Pass);
    start.act(Action::Tick(n(1)));
    start.act(Action::Deliver {
        from: n(1),
        to: n(2),
        position: 0,
        keeps: false,
    });
    start = slow(start, is_between_others);
    start.left = Bounds {
        campaigns: 2,
        resignations: 1,
        ..Bounds::default()
    };
    Model {
        name: "leases_of_two_terms",
        start,
        depth: 12,
        sometimes: vec![("another leads", another_leads), ("it leads again", it_leads_again)],
    }
}

/// All sleep, and are woken by what ends, or by what somebody wants.
pub(crate) fn sleepers() -> Model {
    let mut start = World::with_sessions();
    start.sleep();
    assert!(all_sleep(&start.cluster), "all is said");
    start = slow(start, is_between_others);
    start.left = Bounds {
        passes: 2,
        beats: 1,
        ticks: 1,
        proposals: 1,
        campaigns: 1,
        ..Bounds::default()
    };
    Model {
        name: "sleepers",
        start,
        depth: 8,
        sometimes: vec![("nobody sleeps", nobody_sleeps), ("another leads", another_leads)],
    }
}
