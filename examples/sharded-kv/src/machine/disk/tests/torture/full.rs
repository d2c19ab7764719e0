//! Keys on a file system that is really full. They don't wait for room, but nothing that was synced is lost, and once there
//! is room they are opened again.

use super::super::*;
use super::calls::Truth;
use super::support::child::{Child, as_child, say};
use super::support::settings::seed;
use super::support::small_disk::{fill, free};
use super::world::World;

const SIZE: &str = "16m";
/// What is left of it, in pages.
const LEFT: [u64; 6] = [0, 1, 2, 5, 10, 40];
const PAGE: u64 = 4 << 10;
/// More batches than fill what is left.
const BATCHES: usize = 3_000;

/// Runs only as a child.
#[test]
fn commits_until_the_disk_is_full() {
    let Some((disk, seed)) = as_child() else { return };
    for (round, left) in LEFT.into_iter().enumerate() {
        let dir = disk.join(round.to_string());
        std::fs::create_dir(&dir).unwrap();
        let mut world = World::new(seed + left, &dir);
        world.open(1).unwrap();
        (0..20).for_each(|_| world.commit().unwrap());
        world.sync().unwrap();
        let mut synced = world.order.len();
        fill(&disk, left * PAGE);
        let mut full = Ok(());
        for batch in 0..BATCHES {
            full = world.commit();
            if full.is_ok() && batch % 5 == 4 {
                full = world.sync().map(|()| synced = world.order.len());
            }
            // To make a table takes room too.
            if full.is_ok() && batch % 50 == 49 {
                full = world.flush();
            }
            if full.is_err() {
                break;
            }
        }
        let error = full.expect_err("the disk is full");
        say(&format!("full: {error}"));
        assert!(world.sync().is_err() && world.commit().is_err(), "it takes no more");
        if round % 2 == 0 {
            free(&disk);
            world.close();
        } else {
            world.close();
            // It may fail, but nothing is lost by that.
            if Store::open_with(&dir, 1, |_| true).is_err() {
                say("no start");
            }
            free(&disk);
        }
        // The last one may be there, or not.
        let most = world.order.len() + 1;
        let own = tempfile::tempdir().unwrap();
        let mut whole = World::new(seed + left, own.path());
        whole.open(1).unwrap();
        (0..most).for_each(|_| whole.commit().unwrap());
        whole.close();
        Truth::of(whole).check(&dir, synced, most);
    }
}

#[test]
fn file_systems_with_keys_that_are_full() {
    let child = Child {
        test: "machine::disk::tests::torture::full::commits_until_the_disk_is_full",
        seed: seed(),
    };
    let Some(end) = child.run_on_disk_of(SIZE) else { return };
    assert!(end.is_well, "{}", end.output);
    let starts = end.said.iter().filter(|said| *said == "no start").count();
    println!(
        "keys on file systems that are full: {}, {starts} starts failed meanwhile",
        LEFT.len()
    );
}
