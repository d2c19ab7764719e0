//! Damage on a disk in memory, whose segments are so small that there are many.

use crate::harness::{Disk, Harness};
use crate::steps::{Rng, step};
use crate::stops;
use crate::support::settings::{number, seed};
use crate::tame_disk::{Files, TameDisk};
use crate::verdict::{Tally, Truth};
use raftyard::store::LogStore;

const FLIPS: u64 = 2_000;
const STOPS: u64 = 500;
const DOUBLE_FAULTS: u64 = 300;
/// What a file system reads and writes at once, on this small disk.
const BLOCK: usize = 256;

/// A disk that something happened on, closed.
fn worn(rng: &mut Rng) -> TameDisk {
    let mut h = Harness::<TameDisk>::new();
    for _ in 0..150 {
        step(&mut h, rng);
    }
    h.reopen();
    h.into_disk()
}

fn truth(disk: &TameDisk) -> Truth {
    let mut store = disk.open();
    let contents = store.recover().unwrap();
    Truth::of(&store, contents)
}

fn check(truth: &Truth, disk: &TameDisk, damage: impl FnOnce(&mut Files), what: &str) -> Tally {
    let disk = disk.copy();
    damage(&mut disk.files());
    truth.check(|| Ok(disk.open()), &|| what.to_owned())
}

/// A segment and a place in it, up to where it is written.
fn place(rng: &mut Rng, disk: &TameDisk) -> (u32, usize) {
    let files = disk.files();
    let numbers: Vec<u32> = files.segments.keys().copied().collect();
    let number = numbers[rng.index(numbers.len())];
    (number, rng.index(files.segments[&number].len()))
}

fn flip(files: &mut Files, (segment, at): (u32, usize), bit: u32) {
    files.segments.get_mut(&segment).unwrap()[at] ^= 1 << bit;
}

#[test]
fn flipped_bits() {
    let (mut rng, flips) = (Rng(seed()), number("RAFTYARD_FLIPS").unwrap_or(FLIPS));
    let mut tally = Tally::default();
    while tally.cases() < flips {
        let disk = worn(&mut rng);
        let truth = truth(&disk);
        // Every bit of a stretch, and some anywhere.
        let (segment, from) = place(&mut rng, &disk);
        let end = disk.files().segments[&segment].len().min(from + 40);
        for at in from..end {
            for bit in 0..8 {
                let what = format!("bit {bit} at {at} of {segment}");
                tally.add(check(&truth, &disk, |files| flip(files, (segment, at), bit), &what));
            }
        }
        for _ in 0..100 {
            let (at, bit) = (place(&mut rng, &disk), u32::try_from(rng.below(8)).unwrap());
            let what = format!("bit {bit} at {at:?}");
            tally.add(check(&truth, &disk, |files| flip(files, at, bit), &what));
        }
        for _ in 0..10 {
            let at = rng.index(disk.files().mark.len());
            tally.add(check(&truth, &disk, |files| files.mark[at] ^= 1, "the mark"));
        }
    }
    println!("flipped bits: {} cases, {tally:?}", tally.cases());
    assert!(
        tally.partial > flips / 2,
        "most are of something that counts: {tally:?}"
    );
}

/// Two faults at once, so often, to disks of this seed.
fn two_faults(seed: u64, wanted: u64) {
    let mut rng = Rng(seed);
    let mut tally = Tally::default();
    while tally.cases() < wanted {
        let disk = worn(&mut rng);
        let truth = truth(&disk);
        for _ in 0..60 {
            let (one, other) = (place(&mut rng, &disk), place(&mut rng, &disk));
            let what = format!("{one:?} and {other:?}");
            let damage = |files: &mut Files| {
                flip(files, one, 3);
                let (segment, at) = other;
                let segment = files.segments.get_mut(&segment).unwrap();
                let end = segment.len().min(at + BLOCK);
                segment[at..end].fill(0);
            };
            tally.add(check(&truth, &disk, damage, &what));
        }
    }
    println!("two faults at once: {} cases, {tally:?}", tally.cases());
}

