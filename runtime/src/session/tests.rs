//! What replicas remember, and for how long.

use super::*;
use crate::error::ProposeError;
use crate::machine::{Machine, ROOM, StateMachine, Typed, seal};
use crate::time::Timestamp;
use raftyard_groups::LogId;

const A: SessionId = SessionId(7);
const B: SessionId = SessionId(8);

/// Adds, and tells the sum in as many bytes as `.1` says, and a few.
#[derive(Default)]
struct Sum(u64);

impl StateMachine for Sum {
    type Command = (u64, u16);
    type Response = (u64, Vec<u8>);
    type Query = ();
    type Answer = u64;
    type Snapshot = u64;

    fn apply(&mut self, (add, bytes): (u64, u16), _: Timestamp) -> (u64, Vec<u8>) {
        self.0 += add;
        (self.0, vec![1; bytes.into()])
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn snapshot(&self) -> u64 {
        self.0
    }

    fn restore(&mut self, sum: u64) {
        self.0 = sum;
    }
}

struct Replica {
    machine: Typed<Sum>,
    now: u64,
}

type Outcome = Result<u64, ProposeError>;

impl Replica {
    fn new() -> Self {
        Self {
            machine: Typed::new(Sum::default()),
            now: 1,
        }
    }

    fn apply(&mut self, envelope: Envelope, command: (u64, u16)) -> Result<Vec<u8>, ProposeError> {
        let mut bytes = vec![0; ROOM];
        if matches!(envelope, Envelope::Plain | Envelope::Command { .. }) {
            bytes.extend(postcard::to_stdvec(&command).unwrap());
        }
        let entry = seal(bytes, &envelope, Timestamp(self.now));
        self.machine.apply(&entry, true).unwrap().unwrap()
    }

    fn open(&mut self, session: SessionId, limits: SessionLimits) -> SessionId {
        let id = self.apply(Envelope::Open(session, limits), (0, 0)).unwrap();
        SessionId(u64::from_le_bytes(id.try_into().unwrap()))
    }

    /// Adds 1, and asks for an answer of that size.
    fn add_large(&mut self, session: SessionId, number: u64, floor: u64, bytes: u16) -> Outcome {
        let request = RequestId { session, number, floor };
        let answer = self.apply(Envelope::Command { request, opens: None }, (1, bytes))?;
        let (sum, padding): (u64, Vec<u8>) = postcard::from_bytes(&answer).unwrap();
        assert_eq!(padding, vec![1; bytes.into()]);
        Ok(sum)
    }

    fn add(&mut self, session: SessionId, number: u64, floor: u64) -> Outcome {
        self.add_large(session, number, floor, 0)
    }

    fn resolve(&mut self, session: SessionId, number: u64) -> Vec<u8> {
        self.apply(Envelope::Resolve(session, number), (0, 0)).unwrap()
    }

    fn sum(&self) -> u64 {
        self.machine.as_any().downcast_ref::<Sum>().unwrap().0
    }

