//! Draws a scenario from a seed.

use super::leader::jump_ms;
use super::{Absence, Fault, LeaderFault, Scenario, Step};
use crate::sim::random::{Purpose, Random};
use raftyard_groups::{GroupId, NodeId};
use std::time::Duration;

/// Kinds of faults: each seed has only some of them, so that each gets its time alone and in company.
const KINDS: u64 = 26;
/// Those in which much happens to one group in short order, and to one node.
const STORM: u64 = 21;
const FLAP: u64 = 25;

impl Scenario {
    /// What this seed does to a world of so many nodes and groups.
    #[must_use]
    pub fn draw(seed: u64, nodes: u64, groups: u64, faulty: Duration) -> Self {
        let mut random = Random::new(seed, Purpose::Plan, 0);
        let mut kinds: Vec<u64> = (0..KINDS).filter(|_| random.chance(450)).collect();
        if kinds.contains(&STORM) {
            // Much of what happens.
            kinds.extend([STORM; 4]);
        }
        // From a fault now and then to several at a time.
        let between_ms = *random.pick(&[400, 800, 1_500, 4_000]).unwrap_or(&1_500);
        let rotting = NodeId(random.within(1..=nodes));
        // No two clocks differ by more than leases allow for: a thousandth.
        let slowest_permille = -i64::from(random.chance(500));
        let storms = Storms::draw(&mut random);
        let mut steps = Vec::new();
        // The first leaders are elected in peace, or not.
        let mut at_ms = random.below(3_000);
        while u128::from(at_ms) < faulty.as_millis() {
            let kind = random.pick(&kinds).copied().unwrap_or(0);
            if kind == STORM || kind == FLAP {
                let group = GroupId(random.within(1..=groups));
                at_ms = match kind {
                    STORM => storms.blow(at_ms, group, nodes, &mut random, &mut steps),
                    _ => flap(at_ms, NodeId(random.within(1..=nodes)), &mut random, &mut steps),
                };
                at_ms += random.within(1..=between_ms * 2);
                continue;
            }
            let lasts = match random.below(4) {
                0 => random.within(5..=200),
                1 | 2 => random.within(200..=3_000),
                _ => random.within(1_000..=12_000),
            };
            let fault = match kind {
                17 => Fault::Rot {
                    node: rotting,
                    draw: random.number(),
                },
                kind => fault(kind, nodes, groups, slowest_permille, &mut random),
            };
            let lasts = if is_momentary(&fault) {
                0
            } else {
                lasts.min(between_ms * 5)
            };
            steps.push(Step {
                at: Duration::from_millis(at_ms),
                lasts: Duration::from_millis(lasts),
                fault,
            });
            at_ms += random.within(1..=between_ms * 2);
        }
        // A replica that is damaged withholds its vote: it is missing, too.
        let absence = random.chance(500).then(|| Absence::draw(rotting, nodes, &mut random));
        Self {
            seed,
            nodes,
            groups,
            faulty,
            disks_lie: false,
            steps,
            absence,
        }
    }
}

/// What happens to one group in short order, and to whoever leads it: a part of all that can, the same in all of a seed.
struct Storms {
    of_leaders: Vec<LeaderFault>,
    /// Leaderships move, members are replaced, the group is destroyed and created again.
    of_operators: Vec<u64>,
    /// Between one and the next, at most. Milliseconds.
    between_ms: u64,
}

impl Storms {
    fn draw(random: &mut Random) -> Self {
        let mut of_leaders = LeaderFault::ALL.to_vec();
        of_leaders.retain(|_| random.chance(300));
        Self {
            of_leaders,
            of_operators: [15, 15, 16, 16, 16, 19]
                .into_iter()
                .filter(|_| random.chance(400))
                .collect(),
            between_ms: *random.pick(&[20, 100, 400, 1_000]).unwrap_or(&100),
        }
    }

    /// Adds one that begins then; returns when it ends.
    fn blow(&self, mut at_ms: u64, group: GroupId, nodes: u64, random: &mut Random, steps: &mut Vec<Step>) -> u64 {
        for _ in 0..random.within(3..=10) {
            at_ms += random.below(self.between_ms);
            let which = random.position(self.of_leaders.len() + self.of_operators.len());
            let fault = match self.of_leaders.get(which) {
                Some(what) => Fault::Leader {
                    group,
                    what: *what,
                    draw: random.number(),
                },
                None => {
                    let kind = self.of_operators.get(which - self.of_leaders.len());
                    of_operators(kind.copied().unwrap_or(15), group, nodes, random)
                }
            };
            let lasts_ms = if is_momentary(&fault) {
                0
            } else {
                random.within(20..=1_500)
            };
            steps.push(Step {
                at: Duration::from_millis(at_ms),
                lasts: Duration::from_millis(lasts_ms),
                fault,
            });
        }
        at_ms
    }
}

