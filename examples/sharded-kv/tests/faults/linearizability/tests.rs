//! The search must refuse what could not have been, or its silence says nothing.

use super::{Verdict, check, that_count};
use crate::history::{Call, Op, Outcome, State};
use crate::random::Random;

fn call(client: u64, op: Op, invoked: u64, returned: u64, told: impl Into<Option<State>>) -> Call {
    Call {
        client: client.to_string(),
        node: "n".into(),
        unit: 0,
        op,
        invoked,
        returned,
        outcome: Outcome::Done(told.into()),
        number: invoked,
        after: None,
    }
}

fn unknown(client: u64, op: Op, invoked: u64) -> Call {
    Call {
        outcome: Outcome::Unknown,
        ..call(client, op, invoked, invoked, None)
    }
}

fn is_linearizable(calls: &[Call]) -> bool {
    match check(&that_count(calls.to_vec())) {
        Verdict::Linearizable => true,
        Verdict::Not(_) => false,
        Verdict::Undecided => panic!("undecided: {calls:?}"),
    }
}

const WRITE_1: Op = Op::Write(1);
const WRITE_2: Op = Op::Write(2);
const READ: Op = Op::Read;
const INCR: Op = Op::Add([1, 0]);

#[test]
fn stale_and_lost_values_are_noticed() {
    let writes = [call(1, WRITE_1, 0, 10, None), call(1, WRITE_2, 20, 30, None)];
    let then = |read: Call| is_linearizable(&[writes.to_vec(), vec![read]].concat());
    assert!(then(call(2, READ, 40, 50, [2, 0])));
    assert!(!then(call(2, READ, 40, 50, [1, 0])), "stale");
    assert!(!then(call(2, READ, 40, 50, [0, 0])), "lost");
    assert!(!then(call(2, READ, 40, 50, [7, 0])), "never written, or refused");
    // While the second is written both may be read, but not back again.
    assert!(then(call(2, READ, 25, 50, [1, 0])));
    let back = [call(2, READ, 21, 24, [2, 0]), call(3, READ, 25, 29, [1, 0])];
    assert!(!is_linearizable(&[writes.to_vec(), back.to_vec()].concat()));
}

#[test]
fn an_unknown_write_happens_late_or_never_and_at_most_once() {
    let begin = [call(1, WRITE_1, 0, 10, None), unknown(2, WRITE_2, 5)];
    let then = |told: &[u64]| {
        let reads = told.iter().zip(2..).map(|(value, at)| {
            let at = at * 100;
            call(3, READ, at, at + 10, [*value, 0])
        });
        is_linearizable(&begin.iter().cloned().chain(reads).collect::<Vec<_>>())
    };
    assert!(then(&[1, 1]));
    assert!(then(&[1, 2, 2]));
    assert!(!then(&[2, 1]), "the first write was over before the read");
    let again = [
        call(1, WRITE_1, 0, 10, None),
        unknown(2, WRITE_2, 20),
        call(1, READ, 30, 40, [2, 0]),
        call(1, Op::Write(3), 50, 60, None),
        call(1, READ, 70, 80, [2, 0]),
    ];
    assert!(!is_linearizable(&again), "it happened twice");
}

#[test]
fn counters_count_each_call_once() {
    let three = |last: u64| {
        let told = [1, 2, last].map(|count| [count, 0]);
        is_linearizable(&[
            call(1, INCR, 0, 10, told[0]),
            call(2, INCR, 0, 10, told[1]),
            call(3, INCR, 20, 30, told[2]),
        ])
    };
    assert!(three(3));
    assert!(!three(2), "one was lost");
    assert!(!three(4), "one was applied twice");
    // 40 of which nobody knows: any number up to all of them may have happened.
    let after = |count: u64| {
        let lost = (0..40).map(|n| unknown(100 + n, INCR, n));
        let read = call(1, READ, 100, 110, [count, 0]);
        is_linearizable(&lost.chain([read]).collect::<Vec<_>>())
    };
    assert!(after(0) && after(17) && after(40));
    assert!(!after(41));
}

