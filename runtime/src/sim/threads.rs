//! The threads of a simulated world, all on one real one.
//!
//! Each simulated thread is a set of tasks. Which one goes on next is drawn from the seed; one may be late, stand
//! still for a while, or vanish with all that it was doing.

use super::random::Random;
use actix::dev::channel::channel;
use actix::{Actor, Addr, Context};
use parking_lot::Mutex;
use raftyard_groups::NodeId;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, Sleep};

/// Messages that wait for an actor before who sends more has to wait. As actix has it.
const MAILBOX: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// Where to send what a simulated thread shall do.
#[derive(Clone)]
pub(crate) struct ThreadHandle(mpsc::UnboundedSender<Job>);

impl ThreadHandle {
    /// Starts an actor there.
    pub(crate) fn start<A>(&self, make: impl FnOnce() -> A + Send + 'static) -> Addr<A>
    where
        A: Actor<Context = Context<A>>,
    {
        let (sender, receiver) = channel(MAILBOX);
        self.execute(move || drop(Context::with_receiver(receiver).run(make())));
        Addr::new(sender)
    }

    /// Runs this there; never, if the thread is gone.
    pub(crate) fn execute(&self, job: impl FnOnce() + Send + 'static) {
        self.0.send(Box::new(job)).ok();
    }
}

/// What a thread is for: how late it tends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Clients and operators.
    World,
    Transport,
    Storage,
    Snapshots,
    Worker,
}

/// How late threads are to go on once there is something to do: their part of the seed's character.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lateness {
    /// How often a disk takes its time, in thousandths, and how long at most.
    pub(crate) disk_permille: u64,
    pub(crate) disk_max_ms: u64,
    /// How often any other thread is preempted for a millisecond, in thousandths.
    pub(crate) preempted_permille: u64,
}

/// Whose thread it is: a node's, in one life of its process.
pub(crate) type Owner = (NodeId, u64);

/// A number for each thread that there ever was, in the order of their making.
type ThreadId = u64;

/// One thread.
struct Thread {
    owner: Option<Owner>,
    duty: Duty,
    tasks: LocalSet,
    ready: Arc<Ready>,
    waker: Waker,
    /// When it goes on, if it is late.
    due: Option<Instant>,
    /// It stands still until then.
    still_until: Option<Instant>,
}

/// Says that a thread has something to do.
struct Ready {
    id: ThreadId,
    is_queued: AtomicBool,
    queue: Arc<Queue>,
}

/// The threads that have something to do.
#[derive(Default)]
struct Queue {
    ready: Mutex<Vec<ThreadId>>,
    driver: Mutex<Option<Waker>>,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::Relaxed) {
            self.queue.ready.lock().push(self.id);
            if let Some(driver) = &*self.queue.driver.lock() {
                driver.wake_by_ref();
            }
        }
    }
}

/// All threads of a world.
pub(crate) struct Threads {
    queue: Arc<Queue>,
    threads: RefCell<BTreeMap<ThreadId, Thread>>,
    next_id: Cell<ThreadId>,
    random: RefCell<Random>,
    lateness: Lateness,
    /// Whose threads end before anything else happens.
    doomed: Arc<Mutex<BTreeSet<Owner>>>,
}

impl Threads {
    pub(crate) fn new(random: Random, lateness: Lateness) -> Self {
        Self {
            queue: Arc::default(),
            threads: RefCell::default(),
            next_id: Cell::new(0),
            random: RefCell::new(random),
            lateness,
            doomed: Arc::default(),
        }
    }

    /// Starts a thread.
    pub(crate) fn start(&self, owner: Option<Owner>, duty: Duty) -> ThreadHandle {
        let (jobs, mut queued) = mpsc::unbounded_channel::<Job>();
        let work = async move {
            while let Some(job) = queued.recv().await {
                job();
            }
        };
        self.start_with(owner, duty, work);
        ThreadHandle(jobs)
    }

    /// Starts a thread with this to do.
    pub(crate) fn start_with(&self, owner: Option<Owner>, duty: Duty, work: impl Future<Output = ()> + 'static) {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let tasks = LocalSet::new();
        tasks.spawn_local(work);
        let ready = Arc::new(Ready {
            id,
            is_queued: AtomicBool::new(false),
            queue: self.queue.clone(),
        });
        let waker = Waker::from(ready.clone());
        waker.wake_by_ref();
        let thread = Thread {
            owner,
            duty,
            tasks,
            ready,
            waker,
            due: None,
            still_until: None,
        };
        self.threads.borrow_mut().insert(id, thread);
    }

    /// How to end all threads of a process before anything else happens.
    pub(crate) fn doom(&self) -> Doom {
        Doom(self.doomed.clone())
    }

    /// Lets those threads of a node stand still that `which` says.
    pub(crate) fn hold(&self, node: NodeId, until: Instant, which: impl Fn(Duty) -> bool) {
        for thread in self.threads.borrow_mut().values_mut() {
            if thread.owner.is_some_and(|(owner, _)| owner == node) && which(thread.duty) {
                thread.still_until = thread.still_until.max(Some(until));
            }
        }
    }

