//! What becomes of proposals, without a replica around them.

use super::*;
use crate::budget::ByteBudget;
use crate::session::SessionId;
use tokio::sync::oneshot;

type Receiver = oneshot::Receiver<Answer>;

const FAR: Moment = Moment(9);

fn empty() -> Proposals {
    Proposals::new(SessionLimits::default(), 1)
}

fn proposal(budget: &ByteBudget, purpose: Purpose) -> (Proposal, Receiver) {
    let (reply, answer) = oneshot::channel();
    let proposal = Proposal {
        command: vec![0; ROOM],
        purpose,
        reply: reply.into(),
        permit: budget.try_acquire(1).unwrap(),
    };
    (proposal, answer)
}

fn append(proposals: &mut Proposals, term: u64, first: u64, new: Vec<Proposal>) {
    let sealed = proposals.seal(new, FAR, Timestamp(0));
    proposals.appended(LogIndex(first), Term(term), sealed);
}

fn propose_in(proposals: &mut Proposals, budget: &ByteBudget, term: u64, first: u64, count: usize) -> Vec<Receiver> {
    let new = (0..count).map(|_| proposal(budget, Purpose::Plain));
    let (new, answers) = new.unzip();
    append(proposals, term, first, new);
    answers
}

fn propose(proposals: &mut Proposals, term: u64, first: u64, count: usize) -> Vec<Receiver> {
    propose_in(proposals, &ByteBudget::new(count), term, first, count)
}

/// One without a session of its own, for the replica's.
fn propose_own(proposals: &mut Proposals, term: u64, first: u64) -> Receiver {
    let (new, answer) = proposal(&ByteBudget::new(1), Purpose::Own);
    append(proposals, term, first, vec![new]);
    answer
}

fn request_of(sealed: &Sealed) -> (RequestId, bool) {
    match sealed.envelope().unwrap() {
        Envelope::Command { request, opens } => (request, opens.is_some()),
        other => unreachable!("{other:?}"),
    }
}

/// Applies an entry as a replica does: a response only if it is awaited.
fn apply(proposals: &mut Proposals, id: LogId) {
    let response = proposals.is_awaited(id).then(|| Ok(vec![1]));
    proposals.applied(id, response);
}

const DONE: Answer = Ok(Vec::new());

fn outcome(answer: &mut Receiver) -> Answer {
    answer.try_recv().unwrap().map(|_| Vec::new())
}

/// Deposed, it leads again and appends anew, before it applies what the leader in between put at the
/// index of its first proposal.
#[test]
fn a_proposal_that_another_leaders_entry_replaced_does_not_cost_a_later_one_its_answer() {
    let mut proposals = empty();
    let mut lost = propose(&mut proposals, 1, 5, 1);
    let mut kept = propose(&mut proposals, 3, 7, 2);
    for (term, index) in [(2, 5), (3, 6), (3, 7), (3, 8)] {
        apply(&mut proposals, LogId::new(term, index));
    }
    assert_eq!(outcome(&mut lost[0]), Err(ProposeError::Dropped));
    assert_eq!(outcome(&mut kept[0]), DONE);
    assert_eq!(outcome(&mut kept[1]), DONE);
}

/// Even if nobody told of the entry that replaced the first.
#[test]
fn what_is_applied_is_never_reported_as_dropped() {
    let mut proposals = empty();
    let mut lost = propose(&mut proposals, 1, 5, 1);
    let mut kept = propose(&mut proposals, 3, 7, 1);
    apply(&mut proposals, LogId::new(3, 7));
    assert_eq!(outcome(&mut lost[0]), Err(ProposeError::Dropped));
    assert_eq!(outcome(&mut kept[0]), DONE);
}

/// Of two proposals at one index, of two of its own leaderships, either may be the one that is committed.
#[test]
fn of_two_proposals_at_one_index_the_one_applied_is_answered() {
    for (committed, other) in [(0, 1), (1, 0)] {
        let mut proposals = empty();
        let mut answers = propose(&mut proposals, 1, 5, 1);
        answers.append(&mut propose(&mut proposals, 3, 5, 1));
        let term = [1, 3][committed];
        apply(&mut proposals, LogId::new(term, 5));
        assert_eq!(outcome(&mut answers[committed]), DONE);
        assert_eq!(outcome(&mut answers[other]), Err(ProposeError::Dropped));
        assert_eq!(proposals.deadline(), None);
    }
}

#[test]
fn who_is_answered_finds_the_room_its_proposal_took() {
    let budget = ByteBudget::new(1);
    let mut proposals = empty();
    let _answers = propose_in(&mut proposals, &budget, 1, 1, 1);
    assert_eq!(budget.used(), 1, "held while it waits");
    apply(&mut proposals, LogId::new(1, 1));
    assert_eq!(budget.used(), 0);
}

