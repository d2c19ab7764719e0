//! Bytes that may be on their way at once. A queue whose items each hold a permit is bounded in memory,
//! whatever their number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// A budget in bytes, shared by all who clone it.
#[derive(Clone, Debug)]
pub(crate) struct ByteBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: AtomicUsize,
    used: AtomicUsize,
    idle: Notify,
    /// What is taken here is taken there too.
    whole: Option<ByteBudget>,
    /// Its weight among the parts of the whole.
    weight: AtomicU32,
}

/// Why a part of a budget gives nothing. With the limit that is in the way, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Its own limit.
    Part(usize),
    /// It has more than its share of a whole that is nearly used up.
    Share(usize),
    /// The limit of the whole.
    Whole(usize),
}

/// How often what is left of a whole a part of weight 1 may have. So one part alone gets eight ninths of the whole,
/// ten that want all get eight in 81 each, and there is always room left for one that has little.
const SHARE_OF_FREE: usize = 8;

/// Bytes taken from a budget; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct BytePermit {
    budget: ByteBudget,
    bytes: usize,
}

impl ByteBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Inner {
            limit: AtomicUsize::new(limit),
            used: AtomicUsize::new(0),
            idle: Notify::new(),
            whole: None,
            weight: AtomicU32::new(1),
        }))
    }

    /// A part of this budget, without a limit of its own yet.
    pub(crate) fn part(&self) -> Self {
        Self(Arc::new(Inner {
            limit: AtomicUsize::new(usize::MAX),
            used: AtomicUsize::new(0),
            idle: Notify::new(),
            whole: Some(self.clone()),
            weight: AtomicU32::new(1),
        }))
    }

    /// Changes a part's own limit and its weight. What was taken stays.
    pub(crate) fn set_limit(&self, limit: usize, weight: u32) {
        self.0.limit.store(limit, Ordering::Relaxed);
        self.0.weight.store(weight, Ordering::Relaxed);
    }

    /// Takes `bytes`, or `None` if they would exceed the limit.
    #[cfg(test)]
    pub(crate) fn try_acquire(&self, bytes: usize) -> Option<BytePermit> {
        self.try_acquire_part(bytes, 1).ok()
    }

    /// Takes `bytes` of a part, and of the whole, for so many `items`.
    pub(crate) fn try_acquire_part(&self, bytes: usize, items: usize) -> Result<BytePermit, Full> {
        let used = self.try_add(bytes).map_err(Full::Part)?;
        if let Some(whole) = &self.0.whole
            && let Err(full) = self.try_add_share(bytes, items, used, whole)
        {
            self.give_back(bytes);
            return Err(full);
        }
        Ok(BytePermit {
            budget: self.clone(),
            bytes,
        })
    }

    /// Takes `bytes` of the whole, for a part that has taken `used` besides. Who has nothing yet gets a single item, if only
    /// it fits.
    fn try_add_share(&self, bytes: usize, items: usize, used: usize, whole: &Self) -> Result<(), Full> {
        let is_first = used == 0 && items <= 1;
        let left = whole.limit().checked_sub(whole.used().saturating_add(bytes));
        if !is_first && left.is_some_and(|left| used.saturating_add(bytes) > left.saturating_mul(self.share())) {
            return Err(Full::Share(whole.limit()));
        }
        whole.try_add(bytes).map(drop).map_err(Full::Whole)
    }

    /// How often what is left of the whole it may have.
    fn share(&self) -> usize {
        let weight = usize::try_from(self.0.weight.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        weight.saturating_mul(SHARE_OF_FREE)
    }

    /// What was taken before, or the limit that is in the way.
    fn try_add(&self, bytes: usize) -> Result<usize, usize> {
        let limit = self.limit();
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .map_err(|_| limit)
    }

    fn give_back(&self, bytes: usize) {
        if self.0.used.fetch_sub(bytes, Ordering::AcqRel) == bytes {
            self.0.idle.notify_waiters();
        }
    }

    /// The most that can be taken at once for so many `items`, of this and of the whole, however little is taken.
    pub(crate) fn most(&self, items: usize) -> usize {
        let whole = self.0.whole.as_ref().map_or(usize::MAX, Self::limit);
        let rest = if items > 1 {
            whole.div_ceil(self.share().saturating_add(1))
        } else {
            0
        };
        (whole - rest).min(self.limit())
    }

    /// Waits until nothing is taken.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.0.idle.notified();
            if self.used() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Bytes taken at the moment.
    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Acquire)
    }

    /// The most bytes that can be taken.
    pub(crate) fn limit(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }
}

impl BytePermit {
    /// How many they are.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A part of it, to be given back on its own; all that is left of it if that is less.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            budget: self.budget.clone(),
            bytes,
        }
    }
}

impl Drop for BytePermit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give_back(self.bytes);
            if let Some(whole) = &self.budget.0.whole {
                whole.give_back(self.bytes);
            }
        }
    }
}

/// A budget in bytes of what peers send. Who comes too late waits, in order, or goes without.
#[derive(Clone, Debug)]
pub(crate) struct InboundBudget {
    limit: u32,
    free: Arc<Semaphore>,
}

