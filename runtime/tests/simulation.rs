//! The runtime that ships, on simulated clusters: `docs/src/simulation.md`.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use raftyard::sim::{Absence, Fault, Missing, Registers, Report, Scenario, Simulation, Step, seeds};
use raftyard::{GroupId, NodeId};
use std::time::{Duration, Instant};

fn run(simulation: &Simulation<Registers>, seed: u64) -> Report {
    match simulation.run(seed) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn a_seed_does_the_same_twice() {
    for seed in seeds(3).unwrap() {
        let simulation = Simulation::new(Registers::default()).nodes(3 + seed % 3).groups(6);
        let (first, second) = (run(&simulation, seed), run(&simulation, seed));
        assert!(first.events > 1_000, "{first:?}");
        assert_eq!(first, second);
    }
}

#[test]
fn different_seeds_do_different_things() {
    let simulation = Simulation::new(Registers::default());
    assert_ne!(run(&simulation, 1).digest, run(&simulation, 2).digest);
}

/// The simulation finds what it is there for, makes it small and tells it.
#[test]
fn disks_that_lie_are_noticed_and_the_scenario_made_small() {
    let simulation = Simulation::new(Registers::default()).disks_that_lie().shrink_runs(12);
    let failure = (0..20)
        .find_map(|seed| simulation.run(seed).err())
        .expect("a crash shows it");
    // What is gone is missed, or the store itself says that it was durable.
    let property = failure.violation.property;
    assert!(matches!(property, "durability" | "recovery"), "{failure}");
    assert!(failure.scenario.steps.len() < failure.faults, "{failure}");
    assert!(
        failure.timeline.iter().any(|line| line.what.contains("VIOLATION")),
        "{failure}"
    );
    assert!(failure.to_string().contains("RAFTYARD_SEED="), "{failure}");
}

/// What a seed does, but for faults like these; and a disk has one of these every few seconds.
fn with_disk_faults(mut scenario: Scenario, fault: impl Fn(u64) -> Fault) -> Scenario {
    let mut steps = std::mem::take(&mut scenario.steps);
    let kind = std::mem::discriminant(&fault(0));
    steps.retain(|step| std::mem::discriminant(&step.fault) != kind);
    steps.extend((1..=5).map(|n| Step {
        at: Duration::from_secs(3 * n),
        lasts: Duration::from_millis(100 * n),
        fault: fault(n),
    }));
    steps.sort_by_key(|step| step.at);
    Scenario { steps, ..scenario }
}

fn run_scenario(simulation: &Simulation<Registers>, scenario: &Scenario) -> Report {
    simulation
        .run_scenario(scenario)
        .unwrap_or_else(|(violation, timeline)| {
            let timeline: Vec<String> = timeline.iter().map(ToString::to_string).collect();
            let (seed, timeline) = (scenario.seed, timeline.join("\n"));
            panic!("seed {seed}: {violation}\n{timeline}\nRAFTYARD_SEED={seed} runs it again");
        })
}

/// How many lines of what happened say this.
fn count(report: &Report, what: &str) -> usize {
    report.timeline.iter().filter(|line| line.what.contains(what)).count()
}

/// A minority is damaged: nothing is lost silently, nothing acknowledged is lost, and every group gets on.
#[test]
fn what_is_promised_holds_when_a_disk_rots_again_and_again() {
    let (mut damages, mut of_snapshots, mut made_good) = (0, 0, 0);
    for seed in seeds(4).unwrap() {
        let simulation = Simulation::new(Registers::default()).nodes(3 + seed % 3).groups(4);
        let scenario = simulation.scenario(seed);
        let node = NodeId(seed % scenario.nodes + 1);
        let rot = |n| Fault::Rot {
            node,
            draw: seed << 8 | n,
        };
        let report = run_scenario(&simulation, &with_disk_faults(scenario, rot));
        damages += count(&report, " rots: ");
        of_snapshots += count(&report, ".snapshot ");
        made_good += count(&report, " is made good on ");
    }
    println!("{damages} damages, {of_snapshots} of snapshots, {made_good} replicas made good by operators");
    assert!(damages > 0);
}

/// Each node's disk in turn: what finds no room waits or is refused, and all goes on once there is room again.
#[test]
fn what_is_promised_holds_when_disks_are_full_again_and_again() {
    let mut full = 0;
    for seed in seeds(4).unwrap() {
        let simulation = Simulation::new(Registers::default()).nodes(3 + seed % 3).groups(4);
        let scenario = simulation.scenario(seed);
        let nodes = scenario.nodes;
        let fill = |n| Fault::FillDisk {
            node: NodeId((seed + n) % nodes + 1),
            room: 50 * n,
        };
        full += count(
            &run_scenario(&simulation, &with_disk_faults(scenario, fill)),
            " is full",
        );
    }
    println!("disks were full {full} times");
    assert!(full > 0);
}

/// No replica is left that could say that the store failed.
#[test]
fn a_node_whose_only_group_is_destroyed_while_its_store_fails_starts_again() {
    let simulation = Simulation::new(Registers::default()).nodes(7).groups(4);
    let (node, group) = (NodeId(7), GroupId(4));
    let step = |at, lasts, fault| Step {
        at: Duration::from_secs(at),
        lasts: Duration::from_secs(lasts),
        fault,
    };
    let scenario = Scenario {
        steps: vec![
            step(
                5,
                8,
                Fault::FailDisk {
                    node,
                    sync: false,
                    silent: false,
                },
            ),
            step(8, 0, Fault::Recreate { group }),
        ],
        ..simulation.scenario(seeds(1).unwrap().start)
    };
    let report = run_scenario(&simulation, &scenario);
    assert_eq!(count(&report, "g4 is created again"), 1);
}

#[test]
fn what_is_promised_holds_under_faults() {
    let began = Instant::now();
    let (mut simulated, mut answers) = (Duration::ZERO, 0);
    let (mut histories, mut undecided) = (0, 0);
    let seeds = seeds(8).unwrap();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let simulation = Simulation::new(Registers::default()).nodes(3 + seed % 5).groups(4);
        let report = run(&simulation, seed);
        simulated += report.simulated;
        answers += report.answers;
        histories += report.histories;
        undecided += report.undecided;
        assert!(report.answers > 50, "seed {seed}: {} answers", report.answers);
    }
    let (simulated, real) = (simulated.as_secs_f64(), began.elapsed().as_secs_f64());
    println!(
        "{count} seeds, {answers} answers, {simulated:.0} simulated seconds, {:.1} per second",
        simulated / real
    );
    assert!(
        undecided * 100 <= histories,
        "{undecided} of {histories} histories undecided"
    );
}

