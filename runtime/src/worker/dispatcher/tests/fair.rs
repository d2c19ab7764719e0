//! Which requests a turn takes in.

use super::super::super::fair::TURN_BYTES;
use super::*;
use crate::tenancy::GroupLimits;

/// What a turn gave the groups, in the order in which they run: the group's position, and its work.
type Given = Vec<(usize, Vec<GroupWork>)>;

impl Dispatcher {
    /// As a turn begins, without running the groups.
    fn put_together(&mut self) -> Given {
        self.share_out();
        let touched = std::mem::take(&mut self.touched);
        let mut take = |position: usize| self.groups[position].as_mut().unwrap().take_work();
        touched.into_iter().map(|position| (position, take(position))).collect()
    }

    /// A proposal that counts for so many bytes and carries its number.
    fn ask_number(&mut self, life: Life, bytes: usize, number: u64) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        let proposal = Proposal {
            command: number.to_le_bytes().to_vec(),
            purpose: Purpose::Plain,
            reply: reply.into(),
            permit: ByteBudget::new(bytes).try_acquire(bytes).unwrap(),
        };
        self.sort(Work::Propose(life, proposal));
        answer
    }

    fn flood(&mut self, life: Life, requests: u64, bytes: usize) {
        for number in 0..requests {
            self.ask_number(life, bytes, number);
        }
    }
}

/// The numbers of the proposals given to the group at this position.
fn numbers(given: &Given, position: usize) -> Vec<u64> {
    let work = given
        .iter()
        .filter(|(at, _)| *at == position)
        .flat_map(|(_, work)| work);
    work.filter_map(|work| match work {
        GroupWork::Propose(proposal) => Some(u64::from_le_bytes(proposal.command.as_slice().try_into().unwrap())),
        _ => None,
    })
    .collect()
}

/// Three groups that have had their first turn.
async fn three() -> (Dispatcher, Vec<Arc<GroupSlot>>) {
    let mut dispatcher = dispatcher().await;
    let slots = (1..=3).map(|group| dispatcher.host(life(group, 1))).collect();
    dispatcher.put_together();
    (dispatcher, slots)
}

async fn in_a_local_set(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn what_fits_is_taken_in_as_it_came() {
    in_a_local_set(async {
        let (mut dispatcher, _) = three().await;
        dispatcher.flood(life(1, 1), 1_000, TURN_BYTES / 1_000);
        let given = dispatcher.put_together();
        assert_eq!(numbers(&given, 0), (0..1_000).collect::<Vec<_>>());
        assert!(dispatcher.lines.is_empty());
        assert_eq!(dispatcher.shared.counters.turns_shared.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_flooded_group_waits_for_itself_and_is_given_all_in_order() {
    in_a_local_set(async {
        let (mut dispatcher, _) = three().await;
        dispatcher.flood(life(1, 1), 10_000, 1_024);
        dispatcher.flood(life(2, 1), 10, 1_024);
        let (mut hot, mut turns) = (Vec::new(), 0);
        loop {
            dispatcher.flood(life(3, 1), 5, 1_024);
            let given = dispatcher.put_together();
            let in_turn: usize = given.iter().flat_map(|(_, work)| work).map(GroupWork::bytes).sum();
            assert!(in_turn <= TURN_BYTES + 4_096, "{in_turn} bytes in a turn");
            assert_eq!(
                numbers(&given, 2),
                (0..5).collect::<Vec<_>>(),
                "at once, in turn {turns}"
            );
            if turns == 0 {
                assert_eq!(numbers(&given, 1), (0..10).collect::<Vec<_>>());
            }
            hot.extend(numbers(&given, 0));
            turns += 1;
            if dispatcher.lines.is_empty() {
                break;
            }
        }
        assert_eq!(hot, (0..10_000).collect::<Vec<_>>());
        assert!((9..=11).contains(&turns), "{turns} turns of a mebibyte");
    })
    .await;
}

#[tokio::test]
async fn floods_share_turns_by_their_weight() {
    in_a_local_set(async {
        let (mut dispatcher, slots) = three().await;
        let limits = GroupLimits {
            weight: 3,
            ..GroupLimits::default()
        };
        slots[1].tenancy.set(limits, &MonotonicClock::default());
        dispatcher.flood(life(1, 1), 5_000, 500);
        dispatcher.flood(life(2, 1), 5_000, 500);
        let given = dispatcher.put_together();
        let (light, heavy) = (numbers(&given, 0).len(), numbers(&given, 1).len());
        assert!(
            heavy.abs_diff(3 * light) <= 30,
            "{heavy} of weight 3, {light} of weight 1"
        );
        assert!(light + heavy >= 2_000);
    })
    .await;
}

#[tokio::test]
async fn what_is_larger_than_a_turn_comes_in_time() {
    in_a_local_set(async {
        let (mut dispatcher, _) = three().await;
        dispatcher.ask_number(life(1, 1), 3 * TURN_BYTES, 7);
        dispatcher.flood(life(2, 1), 9_000, 1_024);
        let mut turns = 1;
        while numbers(&dispatcher.put_together(), 0).is_empty() {
            turns += 1;
            assert!(turns < 10);
        }
        assert!(turns > 2, "it waits for as long as its share takes");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_request_is_in_every_turn_and_comes_first() {
    in_a_local_set(async {
        let (mut dispatcher, _) = three().await;
        dispatcher.flood(life(1, 1), 10_000, 1_024);
        for _ in 0..5 {
            dispatcher.hear(life(2, 1));
            dispatcher.sort(Work::Continue(life(3, 1)));
            dispatcher.hear(life(1, 1));
            let given = dispatcher.put_together();
            let order: Vec<usize> = given.iter().map(|(position, _)| *position).collect();
            assert_eq!(order.len(), 3);
            assert!(given.iter().all(|(_, work)| !work[0].is_request()), "each hears first");
            assert!(!numbers(&given, 0).is_empty(), "and what was asked goes on");
        }
        // One that has nothing but requests comes after those that hear something.
        dispatcher.hear(life(2, 1));
        let given = dispatcher.put_together();
        assert_eq!(given.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [1, 0]);
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_a_group_that_ends_is_told() {
    in_a_local_set(async {
        let (mut dispatcher, _) = three().await;
        let mut answers: Vec<_> = (0..3)
            .map(|n| dispatcher.ask_number(life(1, 1), TURN_BYTES, n))
            .collect();
        dispatcher.put_together();
        assert!(!dispatcher.lines.is_empty());
        dispatcher.end_life(life(1, 1)).await;
        assert_eq!(answers[2].try_recv(), Ok(Err(ProposeError::Closed)));
        assert!(dispatcher.lines.is_empty());
        dispatcher.host(life(1, 2));
        dispatcher.ask_number(life(1, 2), 1, 9);
        assert_eq!(
            numbers(&dispatcher.put_together(), 0),
            [9],
            "the next life does not wait"
        );
    })
    .await;
}