/// Adds what ends a node's process again and again, as soon as it runs; returns when the last one comes.
fn flap(mut at_ms: u64, node: NodeId, random: &mut Random, steps: &mut Vec<Step>) -> u64 {
    for _ in 0..random.within(2..=4) {
        let silent = random.chance(500);
        let fault = match random.below(4) {
            0 => Fault::Crash { node, silent },
            1 => Fault::FailDisk {
                node,
                sync: random.chance(500),
                silent,
            },
            _ => Fault::CrashAt {
                node,
                operations: random.below(20),
                of_files: false,
                silent,
            },
        };
        steps.push(Step {
            at: Duration::from_millis(at_ms),
            lasts: Duration::from_millis(random.within(5..=100)),
            fault,
        });
        at_ms += random.within(5..=500);
    }
    at_ms
}

/// What operators do to a group.
fn of_operators(kind: u64, group: GroupId, nodes: u64, random: &mut Random) -> Fault {
    match kind {
        15 => Fault::Transfer {
            group,
            to: NodeId(random.within(1..=nodes)),
        },
        16 => Fault::Replace {
            group,
            draw: random.number(),
        },
        _ => Fault::Recreate { group },
    }
}

/// Whether it is over as soon as it happened.
fn is_momentary(fault: &Fault) -> bool {
    matches!(fault, Fault::Leader { what, .. } if what.is_momentary())
        || matches!(
            fault,
            Fault::Reset { .. }
                | Fault::Drift { .. }
                | Fault::Jump { .. }
                | Fault::Transfer { .. }
                | Fault::Replace { .. }
                | Fault::Recreate { .. }
        )
}

fn fault(kind: u64, nodes: u64, groups: u64, slowest_permille: i64, random: &mut Random) -> Fault {
    let node = NodeId(random.within(1..=nodes));
    let other = NodeId((node.0 + random.below(nodes.saturating_sub(1))) % nodes + 1);
    let group = GroupId(random.within(1..=groups));
    match kind {
        0 | 1 => Fault::Crash {
            node,
            silent: random.chance(500),
        },
        2 | 3 => Fault::CrashAt {
            node,
            operations: random.below(200),
            of_files: false,
            silent: random.chance(500),
        },
        22 if random.chance(500) => Fault::CrashAt {
            node,
            operations: random.below(4),
            of_files: true,
            silent: true,
        },
        4 if random.chance(200) => Fault::CrashAll,
        4 | 5 => Fault::Pause { node },
        6 => Fault::Stall { node },
        7 => Fault::FailDisk {
            node,
            sync: random.chance(500),
            silent: random.chance(500),
        },
        8 | 9 => {
            let size = random.within(1..=nodes.div_ceil(2));
            let side = (0..size).map(|n| NodeId((node.0 + n - 1) % nodes + 1)).collect();
            Fault::Split { side }
        }
        10 => Fault::CutOneWay { from: node, to: other },
        11 if random.chance(500) => Fault::Mute { node },
        11 => Fault::Deafen { node },
        12 => Fault::Slow {
            node,
            by_ms: random.within(10..=400),
        },
        13 => Fault::Lose {
            node,
            permille: random.within(5..=200),
        },
        14 if random.chance(300) => Fault::Jump {
            node,
            by_ms: i64::try_from(random.below(120_000)).unwrap_or(0) - 60_000,
        },
        14 if random.chance(500) => Fault::Drift {
            node,
            permille: slowest_permille + i64::from(random.chance(500)),
        },
        14 => Fault::Reset { a: node, b: other },
        18 => Fault::FillDisk {
            node,
            room: random.below(30_000),
        },
        20 => Fault::Leader {
            group,
            what: *random.pick(&LeaderFault::ALL).unwrap_or(&LeaderFault::Kill),
            draw: random.number(),
        },
        22 => Fault::CutAll,
        23 => Fault::Rest { group },
        24 => Fault::Jump {
            node,
            by_ms: jump_ms(random),
        },
        kind => of_operators(kind, group, nodes, random),
    }
}
