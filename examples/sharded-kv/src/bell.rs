//! What the state machines of a node tell of their first deadlines, and how the task waits for those that
//! lets keys expire (`expiry`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raftyard::Timestamp;
use tokio::sync::Notify;

/// The time of a group without deadlines.
const NEVER: u64 = u64::MAX;

/// The first deadline of each group of a node, as its replica has it.
#[derive(Debug)]
pub(crate) struct FirstDeadlines {
    first: Vec<AtomicU64>,
    /// What the task sleeps until: only an earlier one is worth waking it.
    awaited: AtomicU64,
    earlier: Notify,
}

impl FirstDeadlines {
    pub(crate) fn new(groups: u16) -> Arc<Self> {
        Arc::new(Self {
            first: (0..groups).map(|_| AtomicU64::new(NEVER)).collect(),
            awaited: AtomicU64::new(NEVER),
            earlier: Notify::new(),
        })
    }

    /// The places of the groups with a deadline that has passed.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = usize> {
        let due = move |first: &AtomicU64| first.load(Ordering::SeqCst) <= now.0;
        self.first
            .iter()
            .enumerate()
            .filter(move |(_, first)| due(first))
            .map(|(place, _)| place)
    }

    /// Whether the first deadline of the group at `place` has passed.
    pub(crate) fn is_due(&self, place: usize, now: Timestamp) -> bool {
        self.first
            .get(place)
            .is_some_and(|first| first.load(Ordering::SeqCst) <= now.0)
    }

    /// Until a deadline comes that is earlier than the one that is awaited.
    pub(crate) async fn earlier(&self) {
        self.earlier.notified().await;
    }

    /// The task begins to look: until it knows what to await, every deadline wakes it, so that none is missed that comes
    /// where it has looked already.
    pub(crate) fn begin_look(&self) {
        self.awaited.store(NEVER, Ordering::SeqCst);
    }

    /// The first deadline after `now`, which from here on wakes the task only if an earlier one comes.
    pub(crate) fn await_next(&self, now: Timestamp) -> Option<Timestamp> {
        let deadlines = self.first.iter().map(|first| first.load(Ordering::SeqCst));
        let next = deadlines.filter(|first| *first > now.0).min().unwrap_or(NEVER);
        self.awaited.store(next, Ordering::SeqCst);
        (next != NEVER).then_some(Timestamp(next))
    }
}

/// What the state machine of one group tells its first deadline.
#[derive(Debug, Clone)]
pub(crate) struct Bell {
    deadlines: Arc<FirstDeadlines>,
    place: usize,
}

impl Bell {
    /// That of the group at `place`.
    pub(crate) fn new(deadlines: Arc<FirstDeadlines>, place: u16) -> Self {
        let place = place.into();
        Self { deadlines, place }
    }

    /// The group's first deadline is `first`.
    pub(crate) fn ring(&self, first: Option<Timestamp>) {
        let first = first.map_or(NEVER, |first| first.0);
        let Some(known) = self.deadlines.first.get(self.place) else {
            return;
        };
        known.store(first, Ordering::SeqCst);
        if first < self.deadlines.awaited.load(Ordering::SeqCst) {
            self.deadlines.earlier.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::FutureExt;

    use super::*;

    fn due(deadlines: &FirstDeadlines, now: u64) -> Vec<usize> {
        deadlines.due(Timestamp(now)).collect()
    }

    fn is_woken(deadlines: &FirstDeadlines) -> bool {
        deadlines.earlier.notified().now_or_never().is_some()
    }

    #[test]
    fn the_first_of_all_groups_is_awaited() {
        let deadlines = FirstDeadlines::new(3);
        let bells = [0, 1, 2].map(|place| Bell::new(Arc::clone(&deadlines), place));
        assert_eq!(deadlines.await_next(Timestamp(0)), None);
        assert!(!is_woken(&deadlines), "without a deadline nothing wakes it");
        bells[1].ring(Some(Timestamp(50)));
        bells[2].ring(Some(Timestamp(40)));
        assert!(is_woken(&deadlines));
        assert_eq!(deadlines.await_next(Timestamp(0)), Some(Timestamp(40)));
        assert_eq!((due(&deadlines, 39), due(&deadlines, 40)), (vec![], vec![2]));
        assert_eq!(due(&deadlines, 50), [1, 2]);
        assert_eq!(
            deadlines.await_next(Timestamp(40)),
            Some(Timestamp(50)),
            "what is due is not awaited"
        );
        bells[2].ring(None);
        assert_eq!(due(&deadlines, 50), [1]);
    }

    #[test]
    fn only_an_earlier_deadline_wakes() {
        let deadlines = FirstDeadlines::new(2);
        let bells = [0, 1].map(|place| Bell::new(Arc::clone(&deadlines), place));
        bells[0].ring(Some(Timestamp(50)));
        assert!(is_woken(&deadlines));
        deadlines.begin_look();
        deadlines.await_next(Timestamp(0));
        bells[1].ring(Some(Timestamp(60)));
        bells[0].ring(Some(Timestamp(70)));
        assert!(!is_woken(&deadlines));
        bells[1].ring(Some(Timestamp(49)));
        assert!(is_woken(&deadlines));
    }

    #[test]
    fn what_passes_while_it_looks_is_looked_at_again() {
        let deadlines = FirstDeadlines::new(2);
        let bells = [0, 1].map(|place| Bell::new(Arc::clone(&deadlines), place));
        bells[0].ring(Some(Timestamp(50)));
        assert!(is_woken(&deadlines));
        deadlines.await_next(Timestamp(0));
        deadlines.begin_look();
        assert_eq!(due(&deadlines, 60), [0]);
        bells[1].ring(Some(Timestamp(55)));
        assert_eq!(deadlines.await_next(Timestamp(60)), None);
        assert!(is_woken(&deadlines), "it was not due yet when it was looked at");
    }
}
