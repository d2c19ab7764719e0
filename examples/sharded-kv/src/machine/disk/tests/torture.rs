//! Real files of real fjall, damaged in each way that disks know: bits that flip, blocks that are blank, files that are
//! cut, gone, or in each other's place. Whatever it was, a group is as it was after one of its batches, from where its
//! log is replayed; or it is told to be damaged, and begins anew; or the store is refused. It never serves anything else.
//!
//! `RAFTYARD_SEED` takes a printed seed back. `RAFTYARD_FLIPS` says how many bits are flipped in each file; there is as
//! much more of all else. `RAFTYARD_CALLS` says at how many calls processes are killed, and how many fail.

mod calls;
mod full;
mod judge;
// What the torture of the log store has, too.
#[path = "../../../../../../runtime/tests/support"]
mod support {
    pub(crate) mod calls;
    pub(crate) mod child;
    pub(crate) mod settings;
    pub(crate) mod small_disk;
}
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use self::judge::{Verdict, judge};
use self::support::settings::{number, seed};
use self::world::{Image, World};
use bytes::Bytes;

use crate::random::Random;

const PAGE_BYTES: usize = 4_096;

/// How often each kind of damage came to what.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<&'static str, BTreeMap<Verdict, u64>>,
    wrong: Vec<String>,
}

/// A store, and all that is done to it.
struct Torture<'a> {
    world: &'a World,
    image: Image,
    keys: BTreeSet<Bytes>,
    tally: Tally,
}

impl Torture<'_> {
    fn damage(&mut self, kind: &'static str, what: &str, damage: impl FnOnce(&mut Image)) {
        let mut image = self.image.clone();
        damage(&mut image);
        let (verdict, why) = judge(&image, self.world, &self.keys);
        *self.tally.counts.entry(kind).or_default().entry(verdict).or_default() += 1;
        if verdict == Verdict::Wrong {
            self.tally.wrong.push(format!("{kind}, {what}: {why}"));
        }
    }

    /// The file that says who uses it has nothing in it.
    fn names(&self) -> Vec<PathBuf> {
        let names = self.image.keys().filter(|name| *name != Path::new("lock"));
        names.cloned().collect()
    }

    fn flip_bits(&mut self, flips: u64, random: &mut Random) {
        for name in self.names() {
            let bytes = self.image[&name].len();
            if bytes == 0 {
                continue;
            }
            for _ in 0..flips {
                let (at, bit) = (random.place(bytes), random.below(8));
                self.damage("a flipped bit", &format!("{name:?} at {at}"), |image| {
                    image.get_mut(&name).unwrap()[at] ^= 1 << bit;
                });
            }
        }
    }

    /// In the head of a batch, of which fjall has no checksum: 1, how many rows (4 bytes), its number (8).
    fn flip_bits_of_heads(&mut self, flips: u64, random: &mut Random) {
        for (name, ends) in &self.world.ends {
            let Some(bytes) = self.image.get(name) else {
                continue;
            };
            let starts: Vec<usize> = ends.iter().copied().filter(|end| end + 13 < bytes.len()).collect();
            if starts.is_empty() {
                continue;
            }
            for _ in 0..flips {
                let start = starts[random.place(starts.len())];
                // The number's lower bits matter most.
                let (at, bit) = (start + random.place(8), random.below(8));
                self.damage(
                    "a flipped bit in a batch's head",
                    &format!("{name:?} at {at}, bit {bit}"),
                    |image| {
                        image.get_mut(name).unwrap()[at] ^= 1 << bit;
                    },
                );
            }
        }
    }

    /// Within the last two batches of each journal.
    fn cut(&mut self, cuts: usize) {
        for (name, ends) in &self.world.ends {
            let Some(bytes) = self.image.get(name) else {
                continue;
            };
            let last_two = ends.iter().rev().nth(2).copied().unwrap_or(0);
            let step = (bytes.len() - last_two).div_ceil(cuts).max(1);
            for end in (last_two..bytes.len()).step_by(step) {
                self.damage("a journal that is cut", &format!("{name:?} at {end}"), |image| {
                    image.get_mut(name).unwrap().truncate(end);
                });
            }
        }
    }

    fn blank(&mut self, pages: usize) {
        for name in self.names() {
            let bytes = self.image[&name].len();
            let step = bytes.div_ceil(PAGE_BYTES).div_ceil(pages).max(1);
            for start in (0..bytes).step_by(step * PAGE_BYTES) {
                let end = (start + PAGE_BYTES).min(bytes);
                self.damage("a blank page", &format!("{name:?} at {start}"), |image| {
                    image.get_mut(&name).unwrap()[start..end].fill(0);
                });
            }
        }
    }

    fn lose(&mut self) {
        for name in self.names() {
            self.damage("a file that is gone", &format!("{name:?}"), |image| {
                image.remove(&name);
            });
        }
        self.damage("a file that is gone", "all journals", |image| {
            image.retain(|name, _| name.extension().is_none_or(|extension| extension != "jnl"));
        });
    }

    fn swap(&mut self) {
        let names = self.names();
        for (place, one) in names.iter().enumerate() {
            for other in &names[place + 1..] {
                if one.parent() != other.parent() || one.extension() != other.extension() {
                    continue;
                }
                self.damage(
                    "two files that are swapped",
                    &format!("{one:?} and {other:?}"),
                    |image| {
                        let (a, b) = (image[one].clone(), image[other].clone());
                        image.insert(one.clone(), b);
                        image.insert(other.clone(), a);
                    },
                );
            }
        }
    }
}

/// Tables, and journals with what is in none of them yet: two, if it was `rotated`.
fn lived(seed: u64, rotated: bool, dir: &Path) -> io::Result<World> {
    let commit = |world: &mut World| world.commit().map(|()| world.note_end());
    let mut world = World::new(seed, dir);
    world.open(2)?;
    for _ in 0..3 {
        (0..40).try_for_each(|_| commit(&mut world))?;
        world.flush()?;
    }
    world.close();
    world.ends.clear();
    // Nobody writes tables any more.
    world.open(0)?;
    (0..30).try_for_each(|_| commit(&mut world))?;
    if rotated {
        world.close();
        world.rotate();
        world.open(0)?;
        (0..30).try_for_each(|_| commit(&mut world))?;
    }
    world.close();
    Ok(world)
}

#[test]
fn whatever_the_disk_does_no_group_is_what_it_never_was() {
    let seed = seed();
    let flips = number("RAFTYARD_FLIPS").unwrap_or(2);
    let more = usize::try_from(flips * 6).unwrap();
    let mut wrong = Vec::new();
    for rotated in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let world = lived(seed, rotated, dir.path()).unwrap();
        let mut random = Random::new(seed + 1);
        let mut torture = Torture {
            world: &world,
            image: world.image(),
            keys: world.keys(),
            tally: Tally::default(),
        };
        torture.damage("nothing", "", |_| {});
        assert_eq!(torture.tally.counts["nothing"], BTreeMap::from([(Verdict::Whole, 1)]));
        torture.flip_bits(flips, &mut random);
        torture.flip_bits_of_heads(flips * 6, &mut random);
        torture.cut(more);
        torture.blank(more);
        torture.lose();
        torture.swap();
        for (kind, counts) in &torture.tally.counts {
            println!("{kind}: {counts:?}");
        }
        wrong.append(&mut torture.tally.wrong);
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
