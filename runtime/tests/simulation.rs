//! The runtime that ships, on simulated clusters: `docs/src/simulation.md`.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use raftyard::sim::{Registers, Report, Simulation};
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
