//! What clients count, and one measured stretch of time.

use crate::results::RoundResult;
use crate::{Failure, cpu};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Histograms that clients share: few enough for any number of clients, more than threads that run them.
const SHARDS: usize = 16;

/// How often the one who waits looks up.
const LOOK: Duration = Duration::from_millis(20);

/// How long what comes before a round may take.
const PREPARE: Duration = Duration::from_secs(120);

/// How long clients may wait for their last answers.
const ANSWERS: Duration = Duration::from_secs(10);

/// Set once the run is to end early.
pub(crate) type Interrupt = Arc<AtomicBool>;

/// How long a round takes.
#[derive(Clone)]
pub(crate) struct Timing {
    pub(crate) warm_up: Duration,
    pub(crate) measure: Duration,
    pub(crate) interrupt: Interrupt,
}

impl Timing {
    /// Whether the run was interrupted, as an error.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Err("interrupted; servers are stopped and their data is removed".into());
        }
        Ok(())
    }
}

/// Runs what comes before a round, `what`, on `runtime`, for a time and as long as the run is not interrupted.
///
/// # Errors
///
/// Its error, or that it took too long or was interrupted.
pub(crate) fn bounded<T>(
    runtime: &Runtime,
    timing: &Timing,
    what: &str,
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let interrupted = async {
        loop {
            if let Err(error) = timing.check() {
                return error;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            outcome = future => outcome,
            error = interrupted => Err(error),
            () = tokio::time::sleep(PREPARE) => Err(format!("{what} took more than {} s", PREPARE.as_secs()).into()),
        }
    })
}

/// Waits for clients that were told to stop; those that wait for an answer in vain are dropped.
pub(crate) fn end(runtime: &Runtime, mut clients: JoinSet<()>) {
    runtime.block_on(async {
        let ended = async { while clients.join_next().await.is_some() {} };
        if tokio::time::timeout(ANSWERS, ended).await.is_err() {
            eprintln!("warning: {} clients still wait for answers", clients.len());
        }
    });
}

/// Shared by the clients of a round and the one who measures.
pub(crate) struct Tally {
    measuring: AtomicBool,
    stop: AtomicBool,
    ops: AtomicU64,
    refused: AtomicU64,
    failure: Mutex<Option<String>>,
    latency_us: Vec<Mutex<Histogram<u64>>>,
}

impl Tally {
    pub(crate) fn new() -> Result<Arc<Self>, Failure> {
        let empty = Histogram::new_with_max(60_000_000, 3)?;
        Ok(Arc::new(Self {
            measuring: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            ops: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failure: Mutex::new(None),
            latency_us: (0..SHARDS).map(|_| Mutex::new(empty.clone())).collect(),
        }))
    }

    /// Whether clients are to start nothing more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// `count` operations that began at `asked` were answered, as client `client` saw it.
    pub(crate) fn answered(&self, client: usize, asked: Instant, count: u64) {
        self.ops.fetch_add(count, Ordering::Relaxed);
        if self.measuring.load(Ordering::Relaxed)
            && let Some(latency_us) = self.latency_us.get(client % SHARDS)
        {
            let micros = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
            latency_us.lock().saturating_record_n(micros, count);
        }
    }