/// Bytes of messages that were received; given back when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct InboundPermit {
    _permit: Arc<OwnedSemaphorePermit>,
    /// It is to be kept until all that the messages caused is durable, not only until they are looked at.
    pub(crate) until_durable: bool,
}

impl InboundBudget {
    /// A budget of `limit` bytes, at most 4 GiB.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        Self {
            limit,
            free: Arc::new(Semaphore::new(limit as usize)),
        }
    }

    /// Takes `bytes`, or all there is if they exceed the budget, as soon as they are free. `None` never
    /// happens while the node runs.
    pub(crate) async fn acquire(&self, bytes: usize) -> Option<InboundPermit> {
        let permit = self.free.clone().acquire_many_owned(self.at_most(bytes)).await.ok()?;
        Some(InboundPermit {
            _permit: Arc::new(permit),
            until_durable: true,
        })
    }

    /// The same if they are free now, for messages that are done with once they are looked at.
    pub(crate) fn try_acquire(&self, bytes: usize) -> Option<InboundPermit> {
        let permit = self.free.clone().try_acquire_many_owned(self.at_most(bytes)).ok()?;
        Some(InboundPermit {
            _permit: Arc::new(permit),
            until_durable: false,
        })
    }

    fn at_most(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.limit)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
impl InboundPermit {
    /// For messages that came from nowhere.
    pub(crate) fn of_nothing() -> Self {
        InboundBudget::new(1).try_acquire(1).unwrap()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_exceeded_and_gets_back_what_it_gave() {
        let budget = ByteBudget::new(100);
        let most = budget.try_acquire(90);
        assert!(most.is_some());
        assert!(budget.try_acquire(11).is_none());
        let rest = budget.try_acquire(10);
        assert!(rest.is_some());
        assert_eq!(budget.used(), 100);
        drop(most);
        assert_eq!(budget.used(), 10);
        assert!(budget.try_acquire(usize::MAX).is_none(), "no overflow");
    }

    /// Takes one byte after the other as long as it gets any.
    fn fill(part: &ByteBudget) -> (Vec<BytePermit>, Option<Full>) {
        let mut permits = Vec::new();
        loop {
            match part.try_acquire_part(1, 1) {
                Ok(permit) => permits.push(permit),
                Err(full) => return (permits, Some(full)),
            }
        }
    }

    #[test]
    fn a_part_that_wants_all_leaves_room_for_the_others() {
        let whole = ByteBudget::new(9_000);
        let (hot, quiet) = (whole.part(), whole.part());
        let (taken, full) = fill(&hot);
        assert_eq!((taken.len(), full), (8_000, Some(Full::Share(9_000))));
        let (some, _) = fill(&quiet);
        assert!(some.len() > 800, "{} of what was left", some.len());
        assert_eq!(whole.used(), taken.len() + some.len());
        drop((taken, some));
        assert_eq!((whole.used(), hot.used(), quiet.used()), (0, 0, 0));
    }

    #[test]
    fn many_that_come_together_leave_room_too() {
        let whole = ByteBudget::new(9_000);
        let (hot, quiet) = (whole.part(), whole.part());
        assert_eq!((hot.most(1), hot.most(2)), (9_000, 8_000));
        let refused = hot.try_acquire_part(8_001, 2);
        assert_eq!(refused.err(), Some(Full::Share(9_000)));
        let taken = hot.try_acquire_part(8_000, 2);
        assert!(taken.is_ok());
        assert!(quiet.try_acquire_part(800, 2).is_ok());
        assert!(quiet.try_acquire_part(1_000, 1).is_ok(), "one alone gets what there is");
        assert_eq!(quiet.try_acquire_part(1_001, 2).err(), Some(Full::Whole(9_000)));
        drop(taken);
        hot.set_limit(usize::MAX, 100);
        assert_eq!(hot.most(2), 8_988);
        assert!(hot.try_acquire_part(8_988, 2).is_ok());
        assert!(hot.try_acquire_part(8_989, 2).is_err());
    }

    #[test]
    fn a_part_has_a_limit_of_its_own_and_one_that_has_nothing_gets_what_fits() {
        let whole = ByteBudget::new(1_000);
        let (small, large) = (whole.part(), whole.part());
        small.set_limit(10, 1);
        let (taken, full) = fill(&small);
        assert_eq!((taken.len(), full), (10, Some(Full::Part(10))));
        assert_eq!(whole.used(), 10, "what was refused was not taken");
        assert!(
            large
                .try_acquire_part(991, 1)
                .is_err_and(|full| full == Full::Whole(1_000))
        );
        assert!(large.try_acquire_part(990, 1).is_ok());
        small.set_limit(5, 1);
        assert!(small.try_acquire_part(1, 1).is_err(), "what was let in before counts");
    }

    #[test]
    fn what_is_split_is_given_back_part_by_part() {
        let budget = ByteBudget::new(100);
        let mut rest = budget.try_acquire(90).unwrap();
        let (part, too_much) = (rest.split(50), rest.split(60));
        drop(part);
        assert_eq!(budget.used(), 40);
        drop(rest);
        assert_eq!(budget.used(), 40, "nothing was left of it");
        drop(too_much);
        assert_eq!(budget.used(), 0);
    }
}
