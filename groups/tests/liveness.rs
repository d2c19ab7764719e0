//! What one node may count on ends before the other may forget it, whatever happens between them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use raftyard_groups::{
    Liveness, LivenessConfig, LivenessEffects, Moment, NodeId, NodeIncarnation, NodeMessage, PairEvent, SessionId,
    start_wait_ms,
};
use std::collections::{BTreeMap, VecDeque};
use support::rng::{Seed, TestRng, seeds};

/// Supported; supporting.
const S: NodeId = NodeId(1);
const Q: NodeId = NodeId(2);

/// Two nodes, each with a clock of its own, and what is on its way between them.
struct Two {
    nodes: BTreeMap<NodeId, Liveness>,
    /// True time, in thousandths of a millisecond.
    micros: u64,
    /// Per node: how its clock runs, in millionths of true time, and what it showed at the start.
    clocks: BTreeMap<NodeId, (u64, u64)>,
    boots: u64,
    /// To whom, and what.
    on_its_way: VecDeque<(NodeId, NodeMessage)>,
    events: Vec<(NodeId, PairEvent)>,
}

impl Two {
    fn new() -> Self {
        Self::with_clocks(1_000_000, 1_000_000)
    }

    fn with_clocks(s: u64, q: u64) -> Self {
        let mut two = Self {
            nodes: BTreeMap::new(),
            micros: 10_000_000,
            clocks: BTreeMap::from([(S, (s, 5_000)), (Q, (q, 777_000))]),
            boots: 0,
            on_its_way: VecDeque::new(),
            events: Vec::new(),
        };
        two.start(S, false);
        two.start(Q, false);
        two
    }

    /// What the node's clock shows: whole milliseconds.
    fn clock(&self, node: NodeId) -> Moment {
        let (rate, offset) = self.clocks[&node];
        Moment(offset + self.micros / 1_000 * rate / 1_000_000)
    }

    fn start(&mut self, node: NodeId, waits: bool) {
        self.boots += 1;
        let now = self.clock(node);
        let incarnation = NodeIncarnation {
            boot: self.boots,
            random: self.boots * 7,
        };
        let mut config = LivenessConfig::new(node, incarnation);
        if waits {
            config.starts_waiting_until = now.plus(start_wait_ms(config.promise_ms, config.drift_permille));
        }
        let mut liveness = Liveness::new(config, now);
        liveness.set_peers([S, Q], now);
        self.nodes.insert(node, liveness);
    }

    fn took(&mut self, node: NodeId, effects: LivenessEffects) {
        self.on_its_way.extend(effects.send);
        self.events
            .extend(effects.events.into_iter().map(|event| (node, event)));
    }

    fn tick(&mut self, node: NodeId) {
        let (now, mut effects) = (self.clock(node), LivenessEffects::default());
        self.nodes.get_mut(&node).unwrap().tick(now, |_| true, &mut effects);
        self.took(node, effects);
    }

    fn deliver(&mut self, to: NodeId, message: NodeMessage) {
        let (now, mut effects) = (self.clock(to), LivenessEffects::default());
        let from = if to == S { Q } else { S };
        let node = self.nodes.get_mut(&to).unwrap();
        node.on_message(now, from, message, &mut effects);
        self.took(to, effects);
    }

    /// Millisecond by millisecond, with ticks for whoever is due; messages of links that are `open` arrive at once.
    fn pass(&mut self, millis: u64, open: impl Fn(NodeId) -> bool) {
        for _ in 0..millis {
            self.micros += 1_000;
            for node in [S, Q] {
                if self.nodes[&node].deadline() <= self.clock(node) {
                    self.tick(node);
                }
            }
            while let Some((to, message)) = self.on_its_way.pop_front() {
                if open(to) {
                    self.deliver(to, message);
                }
            }
            self.check();
        }
    }

    fn granted(&self) -> Option<SessionId> {
        self.nodes[&Q].sessions().granted(S)
    }

    fn believed(&self) -> Option<SessionId> {
        self.nodes[&S].sessions().believed_at(Q, self.clock(S))
    }

    /// The one rule: what is believed is live, or the one who granted it has restarted and still waits.
    fn check(&mut self) {
        // Whatever may end at this very moment, ends.
        let mut supporter = self.nodes[&Q].clone();
        let mut effects = LivenessEffects::default();
        supporter.tick(self.clock(Q), |_| false, &mut effects);
        let sessions = supporter.sessions();
        if let Some(session) = self.believed() {
            assert!(
                sessions.is_live(S, session) || !sessions.may_vote(),
                "{session} is believed, and is over: {:?}",
                self.events
            );
        }
    }

