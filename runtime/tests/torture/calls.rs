//! A log store on real files, of which one call fails, or whose process is killed at one.
//!
//! A child takes the steps of a script, and says after each that it did. The parent knows the script, so what each step
//! leaves behind. Whatever went wrong, what is there afterwards is what the child did, and perhaps the step that it was
//! at; no damage is said; and the rest of the script goes on from there.

use crate::script::{Step, open, script, take, truth};
use crate::steps::Rng;
use crate::support::calls::{Call, Fault, can_fail, mixed};
use crate::support::child::{Child, End, as_child, say, scratch};
use crate::support::settings::{number, seed};
use crate::verdict::Truth;
use raftyard::store::{LogStore, MemoryLogStore, SegmentLogStore, StoreError};
use raftyard_groups::LogIndex;
use std::collections::BTreeMap;
use std::path::Path;

/// In so many cases something goes wrong, for each of the two tests.
const CALLS: u64 = 24;
/// Of a script that goes on, no more steps are taken.
const MORE: usize = 12;

/// Runs only as a child.
#[test]
fn takes_the_steps_of_a_script() {
    let Some((dir, seed)) = as_child() else { return };
    let (mut store, mut memory) = (None, MemoryLogStore::new());
    for step in &script(seed) {
        if take_or_fail(&mut store, &mut memory, step, &dir) {
            say("did");
        } else {
            return;
        }
    }
    say("all");
}

/// Takes a step, twice if need be; whether it could. Whatever fails, what was done before can be read.
fn take_or_fail(store: &mut Option<SegmentLogStore>, memory: &mut MemoryLogStore, step: &Step, dir: &Path) -> bool {
    for _ in 0..2 {
        let error = match try_to_take(store, memory, step, dir) {
            Ok(()) => return true,
            Err(error) => error,
        };
        let Some(store) = store else {
            assert!(
                matches!(error, StoreError::Io { .. } | StoreError::Full { .. }),
                "{error}"
            );
            say(&format!("no start: {error}"));
            continue;
        };
        match error {
            StoreError::Full { .. } => say(&format!("full: {error}")),
            StoreError::Io { .. } if matches!(step, Step::Read(..)) => {
                say(&format!("not read: {error}"));
                continue;
            }
            // A log is read to be rebuilt.
            StoreError::Unread { .. } if matches!(step, Step::Rebuild(_)) => {
                say(&format!("not read: {error}"));
            }
            StoreError::Io { .. } => {
                say(&format!("failed: {error}"));
                let again = take(store, step);
                assert!(matches!(again, Err(StoreError::Poisoned)), "after {error}: {again:?}");
                check_reads(store, memory);
                return false;
            }
            error => panic!("{step:?}: {error}"),
        }
        check_reads(store, memory);
    }
    // What can't be read need not be.
    store.is_some() && matches!(step, Step::Read(..))
}

fn try_to_take(
    store: &mut Option<SegmentLogStore>,
    memory: &mut MemoryLogStore,
    step: &Step,
    dir: &Path,
) -> Result<(), StoreError> {
    match (step, &mut *store) {
        (Step::Open, _) => {
            *store = None;
            let (opened, boot, contents) = open(dir)?;
            say(&format!("start {}", boot.counter));
            assert_eq!(contents, memory.recover().unwrap());
            *store = Some(opened);
        }
        (step, Some(store)) => {
            let found = take(store, step)?;
            assert_eq!(found, take(memory, step).unwrap());
        }
        (_, None) => unreachable!("a script begins with an open"),
    }
    Ok(())
}