    /// An operation was refused: it does not count.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The round is worthless: all clients stop. The first reason counts.
    pub(crate) fn fail(&self, why: impl Into<String>) {
        self.failure.lock().get_or_insert_with(|| why.into());
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Warms up, measures, and tells the clients to stop. CPU time is that of `servers` and of this process, which
    /// runs the clients.
    ///
    /// # Errors
    ///
    /// What failed; also if nothing was answered, or the run was interrupted.
    pub(crate) fn measure(&self, timing: &Timing, servers: &[u32]) -> Result<RoundResult, Failure> {
        self.wait(timing, timing.warm_up);
        let me = [std::process::id()];
        let read = || (cpu::used(&me), cpu::used(servers), self.ops.load(Ordering::Relaxed));
        let refused = self.refused.load(Ordering::Relaxed);
        let (before, start) = (read(), Instant::now());
        self.measuring.store(true, Ordering::Relaxed);
        self.wait(timing, timing.measure);
        self.measuring.store(false, Ordering::Relaxed);
        let (after, seconds) = (read(), start.elapsed().as_secs_f64());
        self.stop.store(true, Ordering::Relaxed);
        timing.check()?;
        if let Some(why) = self.failure.lock().take() {
            return Err(why.into());
        }
        let ops = after.2.saturating_sub(before.2);
        if ops == 0 {
            return Err("nothing was answered while it was measured".into());
        }
        let spent = |before: Option<Duration>, after: Option<Duration>| {
            let spent = after?.saturating_sub(before?);
            Some(spent.as_secs_f64() * 1e6)
        };
        let (own, theirs) = (spent(before.0, after.0), spent(before.1, after.1));
        let mut round = RoundResult {
            ops,
            seconds,
            ops_per_s: count(ops) / seconds,
            cpu_us_per_op: own.zip(theirs).map(|(own, theirs)| (own + theirs) / count(ops)),
            ..RoundResult::default()
        };
        if !servers.is_empty() {
            for (name, micros) in [("client_cpu_us_per_op", own), ("server_cpu_us_per_op", theirs)] {
                round
                    .extra
                    .extend(micros.map(|micros| (name.to_owned(), micros / count(ops))));
            }
        }
        if let Some(micros) = own {
            round.extra.insert("own_cores".to_owned(), micros / 1e6 / seconds);
        }
        let refused = self.refused.load(Ordering::Relaxed).saturating_sub(refused);
        if refused > 0 {
            round.extra.insert("refused".to_owned(), count(refused));
        }
        self.add_latencies(&mut round)?;
        Ok(round)
    }

    fn wait(&self, timing: &Timing, how_long: Duration) {
        let start = Instant::now();
        while start.elapsed() < how_long && !self.is_stopped() && timing.check().is_ok() {
            std::thread::sleep(LOOK.min(how_long.saturating_sub(start.elapsed())));
        }
    }

    fn add_latencies(&self, round: &mut RoundResult) -> Result<(), Failure> {
        let mut all = Histogram::<u64>::new_with_max(60_000_000, 3)?;
        for shard in &self.latency_us {
            all.add(&*shard.lock())?;
        }
        if !all.is_empty() {
            let quantile = |quantile| Some(count(all.value_at_quantile(quantile)));
            round.p50_us = quantile(0.5);
            round.p99_us = quantile(0.99);
            round.p999_us = quantile(0.999);
            round.max_us = quantile(1.0);
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "for ratios, shown with few digits")]
fn count(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn timing() -> Timing {
        Timing {
            warm_up: Duration::ZERO,
            measure: Duration::from_millis(200),
            interrupt: Interrupt::default(),
        }
    }

    #[test]
    fn only_what_was_answered_while_it_was_measured_counts() {
        let tally = Tally::new().unwrap();
        tally.answered(0, Instant::now(), 5);
        let measured = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !tally.measuring.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                tally.answered(1, Instant::now(), 7);
            });
            tally.measure(&timing(), &[]).unwrap()
        });
        assert_eq!(measured.ops, 7);
        assert!(measured.p50_us <= measured.max_us && measured.max_us.is_some());
        assert!(tally.is_stopped());
    }

    #[test]
    fn a_round_that_failed_or_in_which_nothing_happened_has_no_figures() {
        let tally = Tally::new().unwrap();
        assert!(tally.measure(&timing(), &[]).is_err());
        let tally = Tally::new().unwrap();
        tally.fail("the disk is full");
        tally.fail("later");
        let error = tally.measure(&timing(), &[]).unwrap_err().to_string();
        assert_eq!(error, "the disk is full");
    }

    #[test]
    fn nothing_is_waited_for_after_an_interrupt() {
        let runtime = crate::runtime(1).unwrap();
        let interrupted = timing();
        interrupted.interrupt.store(true, Ordering::Relaxed);
        let error = bounded(
            &runtime,
            &interrupted,
            "it",
            std::future::pending::<Result<(), Failure>>(),
        );
        assert!(error.unwrap_err().to_string().contains("interrupted"));
        let outcome = bounded(&runtime, &timing(), "it", async { Ok(7) });
        assert_eq!(outcome.unwrap(), 7);
    }

    #[test]
    fn an_interrupted_round_ends_at_once() {
        let tally = Tally::new().unwrap();
        let timing = Timing {
            measure: Duration::from_secs(3600),
            ..timing()
        };
        timing.interrupt.store(true, Ordering::Relaxed);
        let error = tally.measure(&timing, &[]).unwrap_err().to_string();
        assert!(error.contains("interrupted"), "{error}");
    }
}