/// Its command is still in the log: a group that commits nothing must not take more and more.
#[test]
fn a_proposal_that_was_given_up_keeps_its_room_until_its_entry_is_applied_or_replaced() {
    let budget = ByteBudget::new(4);
    let mut proposals = empty();
    let mut answers = propose_in(&mut proposals, &budget, 1, 5, 4);
    proposals.expire(Moment(9));
    for answer in &mut answers {
        assert_eq!(outcome(answer), Err(ProposeError::OutcomeUnknown { request: None }));
    }
    assert_eq!(budget.used(), 4);
    apply(&mut proposals, LogId::new(1, 5));
    assert_eq!(budget.used(), 3, "applied");
    proposals.appended(LogIndex(7), Term(3), []);
    assert_eq!(budget.used(), 1, "replaced from 7 on");
    proposals.abandon();
    assert_eq!(budget.used(), 0, "the replica stopped");
}

/// Cut off, it led on, and its callers gave up on the first half. Others commit one entry where it appended the first.
#[test]
fn what_stands_behind_an_entry_of_a_later_term_is_dropped_and_frees_its_room() {
    let applied = |proposals: &mut Proposals| apply(proposals, LogId::new(4, 1));
    let installed = |proposals: &mut Proposals| proposals.overtaken(LogId::new(4, 1));
    for decide in [applied as fn(&mut Proposals), installed] {
        let budget = ByteBudget::new(10);
        let mut proposals = empty();
        let mut given_up = propose_in(&mut proposals, &budget, 3, 1, 5);
        proposals.expire(FAR);
        let mut waiting = propose_in(&mut proposals, &budget, 3, 6, 5);
        assert_eq!(budget.used(), 10);
        decide(&mut proposals);
        for answer in &mut given_up {
            assert_eq!(outcome(answer), Err(ProposeError::OutcomeUnknown { request: None }));
        }
        for answer in &mut waiting {
            assert_eq!(outcome(answer), Err(ProposeError::Dropped));
        }
        assert_eq!(budget.used(), 0);
    }
}

/// It may be committed yet, whatever stands before it.
#[test]
fn what_stands_behind_an_entry_of_its_own_or_an_earlier_term_waits_on() {
    for term in [1, 3] {
        let budget = ByteBudget::new(4);
        let mut proposals = empty();
        let _given_up = propose_in(&mut proposals, &budget, 3, 6, 2);
        proposals.expire(FAR);
        let mut waiting = propose_in(&mut proposals, &budget, 3, 8, 2);
        proposals.overtaken(LogId::new(term, 4));
        apply(&mut proposals, LogId::new(term, 5));
        assert_eq!(budget.used(), 4);
        for index in 6..=9 {
            apply(&mut proposals, LogId::new(3, index));
        }
        assert_eq!(outcome(&mut waiting[0]), DONE);
        assert_eq!(outcome(&mut waiting[1]), DONE);
        assert_eq!(budget.used(), 0);
    }
}

/// What it appended in its next term stands behind all of an earlier one, and was not displaced by it.
#[test]
fn of_proposals_of_two_terms_only_those_of_the_earlier_are_dropped() {
    let mut proposals = empty();
    let mut earlier = propose(&mut proposals, 3, 5, 4);
    let mut later = propose(&mut proposals, 5, 7, 2);
    // What stood before the later ones was another leader's.
    apply(&mut proposals, LogId::new(4, 5));
    for answer in &mut earlier {
        assert_eq!(outcome(answer), Err(ProposeError::Dropped));
    }
    assert!(later.iter_mut().all(|answer| answer.try_recv().is_err()), "still open");
    for (term, index) in [(5, 6), (5, 7), (5, 8)] {
        apply(&mut proposals, LogId::new(term, index));
    }
    for answer in &mut later {
        assert_eq!(outcome(answer), DONE);
    }
}

/// In a session there is a name for it, so that it can be appended again; unless another replica leads.
#[test]
fn what_was_replaced_is_appended_again_under_its_name_if_this_replica_leads() {
    for leads in [true, false] {
        let mut proposals = empty();
        let mut answer = propose_own(&mut proposals, 1, 5);
        apply(&mut proposals, LogId::new(2, 5));
        assert_eq!(proposals.try_again(leads, true, Moment(0)), leads);
        if !leads {
            assert_eq!(outcome(&mut answer), Err(ProposeError::Dropped));
            continue;
        }
        assert!(answer.try_recv().is_err(), "still open");
        let sealed = proposals.seal(Vec::new(), FAR, Timestamp(0));
        let (request, opens) = request_of(&sealed[0]);
        assert!(opens, "nothing says that its session is there");
        assert_eq!(request.number, 1);
        proposals.appended(LogIndex(7), Term(3), sealed);
        apply(&mut proposals, LogId::new(3, 7));
        assert_eq!(outcome(&mut answer), DONE);
    }
}

