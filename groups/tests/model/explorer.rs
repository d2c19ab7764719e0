//! Breadth first through all states of a model: the first violation found is one of the shortest.

use super::gets_on;
use super::support::cluster::{Cluster, Trace};
use super::world::{Action, World};
use std::any::Any;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Instant;

/// What some state shows, and whether one does.
pub(crate) type Sometimes = (&'static str, fn(&Cluster) -> bool);

/// Where an exploration starts and what must come up in it.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// Where it starts.
    pub(crate) start: World,
    /// Steps from there, at most.
    pub(crate) depth: u32,
    /// What some state must show: a model in which nothing happens proves nothing.
    pub(crate) sometimes: Vec<Sometimes>,
}

/// States up to which an exploration goes, and one in how many is healed to see whether it gets on.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) states: usize,
    pub(crate) heal_every: usize,
}

/// Levels between those whose worlds are kept. What is between is made again from there, as a world takes kilobytes
/// and a step microseconds.
const LEVELS_MADE_AGAIN: u32 = 4;

struct Step {
    before: u32,
    action: Action,
}

/// A state whose world is kept.
struct Kept {
    state: u32,
    world: World,
}

/// The steps that led to `state` from an earlier one.
fn steps_between(steps: &[Step], earlier: u32, state: u32) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut at = state;
    while at != earlier
        && let Some(step) = usize::try_from(at).ok().and_then(|at| steps.get(at.checked_sub(1)?))
    {
        actions.push(step.action);
        at = step.before;
    }
    actions.reverse();
    actions
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only words");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Explores all of `model`, or as much as `limits` allow. Panics at the first violation, with what led to it.
pub(crate) fn explore(mut model: Model, limits: Limits) {
    let started = Instant::now();
    let mut seen: HashSet<u64, BuildHasherDefault<Same>> = HashSet::default();
    let mut steps: Vec<Step> = Vec::new();
    // Position 0 stands for the start.
    let start = Kept {
        state: 0,
        world: model.start.clone(),
    };
    let mut level = vec![(0_u32, Rc::new(start))];
    let (mut depth, mut transitions, mut healed) = (0, 0_u64, 0_usize);
    seen.insert(model.start.fingerprint());
    'all: while !level.is_empty() && depth < model.depth {
        let mut next = Vec::new();
        for (before, mut kept) in level {
            let mut world = kept.world.clone();
            for action in steps_between(&steps, kept.state, before) {
                world.act(action);
            }
            if depth.is_multiple_of(LEVELS_MADE_AGAIN) {
                let world = world.clone();
                kept = Rc::new(Kept { state: before, world });
            }
            let (replicas, on_its_way) = (world.replicas(), world.on_its_way());
            for action in world.actions() {
                transitions += 1;
                let mut after = world.clone();
                let outcome = catch_unwind(AssertUnwindSafe(|| after.act(action)));
                if outcome.is_err() {
                    fail(&model, &steps, before, Some(action));
                }
                // Only the message is gone: all that can happen now could happen with it too.
                if let Action::Deliver { keeps, .. } | Action::Install { keeps, .. } | Action::Hear { keeps, .. } =
                    action
                    && after.replicas() == replicas
                    && after.on_its_way() + usize::from(!keeps) <= on_its_way
                {
                    continue;
                }
                if !seen.insert(after.fingerprint()) {
                    continue;
                }
                model.sometimes.retain(|(_, holds)| !holds(&after.cluster));
                steps.push(Step { before, action });
                let number = u32::try_from(steps.len()).expect("fewer states");
                if steps.len().is_multiple_of(limits.heal_every) {
                    healed += 1;
                    if catch_unwind(AssertUnwindSafe(|| gets_on::check(after.cluster.clone()))).is_err() {
                        fail(&model, &steps, number, None);
                    }
                }
                next.push((number, kept.clone()));
                if seen.len() >= limits.states {
                    break 'all;
                }
            }
        }
        level = next;
        depth += 1;
    }
    // Who stopped before the model's depth has not seen all that may come up.
    let is_cut_short = seen.len() >= limits.states;
    let end = match is_cut_short {
        true => "and some of the next",
        false if depth < model.depth => "all of it",
        false => "cut off",
    };
    println!(
        "{}: {} states, {transitions} steps between them, depth {depth} ({end}), {healed} healed, {:.1} s",
        model.name,
        seen.len(),
        started.elapsed().as_secs_f64(),
    );
    let missed: Vec<&str> = model.sometimes.iter().map(|(name, _)| *name).collect();
    assert!(
        is_cut_short || missed.is_empty(),
        "{}: in no state {missed:?}",
        model.name
    );
}

/// The model's test fails. With `RAFTYARD_MODEL_STOP` so do all others, at once: for who only wants to know
/// whether any does.
fn end(model: &Model, panic: Box<dyn Any + Send>) -> ! {
    if std::env::var_os("RAFTYARD_MODEL_STOP").is_some() {
        // As the test harness would list it, but past it: it keeps what tests print until they end.
        let _ = writeln!(std::io::stderr(), "\n    {}", model.name);
        std::process::exit(1);
    }
    resume_unwind(panic)
}

/// Goes to the violation once more and tells how.
fn fail(model: &Model, steps: &[Step], state: u32, last: Option<Action>) -> ! {
    let mut actions = steps_between(steps, 0, state);
    actions.extend(last);
    let mut world = model.start.clone();
    eprintln!("{}: a violation after {} steps", model.name, actions.len());
    for action in actions {
        eprintln!("{action:?}");
        world.cluster.trace = Some(Vec::new());
        let outcome = catch_unwind(AssertUnwindSafe(|| world.act(action)));
        for line in world.cluster.trace.take().unwrap_or_default() {
            let (Trace::Message(line) | Trace::Event(line)) = line;
            eprintln!("    {line}");
        }
        if let Err(panic) = outcome {
            end(model, panic);
        }
    }
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| gets_on::check(world.cluster))) {
        end(model, panic);
    }
    unreachable!("{}: the same steps lead to the same violation", model.name);
}
