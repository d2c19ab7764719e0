//! Runs scenarios, and says what came of them.

use super::properties::{Call, Verdict, check_history};
use super::scenario::Scenario;
use super::shrink::shrink;
use super::trace::{Line, Trace};
use super::watch::Violation;
use super::workload::Workload;
use super::world::World;
use std::cell::RefCell;
use std::fmt::{self, Debug};
use std::future::poll_fn;
use std::panic;
use std::rc::Rc;
use std::sync::Once;
use std::task::Poll;
use std::time::Duration;

/// Lines of a timeline that a failure shows.
const LINES_SHOWN: usize = 120;
/// Runs that making a scenario smaller may take.
const SHRINK_RUNS: usize = 150;

/// Runs a workload on simulated clusters.
#[derive(Clone, Debug)]
pub struct Simulation<W> {
    workload: W,
    nodes: u64,
    groups: u64,
    faulty: Duration,
    disks_lie: bool,
    shrink_runs: usize,
}

/// What a run was like in which everything held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// A number that says all that happened: the same in every run of a scenario.
    pub digest: u64,
    /// How many events that were.
    pub events: u64,
    /// How much time passed in the simulation.
    pub simulated: Duration,
    /// Answers that clients got.
    pub answers: u64,
    /// Leaders that were elected.
    pub elections: u64,
    /// Parts of histories that were checked.
    pub histories: u64,
    /// Those of them whose check took too long.
    pub undecided: u64,
    /// What happened, as far as it is worth a line.
    pub timeline: Vec<Line>,
}

/// What a run was like in which something did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The smallest scenario that was found in which the same property does not hold.
    pub scenario: Scenario,
    /// What did not hold in that.
    pub violation: Violation,
    /// What happened there.
    pub timeline: Vec<Line>,
    /// How to run the original again: what was asked for.
    pub seed: u64,
    /// Faults that the seed's own scenario has.
    pub faults: usize,
}

impl<W: Workload> Simulation<W> {
    /// A simulation of 3 nodes and 4 groups, in which faults happen for 20 seconds.
    pub fn new(workload: W) -> Self {
        Self {
            workload,
            nodes: 3,
            groups: 4,
            faulty: Duration::from_secs(20),
            disks_lie: false,
            shrink_runs: SHRINK_RUNS,
        }
    }

    /// How many nodes; from 3 to 7 makes sense.
    #[must_use]
    pub fn nodes(mut self, nodes: u64) -> Self {
        self.nodes = nodes.max(1);
        self
    }

    /// How many groups, which have three or five members each.
    #[must_use]
    pub fn groups(mut self, groups: u64) -> Self {
        self.groups = groups.max(1);
        self
    }

    /// For how long faults happen, in simulated time.
    #[must_use]
    pub fn faulty(mut self, faulty: Duration) -> Self {
        self.faulty = faulty;
        self
    }

    /// Lets disks say of what they are only about to write that it is durable. Nothing can be promised then: a run
    /// shows how that is noticed.
    #[must_use]
    pub fn disks_that_lie(mut self) -> Self {
        self.disks_lie = true;
        self
    }

    /// How many runs it may take to make a scenario that fails smaller; none, to see it as it is.
    #[must_use]
    pub fn shrink_runs(mut self, runs: usize) -> Self {
        self.shrink_runs = runs;
        self
    }

    /// The scenario that a seed makes.
    #[must_use]
    pub fn scenario(&self, seed: u64) -> Scenario {
        Scenario {
            disks_lie: self.disks_lie,
            ..Scenario::draw(seed, self.nodes, self.groups, self.faulty)
        }
    }

    /// Runs a seed.
    ///
    /// # Errors
    ///
    /// [`Failure`], if something does not hold that must.
    pub fn run(&self, seed: u64) -> Result<Report, Box<Failure>> {
        let scenario = self.scenario(seed);
        let faults = scenario.steps.len();
        match self.run_scenario(&scenario) {
            Ok(report) => Ok(report),
            Err((violation, timeline)) => {
                let first = (scenario, violation, timeline);
                let (scenario, violation, timeline) =
                    shrink(first, self.shrink_runs, |scenario| self.run_scenario(scenario).err());
                Err(Box::new(Failure {
                    scenario,
                    violation,
                    timeline,
                    seed,
                    faults,
                }))
            }
        }
    }

    /// Runs a scenario as it is.
    ///
    /// # Errors
    ///
    /// What did not hold, and what happened until then.
    pub fn run_scenario(&self, scenario: &Scenario) -> Result<Report, (Violation, Vec<Line>)> {
        count_panics();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let what = format!("no runtime can be had: {error}");
                let property = "simulation";
                return Err((Violation { property, what }, Vec::new()));
            }
        };
        PANICS.take();
        runtime.block_on(async {
            let trace = Trace::start();
            let world = Rc::new(World::new(scenario, &self.workload, &trace));
            world.begin();
            let over = poll_fn(|_| {
                if let Some(what) = PANICS.take() {
                    world.watchman.violated("no panic", what);
                }
                if world.is_done() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            world.threads.run(over).await;
            let (digest, events) = trace.digest();
            let (histories, undecided) = self.check_histories(&world);
            world.threads.end_all();
            if let Some(violation) = world.watchman.violation() {
                return Err((violation, trace.lines()));
            }
            Ok(Report {
                digest,
                events,
                simulated: trace.elapsed(),
                answers: world.answers(),
                elections: world.watchman.elections(),
                histories,
                undecided,
                timeline: trace.lines(),
            })
        })
    }

    /// Checks what clients were told; returns how many parts that were, and how many could not be decided.
    fn check_histories(&self, world: &World<W>) -> (u64, u64) {
        let (mut histories, mut undecided) = (0, 0);
        let groups = std::mem::take(&mut *world.groups.borrow_mut());
        for (id, group) in groups {
            for ((incarnation, part), calls) in group.histories {
                let calls: Vec<Call<W::Machine>> = calls.into_iter().flatten().filter(Call::counts).collect();
                histories += 1;
                match check_history(&|| self.workload.machine(), &calls) {
                    Verdict::Linearizable => {}
                    Verdict::Undecided => undecided += 1,
                    Verdict::Not(longest) => {
                        let calls: Vec<String> = calls.iter().map(|call| format!("\n  {call}")).collect();
                        let count = calls.len();
                        let calls = calls.concat();
                        let what = format!(
                            "part {part} of {id} i{incarnation}: at most {longest} of {count} calls can be put in \
                             order:{calls}"
                        );
                        world.watchman.violated("linearizability", what);
                    }
                }
            }
        }
        (histories, undecided)
    }
}

thread_local! {
    /// What the last panic on this thread said, unless somebody asked since.
    static PANICS: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has panics noted: actors and tasks die of them without a word to anybody.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICS.set(Some(panic.to_string()));
            before(panic);
        }));
    });
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scenario,
            violation,
            timeline,
            seed,
            faults,
        } = self;
        let left = scenario.steps.len();
        writeln!(f, "seed {seed}: {violation}")?;
        writeln!(f, "\nof its {faults} faults these {left} are enough:\n{scenario}")?;
        writeln!(f, "what happened there:")?;
        let hidden = timeline.len().saturating_sub(LINES_SHOWN);
        if hidden > 0 {
            writeln!(f, "      … {hidden} lines before")?;
        }
        timeline
            .iter()
            .skip(hidden)
            .try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "\nRAFTYARD_SEED={seed} runs it again")
    }
}

impl std::error::Error for Failure {}