    /// Whether any thread of a node stands still.
    pub(crate) fn is_held(&self, node: NodeId) -> bool {
        let now = Instant::now();
        let threads = self.threads.borrow();
        let mut here = threads
            .values()
            .filter(|thread| thread.owner.is_some_and(|(owner, _)| owner == node));
        here.any(|thread| thread.still_until.is_some_and(|until| until > now))
    }

    /// Lets all threads go on that stand still.
    pub(crate) fn release(&self) {
        for thread in self.threads.borrow_mut().values_mut() {
            if thread.still_until.take().is_some() {
                thread.due = None;
                thread.waker.wake_by_ref();
            }
        }
    }

    /// Ends all threads.
    pub(crate) fn end_all(&self) {
        let threads = std::mem::take(&mut *self.threads.borrow_mut());
        // Not while they are borrowed: what is dropped may wake others.
        drop(threads);
    }

    /// Runs the world until `main` is over. Must be the root of a runtime whose clock is paused.
    pub(crate) async fn run<F: Future>(&self, main: F) -> F::Output {
        let mut main = std::pin::pin!(main);
        let mut alarm: Pin<Box<Sleep>> = Box::pin(tokio::time::sleep(Duration::ZERO));
        poll_fn(|cx| {
            *self.queue.driver.lock() = Some(cx.waker().clone());
            loop {
                self.end_doomed();
                if let Poll::Ready(output) = main.as_mut().poll(cx) {
                    return Poll::Ready(output);
                }
                if self.step() {
                    continue;
                }
                match self.next_due() {
                    Some(due) => {
                        alarm.as_mut().reset(due);
                        if alarm.as_mut().poll(cx).is_pending() {
                            return Poll::Pending;
                        }
                        self.wake_due();
                    }
                    None => return Poll::Pending,
                }
            }
        })
        .await
    }

    fn end_doomed(&self) {
        loop {
            let doomed = std::mem::take(&mut *self.doomed.lock());
            if doomed.is_empty() {
                return;
            }
            let mut threads = self.threads.borrow_mut();
            let ended: Vec<ThreadId> = threads
                .iter()
                .filter(|(_, thread)| thread.owner.is_some_and(|owner| doomed.contains(&owner)))
                .map(|(id, _)| *id)
                .collect();
            let ended: Vec<Option<Thread>> = ended.into_iter().map(|id| threads.remove(&id)).collect();
            // Not while they are borrowed: what is dropped may wake others.
            drop(threads);
            drop(ended);
        }
    }

    /// Lets one thread go on; false if none has anything to do now.
    fn step(&self) -> bool {
        let id = {
            let mut ready = self.queue.ready.lock();
            if ready.is_empty() {
                return false;
            }
            let position = self.random.borrow_mut().position(ready.len());
            ready.swap_remove(position)
        };
        // Out of the map meanwhile: what it does may start threads.
        let Some(mut thread) = self.threads.borrow_mut().remove(&id) else {
            return true;
        };
        thread.ready.is_queued.store(false, Ordering::Relaxed);
        if !self.is_late(&mut thread) {
            let mut cx = TaskContext::from_waker(&thread.waker);
            // It never ends by itself: the channel of its jobs stays open as long as it is referred to.
            let _ = Pin::new(&mut thread.tasks).poll(&mut cx);
        }
        self.threads.borrow_mut().insert(id, thread);
        true
    }

    /// Whether the thread does not go on yet. Draws, once per time that it has something to do, how late it is.
    fn is_late(&self, thread: &mut Thread) -> bool {
        let now = Instant::now();
        if let Some(until) = thread.still_until {
            if until > now {
                thread.due = Some(until);
                return true;
            }
            thread.still_until = None;
        }
        match thread.due {
            Some(due) if due > now => return true,
            Some(_) => {
                thread.due = None;
                return false;
            }
            None => {}
        }
        let mut random = self.random.borrow_mut();
        let late_ms = match thread.duty {
            Duty::World => 0,
            Duty::Storage | Duty::Snapshots if random.chance(self.lateness.disk_permille) => {
                random.within(1..=self.lateness.disk_max_ms)
            }
            Duty::Storage | Duty::Snapshots => 0,
            Duty::Transport | Duty::Worker => u64::from(random.chance(self.lateness.preempted_permille)),
        };
        if late_ms > 0 {
            thread.due = Some(now + Duration::from_millis(late_ms));
        }
        late_ms > 0
    }

    fn next_due(&self) -> Option<Instant> {
        let threads = self.threads.borrow();
        threads.values().filter_map(|thread| thread.due).min()
    }

    fn wake_due(&self) {
        let now = Instant::now();
        for thread in self.threads.borrow().values() {
            if thread.due.is_some_and(|due| due <= now) {
                thread.waker.wake_by_ref();
            }
        }
    }
}

/// Ends all threads of a process before anything else happens.
#[derive(Clone)]
pub(crate) struct Doom(Arc<Mutex<BTreeSet<Owner>>>);

impl Doom {
    pub(crate) fn end(&self, owner: Owner) {
        self.0.lock().insert(owner);
    }
}
