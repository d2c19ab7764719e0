//! The runtime that ships, on simulated clusters: `docs/src/simulation.md`.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use raftyard::NodeId;
use raftyard::sim::{Fault, Registers, Report, Scenario, Simulation, Step};
use std::time::{Duration, Instant};

/// The seeds to run: those from `RAFTYARD_SEED` on if that is set, and so many as `RAFTYARD_SEEDS` says.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect(name));
    let first = number("RAFTYARD_SEED");
    let count = number("RAFTYARD_SEEDS").unwrap_or(if first.is_some() { 1 } else { count });
    let first = first.unwrap_or(0);
    first..first + count
}

fn run(simulation: &Simulation<Registers>, seed: u64) -> Report {
    match simulation.run(seed) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn a_seed_does_the_same_twice() {
    for seed in seeds(3) {
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

/// What a seed does, but for disks that rot; and the disk of one node rots every few seconds.
fn with_rot(mut scenario: Scenario) -> Scenario {
    let node = NodeId(scenario.seed % scenario.nodes + 1);
    let mut steps = std::mem::take(&mut scenario.steps);
    steps.retain(|step| !matches!(step.fault, Fault::Rot { .. }));
    steps.extend((1..=5).map(|n| Step {
        at: Duration::from_secs(3 * n),
        lasts: Duration::from_millis(100 * n),
        fault: Fault::Rot {
            node,
            draw: scenario.seed << 8 | n,
        },
    }));
    steps.sort_by_key(|step| step.at);
    Scenario { steps, ..scenario }
}

/// A minority is damaged: nothing is lost silently, nothing acknowledged is lost, and every group gets on.
#[test]
fn what_is_promised_holds_when_a_disk_rots_again_and_again() {
    let (mut damages, mut made_good) = (0, 0);
    for seed in seeds(4) {
        let simulation = Simulation::new(Registers::default()).nodes(3 + seed % 3).groups(4);
        match simulation.run_scenario(&with_rot(simulation.scenario(seed))) {
            Ok(report) => {
                let count = |what: &str| report.timeline.iter().filter(|line| line.what.contains(what)).count();
                damages += count(" rots: ");
                made_good += count(" is made good on ");
            }
            Err((violation, timeline)) => {
                let timeline: Vec<String> = timeline.iter().map(ToString::to_string).collect();
                panic!(
                    "seed {seed}: {violation}\n{}\nRAFTYARD_SEED={seed} runs it again",
                    timeline.join("\n")
                );
            }
        }
    }
    println!("{damages} damages, {made_good} replicas made good by operators");
    assert!(damages > 0);
}

#[test]
fn what_is_promised_holds_under_faults() {
    let began = Instant::now();
    let (mut simulated, mut answers) = (Duration::ZERO, 0);
    let seeds = seeds(8);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let simulation = Simulation::new(Registers::default()).nodes(3 + seed % 5).groups(4);
        let report = run(&simulation, seed);
        simulated += report.simulated;
        answers += report.answers;
        assert!(report.answers > 50, "seed {seed}: {} answers", report.answers);
    }
    let (simulated, real) = (simulated.as_secs_f64(), began.elapsed().as_secs_f64());
    println!(
        "{count} seeds, {answers} answers, {simulated:.0} simulated seconds, {:.1} per second",
        simulated / real
    );
}