    fn take_events(&mut self, of: NodeId) -> Vec<PairEvent> {
        let events = std::mem::take(&mut self.events);
        let mine = events.into_iter().filter(|(node, _)| *node == of);
        mine.map(|(_, event)| event).collect()
    }

    /// The newest heartbeat of `S`, made now.
    fn heartbeat(&mut self) -> NodeMessage {
        let interval = 100;
        let due = Moment((self.clock(S).0 / interval + 1) * interval);
        while self.clock(S) < due {
            self.micros += 1_000;
        }
        self.on_its_way.clear();
        self.tick(S);
        let (to, message) = self.on_its_way.pop_back().unwrap();
        assert_eq!(to, Q);
        message
    }

    /// What `Q` answers.
    fn answer(&mut self, heartbeat: NodeMessage) -> NodeMessage {
        self.on_its_way.clear();
        self.deliver(Q, heartbeat);
        let (to, message) = self.on_its_way.pop_back().unwrap();
        assert_eq!(to, S);
        message
    }
}

fn granted_in(reply: NodeMessage) -> Option<SessionId> {
    match reply {
        NodeMessage::Reply { granted, .. } => granted.map(|grant| grant.session),
        NodeMessage::Heartbeat { .. } => panic!("no reply"),
    }
}

#[test]
fn a_session_needs_two_heartbeats_and_then_lives_on() {
    let mut two = Two::new();
    let first = two.heartbeat();
    let reply = two.answer(first);
    assert_eq!(granted_in(reply), None, "nothing proves that it is heard");
    two.deliver(S, reply);
    let second = two.heartbeat();
    let reply = two.answer(second);
    let session = granted_in(reply).unwrap();
    two.deliver(S, reply);
    assert_eq!((two.granted(), two.believed()), (Some(session), Some(session)));
    two.take_events(S);
    two.pass(10_000, |_| true);
    assert_eq!((two.granted(), two.believed()), (Some(session), Some(session)));
    assert_eq!(two.take_events(S), [], "to be extended is no event");
}

#[test]
fn a_session_ends_a_promise_after_the_last_heartbeat() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    let session = two.granted().unwrap();
    two.take_events(S);
    two.pass(595, |_| false);
    assert_eq!(two.granted(), Some(session));
    two.pass(110, |_| false);
    assert_eq!((two.granted(), two.believed()), (None, None));
    let lapsed = (S, PairEvent::Lapsed { peer: Q });
    let ended = (Q, PairEvent::Ended { peer: S, session });
    let place = |event| two.events.iter().position(|happened| *happened == event).unwrap();
    assert!(place(lapsed) < place(ended), "who counts on it stops first");
}

#[test]
fn a_link_that_works_one_way_keeps_no_promise_alive() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    assert!(two.granted().is_some());
    // Nothing arrives at the supported node any more; its heartbeats do.
    two.pass(1_300, |to| to == Q);
    assert_eq!((two.granted(), two.believed()), (None, None));
    two.pass(5_000, |to| to == Q);
    assert_eq!(two.granted(), None);
    // The other way round there is never a session.
    two.pass(5_000, |to| to == S);
    assert_eq!(two.granted(), None);
    two.pass(1_000, |_| true);
    assert!(two.granted().is_some());
}

#[test]
fn a_proof_is_as_old_as_the_reply_it_names() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    let late = two.heartbeat();
    two.pass(601, |_| false);
    assert_eq!(granted_in(two.answer(late)), None);
}

#[test]
fn a_heartbeat_of_an_older_life_ends_no_session() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    let old = two.heartbeat();
    let before = two.granted().unwrap();
    two.start(S, true);
    two.pass(1_000, |_| true);
    let session = two.granted().unwrap();
    assert!(session > before, "a new life gets a new session");
    two.deliver(Q, old);
    assert_eq!(two.granted(), Some(session));
    assert!(two.on_its_way.is_empty(), "it is not even answered");
}

#[test]
fn a_copy_of_a_node_is_not_mistaken_for_its_next_life() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    let session = two.granted();
    let copy = NodeMessage::Heartbeat {
        incarnation: NodeIncarnation { boot: 1, random: 8 },
        seq: 1,
        newest_reply: None,
    };
    two.deliver(Q, copy);
    assert_eq!(two.granted(), session);
    assert!(two.on_its_way.is_empty());
}

#[test]
fn a_new_life_of_the_supported_node_frees_the_promises_to_its_last() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    let session = two.granted().unwrap();
    // It is back within a heartbeat interval.
    two.start(S, true);
    two.take_events(Q);
    two.pass(20, |_| true);
    assert_eq!(two.take_events(Q), [PairEvent::Ended { peer: S, session }]);
    assert_eq!(two.believed(), None, "it knows nothing of what the last one counted on");
    two.pass(300, |_| true);
    assert!(two.believed().is_some());
}

