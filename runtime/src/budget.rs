//! Bytes that may be on their way at once. A queue whose items each hold a permit is bounded in memory,
//! whatever their number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// A budget in bytes, shared by all who clone it.
#[derive(Clone, Debug)]
pub(crate) struct ByteBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: AtomicUsize,
    idle: Notify,
}

/// Bytes taken from a budget; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct BytePermit {
    budget: ByteBudget,
    bytes: usize,
}

impl ByteBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Inner {
            limit,
            used: AtomicUsize::new(0),
            idle: Notify::new(),
        }))
    }

    /// Takes `bytes`, or `None` if they would exceed the limit.
    pub(crate) fn try_acquire(&self, bytes: usize) -> Option<BytePermit> {
        let limit = self.0.limit;
        self.0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= limit)
            })
            .ok()?;
        Some(BytePermit {
            budget: self.clone(),
            bytes,
        })
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
        self.0.limit
    }
}

impl BytePermit {
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
        let inner = &self.budget.0;
        if self.bytes > 0 && inner.used.fetch_sub(self.bytes, Ordering::AcqRel) == self.bytes {
            inner.idle.notify_waiters();
        }
    }
}

/// A budget in bytes for which who comes too late waits, in order: what peers send.
#[derive(Clone, Debug)]
pub(crate) struct InboundBudget {
    limit: u32,
    free: Arc<Semaphore>,
}

/// Bytes of messages that were received; given back when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct InboundPermit {
    _permit: Arc<OwnedSemaphorePermit>,
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
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.limit);
        let permit = self.free.clone().acquire_many_owned(bytes).await.ok()?;
        Some(InboundPermit {
            _permit: Arc::new(permit),
        })
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
