use super::*;

/// A register: what is below 100 is added to it, other commands are put into it.
#[derive(Default)]
struct Register(u64);

impl StateMachine for Register {
    type Command = u64;
    type Response = u64;
    type Query = ();
    type Answer = u64;
    type Snapshot = u64;

    fn apply(&mut self, command: u64, _: Timestamp) -> u64 {
        self.0 = if command < 100 { self.0 + command } else { command };
        self.0
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn snapshot(&self) -> u64 {
        self.0
    }

    fn restore(&mut self, value: u64) {
        self.0 = value;
    }
}

fn call(invoked: u64, returned: u64, kind: Kind<Register>, outcome: Outcome<Register>) -> Call<Register> {
    Call {
        client: 0,
        kind,
        invoked,
        returned,
        outcome,
    }
}

fn propose(invoked: u64, returned: u64, command: u64, told: Option<u64>) -> Call<Register> {
    let outcome = told.map_or(Outcome::Unknown, Outcome::Response);
    call(invoked, returned, Kind::Propose(command), outcome)
}

fn read(invoked: u64, returned: u64, told: u64) -> Call<Register> {
    call(invoked, returned, Kind::Read(()), Outcome::Answer(told))
}

fn verdict(calls: &[Call<Register>]) -> Verdict {
    check(&Register::default, calls)
}

#[test]
fn one_after_the_other_is_linearizable() {
    let calls = [propose(1, 2, 100, Some(100)), read(3, 4, 100)];
    assert_eq!(verdict(&calls), Verdict::Linearizable);
}

#[test]
fn a_read_beside_a_write_may_see_either() {
    for seen in [0, 100] {
        let calls = [propose(1, 4, 100, Some(100)), read(2, 3, seen)];
        assert_eq!(verdict(&calls), Verdict::Linearizable);
    }
}

#[test]
fn a_stale_read_is_none() {
    let calls = [
        propose(1, 2, 100, Some(100)),
        propose(3, 4, 200, Some(200)),
        read(5, 6, 100),
    ];
    assert_eq!(verdict(&calls), Verdict::Not(2));
}

#[test]
fn reads_that_go_back_are_none() {
    let calls = [propose(1, 10, 100, Some(100)), read(2, 3, 100), read(4, 5, 0)];
    assert!(matches!(verdict(&calls), Verdict::Not(_)));
}

#[test]
fn a_lost_write_is_none() {
    let calls = [propose(1, 2, 100, Some(100)), read(3, 4, 0)];
    assert!(matches!(verdict(&calls), Verdict::Not(_)));
}

#[test]
fn an_increment_that_counted_twice_is_none() {
    let calls = [propose(1, 2, 1, Some(1)), propose(3, 4, 1, Some(3))];
    assert!(matches!(verdict(&calls), Verdict::Not(_)));
}

#[test]
fn two_increments_at_once_never_answer_the_same() {
    let calls = [propose(1, 4, 1, Some(1)), propose(2, 3, 1, Some(1))];
    assert!(matches!(verdict(&calls), Verdict::Not(_)));
}

#[test]
fn what_is_unknown_may_have_happened_late_or_never() {
    let unknown = || propose(1, 2, 100, None);
    assert_eq!(verdict(&[unknown(), read(3, 4, 0)]), Verdict::Linearizable);
    assert_eq!(
        verdict(&[unknown(), read(3, 4, 0), read(5, 6, 100)]),
        Verdict::Linearizable
    );
    assert!(matches!(
        verdict(&[unknown(), read(3, 4, 100), read(5, 6, 0)]),
        Verdict::Not(_)
    ));
}

#[test]
fn what_is_unknown_did_not_happen_before_it_was_asked() {
    let calls = [read(1, 2, 100), propose(3, 4, 100, None)];
    assert!(matches!(verdict(&calls), Verdict::Not(_)));
}

#[test]
fn an_order_is_found_that_is_not_that_of_the_answers() {
    let calls = [
        propose(1, 10, 300, Some(300)),
        propose(2, 11, 200, Some(200)),
        propose(3, 12, 100, Some(100)),
        read(13, 14, 300),
        propose(15, 16, 1, Some(301)),
    ];
    assert_eq!(verdict(&calls), Verdict::Linearizable);
}

/// Every answer of histories that happened one call after the other, with overlapping times, is accepted; with one
/// read changed it is not.
#[test]
fn random_histories_are_told_from_damaged_ones() {
    let mut random = crate::random::SplitMix::new(7);
    for _ in 0..200 {
        let (mut register, mut calls) = (Register::default(), Vec::new());
        for n in 1..=30_u64 {
            // It takes effect at n * 10, and is under way around that.
            let (invoked, returned) = (n * 10 - random.next() % 40 % (n * 10), n * 10 + random.next() % 40);
            let (kind, outcome) = match random.next() % 3 {
                0 => (Kind::Read(()), Outcome::Answer(register.0)),
                1 => (
                    Kind::Propose(n % 7),
                    Outcome::Response(register.apply(n % 7, Timestamp(0))),
                ),
                _ => (
                    Kind::Propose(n + 100),
                    Outcome::Response(register.apply(n + 100, Timestamp(0))),
                ),
            };
            calls.push(call(invoked, returned, kind, outcome));
        }
        assert_eq!(verdict(&calls), Verdict::Linearizable);
        calls.push(read(10_000, 10_001, 1_000_000));
        let verdict = verdict(&calls);
        assert!(matches!(verdict, Verdict::Not(_)), "{verdict:?}");
    }
}
