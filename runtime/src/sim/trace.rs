//! What happened in a simulation: a digest of everything, and a timeline to be read.

use crate::random::mix;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Lines of the timeline that are kept.
const LINES_MAX: usize = 4_000;

/// What everything that happens is noted in. Clones are the same.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<State>>);

struct State {
    start: Instant,
    digest: u64,
    events: u64,
    lines: VecDeque<Line>,
}

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Since the simulation began.
    pub at: Duration,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3} s  {}", self.at.as_secs_f64(), self.what)
    }
}

impl Trace {
    /// A trace that begins now.
    pub(crate) fn start() -> Self {
        Self(Arc::new(Mutex::new(State {
            start: Instant::now(),
            digest: 0,
            events: 0,
            lines: VecDeque::new(),
        })))
    }

    /// Since it began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.lock().start.elapsed()
    }

    /// Notes that something happened, of which these numbers say all.
    pub(crate) fn event(&self, numbers: &[u64]) {
        let mut state = self.0.lock();
        let now = u64::try_from(state.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let digest = numbers
            .iter()
            .fold(mix(state.digest, now), |digest, number| mix(digest, *number));
        state.digest = digest;
        state.events += 1;
    }

    /// Notes something that is worth a line of the timeline.
    pub(crate) fn line(&self, what: impl Into<String>) {
        let what = what.into();
        self.event(&[u64::from(crc32fast::hash(what.as_bytes())), what.len() as u64]);
        let mut state = self.0.lock();
        let at = state.start.elapsed();
        if state.lines.len() == LINES_MAX {
            state.lines.pop_front();
        }
        state.lines.push_back(Line { at, what });
    }

    /// A number that says all that happened so far, and how many events that were.
    pub(crate) fn digest(&self) -> (u64, u64) {
        let state = self.0.lock();
        (state.digest, state.events)
    }

    /// The timeline.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.0.lock().lines.iter().cloned().collect()
    }
}