#[test]
fn a_new_life_of_the_supporting_node_waits_as_long_as_its_last_may_be_believed() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    let session = two.believed().unwrap();
    two.start(Q, true);
    assert!(!two.nodes[&Q].sessions().may_vote());
    // Cut off, the other side still counts on the last life; `check` sees that the new one waits.
    two.pass(500, |_| false);
    assert_eq!(two.believed(), Some(session));
    two.take_events(Q);
    two.pass(110, |_| false);
    assert_eq!(two.believed(), None);
    assert_eq!(two.take_events(Q), [PairEvent::StartWaitOver]);
    assert!(two.nodes[&Q].sessions().may_vote());
    two.pass(1_000, |_| true);
    assert!(two.believed().unwrap() > session);
}

#[test]
fn a_reply_to_the_last_life_says_nothing_to_the_next() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    let heartbeat = two.heartbeat();
    let reply = two.answer(heartbeat);
    assert!(granted_in(reply).is_some());
    two.start(S, true);
    two.deliver(S, reply);
    assert_eq!(two.believed(), None);
    // Not even once it has given its number to a heartbeat of its own.
    for _ in 0..15 {
        two.heartbeat();
        two.deliver(S, reply);
        assert_eq!(two.believed(), None);
    }
}

#[test]
fn a_belief_lost_is_regained_in_the_same_session() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    let session = two.believed().unwrap();
    two.take_events(S);
    // The replies are lost for most of a promise: the last proved heartbeat still extends the session.
    two.pass(400, |to| to == Q);
    let heartbeat = two.heartbeat();
    let late = two.answer(heartbeat);
    two.pass(300, |_| false);
    assert_eq!((two.granted(), two.believed()), (Some(session), None));
    assert!(two.take_events(S).contains(&PairEvent::Lapsed { peer: Q }));
    // Then one arrives, late but not too late.
    two.deliver(S, late);
    assert_eq!(two.believed(), Some(session));
    assert_eq!(two.take_events(S), [PairEvent::Regained { peer: Q }]);
}

#[test]
fn a_reply_of_an_older_session_overtakes_none_of_a_newer() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    let heartbeat = two.heartbeat();
    let old = two.answer(heartbeat);
    let older = granted_in(old).unwrap();
    two.pass(700, |_| false);
    assert_eq!(two.granted(), None);
    two.pass(300, |_| true);
    let newer = two.believed().unwrap();
    assert!(newer > older);
    two.deliver(S, old);
    assert_eq!(two.believed(), Some(newer));
}

#[test]
fn an_answer_counts_from_when_its_own_heartbeat_was_sent() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    let heartbeat = two.heartbeat();
    let reply = two.answer(heartbeat);
    two.pass(300, |_| false);
    two.deliver(S, reply);
    two.pass(290, |_| false);
    assert!(two.believed().is_some());
    two.pass(10, |_| false);
    assert_eq!(two.believed(), None);
    // And again, to nobody's use.
    two.deliver(S, reply);
    assert_eq!(two.believed(), None);
}

#[test]
fn an_answer_to_no_heartbeat_is_ignored() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    let heartbeat = two.heartbeat();
    let NodeMessage::Reply { to, id, granted, .. } = two.answer(heartbeat) else {
        panic!("no reply");
    };
    two.pass(700, |_| false);
    let seq = 9_999;
    two.deliver(S, NodeMessage::Reply { to, seq, id, granted });
    assert_eq!(two.believed(), None);
}

#[test]
fn a_pause_longer_than_the_promise_leaves_nothing_to_count_on() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    // Both stand still; their clocks don't. The one that wakes first must not act on what it believed.
    two.micros += 5_000_000;
    assert_eq!(two.believed(), None, "checked against the clock, not against a tick");
    let ended = two.granted().unwrap();
    let (now, mut effects) = (two.clock(Q), LivenessEffects::default());
    let heartbeat = two.heartbeat();
    two.nodes
        .get_mut(&Q)
        .unwrap()
        .on_message(now, S, heartbeat, &mut effects);
    let event = PairEvent::Ended {
        peer: S,
        session: ended,
    };
    assert!(effects.events.contains(&event), "ended before it can be extended");
}

#[test]
fn heartbeats_go_only_where_they_may() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    let due = two.nodes[&S].deadline();
    let mut effects = LivenessEffects::default();
    two.nodes
        .get_mut(&S)
        .unwrap()
        .tick(due.plus(100), |_| false, &mut effects);
    assert_eq!(effects.send, []);
}