#[test]
fn two_faults_at_once() {
    two_faults(seed(), number("RAFTYARD_DOUBLE_FAULTS").unwrap_or(DOUBLE_FAULTS));
}

/// Entries of a later life of a group, whose beginning was lost, were taken for a part of the log before.
#[test]
fn two_faults_that_were_misread_once() {
    two_faults(181_099_346, DOUBLE_FAULTS);
}

#[test]
fn cut_files() {
    let mut rng = Rng(seed());
    let mut tally = Tally::default();
    for _ in 0..2 {
        let disk = worn(&mut rng);
        let truth = truth(&disk);
        let (last, len) = disk
            .files()
            .segments
            .last_key_value()
            .map(|(n, s)| (*n, s.len()))
            .unwrap();
        for cut in len.saturating_sub(250)..len {
            let damage = |files: &mut Files| files.segments.get_mut(&last).unwrap().truncate(cut);
            tally.add(check(&truth, &disk, damage, &format!("{cut} bytes of {last}")));
        }
    }
    println!("cut files: {} cases, {tally:?}", tally.cases());
    assert_eq!(tally.whole, 0, "{tally:?}");
}

#[test]
fn lost_files_and_blocks_that_are_blank_or_of_elsewhere() {
    let mut rng = Rng(seed());
    let (mut lost, mut blank, mut moved) = (Tally::default(), Tally::default(), Tally::default());
    for _ in 0..6 {
        let disk = worn(&mut rng);
        let truth = truth(&disk);
        let segments = disk.files().segments.clone();
        for number in segments.keys() {
            let damage = |files: &mut Files| drop(files.segments.remove(number));
            lost.add(check(&truth, &disk, damage, &format!("without {number}")));
        }
        lost.add(check(&truth, &disk, |files| files.mark.clear(), "without the mark"));
        for (number, segment) in &segments {
            for at in (0..segment.len()).step_by(BLOCK) {
                let end = segment.len().min(at + BLOCK);
                let damage = |files: &mut Files| files.segments.get_mut(number).unwrap()[at..end].fill(0);
                blank.add(check(
                    &truth,
                    &disk,
                    damage,
                    &format!("{at}..{end} of {number} is blank"),
                ));
            }
        }
        for _ in 0..40 {
            let (from, to) = (place(&mut rng, &disk), place(&mut rng, &disk));
            let (start, end) = (from.1 / BLOCK * BLOCK, to.1 / BLOCK * BLOCK);
            let source = &segments[&from.0];
            let block = source[start..source.len().min(start + BLOCK)].to_vec();
            let damage = |files: &mut Files| {
                let segment = files.segments.get_mut(&to.0).unwrap();
                let len = block.len().min(segment.len() - end);
                segment[end..end + len].copy_from_slice(&block[..len]);
            };
            moved.add(check(&truth, &disk, damage, &format!("{from:?} at {to:?}")));
        }
    }
    println!("lost files: {} cases, {lost:?}", lost.cases());
    println!("blank blocks: {} cases, {blank:?}", blank.cases());
    println!("misdirected blocks: {} cases, {moved:?}", moved.cases());
}

/// At each of the disk's writes and syncs, with any of the sectors that were not synced.
#[test]
fn machines_that_stop() {
    let wanted = number("RAFTYARD_STOPS").unwrap_or(STOPS);
    let mut stops = 0;
    let seed = seed();
    for round in 0.. {
        let torn = |step: u64, byte: usize| Rng(seed ^ (step << 20) ^ (byte as u64 / 64) ^ (round << 50)).below(2) == 0;
        stops += stops::stop_at(|step| step % 2 == round % 2, torn);
        if stops >= wanted {
            break;
        }
    }
    println!("machines that stopped: {stops}, nothing lost");
}
