//! Each target with what is right, what fuzzers found before (`corpus/`), and mutations of both. A seed gives the same
//! mutations again; `RAFTYARD_FUZZ_SECONDS` says for how long they go on, for each target.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "fuzz/mutate.rs"]
mod mutate;

use fuzz::Target;
use mutate::Mutator;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Memory is counted for the whole process, so one target runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What reading may take: for each byte of the input, and anyway. The first is for items of a list, which have a byte
/// or three and become a value; the second for buffers of a fixed size.
const BYTES_PER_BYTE: usize = 100;
const BYTES_ANYWAY: usize = 1 << 20;

/// Mutations that were taken and are mutated further, at most.
const POOL_MAX: usize = 400;

macro_rules! each {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*

        #[test]
        fn every_target_has_a_test() {
            let targets: Vec<_> = fuzz::targets().map(|target| target.name).collect();
            assert_eq!(targets, [$(stringify!($name)),*]);
        }
    };
}

each! {
    peer_stream peer_call peer_answer peer_payload
    log_record log snapshot_file snapshot_chunks envelope
    resp_commands resp_replies kv_config
}

fn run(name: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let target = fuzz::targets().find(|target| target.name == name).unwrap();
    let seed: u64 = from_env("RAFTYARD_SEED").unwrap_or_else(|| RandomState::new().hash_one(name));
    let seconds = from_env("RAFTYARD_FUZZ_SECONDS").unwrap_or(2);
    println!("RAFTYARD_SEED={seed}");

    let mut pool = (target.samples)();
    for sample in &pool {
        assert!(
            (target.read)(sample),
            "what is right is refused: {}",
            sample.escape_ascii()
        );
    }
    pool.extend(corpus(name));
    pool.push(Vec::new());
    for input in &pool {
        hand_over(&target, input);
    }

    let mut mutator = Mutator::new(seed);
    let (mut count, mut taken) = (0, 0);
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        let input = mutator.mutate(&pool);
        count += 1;
        if hand_over(&target, &input) {
            taken += 1;
            if pool.len() < POOL_MAX && input.len() < 2_000 {
                pool.push(input);
            }
        }
    }
    println!("{name}: {count} mutations, {taken} of them taken");
    assert!(taken > 0, "no mutation gets past the first check");
}

/// Whether it was taken.
fn hand_over(target: &Target, input: &[u8]) -> bool {
    let kept = Kept { target, input };
    let region = Region::new(ALLOCATOR);
    let taken = (target.read)(input);
    let used = region.change().bytes_allocated;
    let most = BYTES_ANYWAY + BYTES_PER_BYTE * input.len();
    assert!(used <= most, "{used} bytes of memory for {} of input", input.len());
    (target.check)(input);
    std::mem::forget(kept);
    taken
}

/// Keeps the input that makes a target panic.
struct Kept<'a> {
    target: &'a Target,
    input: &'a [u8],
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.target.name);
        let kept = fs::write(&path, self.input);
        println!("input: {}", self.input.escape_ascii());
        println!(
            "{} ({kept:?}); once it is fixed, it belongs into {}",
            path.display(),
            dir(self.target.name).display()
        );
    }
}

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// What is in a target's directory, in the order of names; there need be none.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let Ok(found) = fs::read_dir(dir(name)) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// For libFuzzer: what is right, as files below `RAFTYARD_FUZZ_SAMPLES`, a directory for each target.
#[test]
#[ignore = "writes files"]
fn samples() {
    let root = PathBuf::from(std::env::var("RAFTYARD_FUZZ_SAMPLES").expect("RAFTYARD_FUZZ_SAMPLES names a directory"));
    for target in fuzz::targets() {
        let dir = root.join(target.name);
        fs::create_dir_all(&dir).unwrap();
        for (number, sample) in (target.samples)().iter().chain(&corpus(target.name)).enumerate() {
            fs::write(dir.join(number.to_string()), sample).unwrap();
        }
    }
}
