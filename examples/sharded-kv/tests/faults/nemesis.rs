//! Carries out a plan, and what an operator would do about it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::Load;
use crate::cluster::{Cluster, Operator};
use crate::plan::{Fault, Planned};
use crate::random::Random;

/// A fault as it happened, in microseconds of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Happened {
    pub(crate) fault: Fault,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// How far it all is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// All faults are over.
    pub(crate) healed: AtomicBool,
    /// The node that is wiped and to be replaced, 0 if none.
    wiped: AtomicUsize,
    replaced: AtomicBool,
}

impl Progress {
    /// Whether nothing is left for the operator to do.
    pub(crate) fn is_whole(&self) -> bool {
        self.wiped.load(Ordering::SeqCst) == 0 || self.replaced.load(Ordering::SeqCst)
    }
}

/// What came of a plan.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    pub(crate) happened: Vec<Happened>,
    /// What processes should not have done.
    pub(crate) complaints: Vec<String>,
}

/// Carries out the plan and tends the nodes until the run stops.
pub(crate) fn run(cluster: &mut Cluster, plan: &[Planned], load: &Load, progress: &Progress) -> Damage {
    let begin = Instant::now();
    let mut events: Vec<(Duration, bool, usize)> = plan
        .iter()
        .enumerate()
        .flat_map(|(at, planned)| [(planned.from, true, at), (planned.to, false, at)])
        .collect();
    // What ends makes room for what begins.
    events.sort_unstable();
    let mut events = events.into_iter().peekable();
    let mut damage = Damage::default();
    let mut began = vec![0; plan.len()];
    let mut wiped = None;
    while !load.stop.load(Ordering::SeqCst) {
        while let Some((_, begins, at)) = events.next_if(|(due, ..)| *due <= begin.elapsed()) {
            let fault = plan[at].fault;
            if begins {
                began[at] = load.micros();
                if let Fault::Wipe(node) = fault {
                    wiped = Some(node);
                    progress.wiped.store(node, Ordering::SeqCst);
                }
                cluster.begin(fault);
            } else {
                cluster.end(fault, wiped);
                let (from, to) = (began[at], load.micros());
                damage.happened.push(Happened { fault, from, to });
            }
        }
        if events.peek().is_none() {
            progress.healed.store(true, Ordering::SeqCst);
        }
        damage.complaints.extend(cluster.tend());
        thread::sleep(Duration::from_millis(10));
    }
    damage.happened.sort_by_key(|happened| happened.from);
    damage
}

/// Replaces a node once one is wiped.
pub(crate) fn operate(operator: &Operator, load: &Load, progress: &Progress, mut random: Random) {
    while !load.stop.load(Ordering::SeqCst) && !progress.replaced.load(Ordering::SeqCst) {
        let wiped = progress.wiped.load(Ordering::SeqCst);
        if wiped != 0 && operator.replace(wiped, &mut random) {
            progress.replaced.store(true, Ordering::SeqCst);
        }
        thread::sleep(Duration::from_millis(200));
    }
}