/// All that was done is there, as far as it can be read.
pub(crate) fn check_reads(store: &impl LogStore, memory: &mut MemoryLogStore) {
    for wanted in memory.recover().unwrap().groups {
        let group = wanted.record.group;
        assert_eq!(store.inspect(group).unwrap(), wanted);
        let from = wanted.state.base.index.next();
        let read = |store: &dyn LogStore| store.read(group, from, LogIndex(u64::MAX), usize::MAX);
        match read(store) {
            Ok(found) => assert_eq!(found, read(memory).unwrap(), "{group}"),
            Err(StoreError::Io { .. }) => say("not read"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// How it went, in one word. What could not be read matters only if nothing else happened: who failed reads once more.
fn ending(end: &End) -> &str {
    let words = || end.said.iter().rev().filter_map(|said| said.split(':').next());
    let ends = ["all", "full", "failed", "no start"];
    let is_unread = words().any(|word| word == "not read");
    let otherwise = if is_unread { "not read" } else { "killed" };
    words().find(|word| ends.contains(word)).unwrap_or(otherwise)
}

/// What is in `dir` is what the child did, or at most one step more; and it goes on. Whether it was one more.
fn check(dir: &Path, script: &[Step], end: &End) -> bool {
    let did = end.said.iter().filter(|said| *said == "did").count();
    let mut starts = end.said.iter().filter_map(|said| said.strip_prefix("start "));
    let starts: u64 = starts.next_back().map_or(0, |starts| starts.parse().unwrap());
    let (store, boot, contents) = open(dir).unwrap();
    assert!(boot.counter > starts, "start {} comes after {starts}", boot.counter);
    let found = Truth::of(&store, contents);
    drop(store);
    // Only of a step that may have been taken. What found no room never is.
    let may_be_more = ["killed", "failed"].contains(&ending(end)) && did < script.len();
    let is_more = found != truth(script, did);
    if is_more {
        assert!(may_be_more, "it is not as it was after {did} steps");
        assert_eq!(
            found,
            truth(script, did + 1),
            "it is neither as it was after {did} steps nor one more"
        );
    }
    let next = did + usize::from(is_more);
    let last = script.len().min(next + MORE);
    let (mut store, ..) = open(dir).unwrap();
    for step in &script[next..last] {
        if matches!(step, Step::Open) {
            drop(store);
            store = open(dir).unwrap().0;
        }
        take(&mut store, step).unwrap();
    }
    drop(store);
    let (store, _, contents) = open(dir).unwrap();
    assert_eq!(Truth::of(&store, contents), truth(script, last), "after it went on");
    is_more
}

/// One of the things that go wrong.
struct Case {
    call: Call,
    fault: Fault,
    beside: Option<(&'static str, &'static str)>,
}

impl Case {
    fn of(call: &Call, fault: Fault) -> Self {
        Self {
            call: call.clone(),
            fault,
            beside: None,
        }
    }
}

/// What a call that fails must and must not come to, where that is one thing for all steps.
fn case_is_as_promised(call: &Call, fault: Fault, beside: Option<(&str, &str)>, end: &End) {
    let said = |what: &str| end.said.iter().any(|said| said.starts_with(what));
    let is_segment = call.path.extension().is_some_and(|extension| extension == "segment");
    let (must, must_not): (&[&str], &[&str]) = match (call.name.as_str(), fault) {
        (_, Fault::Kill) => return,
        // Nothing is tried again that may be there or not.
        ("fdatasync", _) | ("write", Fault::Fails("EIO") | Fault::FailsFromThenOn("EIO")) if is_segment => {
            (&["failed", "no start"], &["full"])
        }
        // Want of room leaves nothing, but at a start.
        ("write", Fault::Fails("ENOSPC")) if is_segment && beside.is_none() => (&["full", "no start"], &["failed"]),
        // A segment that nobody needs stays where it is.
        ("unlink", _) => (&["all"], &["full", "failed", "no start"]),
        // What is there is not in doubt because it can't be read.
        ("read" | "pread64" | "getdents64", _) => (&[], &["full", "failed"]),
        _ => return,
    };
    let is_right = must.is_empty() || must.iter().any(|what| said(what));
    assert!(is_right, "{call:?} {fault:?}: one of {must:?}\n{}", end.output);
    let is_wrong = must_not.iter().any(|what| said(what));
    assert!(!is_wrong, "{call:?} {fault:?}: none of {must_not:?}\n{}", end.output);
}

/// Has a case of `cases` happen to a child each, and counts how they ended.
fn torture(what: &str, cases: impl Fn(&Call) -> Vec<Case>) {
    if !can_fail() {
        return;
    }
    let seed = seed();
    let (mut rng, script) = (Rng(seed ^ 1), script(seed));
    let child = Child {
        test: "calls::takes_the_steps_of_a_script",
        seed,
    };
    let calls = child.calls(scratch().path());
    let all: Vec<Case> = calls.iter().flat_map(cases).collect();
    let (possible, wanted) = (all.len(), number("RAFTYARD_CALLS").unwrap_or(CALLS));
    let all = mixed(
        all,
        |case| (case.call.name.clone(), case.call.path.clone()),
        |end| rng.below(end),
    );
    let (mut endings, mut tried, mut more) = (BTreeMap::<_, u64>::new(), 0, 0);
    for Case { call, fault, beside } in all.into_iter().take(usize::try_from(wanted).unwrap()) {
        let dir = scratch();
        let end = child.run(dir.path(), &call, fault, beside);
        let case = format!("{fault:?} at {call:?}, beside {beside:?}:\n{}", end.output);
        println!("{fault:?} {} of {} {:?}", call.number, call.name, call.path);
        assert!(end.is_hit, "{case}");
        assert_eq!(end.is_well, !matches!(fault, Fault::Kill), "{case}");
        case_is_as_promised(&call, fault, beside, &end);
        more += u64::from(check(dir.path(), &script, &end));
        *endings.entry(ending(&end).to_owned()).or_default() += 1;
        tried += 1;
    }
    println!("{what}: {tried} of {possible}, {endings:?}; {more} had done one step more than was said");
}

#[test]
fn processes_killed_at_a_call() {
    torture("killed at a call", |call| match call.is_change {
        true => vec![Case::of(call, Fault::Kill)],
        false => Vec::new(),
    });
}

#[test]
fn calls_that_fail() {
    torture("calls that fail", |call| {
        let errors: &[&str] = match call.name.as_str() {
            "openat" => &["EIO", "EMFILE", "ENOSPC"],
            "read" | "pread64" | "getdents64" | "unlink" | "unlinkat" => &["EIO"],
            _ => &["EIO", "ENOSPC"],
        };
        let mut cases = Vec::new();
        for error in errors {
            cases.push(Case::of(call, Fault::Fails(error)));
            cases.push(Case::of(call, Fault::FailsFromThenOn(error)));
        }
        if call.name == "write" {
            // What was begun can't be taken back.
            let mut case = Case::of(call, Fault::Fails("ENOSPC"));
            case.beside = Some(("ftruncate", "EIO"));
            cases.push(case);
        }
        cases
    });
}
