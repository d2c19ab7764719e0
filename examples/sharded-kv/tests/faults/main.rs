//! Real nodes under faults: processes of the binary, each on a machine of its own as far as the system allows (a network
//! namespace, a small disk), are killed, stopped, cut off and filled up, several things at a time, under clients of
//! several kinds. Then everything heals, and must be well again: every key is readable and writable within a deadline,
//! what was acknowledged is there, what was refused never was, and the calls on each key could have happened one after
//! the other.
//!
//! Everything that is drawn follows from a seed. What the processes make of it does not: a failure need not come again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clients;
mod cluster;
mod disk;
mod history;
mod keeper;
mod linearizability;
mod links;
mod nemesis;
mod network;
mod node;
mod plan;
#[path = "../e2e/support/ports.rs"]
mod ports;
mod random;
// Other tests use more of it.
#[allow(dead_code)]
#[path = "../e2e/support/resp.rs"]
mod resp;
mod room;
mod run;
mod settings;
mod stale;
mod system;
mod unavailability;
mod units;

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use disk::Disk;
use network::Abilities;
use plan::Possible;
use run::{Figures, run};
use settings::Settings;
use unavailability::Unavailability;

/// What can go wrong here; says what can't.
fn possible(settings: Settings) -> Possible {
    let network = if settings.loopback {
        Abilities::none("loopback is asked for")
    } else {
        network::abilities().clone()
    };
    match &network.namespaces {
        Ok(()) => println!("network: a namespace for each node"),
        Err(error) => println!("network: loopback, NO PARTITIONS ({error})"),
    }
    match &network.delay {
        Ok(how) => println!("delay: {how:?}"),
        Err(error) => println!("delay: NONE ({error})"),
    }
    match &network.loss {
        Ok(how) => println!("loss: {how:?}"),
        Err(error) => println!("loss: NONE ({error})"),
    }
    let full_disk = Disk::can_be_filled(&system::own_dir().join("probe"));
    println!(
        "disks: {}",
        if full_disk {
            "a tmpfs for each node"
        } else {
            "directories, NONE IS FULL"
        }
    );
    Possible {
        partitions: network.namespaces.is_ok(),
        loss: network.loss.is_ok(),
        delay: network.delay.is_ok(),
        full_disk,
    }
}

#[test]
fn nodes_keep_their_word_under_faults() {
    let settings = Settings::read();
    system::sweep_leftovers();
    system::clean_up_when_interrupted();
    println!("{settings:?}");
    let possible = possible(settings);
    let next = AtomicU64::new(0);
    let (failures, unavailable) = (Mutex::new(Vec::new()), Mutex::new(Unavailability::default()));
    let totals = Mutex::new(Totals::default());
    thread::scope(|scope| {
        for _ in 0..settings.jobs {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::SeqCst)).filter(|n| *n < settings.runs) {
                    let seed = settings.seed + seed;
                    match run(seed, settings.length, possible, settings.loopback) {
                        Ok(figures) => {
                            tell(seed, &figures);
                            totals.lock().unwrap().add(&figures);
                            unavailable.lock().unwrap().add(&figures.unavailable);
                        }
                        Err(failure) => {
                            println!("{failure}");
                            failures.lock().unwrap().push(seed);
                        }
                    }
                }
            });
        }
    });
    // Another test may still use it.
    let _ = std::fs::remove_dir(system::own_dir());
    println!("{}", unavailable.into_inner().unwrap());
    let totals = totals.into_inner().unwrap();
    println!("{totals}");
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "runs that failed, by seed: {failures:?}");
    // What nobody could decide says nothing for what is promised.
    assert!(totals.undecided * 100 <= totals.runs * units::UNITS, "{totals}");
}

/// What all runs showed in which everything held.
#[derive(Default)]
struct Totals {
    runs: usize,
    done: usize,
    unknown: usize,
    refused: u64,
    kept: usize,
    undecided: usize,
}

impl Totals {
    fn add(&mut self, figures: &Figures) {
        self.runs += 1;
        self.done += figures.done;
        self.unknown += figures.unknown;
        self.refused += figures.refused;
        self.kept += figures.kept;
        self.undecided += figures.undecided;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let histories = self.runs * units::UNITS;
        write!(
            f,
            "{} runs well: {} calls done, {} unknown, {} refused; {} keys kept; {} of {histories} histories undecided",
            self.runs, self.done, self.unknown, self.refused, self.kept, self.undecided
        )
    }
}

fn tell(seed: u64, figures: &Figures) {
    println!(
        "seed {seed}: {} calls done, {} unknown, {} refused; {} keys kept; well after {:.1} s, whole after {:.1} s{}",
        figures.done,
        figures.unknown,
        figures.refused,
        figures.kept,
        figures.well_after.as_secs_f64(),
        figures.whole_after.as_secs_f64(),
        match figures.undecided {
            0 => String::new(),
            units => format!("; {units} units UNDECIDED"),
        },
    );
}
