//! What became of a store whose files were damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::super::*;
use super::world::{Group, Image, Moment, World, machine};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// All groups have all that they committed.
    Whole,
    /// All groups are as they were once: their logs are replayed from there, or their peers send what they lack.
    Older,
    /// Groups were told to be damaged, and begin anew. All others are as they were once.
    Noticed,
    /// It can't be opened or read.
    Refused,
    /// A group is as it never was, and nobody says so.
    Wrong,
}

/// What becomes of a store with these files.
pub(super) fn judge(image: &Image, world: &World, keys: &BTreeSet<Bytes>) -> (Verdict, String) {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in image {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    match judge_in(dir.path(), world, keys) {
        Ok(seen) => (seen.verdict, String::new()),
        Err(Problem::Refused(why)) => (Verdict::Refused, why),
        Err(Problem::Wrong(what)) => (Verdict::Wrong, what),
    }
}

/// What becomes of the store in a directory: what it is told to be, it is after a restart too.
pub(super) fn judge_in(dir: &Path, world: &World, keys: &BTreeSet<Bytes>) -> Result<Seen, Problem> {
    let caught = |panic: Box<dyn std::any::Any + Send>| Problem::Refused(text(&*panic));
    let seen = catch_unwind(AssertUnwindSafe(|| look(dir, world, keys))).map_err(caught)??;
    let again = catch_unwind(AssertUnwindSafe(|| check_again(dir, world, keys, &seen))).map_err(caught)?;
    again.map_err(|problem| problem.of("after it went on and was opened again"))?;
    Ok(seen)
}

#[derive(Debug)]
pub(super) enum Problem {
    Refused(String),
    Wrong(String),
}

impl Problem {
    fn of(self, when: &str) -> Self {
        match self {
            Self::Refused(what) => Self::Refused(format!("{when}: {what}")),
            Self::Wrong(what) => Self::Wrong(format!("{when}: {what}")),
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

#[derive(Debug)]
pub(super) struct Seen {
    pub(super) verdict: Verdict,
    /// How many of its batches each group has.
    pub(super) applied: Vec<usize>,
    /// What each group is from then on.
    after: Vec<Moment>,
}

/// How all groups are, and then lets each of them go on.
fn look(dir: &Path, world: &World, keys: &BTreeSet<Bytes>) -> Result<Seen, Problem> {
    let store = Store::open(dir, |_| true)?;
    let (mut verdict, mut all_applied, mut after) = (Verdict::Whole, Vec::new(), Vec::new());
    for group in &world.groups {
        let mut disk = machine(&store, group.id)?;
        let (applied, moment) = moment_of(&disk, group)?;
        compare(&disk, &moment, keys)?;
        let last = group.history.len() - 1;
        let is = match applied {
            _ if store.is_damaged(group.id) => Verdict::Noticed,
            applied if applied == last => Verdict::Whole,
            _ => Verdict::Older,
        };
        verdict = verdict.max(is);
        all_applied.push(applied);
        after.push(go_on(&mut disk, moment, applied)?);
    }
    Ok(Seen {
        verdict,
        applied: all_applied,
        after,
    })
}

fn check_again(dir: &Path, world: &World, keys: &BTreeSet<Bytes>, seen: &Seen) -> Result<(), Problem> {
    let store = Store::open(dir, |_| true)?;
    for (group, after) in world.groups.iter().zip(&seen.after) {
        if store.is_damaged(group.id) {
            return Err(Problem::Wrong(format!("{} is damaged", group.id)));
        }
        compare(&machine(&store, group.id)?, after, keys)?;
    }
    Ok(())
}

/// Which of its moments a group says that it is at.
fn moment_of(disk: &DiskKv, group: &Group) -> Result<(usize, Moment), Problem> {
    let records = disk.records()?;
    let applied = records.iter().find(|(key, _)| key == b"applied");
    let applied = applied.map_or(0, |(_, value)| String::from_utf8_lossy(value).parse().unwrap());
    let moment = group.history.get(applied);
    let moment = moment.ok_or_else(|| Problem::Wrong(format!("{} never applied {applied}", group.id)))?;
    Ok((applied, moment.clone()))
}

/// Whether a group is as at a moment, however it is asked.
fn compare(disk: &DiskKv, moment: &Moment, keys: &BTreeSet<Bytes>) -> Result<(), Problem> {
    let memory = moment.machine();
    let wrong = |what: String| Err(Problem::Wrong(format!("{}: {what}", disk.group)));
    if let Some(difference) = disk.difference(&memory.keys)? {
        return wrong(difference);
    }
    for key in keys {
        let found = disk.store.find(disk.head.generation, key)?.map(|found| found.entry);
        if found.as_ref() != memory.keys.entry(key) {
            return wrong(format!("{:.20?} is not what it was", key));
        }
    }
    let records: BTreeMap<_, _> = disk.records()?.into_iter().collect();
    if records != moment.records {
        return wrong("its records are not what they were".to_owned());
    }
    Ok(())
}

/// More commands, which have to find what there is and to last.
fn go_on(disk: &mut DiskKv, mut moment: Moment, applied: usize) -> Result<Moment, Problem> {
    let mut memory = moment.machine();
    let now = moment.now.plus(1);
    for (key, delta) in [("k5", 1), ("k6", 2), ("new", 3)] {
        let add = Command::Add {
            key: Bytes::from(key),
            delta,
        };
        if disk.apply(add.clone(), now)? != memory.apply(add, now) {
            return Err(Problem::Wrong(format!("{}: another answer", disk.group)));
        }
    }
    let changed = [
        record("applied", Some(&(applied + 1).to_string())),
        record("w1", Some("later")),
    ];
    disk.commit(&changed)?;
    for Record { key, value } in changed {
        moment.records.insert(key, value.unwrap());
    }
    moment.snapshot = postcard::to_stdvec(&memory.snapshot()).unwrap();
    Ok(moment)
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("?"))
}
