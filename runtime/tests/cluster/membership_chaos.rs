//! Members that change at random, under clients, while nodes stop and links are cut.

use super::support::random::Random;
use super::support::settings::seed;
use super::support::slot;
use super::yard::{GROUP, Load, Yard, often, voters};
use raftyard::{MemberRole, Membership, MembershipChange, NodeId};
use std::time::Duration;

/// One or two nodes become something else; none if that can't be.
fn random_change(membership: &Membership, random: &mut Random) -> Option<MembershipChange> {
    let mut change = MembershipChange::new();
    for _ in 0..1 + random.below(2) {
        let role = match random.below(5) {
            0 | 1 => None,
            2 => Some(MemberRole::Learner),
            _ => Some(MemberRole::Voter),
        };
        change = change.set(NodeId(1 + random.below(5)), role);
    }
    let changed = membership.changed(&change).ok()?;
    (changed != *membership).then_some(change)
}

/// `RAFTYARD_SEED` takes a printed seed back: it repeats what is done, on real threads.
#[tokio::test]
async fn nothing_is_lost_while_members_change_nodes_stop_and_links_are_cut_at_random() {
    let mut random = Random(seed());
    let mut yard = Yard::new(5, &[1, 2, 3], often()).await;
    yard.join(4).await;
    yard.join(5).await;
    let load = Load::start(&yard, 3);
    for step in 0..20 {
        let (_, leader) = yard.leader().await;
        let Some(change) = random_change(&leader.membership(), &mut random) else {
            continue;
        };
        println!("{step}: {change:?}");
        // On its way while something happens; whoever leads then goes on with it, or it is asked for again.
        let asked = leader.change_membership(change.clone());
        let victim = NodeId(1 + random.below(5));
        let pause = Duration::from_millis(random.below(400));
        match random.below(5) {
            0 => {
                yard.stop(victim).await;
                tokio::time::sleep(pause).await;
                yard.restart(victim).await;
            }
            1 => {
                yard.cluster.isolate(victim);
                tokio::time::sleep(pause).await;
                yard.cluster.heal(victim);
            }
            2 => {
                for id in yard.cluster.ids() {
                    yard.stop(id).await;
                }
                for id in yard.cluster.ids() {
                    yard.restart(id).await;
                }
            }
            3 => drop(leader.transfer_leadership(victim).await),
            _ => {}
        }
        drop(asked);
        let membership = yard.change(change).await;
        for id in yard.cluster.ids() {
            if !membership.contains(id) && random.below(2) == 0 {
                yard.replicas.lock()[slot(id)] = None;
                yard.cluster.host(id).destroy_group(GROUP).await.unwrap();
                yard.join(id.0).await;
            }
        }
        load.goes_on().await;
    }
    let (_, leader) = yard.leader().await;
    let voters: Vec<u64> = voters(&leader.membership());
    yard.alike(&voters).await;
    load.check(&yard).await;
    yard.cluster.stop_all().await;
}
