//! What is read back is what was there, whatever was written when.

use super::*;
use crate::session::RequestId;
use crate::session::table::Admission;

/// What a state machine keeps.
#[derive(Default)]
struct Store(BTreeMap<Vec<u8>, Vec<u8>>);

impl Store {
    fn commit(&mut self, records: Vec<Record>) {
        for Record { key, value } in records {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }

    fn all(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let all = self.0.iter().map(|(key, value)| (key.clone(), value.clone()));
        all.collect()
    }
}

fn bytes(sessions: &Sessions) -> Vec<u8> {
    postcard::to_stdvec(sessions).unwrap()
}

fn read_back(sessions: &Sessions, store: &Store) -> Sessions {
    let mut again = Sessions::from_records(sessions.limits(), &store.all()).unwrap();
    again.track_changes();
    again
}

fn request(session: u64, number: u64, floor: u64) -> RequestId {
    RequestId {
        session: SessionId(session),
        number,
        floor,
    }
}

#[test]
fn sessions_that_are_read_back_remember_and_forget_the_same() {
    let tight = SessionLimits {
        idle_ms: 400,
        sessions_max: 5,
        responses_max: 60,
        bytes_max: 4_000,
    };
    for seed in 1..=30 {
        let mut random = seed;
        let mut below = |bound: u64| {
            random = crate::random::mix(random, 1);
            random % bound
        };
        let (mut one, mut other, mut store) = (Sessions::default(), Sessions::default(), Store::default());
        other.track_changes();
        let mut now = Timestamp(1);
        for step in 0..400 {
            now = now.plus(below(20));
            let session = SessionId(below(8));
            let number = 1 + below(70);
            let request = request(session.0, number, number - below(number).min(40));
            let (op, answer) = (below(12), vec![7_u8; usize::try_from(below(60)).unwrap()]);
            for sessions in [&mut one, &mut other] {
                sessions.pass(now);
                match op {
                    0 => drop(sessions.open(session, tight, now)),
                    1 => drop(sessions.close(session)),
                    2 => drop(sessions.resolve(session, number, now)),
                    _ => {
                        let opens = (op == 3).then_some(tight);
                        if sessions.admit(request, opens, now) == Admission::New {
                            sessions.keep(request, Kept::answer(&answer).unwrap());
                        }
                    }
                }
            }
            if below(4) == 0 {
                store.commit(other.take_changes().unwrap());
                if below(4) == 0 {
                    other = read_back(&other, &store);
                }
            }
            assert_eq!(bytes(&one), bytes(&other), "seed {seed}, step {step}");
        }
        let mut whole = Store::default();
        whole.commit(other.records().unwrap());
        assert_eq!(
            bytes(&read_back(&other, &whole)),
            bytes(&one),
            "seed {seed}, all at once"
        );
    }
}

#[test]
fn a_commit_writes_what_changed_and_not_all_that_is_remembered() {
    let (mut sessions, mut store) = (Sessions::default(), Store::default());
    sessions.track_changes();
    let limits = SessionLimits::default();
    for session in 1..=100 {
        sessions.open(SessionId(session), limits, Timestamp(1));
        for number in 1..=100 {
            let request = request(session, number, 1);
            assert_eq!(sessions.admit(request, None, Timestamp(1)), Admission::New);
            sessions.keep(request, Kept::answer(&number).unwrap());
        }
    }
    store.commit(sessions.take_changes().unwrap());
    let request = request(5, 101, 1);
    sessions.admit(request, None, Timestamp(2));
    sessions.keep(request, Kept::answer(&1).unwrap());
    assert_eq!(
        sessions.take_changes().unwrap().len(),
        2,
        "the session, and the chunk of one request"
    );
    assert_eq!(sessions.take_changes().unwrap(), []);
    sessions.close(SessionId(6));
    let changes = sessions.take_changes().unwrap();
    assert!(
        changes.iter().all(|record| record.value.is_none()) && changes.len() > 6,
        "{changes:?}"
    );
    store.commit(changes);
    assert_eq!(bytes(&sessions).len(), {
        let mut kept = read_back(&sessions, &store);
        // The last commit but one was not stored.
        kept.admit(request, None, Timestamp(2));
        kept.keep(request, Kept::answer(&1).unwrap());
        bytes(&kept).len()
    });
}

#[test]
fn what_is_forgotten_leaves_no_records_behind() {
    let (mut sessions, mut store) = (Sessions::default(), Store::default());
    sessions.track_changes();
    sessions.open(SessionId(1), SessionLimits::default(), Timestamp(1));
    for number in 1..=10_000 {
        let request = request(1, number, number.saturating_sub(20).max(1));
        sessions.admit(request, None, Timestamp(1));
        sessions.keep(request, Kept::answer(&number).unwrap());
        store.commit(sessions.take_changes().unwrap());
        assert!(store.0.len() <= 4, "{} records at {number}", store.0.len());
    }
    sessions.close(SessionId(1));
    store.commit(sessions.take_changes().unwrap());
    assert!(store.0.is_empty());
}