#[test]
fn a_pair_that_flaps_has_to_prove_itself() {
    let mut two = Two::new();
    let mut waits = Vec::new();
    for _ in 0..12 {
        let since = two.micros;
        while two.granted().is_none() {
            two.pass(1, |_| true);
        }
        waits.push((two.micros - since) / 100_000);
        two.pass(2_000, |_| false);
    }
    assert!(waits[..3].iter().all(|wait| *wait <= 3), "{waits:?}");
    assert!((7..=10).contains(&waits[3]), "eight proved heartbeats: {waits:?}");
    assert!((15..=18).contains(&waits[4]), "{waits:?}");
    assert!((255..=258).contains(&waits[11]), "no more than the most: {waits:?}");
    // One that held for long is trusted again.
    while two.granted().is_none() {
        two.pass(1, |_| true);
    }
    two.pass(60_000, |_| true);
    two.pass(2_000, |_| false);
    two.pass(300, |_| true);
    assert!(two.granted().is_some());
}

#[test]
fn who_is_no_peer_any_more_keeps_what_it_was_granted() {
    let mut two = Two::new();
    two.pass(1_000, |_| true);
    let session = two.granted();
    let now = two.clock(Q);
    two.nodes.get_mut(&Q).unwrap().set_peers([], now);
    assert_eq!(two.granted(), session, "promises were given in it");
    let last = session.unwrap();
    two.pass(700, |_| true);
    assert_eq!(two.granted(), None);
    assert_eq!(two.nodes[&Q].deadline(), Moment(u64::MAX), "nothing is left of it");
    let now = two.clock(Q);
    two.nodes.get_mut(&Q).unwrap().set_peers([S], now);
    two.pass(1_000, |_| true);
    assert!(two.granted().unwrap() > last, "no name is given twice");
}

/// An operator removed it and set it again: on another disk, so that it has started less often than the one before.
#[test]
fn another_node_under_the_same_id_gets_a_session_and_grants_one() {
    for (of, other) in [(S, Q), (Q, S)] {
        let mut two = Two::new();
        two.boots = 100;
        two.start(other, false);
        two.pass(1_000, |_| true);
        let session = two.granted();
        assert!(session.is_some() && two.believed().is_some());

        let now = two.clock(of);
        let node = two.nodes.get_mut(&of).unwrap();
        node.set_peers([], now);
        node.set_peers([S, Q], now);
        assert_eq!(two.granted().is_some(), session.is_some(), "what was promised holds");
        two.boots = 50;
        two.start(other, false);
        two.pass(3_000, |_| true);
        assert!(two.granted().is_some() && two.granted() != session, "{of} knows it");
        assert!(two.believed().is_some(), "{of} is known by it");
    }
}

/// Loss, delay, duplication, reordering, restarts and pauses at random, with clocks at both ends of what they may
/// differ by.
#[test]
fn what_is_believed_is_live() {
    let seeds = seeds("RAFTYARD_SEED", 24);
    let all = seeds.len();
    let mut believed = 0;
    for seed in seeds {
        let variable = "RAFTYARD_SEED";
        let _printed = Seed { variable, seed };
        let mut rng = TestRng::new(seed);
        let (s, q) = [(1_000_000, 1_000_000), (999_001, 1_000_000), (1_000_000, 999_001)][rng.position(3)];
        let mut two = Two::with_clocks(s, q);
        let (loss, delay) = (rng.below(30), 1 + rng.below(500));
        let mut delayed: Vec<(u64, NodeId, NodeMessage)> = Vec::new();
        for _ in 0..20_000 {
            two.micros += 1_000;
            for node in [S, Q] {
                if two.nodes[&node].deadline() <= two.clock(node) && rng.below(20) > 0 {
                    two.tick(node);
                }
                if rng.below(8_000) == 0 {
                    two.start(node, true);
                }
            }
            let sent: Vec<_> = two.on_its_way.drain(..).collect();
            for (to, message) in sent {
                for _ in 0..1 + u64::from(rng.below(10) == 0) {
                    if rng.below(100) >= loss {
                        let late = if rng.below(50) == 0 { 3_000 } else { delay };
                        delayed.push((two.micros + rng.below(late * 1_000), to, message));
                    }
                }
            }
            let (arrived, rest) = delayed.into_iter().partition(|(at, ..)| *at <= two.micros);
            delayed = rest;
            for (_, to, message) in arrived {
                two.deliver(to, message);
            }
            if rng.below(5_000) == 0 {
                two.micros += rng.below(1_500_000);
            }
            two.check();
            believed += u64::from(two.believed().is_some());
        }
    }
    assert!(
        all < 24 || believed > 100_000,
        "hardly anything was believed: {believed}"
    );
}
