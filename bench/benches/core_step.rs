//! The pure core's step, phase by phase, in groups of three replicas whose state advances as in a real one:
//! every write is answered, every committed entry applied.
//!
//! A round drives many groups, one phase at a time, so that the clock is read once per phase and not once
//! per step. Only the phase that is measured is timed; all others run in between.
#![allow(missing_docs)]
#![allow(clippy::panic, reason = "a bench that does not do what it says must not report")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use raftyard_groups::{
    Effects, Group, GroupId, Incarnation, Input, Membership, Message, Moment, NodeId, ProposalId, Recovered,
    ReplicaConfig, RoleKind, Sessions, Tuning,
};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const GROUPS: u64 = 64;
const REPLICAS: usize = 3;
/// The replica that leads.
const LEADER: usize = 0;

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The leader takes a batch of proposals: a write, and an append to each peer.
    Propose,
    /// A follower takes the append: a write, and the acknowledgement in it.
    Append,
    /// The leader takes its own write's end and both acknowledgements: all is committed.
    Acknowledge,
}

/// A group and what is on its way in it.
struct Trio {
    replicas: Vec<Group>,
    effects: Effects,
    /// Messages for each replica.
    mail: [Vec<Message>; REPLICAS],
    now: Moment,
}

impl Trio {
    fn elected(id: GroupId) -> Self {
        let nodes: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let Ok(membership) = Membership::of_voters(nodes.iter().copied()) else {
            panic!("three voters are a membership");
        };
        let replica = |node: &NodeId| {
            let config = ReplicaConfig {
                group: id,
                incarnation: Incarnation(1),
                node: *node,
                membership: Arc::new(membership.clone()),
                tuning: Arc::new(Tuning::default()),
                seed: id.0 * 3 + node.0,
                priority: 0,
            };
            Group::new(config, Recovered::default(), Moment(0))
        };
        let mut trio = Self {
            replicas: nodes.iter().map(replica).collect(),
            effects: Effects::default(),
            mail: Default::default(),
            now: Moment(0),
        };
        trio.step(LEADER, [Input::Campaign]);
        trio.settle();
        trio.propose(1);
        trio.settle();
        assert_eq!(trio.replicas[LEADER].role(), RoleKind::Leader);
        trio
    }

    /// One step; what it wants done waits in `effects`.
    fn step(&mut self, at: usize, inputs: impl IntoIterator<Item = Input>) {
        self.replicas[at].step_all(self.now, &Sessions::default(), inputs, &mut self.effects);
    }

    /// Puts the messages of the step before into the mail. Answers its write and says what it committed is
    /// applied, until it wants nothing more; returns the end of the first write if `hold` wants to hand that
    /// in itself.
    fn carry_out(&mut self, at: usize, hold: bool) -> Option<Input> {
        let mut held = None;
        loop {
            let mut send = std::mem::take(&mut self.effects.send);
            let mut inputs = Vec::new();
            if let Some(persist) = self.effects.persist.take() {
                let durable = persist.into_durable();
                send.extend(durable.send);
                let persisted = Input::Persisted { seq: durable.seq };
                if hold && held.is_none() {
                    held = Some(persisted);
                } else {
                    inputs.push(persisted);
                }
            }
            if let Some(last) = self.effects.apply.last() {
                inputs.push(Input::Applied { through: last.index });
            }
            self.effects.apply.clear();
            self.effects.proposed.clear();
            assert!(self.effects.load.is_empty(), "what is needed is in memory");
            for message in send {
                let Some(to) = usize::try_from(message.to.0).ok().and_then(|to| to.checked_sub(1)) else {
                    panic!("a message to nobody");
                };
                self.mail[to].push(message);
            }
            if inputs.is_empty() {
                return held;
            }
            self.step(at, inputs);
        }
    }

    fn take_mail(&mut self, at: usize) -> Vec<Input> {
        self.mail[at].drain(..).map(Input::Message).collect()
    }

    /// Delivers everything until nobody says anything.
    fn settle(&mut self) {
        self.carry_out(LEADER, false);
        while self.mail.iter().any(|mail| !mail.is_empty()) {
            for at in 0..REPLICAS {
                let inputs = self.take_mail(at);
                self.step(at, inputs);
                self.carry_out(at, false);
            }
        }
    }

