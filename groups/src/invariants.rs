//! What must hold after every step, whatever the inputs were. Checked in debug and test builds.

use crate::entry::Payload;
use crate::group::{Group, Role};
use crate::ids::{LogId, LogIndex, NodeId, Term};

/// What was seen after the step before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    term: Term,
    vote: Option<NodeId>,
    commit: LogId,
    applied: LogIndex,
    led: Option<(Term, LogIndex)>,
}

impl Seen {
    pub(crate) fn check(&mut self, group: &Group) {
        group.log.check();
        let last = group.log.last();
        assert!(
            group.applied() <= group.applying,
            "{group}: applied more than it was given"
        );
        assert!(group.applying <= group.commit, "{group}: applies what is not committed");
        assert!(group.commit <= last, "{group}: commits what it does not hold");
        assert!(
            group.log.base().index <= group.applying,
            "{group}: compacted what no state machine has"
        );
        assert!(group.hard.term >= self.term, "{group}: its term went back");
        if group.hard.term == self.term {
            assert!(
                self.vote.is_none() || self.vote == group.hard.vote,
                "{group}: changed its vote within a term"
            );
        }
        assert!(group.commit >= self.commit.index, "{group}: its commit index went back");
        if self.commit.index >= group.log.base().index {
            assert_eq!(
                group.log.term_at(self.commit.index),
                Some(self.commit.term),
                "{group}: a committed entry changed"
            );
        }
        assert!(group.applied() >= self.applied, "{group}: its applied index went back");
        let led = matches!(group.role, Role::Leader(_)).then_some((group.hard.term, last));
        if let (Some((term, before)), Some((now, last))) = (self.led, led)
            && term == now
        {
            // Leader Append-Only (paper figure 3).
            assert!(last >= before, "{group}: a leader cut its own log");
        }
        if let Role::Leader(leader) = &group.role {
            assert_eq!(
                group.hard.vote,
                Some(group.config.node),
                "{group}: leads without its own vote"
            );
            for (peer, progress) in leader.peers.iter() {
                assert!(
                    progress.matched < progress.next,
                    "{group}: {peer} matched beyond what was sent"
                );
                assert!(
                    progress.next <= last.next(),
                    "{group}: {peer} was sent what is not there"
                );
            }
        }
        check_memberships(group);
        check_promises(group);
        *self = Self {
            term: group.hard.term,
            vote: group.hard.vote,
            commit: LogId {
                term: group.log.term_at(group.commit).unwrap_or(self.commit.term),
                index: group.commit,
            },
            applied: group.applied(),
            led,
        };
    }
}

/// What must hold of what a replica promised, and of what it counts on.
fn check_promises(group: &Group) {
    if let Some(given) = group.promise() {
        assert!(
            matches!(group.role, Role::Follower(_)),
            "{group}: campaigns, though it promised {} not to",
            given.leader
        );
        assert!(
            group.sessions.is_live(given.leader, given.session),
            "{group}: keeps a promise whose session ended"
        );
    }
    if group.is_barred() {
        assert!(
            !matches!(group.role, Role::PreCandidate(_) | Role::Candidate(_)),
            "{group}: campaigns, though it may have promised not to"
        );
    }
    match &group.role {
        Role::Leader(leader) => {
            assert!(
                !leader.handed_over || !group.holds_lease(),
                "{group}: counts on promises that it gave up"
            );
            if leader.is_asleep {
                assert!(
                    group.commit() == group.last().index && !leader.reads.is_waiting() && leader.transfer.is_none(),
                    "{group}: sleeps with something to do"
                );
            }
        }
        Role::Follower(follower) if follower.is_asleep => assert!(
            group
                .promise()
                .is_some_and(|given| Some(given.leader) == follower.leader() && given.term == group.hard.term),
            "{group}: sleeps without a promise that somebody counts on"
        ),
        _ => {}
    }
}

/// What must hold of the configurations in a log, and of what a leader does to them (paper §6, thesis §4).
fn check_memberships(group: &Group) {
    let (memberships, log) = (&group.memberships, &group.log);
    let entries = memberships.entries();
    assert!(
        entries.is_sorted_by(|a, b| a.0 < b.0),
        "{group}: its configurations are out of order"
    );
    assert!(
        entries
            .iter()
            .all(|(index, _)| log.base().index < *index && *index <= log.last()),
        "{group}: a configuration in force is not in its log"
    );
    for entry in log.in_memory() {
        let (index, in_force) = memberships.at(entry.index);
        match &entry.payload {
            Payload::Membership(membership) => assert!(
                *index == entry.index && in_force == membership,
                "{group}: {entry} is not in force at its own index"
            ),
            _ => assert!(*index < entry.index, "{group}: {entry} is no configuration"),
        }
    }
    // No step between two configurations is left out: in particular never the joint one between two sets of voters.
    let all = || std::iter::once(memberships.base()).chain(entries);
    for ((_, before), (index, after)) in all().zip(entries) {
        assert!(
            after.may_follow(before),
            "{group}: ({after}) at {index} can't come after ({before})"
        );
    }
    let Role::Leader(leader) = &group.role else {
        return;
    };
    // What a leader appends, it appends after what was before is committed: but for a change that is abandoned.
    let uncommitted: Vec<_> = entries
        .iter()
        .filter(|(index, _)| *index > group.commit && *index > leader.term_start)
        .collect();
    match uncommitted.as_slice() {
        [] | [_] => {}
        [(_, preparing), (_, abandoned)] => assert!(
            preparing.next().is_some() && *abandoned.as_ref() == preparing.without_next(),
            "{group}: ({preparing}) and ({abandoned}) are both not committed"
        ),
        more => assert!(
            more.len() <= 2,
            "{group}: more than two configurations are not committed"
        ),
    }
    let membership = group.membership();
    for peer in membership.peers_of(group.config.node) {
        let progress = leader.peers.get(&peer);
        assert!(
            progress
                .is_some_and(|progress| !progress.is_leaving() && progress.is_witness == membership.is_witness(peer)),
            "{group}: {peer} is a member, but its leader does not know it as such"
        );
    }
    for (peer, progress) in leader.peers.iter() {
        assert!(
            membership.contains(*peer) || progress.is_leaving(),
            "{group}: {peer} is no member, but its leader takes it for one"
        );
    }
}