#[test]
fn what_was_replaced_too_late_is_not_appended_again() {
    let mut proposals = empty();
    let mut answer = propose_own(&mut proposals, 1, 5);
    apply(&mut proposals, LogId::new(2, 5));
    assert!(!proposals.try_again(true, true, FAR));
    assert_eq!(outcome(&mut answer), Err(ProposeError::Dropped));
}

/// It keeps its deadline, and stands behind others that came later.
#[test]
fn what_was_appended_again_is_given_up_in_time() {
    let mut proposals = empty();
    let budget = ByteBudget::new(2);
    let request = RequestId {
        session: SessionId(1),
        number: 1,
        floor: 1,
    };
    let (new, mut answer) = proposal(&budget, Purpose::Request(request));
    append(&mut proposals, 1, 5, vec![new]);
    let (new, mut later) = proposal(&budget, Purpose::Plain);
    let sealed = proposals.seal(vec![new], Moment(20), Timestamp(0));
    proposals.appended(LogIndex(6), Term(3), sealed);
    apply(&mut proposals, LogId::new(2, 5));
    assert!(proposals.try_again(true, true, Moment(0)));
    let sealed = proposals.seal(Vec::new(), Moment(30), Timestamp(0));
    proposals.appended(LogIndex(7), Term(3), sealed);
    assert_eq!(proposals.deadline(), Some(FAR));
    proposals.expire(FAR);
    let unknown = Err(ProposeError::OutcomeUnknown { request: Some(request) });
    assert_eq!(outcome(&mut answer), unknown);
    assert!(later.try_recv().is_err(), "still open");
    assert_eq!((proposals.deadline(), budget.used()), (Some(Moment(20)), 2));
    apply(&mut proposals, LogId::new(3, 6));
    assert_eq!((outcome(&mut later), budget.used()), (DONE, 1));
    apply(&mut proposals, LogId::new(3, 7));
    assert_eq!(budget.used(), 0);
}

/// Who proposes twice without waiting relies on the order.
#[test]
fn nothing_is_appended_again_behind_what_was_proposed_later() {
    let mut proposals = empty();
    let mut first = propose_own(&mut proposals, 1, 5);
    let mut later = propose_own(&mut proposals, 3, 7);
    apply(&mut proposals, LogId::new(2, 5));
    assert!(!proposals.try_again(true, true, Moment(0)));
    assert_eq!(outcome(&mut first), Err(ProposeError::Dropped));
    apply(&mut proposals, LogId::new(3, 7));
    assert_eq!(outcome(&mut later), DONE);
}

/// Nor when that was applied already: at the very index of the first, say.
#[test]
fn nothing_is_appended_again_after_what_was_proposed_later_was_applied() {
    let mut proposals = empty();
    let mut first = propose_own(&mut proposals, 1, 5);
    let mut later = propose_own(&mut proposals, 3, 5);
    apply(&mut proposals, LogId::new(3, 5));
    assert_eq!(outcome(&mut later), DONE);
    assert!(!proposals.try_again(true, true, Moment(0)));
    assert_eq!(outcome(&mut first), Err(ProposeError::Dropped));
}

/// Whatever session that was in, or none.
#[test]
fn nothing_is_appended_again_after_something_outside_of_its_session_was_applied() {
    for purpose in [
        || Purpose::Plain,
        || {
            Purpose::Request(RequestId {
                session: SessionId(7),
                number: 1,
                floor: 1,
            })
        },
    ] {
        let mut proposals = empty();
        let mut first = propose_own(&mut proposals, 1, 5);
        let (new, mut later) = proposal(&ByteBudget::new(1), purpose());
        append(&mut proposals, 3, 7, vec![new]);
        let mut last = propose_own(&mut proposals, 3, 8);
        apply(&mut proposals, LogId::new(2, 5));
        apply(&mut proposals, LogId::new(3, 7));
        assert_eq!(outcome(&mut later), DONE);
        // Another leader's.
        apply(&mut proposals, LogId::new(4, 8));
        assert!(proposals.try_again(true, true, Moment(0)));
        assert_eq!(outcome(&mut first), Err(ProposeError::Dropped));
        let sealed = proposals.seal(Vec::new(), FAR, Timestamp(0));
        assert_eq!(sealed.len(), 1, "what was proposed after it is appended again");
        proposals.appended(LogIndex(9), Term(5), sealed);
        apply(&mut proposals, LogId::new(5, 9));
        assert_eq!(outcome(&mut last), DONE);
    }
}

