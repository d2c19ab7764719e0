//! The state machine of the key-value store in memory, on simulated clusters under faults: `docs/src/simulation.md`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod flawed;

use flawed::{Flaw, Flawed};
use raftyard::sim::{Report, Simulation, Workload, seeds};
use std::time::{Duration, Instant};

fn simulation(workload: impl Workload, seed: u64) -> Simulation<impl Workload> {
    Simulation::new(workload).nodes(3 + seed % 5).groups(4)
}

fn run(seed: u64, faulty: Duration) -> Report {
    match simulation(kv_parts::workload(), seed).faulty(faulty).run(seed) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn what_clients_of_the_store_are_told_is_linearizable_under_faults() {
    let began = Instant::now();
    let (mut simulated, mut answers, mut elections) = (Duration::ZERO, 0, 0);
    let (mut histories, mut undecided) = (0, 0);
    let seeds = seeds(6).unwrap();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let report = run(seed, Duration::from_secs(20));
        simulated += report.simulated;
        answers += report.answers;
        elections += report.elections;
        histories += report.histories;
        undecided += report.undecided;
        assert!(report.answers > 50, "seed {seed}: {} answers", report.answers);
    }
    let (simulated, real) = (simulated.as_secs_f64(), began.elapsed().as_secs_f64());
    println!(
        "{count} seeds, {simulated:.0} simulated seconds, {:.1} per second; {answers} answers, {elections} elections, \
         {undecided} of {histories} histories undecided",
        simulated / real
    );
    // What nobody could decide says nothing.
    assert!(
        undecided * 100 <= histories,
        "{undecided} of {histories} histories are undecided"
    );
}

/// Nothing of it hangs on the order of a hash table.
#[test]
fn a_seed_does_the_same_twice() {
    let (seed, faulty) = (seeds(1).unwrap().start, Duration::from_secs(8));
    assert_eq!(run(seed, faulty), run(seed, faulty));
}

/// The first seeds show what is wrong with such a machine.
fn notices(flaw: Flaw) {
    let workload = Flawed::new(kv_parts::workload(), flaw);
    let failure = (0..20)
        .find_map(|seed| simulation(workload.clone(), seed).shrink_runs(0).run(seed).err())
        .unwrap();
    assert_eq!(failure.violation.property, "linearizability", "{failure}");
}

#[test]
fn commands_that_are_applied_twice_are_noticed() {
    notices(Flaw::AppliesTwice);
}

#[test]
fn reads_that_are_stale_are_noticed() {
    notices(Flaw::ReadsStale);
}
