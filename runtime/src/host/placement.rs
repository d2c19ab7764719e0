//! Where the actors of a node run. Injected: a simulation has one thread and no arbiters.

#[cfg(feature = "sim")]
use crate::sim::ThreadHandle;
use actix::{Actor, Addr, Context};
use actix_rt::{Arbiter, ArbiterHandle, System};
use futures::future::{Either, select};
use std::io;
use std::pin::pin;
use std::thread;
use tokio::sync::{oneshot, watch};

/// Where the actors of a node run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Each worker, the storage, the snapshots and the transport on a thread of its own; a single worker on the transport's.
    Threads,
    /// All on the thread that opens the node, which must run a tokio `LocalSet` (as an actix system does). Groups
    /// have to be destroyed, rebuilt and imported, and peers set and removed, from that thread too, and to shut the node down
    /// or use a [`Client`](crate::Client) takes a tokio runtime.
    Here,
}

/// The place of one actor.
#[derive(Clone)]
pub(crate) enum Spot {
    Thread(ArbiterHandle),
    Here,
    /// A thread of a simulated world.
    #[cfg(feature = "sim")]
    Simulated(ThreadHandle),
}

impl Spot {
    pub(super) fn start<A>(&self, make: impl FnOnce() -> A + Send + 'static) -> Addr<A>
    where
        A: Actor<Context = Context<A>>,
    {
        match self {
            Self::Thread(arbiter) => A::start_in_arbiter(arbiter, |_| make()),
            Self::Here => make().start(),
            #[cfg(feature = "sim")]
            Self::Simulated(thread) => thread.start(make),
        }
    }

    /// Runs a future there and returns what it returns; `None` if the place is gone.
    pub(super) async fn run<T, F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        match self {
            Self::Thread(arbiter) => {
                let (work, answer) = answered(make);
                arbiter.spawn_fn(work);
                answer.await.ok()
            }
            Self::Here => Some(make().await),
            #[cfg(feature = "sim")]
            Self::Simulated(thread) => {
                let (work, answer) = answered(make);
                thread.execute(work);
                answer.await.ok()
            }
        }
    }
}

impl Spot {
    /// As [`Spot::run`], and ends halfway if the caller gives up.
    pub(super) async fn run_awaited<T, F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (_awaited, given_up) = oneshot::channel::<()>();
        let run = self.run(move || async move {
            match select(pin!(make()), given_up).await {
                Either::Left((output, _)) => Some(output),
                Either::Right(_) => None,
            }
        });
        run.await.flatten()
    }

    /// As [`Spot::run`], and goes on to its end if the caller gives up.
    pub(super) async fn complete<T, F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        match self {
            Self::Here => actix_rt::spawn(make()).await.ok(),
            _ => self.run(make).await,
        }
    }
}

/// What runs a future on the thread where it is called, and where its output comes.
fn answered<T, F>(make: impl FnOnce() -> F + Send + 'static) -> (impl FnOnce() + Send + 'static, oneshot::Receiver<T>)
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let (reply, answer) = oneshot::channel();
    let work = move || {
        actix_rt::spawn(async move {
            // Nobody may wait any more: then nobody minds.
            reply.send(make().await).ok();
        });
    };
    (work, answer)
}

/// The places of a node's actors.
#[derive(Clone)]
pub(crate) struct Spots {
    pub(crate) workers: Vec<Spot>,
    pub(crate) storage: Spot,
    pub(crate) snapshots: Spot,
    pub(crate) transport: Spot,
}

impl Spots {
    pub(super) fn here(workers: usize) -> Self {
        Self {
            workers: vec![Spot::Here; workers],
            storage: Spot::Here,
            snapshots: Spot::Here,
            transport: Spot::Here,
        }
    }
}

/// The threads of a node: an actix system, on whose own thread the transport lives, and an arbiter for each
/// worker, for the storage and for the snapshots.
pub(super) struct Threads {
    system: System,
    /// Closed when the last of them has ended.
    running: watch::Receiver<()>,
}

impl Threads {
    /// Starts them.
    pub(super) fn start(name: &str, workers: usize) -> io::Result<(Self, Spots)> {
        let (ready, started) = std::sync::mpsc::channel();
        let (alive, running) = watch::channel(());
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Dropped last of all that is here.
            let _alive = alive;
            let runner = System::new();
            let system = System::current();
            let mut arbiters = Vec::new();
            let mut on_its_own = || {
                let arbiter = Arbiter::new();
                let spot = Spot::Thread(arbiter.handle());
                arbiters.push(arbiter);
                spot
            };
            let transport = Spot::Thread(system.arbiter().clone());
            let spots = Spots {
                // A single worker shares the transport's thread: what it says leaves without waking another, and what it
                // is told does not wake it a second time.
                workers: match workers {
                    1 => vec![transport.clone()],
                    _ => (0..workers).map(|_| on_its_own()).collect(),
                },
                storage: on_its_own(),
                snapshots: on_its_own(),
                transport,
            };
            if ready.send((system, spots)).is_err() {
                return;
            }
            if let Err(error) = runner.run() {
                tracing::error!(%error, "a node's system ended with an error");
            }
            for arbiter in arbiters {
                arbiter.stop();
                if arbiter.join().is_err() {
                    tracing::error!("a thread of a node panicked");
                }
            }
        })?;
        let (system, spots) = started.recv().map_err(io::Error::other)?;
        Ok((Self { system, running }, spots))
    }

    /// Tells them to end.
    pub(super) fn stop(&self) {
        self.system.stop();
    }

    /// Ends them, and waits for it without blocking the caller's thread. May be called again.
    pub(super) async fn stop_and_wait(&self) {
        self.stop();
        // Nothing is ever sent: an error says that the other end is gone.
        self.running.clone().changed().await.ok();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::pending;
    use std::sync::Arc;

    #[tokio::test]
    async fn what_nobody_awaits_any_more_ends() {
        let (threads, spots) = Threads::start("test", 1).unwrap();
        let running = Arc::new(());
        for _ in 0..1_000 {
            let running = running.clone();
            let asleep = spots.transport.run_awaited(move || async move {
                let _running = running;
                pending::<()>().await;
            });
            assert!(asleep.now_or_never().is_none());
        }
        let ended = async {
            while Arc::strong_count(&running) > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), ended)
            .await
            .unwrap();
        let answered = spots.transport.run_awaited(|| async { 7 });
        assert_eq!(answered.await, Some(7));
        threads.stop_and_wait().await;
    }
}