    /// Another replica, from a snapshot of this one.
    fn copy(&self) -> Self {
        let mut copy = Self::new();
        let mut bytes = Vec::new();
        self.machine.snapshot().unwrap()(&mut bytes).unwrap();
        let state = copy.machine.decoder()(&mut bytes.as_slice()).unwrap();
        copy.machine.restore(state, LogId::new(1, 1)).unwrap();
        copy.now = self.now;
        copy
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.machine.snapshot().unwrap()(&mut bytes).unwrap();
        bytes
    }
}

fn limits() -> SessionLimits {
    SessionLimits::default()
}

fn opened() -> Replica {
    let mut replica = Replica::new();
    assert_eq!(replica.open(A, limits()), A);
    replica
}

#[test]
fn a_repeated_command_is_applied_once_and_gets_its_first_answer() {
    let mut replica = opened();
    for bytes in [0, 3, 100] {
        let number = u64::from(bytes) + 1;
        let first = replica.add_large(A, number, 1, bytes);
        for _ in 0..3 {
            assert_eq!(replica.add_large(A, number, 1, bytes), first);
        }
    }
    assert_eq!(replica.sum(), 3);
}

#[test]
fn numbers_may_come_in_any_order() {
    let mut replica = opened();
    for (turn, number) in (1..).zip([4, 2, 9, 1]) {
        assert_eq!(replica.add(A, number, 1), Ok(turn));
    }
    assert_eq!(replica.add(A, 9, 1), Ok(3));
    assert_eq!(replica.add(A, 3, 1), Ok(5));
}

#[test]
fn what_is_below_the_floor_is_forgotten_and_never_applied_again() {
    let mut replica = opened();
    for number in 1..=5 {
        replica.add(A, number, 1).unwrap();
    }
    assert_eq!(replica.add(A, 6, 4), Ok(6));
    assert_eq!(replica.add(A, 3, 1), Err(ProposeError::RequestForgotten));
    assert_eq!(replica.add(A, 4, 1), Ok(4), "an older floor moves nothing");
    assert_eq!(replica.resolve(A, 3), [crate::machine::FORGOTTEN]);
    assert_eq!(replica.sum(), 6);
}

#[test]
fn a_command_of_an_unknown_session_is_refused() {
    let mut replica = opened();
    assert_eq!(replica.add(B, 1, 1), Err(ProposeError::SessionExpired));
    replica.add(A, 1, 1).unwrap();
    replica.apply(Envelope::Close(A), (0, 0)).unwrap();
    assert_eq!(replica.add(A, 1, 1), Err(ProposeError::SessionExpired));
    assert_eq!(replica.resolve(A, 1), [crate::machine::FORGOTTEN]);
    assert_eq!(replica.sum(), 1);
}

#[test]
fn a_command_can_open_its_session() {
    let mut replica = Replica::new();
    let open = |number| Envelope::Command {
        request: RequestId {
            session: A,
            number,
            floor: 5,
        },
        opens: Some(limits()),
    };
    for number in [5, 5, 6] {
        replica.apply(open(number), (1, 0)).unwrap();
    }
    assert_eq!(replica.sum(), 2);
    assert_eq!(replica.add(A, 4, 1), Err(ProposeError::RequestForgotten));
    assert_eq!(replica.add(A, 7, 5), Ok(3));
}

/// What was applied in the first session of that name nobody knows any more: it must not count as not applied.
#[test]
fn a_session_that_a_command_opens_anew_knows_nothing_of_what_came_before() {
    let one = SessionLimits {
        sessions_max: 1,
        ..limits()
    };
    let mut replica = Replica::new();
    let open = |number| Envelope::Command {
        request: RequestId {
            session: A,
            number,
            floor: 1,
        },
        opens: Some(one),
    };
    replica.apply(open(1), (1, 0)).unwrap();
    replica.open(B, one);
    replica.apply(open(2), (1, 0)).unwrap();
    assert_eq!(replica.resolve(A, 1), [crate::machine::FORGOTTEN]);
    assert_eq!(replica.add(A, 1, 1), Err(ProposeError::RequestForgotten));
    assert_eq!(replica.add(A, 2, 1), Ok(2), "the first answer");
    assert_eq!(replica.add(A, 3, 1), Ok(3));
}

#[test]
fn a_name_that_is_taken_is_not_given_again() {
    let mut replica = opened();
    let second = replica.open(A, limits());
    assert_ne!(second, A);
    assert_eq!(replica.add(A, 1, 1), Ok(1));
    assert_eq!(replica.add(second, 1, 1), Ok(2));
}

#[test]
fn a_session_that_is_not_used_expires_by_the_time_of_the_commands() {
    let mut replica = opened();
    let idle = limits().idle_ms;
    replica.open(B, limits());
    replica.now += idle - 1;
    assert_eq!(replica.add(A, 1, 1), Ok(1), "in time");
    replica.now += 1;
    assert_eq!(replica.add(B, 1, 1), Err(ProposeError::SessionExpired));
    replica.now += idle - 2;
    assert_eq!(replica.add(A, 1, 1), Ok(1), "and every use counts");
    replica.now += idle;
    replica.apply(Envelope::Plain, (5, 0)).unwrap();
    assert_eq!(replica.add(A, 1, 1), Err(ProposeError::SessionExpired));
    assert_eq!(replica.sum(), 6);
}

#[test]
fn of_too_many_sessions_the_longest_unused_expires() {
    let few = SessionLimits {
        sessions_max: 3,
        ..limits()
    };
    let mut replica = Replica::new();
    for id in 1..=3 {
        replica.open(SessionId(id), few);
    }
    replica.add(SessionId(1), 1, 1).unwrap();
    replica.open(SessionId(4), few);
    assert_eq!(replica.add(SessionId(2), 1, 1), Err(ProposeError::SessionExpired));
    for id in [1, 3, 4] {
        replica.add(SessionId(id), 1, 1).unwrap();
    }
}

#[test]
fn a_full_session_refuses_what_is_new_and_knows_what_is_old() {
    let small = SessionLimits {
        responses_max: 3,
        ..limits()
    };
    let mut replica = Replica::new();
    replica.open(A, small);
    for number in 1..=3 {
        replica.add(A, number, 1).unwrap();
    }
    assert_eq!(replica.add(A, 4, 1), Err(ProposeError::SessionFull));
    assert_eq!(replica.add(A, u64::MAX, 1), Err(ProposeError::SessionFull));
    assert_eq!(replica.add(A, 2, 1), Ok(2));
    assert_eq!(replica.add(A, 4, 2), Ok(4), "once the client waits for less");
    assert_eq!(replica.sum(), 4);
}

#[test]
fn answers_of_too_many_bytes_cost_the_longest_unused_sessions_and_then_the_session_itself() {
    let small = SessionLimits {
        bytes_max: 1_000,
        ..limits()
    };
    let mut replica = Replica::new();
    replica.open(A, small);
    replica.open(B, small);
    replica.add_large(A, 1, 1, 600).unwrap();
    replica.add_large(B, 1, 1, 600).unwrap();
    assert_eq!(replica.add(A, 1, 1), Err(ProposeError::SessionExpired));
    replica.add_large(B, 2, 1, 600).unwrap();
    assert_eq!(replica.add(B, 3, 1), Err(ProposeError::SessionFull));
    assert_eq!(replica.add(B, 3, 3), Ok(4));
}

#[test]
fn to_resolve_tells_the_answer_or_fences_the_request() {
    let mut replica = opened();
    replica.add(A, 1, 1).unwrap();
    let [first, answer @ ..] = replica.resolve(A, 1).try_into().unwrap_or([9; 3]);
    assert_eq!((first, answer.as_slice()), (crate::machine::APPLIED, [1, 0].as_slice()));
    for _ in 0..2 {
        assert_eq!(replica.resolve(A, 3), [crate::machine::NOT_APPLIED]);
    }
    assert_eq!(replica.add(A, 3, 1), Err(ProposeError::Fenced), "a late attempt");
    assert_eq!(replica.add(A, 2, 1), Ok(2));
    assert_eq!(replica.resolve(B, 1), [crate::machine::FORGOTTEN]);
    assert_eq!(replica.sum(), 2);
}

/// Replicas that differ in how they came to their state do the same with what comes.
#[test]
fn a_replica_from_a_snapshot_remembers_and_forgets_the_same() {
    let tight = SessionLimits {
        idle_ms: 400,
        sessions_max: 5,
        responses_max: 6,
        bytes_max: 1_500,
    };
    for seed in 1..=40 {
        let mut random = seed;
        let mut below = |bound: u64| {
            random = crate::random::mix(random, 1);
            random % bound
        };
        let mut one = Replica::new();
        let mut other = Replica::new();
        for step in 0..300 {
            let session = SessionId(below(8));
            let number = 1 + below(12);
            let floor = number - below(number).min(4);
            let request = RequestId { session, number, floor };
            let envelope = match below(10) {
                0 => Envelope::Open(session, tight),
                1 => Envelope::Close(session),
                2 => Envelope::Resolve(session, number),
                3 => Envelope::Plain,
                4 => Envelope::Command {
                    request,
                    opens: Some(tight),
                },
                _ => Envelope::Command { request, opens: None },
            };
            let command = (below(5), u16::try_from(below(60)).unwrap());
            one.now += below(40);
            other.now = one.now;
            assert_eq!(
                one.apply(envelope, command),
                other.apply(envelope, command),
                "seed {seed}, step {step}: {envelope:?}"
            );
            assert_eq!(one.bytes(), other.bytes(), "seed {seed}, step {step}: {envelope:?}");
            if below(10) == 0 {
                other = one.copy();
            }
        }
    }
}

#[test]
fn envelopes_are_small_and_read_as_they_were_written() {
    let request = RequestId {
        session: SessionId(u64::MAX - 3),
        number: 1_000_000,
        floor: 999_000,
    };
    let command = Envelope::Command { request, opens: None };
    assert!(
        command.encode().as_bytes().len() <= 14,
        "16-byte commands must not drown in it"
    );
    let far = RequestId {
        session: A,
        number: u64::MAX,
        floor: 0,
    };
    for envelope in [
        Envelope::Plain,
        command,
        Envelope::Command {
            request,
            opens: Some(limits()),
        },
        Envelope::Command {
            request: far,
            opens: Some(SessionLimits {
                idle_ms: u64::MAX,
                ..limits()
            }),
        },
        Envelope::Open(A, limits()),
        Envelope::Close(B),
        Envelope::Resolve(A, 300),
    ] {
        let bytes = [envelope.encode().as_bytes(), b"rest"].concat();
        assert_eq!(Envelope::decode(&bytes), Ok((envelope, b"rest".as_slice())));
        for cut in 0..bytes.len() - 4 {
            assert!(Envelope::decode(&bytes[..cut]).is_err(), "{envelope:?} cut at {cut}");
        }
        let sealed = seal([[0; ROOM].as_slice(), b"rest"].concat(), &envelope, Timestamp(5));
        let unsealed = crate::machine::unseal(&sealed).unwrap();
        assert_eq!(unsealed, (Timestamp(5), envelope, b"rest".as_slice()));
    }
    assert!(Envelope::decode(&[9]).is_err());
    assert!(
        Envelope::decode(&[
            5, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2
        ])
        .is_err()
    );
}

#[test]
fn a_clients_floor_is_the_lowest_request_it_waits_for() {
    let mut session = Session::new(A);
    let requests: Vec<_> = (0..4).map(|_| session.next()).collect();
    assert!(requests.iter().all(|request| request.floor == 1));
    session.done(requests[0]);
    session.done(requests[2]);
    assert_eq!(session.next().floor, 2);
    session.done(requests[1]);
    assert_eq!(session.next().floor, 4);
    let kept = postcard::to_stdvec(&session).unwrap();
    assert_eq!(postcard::from_bytes::<Session>(&kept), Ok(session));
}
