//! The mailbox between threads: what queues while its owner works is taken in one go.
//!
//! A message between two threads costs about a microsecond, in a batch a fraction of that. So senders push
//! into a list, and only the first of them wakes the owner; until the owner's turn is over nobody wakes it
//! again. Its length is not bounded here: proposals, reads and what peers send carry a permit of a budget in
//! bytes (`budget.rs`), what else callers ask is as much as they wait for, and what the parts of a node tell each other is
//! bounded by how many they are, and by how much else is queued where it repeats itself (`push_over`).

use parking_lot::Mutex;
use std::sync::OnceLock;

pub(crate) struct Inbox<T> {
    queue: Mutex<Queue<T>>,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

struct Queue<T> {
    items: Vec<T>,
    /// The owner was woken, or is in a turn, and will look again.
    scheduled: bool,
    closed: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::new(Queue {
                items: Vec::new(),
                scheduled: false,
                closed: false,
            }),
            wake: OnceLock::new(),
        }
    }

    /// Tells how to wake the owner. What was pushed before wakes it now.
    pub(crate) fn connect(&self, wake: impl Fn() + Send + Sync + 'static) {
        let wake: Box<dyn Fn() + Send + Sync> = Box::new(wake);
        if self.wake.set(wake).is_ok() && self.queue.lock().scheduled {
            self.wake();
        }
    }

    /// Queues an item; false, and the item is dropped, once the owner is gone.
    pub(crate) fn push(&self, item: T) -> bool {
        self.push_all([item])
    }

    /// Queues items, in their order, without another's in between.
    pub(crate) fn push_all(&self, items: impl IntoIterator<Item = T>) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        queue.items.extend(items);
        let first = !queue.scheduled && !queue.items.is_empty();
        queue.scheduled |= first;
        drop(queue);
        if first {
            self.wake();
        }
        true
    }

    /// Queues an item, in the place of the newest one if that is `outdated` by it and not taken yet.
    pub(crate) fn push_over(&self, item: T, outdated: impl FnOnce(&T) -> bool) -> bool {
        let mut queue = self.queue.lock();
        if let Some(newest) = queue.items.last_mut().filter(|newest| outdated(newest)) {
            let old = std::mem::replace(newest, item);
            drop(queue);
            // Outside the lock, as in `close`.
            drop(old);
            return true;
        }
        drop(queue);
        self.push(item)
    }

    /// Swaps what queued with `into`, which has to be empty: its memory is used for what comes next.
    pub(crate) fn take(&self, into: &mut Vec<T>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut self.queue.lock().items, into);
    }

    /// Ends the owner's turn. True if more came meanwhile: then the owner has to take another turn, without
    /// being woken.
    pub(crate) fn end_turn(&self) -> bool {
        let mut queue = self.queue.lock();
        queue.scheduled = !queue.items.is_empty();
        queue.scheduled
    }

    /// Drops what is queued and all that is pushed from now on.
    pub(crate) fn close(&self) {
        let items = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.items)
        };
        // Outside the lock: dropping an item may run its sender's code.
        drop(items);
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn however_much_queues_nothing_is_dropped() {
        let inbox = Inbox::new();
        for item in 0..50_000 {
            assert!(inbox.push_all([2 * item, 2 * item + 1]));
        }
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert!(taken.into_iter().eq(0..100_000));
    }

    #[test]
    fn only_the_first_item_of_a_turn_wakes_the_owner() {
        let (inbox, wakes) = (Inbox::new(), Arc::new(AtomicUsize::new(0)));
        inbox.push(1);
        let count = wakes.clone();
        inbox.connect(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(
            wakes.load(Ordering::SeqCst),
            1,
            "what was pushed before connect wakes at connect"
        );
        inbox.push_all([2, 3]);
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!(taken, [1, 2, 3]);
        inbox.push(4);
        assert_eq!(wakes.load(Ordering::SeqCst), 1, "the turn is not over");
        assert!(inbox.end_turn(), "more came: another turn is due");
        taken.clear();
        inbox.take(&mut taken);
        assert_eq!(taken, [4]);
        assert!(!inbox.end_turn());
        inbox.push(5);
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn what_outdates_the_newest_takes_its_place_unless_that_was_taken() {
        let inbox = Inbox::new();
        let (pair, mut taken) = (|a: u64, b: u64| a / 10 == b / 10, Vec::new());
        for item in [1, 11, 12, 13, 2, 14] {
            assert!(inbox.push_over(item, |newest| pair(*newest, item)));
        }
        inbox.take(&mut taken);
        assert_eq!(taken, [1, 13, 2, 14]);
        taken.clear();
        assert!(inbox.push_over(15, |newest| pair(*newest, 15)));
        inbox.take(&mut taken);
        assert_eq!(taken, [15]);
        inbox.close();
        assert!(!inbox.push_over(16, |_| true));
    }

    #[test]
    fn a_closed_inbox_drops_what_it_holds_and_what_comes() {
        let (inbox, item) = (Inbox::new(), Arc::new(()));
        assert!(inbox.push(item.clone()));
        inbox.close();
        assert!(!inbox.push(item.clone()));
        assert_eq!(Arc::strong_count(&item), 1);
    }
}