#[test]
fn exchanges_tell_what_was_there() {
    let first = call(1, Op::WriteIfAbsent(1), 0, 10, [0, 0]);
    let both = |told| is_linearizable(&[first.clone(), call(2, Op::WriteIfAbsent(2), 5, 15, told)]);
    assert!(both([1, 0]));
    assert!(!both([0, 0]), "two were first");
    let removed = |told| {
        is_linearizable(&[
            first.clone(),
            call(2, Op::Exchange(0), 20, 30, told),
            call(3, READ, 40, 50, [0, 0]),
        ])
    };
    assert!(removed([1, 0]));
    assert!(!removed([0, 0]), "it was there");
}

#[test]
fn half_of_a_transaction_is_noticed() {
    let both = call(1, Op::Add([1, 1]), 0, 100, [1, 1]);
    let read = |told| is_linearizable(&[both.clone(), call(2, READ, 10, 20, told)]);
    assert!(read([0, 0]) && read([1, 1]));
    assert!(!read([1, 0]));
}

#[test]
fn a_pipeline_keeps_its_order() {
    let write = call(1, WRITE_1, 0, 100, None);
    let mut read = call(1, READ, 1, 100, [0, 0]);
    assert!(is_linearizable(&[write.clone(), read.clone()]));
    read.after = Some(write.number);
    assert!(
        !is_linearizable(&[write, read]),
        "the read overtook the write before it"
    );
}

/// All orders are tried, of all choices of what happened.
fn naive(calls: &[Call], done: u32, state: State) -> bool {
    let all_known = (0..calls.len()).all(|at| done & (1 << at) != 0 || !calls[at].is_known());
    let left = || (0..calls.len()).filter(|at| done & (1 << at) == 0);
    all_known
        || left().any(|at| {
            let call = &calls[at];
            let is_first = left().all(|other| !calls[other].is_known() || calls[other].returned >= call.invoked);
            let (after, tells) = call.op.apply(state);
            let fits = match call.outcome {
                Outcome::Done(told) => told == tells,
                Outcome::Unknown => true,
            };
            is_first && fits && naive(calls, done | (1 << at), after)
        })
}

/// A few clients, who are mostly told what would be so if calls happened in the middle of their time.
fn draw(random: &mut Random) -> Vec<Call> {
    let (mut calls, mut state) = (Vec::new(), [0, 0]);
    let counts = random.one_in(2);
    for n in 1..=random.below(6) + 2 {
        let op = match random.below(6) {
            0 | 1 => READ,
            _ if counts => Op::Add([1, random.below(2)]),
            2 => Op::Exchange(0),
            3 => Op::Exchange(n),
            4 => Op::WriteIfAbsent(n),
            _ => Op::Write(n),
        };
        let (invoked, returned) = (n * 10 - random.below(25).min(n * 10), n * 10 + random.below(25));
        let (after, mut told) = op.apply(state);
        if !random.one_in(8) {
            state = after;
        }
        if random.one_in(8) {
            told = told.map(|_| [random.below(4), 0]);
        }
        let mut call = call(n, op, invoked, returned, told);
        if random.one_in(4) {
            call.outcome = Outcome::Unknown;
        }
        calls.push(call);
    }
    calls
}

#[test]
fn the_search_agrees_with_trying_all_orders() {
    let seed = 17;
    let mut random = Random::new(seed);
    let mut good = 0;
    for round in 0..20_000 {
        let calls = draw(&mut random);
        let expected = naive(&calls, 0, [0, 0]);
        assert_eq!(
            is_linearizable(&calls),
            expected,
            "seed {seed}, round {round}: {calls:#?}"
        );
        good += u32::from(expected);
    }
    assert!((4_000..16_000).contains(&good), "{good} of 20,000 histories were good");
}