/// A minority is down, cut off, not heard or hearing nobody, and nothing else is wrong: who has a majority gets on.
#[test]
fn what_is_promised_holds_while_a_minority_is_missing() {
    let mut got_on = 0;
    for seed in seeds(8).unwrap() {
        let nodes = 3 + seed % 5;
        let simulation = Simulation::new(Registers::default()).nodes(nodes).groups(4);
        let scenario = simulation.scenario(seed);
        let how = [Missing::Down, Missing::CutOff, Missing::Mute, Missing::Deaf];
        // One whose disk rotted is no use to a majority.
        let rotten = scenario.steps.iter().find_map(|step| match step.fault {
            Fault::Rot { node, .. } => Some(node),
            _ => None,
        });
        let absence = Absence {
            nodes: vec![rotten.unwrap_or(NodeId(seed % nodes + 1))],
            how: how[(seed % 4) as usize],
            quiet: seed % 8 < 4,
        };
        let scenario = Scenario {
            absence: Some(absence),
            ..scenario
        };
        let report = run_scenario(&simulation, &scenario);
        let line = report
            .timeline
            .iter()
            .find(|line| line.what.contains("groups got on without"));
        let groups = line
            .and_then(|line| line.what.split(' ').next())
            .expect("everybody comes back");
        got_on += groups.parse::<u64>().unwrap();
    }
    println!("{got_on} times a group got on without a minority");
    assert!(got_on > 8);
}
