//! The end of a process, which comes in time.

use std::io;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What asks the process to end.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// # Errors
    ///
    /// The process can't be told.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Returns once the process is asked to end; how.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "terminated",
        }
    }
}

/// Waits for `stop`. If that may never end, because a node failed, or if the process is asked once more to end, it has
/// so long: then the process ends all the same, with status 1.
pub(super) async fn within(limit: Duration, has_failed: bool, mut signals: Signals, stop: impl Future<Output = ()>) {
    if has_failed {
        end_after(limit);
    }
    // A task of its own: what stops may hold up this one.
    tokio::spawn(async move {
        let how = signals.next().await;
        tracing::info!("{how} again, waiting no longer than {limit:?}");
        end_after(limit);
    });
    stop.await;
}

/// Ends the process then, wherever its other threads are held up.
fn end_after(limit: Duration) {
    let end = move || {
        thread::sleep(limit);
        tracing::error!("the nodes did not stop within {limit:?}, ending without them");
        std::process::exit(1);
    };
    if let Err(error) = thread::Builder::new().name("kv-end".into()).spawn(end) {
        tracing::warn!(%error, "the nodes are waited for however long they take");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    const NAME: &str = "process::stop::tests::a_stop_that_never_ends_is_cut_short";
    /// Set for the process that ends: whether a node failed.
    const HAS_FAILED: &str = "RAFTYARD_TEST_HAS_FAILED";
    const STOPS: &str = "it stops";
    const PATIENCE: Duration = Duration::from_secs(30);

    /// What stops takes its thread along.
    fn stop(has_failed: bool) {
        let runtime = crate::process::runtime().unwrap();
        runtime.block_on(async {
            let signals = Signals::new().unwrap();
            // Before the time runs in which it has to end, however late this thread is.
            println!("\n{STOPS}");
            let stop = async {
                loop {
                    thread::park();
                }
            };
            within(Duration::from_millis(10), has_failed, signals, stop).await;
        });
    }

    #[test]
    fn a_stop_that_never_ends_is_cut_short() {
        if let Ok(has_failed) = std::env::var(HAS_FAILED) {
            return stop(has_failed == "true");
        }
        for has_failed in [true, false] {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", NAME, "--nocapture"])
                .env(HAS_FAILED, has_failed.to_string())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let output = BufReader::new(child.stdout.take().unwrap());
            let stops = output.lines().map_while(Result::ok).any(|line| line == STOPS);
            if !has_failed {
                let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
                assert!(killed.success());
            }
            let start = Instant::now();
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
                if start.elapsed() > PATIENCE {
                    child.kill().unwrap();
                }
                thread::sleep(Duration::from_millis(10));
            };
            assert!(stops);
            assert_eq!(status.code(), Some(1), "has failed: {has_failed}, {status}");
        }
    }
}
