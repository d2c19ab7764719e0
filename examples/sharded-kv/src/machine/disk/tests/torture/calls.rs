//! Keys on disk in real files, of which one call fails, or whose process is killed at one.
//!
//! A child lives through a plan, and says after each step that it did. The parent lives through the same without a fault,
//! so it knows what each batch left behind. Whatever went wrong, what is there afterwards is what the first batches left,
//! of all groups together: at least those that were synced, and no more than were asked for.

use std::collections::BTreeMap;
use std::path::Path;

use super::judge::{Verdict, judge_in};
use super::support::calls::{Call, Fault, can_fail, mixed};
use super::support::child::{Child, End, as_child, say, scratch};
use super::support::settings::{number, seed};
use super::world::World;
use super::*;

/// In so many cases something goes wrong, for each of the two tests.
const CALLS: u64 = 24;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Ends the store, if there is one, and opens it.
    Open,
    Commit,
    Sync,
    Flush,
}

/// Tables that are written and merged, journals that are synced and read again.
fn plan() -> Vec<Step> {
    let mut plan = vec![Step::Open];
    for round in 0..6 {
        for part in 0..3 {
            plan.extend([Step::Commit; 4]);
            if part > 0 {
                plan.push(Step::Sync);
            }
        }
        plan.push(if round == 2 { Step::Open } else { Step::Flush });
    }
    plan.extend([Step::Commit, Step::Open, Step::Commit, Step::Sync, Step::Commit]);
    plan
}

fn take(world: &mut World, step: Step) -> io::Result<()> {
    match step {
        Step::Open => {
            world.close();
            // One writes tables, so that all comes in the same order each time.
            world.open(1)
        }
        Step::Commit => world.commit(),
        Step::Sync => world.sync(),
        Step::Flush => world.flush(),
    }
}

/// Runs only as a child.
#[test]
fn takes_the_steps_of_a_plan() {
    let Some((dir, seed)) = as_child() else { return };
    let mut world = World::new(seed, &dir);
    for step in plan() {
        if let Err(error) = take(&mut world, step) {
            say(&format!("failed: {step:?}: {error}"));
            if !matches!(step, Step::Open) {
                let again = [world.sync().is_ok(), world.sync().is_ok()];
                say(&format!("again: {again:?}"));
            }
            return;
        }
        match step {
            Step::Commit => say("committed"),
            Step::Sync => say("synced"),
            _ => {}
        }
    }
    say("all");
}

/// What all goes by that is seen of a child: the world as it is without a fault.
pub(super) struct Truth {
    pub(super) world: World,
    pub(super) keys: BTreeSet<Bytes>,
}

impl Truth {
    pub(super) fn of(world: World) -> Self {
        let keys = world.keys();
        Self { world, keys }
    }

    /// Looks at what is in `dir`: it is what the first batches left, `least` or more of them, but not more than `most`.
    /// How many.
    pub(super) fn check(&self, dir: &Path, least: usize, most: usize) -> usize {
        let seen = judge_in(dir, &self.world, &self.keys).unwrap();
        assert!(matches!(seen.verdict, Verdict::Whole | Verdict::Older), "{seen:?}");
        let mut counts = vec![0; self.world.groups.len()];
        let order = self.world.order.iter();
        let prefixes = std::iter::once(counts.clone()).chain(order.map(|group| {
            counts[*group] += 1;
            counts.clone()
        }));
        let found = prefixes
            .enumerate()
            .find(|(length, counts)| *length >= least && *counts == seen.applied);
        let (found, _) =
            found.unwrap_or_else(|| panic!("{:?} are not the first batches, {least} or more", seen.applied));
        assert!(found <= most, "{found} batches, where {most} were asked for");
        found
    }
}

/// How many were synced and committed, as a child said.
fn counts(end: &End) -> (usize, usize) {
    let (mut synced, mut committed) = (0, 0);
    for said in &end.said {
        match said.as_str() {
            "committed" => committed += 1,
            "synced" => synced = committed,
            _ => {}
        }
    }
    (synced, committed)
}

fn torture(what: &str, faults: impl Fn(&Call) -> Vec<Fault>) {
    if !can_fail() {
        return;
    }
    let seed = seed();
    let own = scratch();
    let mut world = World::new(seed, own.path());
    plan().into_iter().for_each(|step| take(&mut world, step).unwrap());
    world.close();
    let truth = Truth::of(world);
    let mut random = Random::new(seed + 1);
    let child = Child {
        test: "machine::disk::tests::torture::calls::takes_the_steps_of_a_plan",
        seed,
    };
    let calls = child.calls(scratch().path());
    let all = calls
        .iter()
        .flat_map(|call| faults(call).into_iter().map(move |fault| (call, fault)));
    let all: Vec<_> = all.collect();
    let (possible, wanted) = (all.len(), number("RAFTYARD_CALLS").unwrap_or(CALLS));
    let all = mixed(
        all,
        |(call, _)| (call.name.clone(), call.path.clone()),
        |end| random.below(end),
    );
    let (mut endings, mut tried, mut kept) = (BTreeMap::<_, u64>::new(), 0, 0);
    for (call, fault) in all.into_iter().take(usize::try_from(wanted).unwrap()) {
        let dir = scratch();
        println!("{fault:?} {} of {} {:?}", call.number, call.name, call.path);
        let end = child.run(dir.path(), call, fault, None);
        assert_eq!(
            end.is_well,
            !(end.is_hit && matches!(fault, Fault::Kill)),
            "{}",
            end.output
        );
        // What a thread does beside the others is not the same each time: then nothing goes wrong.
        let is_undisturbed = end.said.iter().any(|said| said == "all");
        assert!(end.is_hit || is_undisturbed, "{}", end.output);
        *endings.entry(ending(&end)).or_default() += 1;
        check_again_failed(call, &end);
        let (synced, committed) = counts(&end);
        kept += truth.check(dir.path(), synced, committed + 1) - synced;
        tried += 1;
    }
    let missed = endings.get("not come to").copied().unwrap_or(0);
    assert!(missed < tried, "none was come to");
    println!("{what}: {tried} of {possible}, {endings:?}; {kept} batches were there that were not synced");
}

/// How it went, in one word.
fn ending(end: &End) -> &'static str {
    match end.said.iter().find_map(|said| said.strip_prefix("failed: ")) {
        _ if !end.is_hit => "not come to",
        Some(said) if said.starts_with("Open") => "no start",
        Some(_) => "failed",
        None if end.said.iter().any(|said| said == "all") => "all",
        None => "killed",
    }
}

/// Once a write or a sync failed, no later sync says that all is durable.
fn check_again_failed(call: &Call, end: &End) {
    if call.is_change && end.said.iter().any(|said| said.starts_with("again")) {
        assert!(
            end.said.iter().any(|said| said == "again: [false, false]"),
            "{call:?}: {}",
            end.output
        );
    }
}

#[test]
fn processes_with_keys_killed_at_a_call() {
    torture("keys: killed at a call", |call| match call.is_change {
        true => vec![Fault::Kill],
        false => Vec::new(),
    });
}

#[test]
fn calls_on_keys_that_fail() {
    torture("keys: calls that fail", |call| {
        let errors: &[&str] = match call.name.as_str() {
            "openat" => &["EIO", "EMFILE", "ENOSPC"],
            "read" | "pread64" | "getdents64" | "unlink" | "unlinkat" => &["EIO"],
            _ => &["EIO", "ENOSPC"],
        };
        let both = |error| [Fault::Fails(error), Fault::FailsFromThenOn(error)];
        errors.iter().copied().flat_map(both).collect()
    });
}
