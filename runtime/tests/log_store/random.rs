//! Random steps against the model. `RAFTYARD_SEED` takes a printed seed back.

use crate::harness::{DirectoryDisk, Disk, Harness, MemoryDisk};
use crate::steps::{Rng, step};
use crate::tame_disk::TameDisk;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn memory_agrees_with_the_model() {
    agrees_with_the_model::<MemoryDisk>(20, 300);
}

#[test]
fn a_directory_agrees_with_the_model() {
    agrees_with_the_model::<DirectoryDisk>(2, 300);
}

/// Segments so small that they are given up all the time.
#[test]
fn small_segments_agree_with_the_model() {
    agrees_with_the_model::<TameDisk>(20, 300);
}

fn agrees_with_the_model<D: Disk>(rounds: u64, steps: u64) {
    let first = match std::env::var("RAFTYARD_SEED") {
        Ok(seed) => seed.parse().expect("RAFTYARD_SEED is a number"),
        Err(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos())
        }
    };
    for seed in first..first + rounds {
        println!("RAFTYARD_SEED={seed}");
        let mut rng = Rng(seed);
        let mut h = Harness::<D>::new();
        for _ in 0..steps {
            step(&mut h, &mut rng);
        }
        h.check_logs();
        h.reopen();
        h.check_logs();
    }
}