#[test]
fn what_is_appended_again_keeps_its_order() {
    let mut proposals = empty();
    let answers: Vec<_> = (5..8).map(|index| propose_own(&mut proposals, 1, index)).collect();
    // Replaced from the first on, and the snapshot that tells so holds none of them.
    proposals.appended(LogIndex(5), Term(3), []);
    proposals.overtaken(LogId::new(4, 9));
    proposals.restored(|_| Err(ProposeError::Dropped));
    assert!(proposals.try_again(true, true, Moment(0)));
    let sealed = proposals.seal(Vec::new(), FAR, Timestamp(0));
    let numbers: Vec<_> = sealed.iter().map(|sealed| request_of(sealed).0.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    drop(answers);
}

/// Before it expires: what stands behind the first request in the log would be refused too.
#[test]
fn a_session_that_may_have_expired_is_not_used() {
    let mut proposals = empty();
    let mut session_at = |now| {
        let (new, _answer) = proposal(&ByteBudget::new(1), Purpose::Own);
        request_of(&proposals.seal(vec![new], FAR, Timestamp(now))[0]).0.session
    };
    let idle = SessionLimits::default().idle_ms;
    let first = session_at(10);
    assert_eq!(session_at(9 + idle), first);
    let second = session_at(9 + 2 * idle);
    assert_ne!(second, first);
    assert_eq!(session_at(5), second, "whatever the clock does");
}

#[test]
fn a_request_whose_session_is_gone_goes_into_another() {
    let mut proposals = empty();
    let mut answer = propose_own(&mut proposals, 1, 5);
    let (first, _) = request_of(&proposals.waiting[0].sealed);
    proposals.applied(LogId::new(1, 5), Some(Err(ProposeError::SessionExpired)));
    assert!(proposals.try_again(true, true, Moment(0)));
    let sealed = proposals.seal(Vec::new(), FAR, Timestamp(0));
    let (second, opens) = request_of(&sealed[0]);
    assert!(opens && second.session != first.session, "{second}");
    proposals.appended(LogIndex(6), Term(1), sealed);
    apply(&mut proposals, LogId::new(1, 6));
    assert_eq!(outcome(&mut answer), DONE);
}

/// What of a session is known to be there is not opened again; who is not answered stays within reach.
#[test]
fn the_first_request_of_a_turn_opens_the_session_until_it_is_known_to_be_there() {
    let mut proposals = empty();
    let turn = |proposals: &mut Proposals, first| {
        let budget = ByteBudget::new(2);
        let (new, answers): (Vec<_>, Vec<_>) = (0..2).map(|_| proposal(&budget, Purpose::Own)).unzip();
        let sealed = proposals.seal(new, FAR, Timestamp(0));
        let requests: Vec<_> = sealed.iter().map(request_of).collect();
        proposals.appended(LogIndex(first), Term(1), sealed);
        drop(answers);
        requests
    };
    let opens = |requests: &[(RequestId, bool)]| requests.iter().map(|request| request.1).collect::<Vec<_>>();
    assert_eq!(opens(&turn(&mut proposals, 1)), [true, false]);
    assert_eq!(opens(&turn(&mut proposals, 3)), [true, false]);
    apply(&mut proposals, LogId::new(1, 1));
    let third = turn(&mut proposals, 5);
    assert_eq!(opens(&third), [false, false]);
    assert_eq!(third[0].0.floor, 2, "the first is answered, the second is not");
    proposals.expire(FAR);
    for index in 2..=6 {
        apply(&mut proposals, LogId::new(1, index));
    }
    assert_eq!(turn(&mut proposals, 7)[0].0.floor, 2, "given up, and can be resolved");
}

/// A snapshot that took the place of their entries knows what became of them.
#[test]
fn a_snapshot_answers_what_it_overtook() {
    for (held, expected) in [
        (Ok(Vec::new()), Some(DONE)),
        (Err(ProposeError::Dropped), None),
        (Err(ProposeError::SessionExpired), None),
    ] {
        let mut proposals = empty();
        let mut answer = propose_own(&mut proposals, 1, 5);
        let (request, _) = request_of(&proposals.waiting[0].sealed);
        proposals.overtaken(LogId::new(1, 8));
        proposals.restored(|_| held.clone());
        proposals.try_again(false, true, Moment(0));
        let unknown = match held {
            Err(ProposeError::SessionExpired) => Err(ProposeError::OutcomeUnknown { request: Some(request) }),
            _ => Err(ProposeError::Dropped),
        };
        assert_eq!(outcome(&mut answer), expected.unwrap_or(unknown));
    }
}

#[test]
fn a_burst_leaves_no_memory_behind() {
    let mut proposals = empty();
    let answers = propose(&mut proposals, 1, 1, 10_000);
    for index in 1..=10_000 {
        apply(&mut proposals, LogId::new(1, index));
    }
    proposals.expire(Moment(0));
    assert!(proposals.waiting.capacity() <= ROOM_KEPT);
    drop(answers);
}