    fn propose(&mut self, batch: usize) {
        self.step(LEADER, [commands(batch)]);
    }
}

fn commands(batch: usize) -> Input {
    Input::Propose {
        id: ProposalId(0),
        commands: vec![Bytes::from_static(b"16 bytes of load"); batch],
    }
}

/// Runs one phase on all groups; `prepare` makes each group's inputs before the clock is read.
fn run(trios: &mut [Trio], at: usize, prepare: impl FnMut(&mut Trio) -> Vec<Input>) -> Duration {
    let prepared: Vec<Vec<Input>> = trios.iter_mut().map(prepare).collect();
    let start = Instant::now();
    for (trio, inputs) in trios.iter_mut().zip(prepared) {
        trio.step(at, inputs);
        black_box(&trio.effects);
    }
    start.elapsed()
}

/// A batch from the proposal to the commit in all groups; how long the phase took in all of them.
fn replicate(trios: &mut [Trio], batch: usize, phase: Phase) -> Duration {
    let of = |this: Phase, took: Duration| if this == phase { took } else { Duration::ZERO };
    let mut took = of(Phase::Propose, run(trios, LEADER, |_| vec![commands(batch)]));
    let mut own: Vec<Option<Input>> = trios.iter_mut().map(|trio| trio.carry_out(LEADER, true)).collect();
    let appended = run(trios, 1, |trio| trio.take_mail(1));
    took += of(Phase::Append, appended);
    for trio in &mut *trios {
        trio.carry_out(1, false);
        let inputs = trio.take_mail(2);
        trio.step(2, inputs);
        trio.carry_out(2, false);
    }
    let mut own = own.drain(..);
    let acknowledged = run(trios, LEADER, |trio| {
        let mut inputs = trio.take_mail(LEADER);
        inputs.extend(own.next().flatten());
        inputs
    });
    took += of(Phase::Acknowledge, acknowledged);
    for trio in trios {
        let leader = &trio.replicas[LEADER];
        assert_eq!(leader.commit(), leader.last().index, "the batch is not committed");
        trio.settle();
    }
    took
}

/// A heartbeat and its replies in all groups; how long all of it took, but for the second follower's part.
fn heartbeat(trios: &mut [Trio]) -> Duration {
    for trio in &mut *trios {
        trio.now = trio.replicas[LEADER].deadline();
    }
    let mut took = run(trios, LEADER, |_| vec![Input::Tick]);
    for trio in &mut *trios {
        trio.carry_out(LEADER, false);
        assert!(!trio.mail[1].is_empty(), "no heartbeat was sent");
    }
    took += run(trios, 1, |trio| trio.take_mail(1));
    for trio in &mut *trios {
        trio.carry_out(1, false);
        let inputs = trio.take_mail(2);
        trio.step(2, inputs);
        trio.carry_out(2, false);
    }
    took += run(trios, LEADER, |trio| trio.take_mail(LEADER));
    for trio in trios {
        trio.settle();
    }
    took
}

/// Time of `iterations` steps, from as many rounds as that takes.
fn measure(trios: &mut [Trio], iterations: u64, mut round: impl FnMut(&mut [Trio]) -> Duration) -> Duration {
    let rounds = iterations.div_ceil(GROUPS);
    let took: Duration = (0..rounds).map(|_| round(trios)).sum();
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    took.mul_f64(iterations as f64 / (rounds * GROUPS) as f64)
}

fn core_step(criterion: &mut Criterion) {
    let mut trios: Vec<Trio> = (0..GROUPS).map(GroupId).map(Trio::elected).collect();
    let mut group = criterion.benchmark_group("core_step");
    for (name, phase) in [
        ("leader proposes", Phase::Propose),
        ("follower appends", Phase::Append),
        ("leader commits", Phase::Acknowledge),
    ] {
        for batch in [1, 64] {
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(format!("{name}/{batch}"), |bencher| {
                bencher
                    .iter_custom(|iterations| measure(&mut trios, iterations, |trios| replicate(trios, batch, phase)));
            });
        }
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("heartbeat and reply", |bencher| {
        bencher.iter_custom(|iterations| measure(&mut trios, iterations, heartbeat));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = core_step
}
criterion_main!(benches);
