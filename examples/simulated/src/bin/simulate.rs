//! Long runs of simulated clusters: as many seeds as are asked for, on as many threads as there are cores.

use clap::Parser;
use raftyard::sim::{Registers, Simulation};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs simulated clusters under faults.
#[derive(Parser)]
struct Options {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Simulated seconds in which faults happen; afterwards everything heals.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Nodes, from 3 to 7; by default as many as the seed says.
    #[arg(long)]
    nodes: Option<u64>,
    /// Groups.
    #[arg(long, default_value_t = 8)]
    groups: u64,
    /// Real threads, each with a world of its own; by default one per core.
    #[arg(long)]
    threads: Option<usize>,
    /// How many runs it may take to make a scenario that fails smaller; 0 to see it as it is.
    #[arg(long)]
    shrink_runs: Option<usize>,
    /// Shows what happened, also in runs in which everything held.
    #[arg(long)]
    timeline: bool,
}

/// What all threads have done so far.
#[derive(Default)]
struct Totals {
    next: AtomicU64,
    simulated_ms: AtomicU64,
    answers: AtomicU64,
    elections: AtomicU64,
    histories: AtomicU64,
    undecided: AtomicU64,
    has_failed: AtomicBool,
    /// So that lines of two threads don't mix.
    output: Mutex<()>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let (totals, began) = (Totals::default(), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..options.threads.unwrap_or(cores) {
            scope.spawn(|| work(&options, &totals, began));
        }
    });
    summary(&totals, began);
    let [histories, undecided] = [&totals.histories, &totals.undecided].map(|total| total.load(Ordering::Relaxed));
    // What nobody could decide says nothing for what is promised.
    let is_decided = undecided * 100 <= histories;
    if !is_decided {
        println!("more than one history in a hundred could not be decided");
    }
    match is_decided && !totals.has_failed.load(Ordering::Relaxed) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs one seed after the other.
fn work(options: &Options, totals: &Totals, began: Instant) {
    loop {
        let n = totals.next.fetch_add(1, Ordering::Relaxed);
        if n >= options.seeds || totals.has_failed.load(Ordering::Relaxed) {
            return;
        }
        let seed = options.seed + n;
        let nodes = options.nodes.unwrap_or(3 + seed % 5);
        let mut simulation = Simulation::new(Registers::default())
            .nodes(nodes)
            .groups(options.groups)
            .faulty(Duration::from_secs(options.seconds));
        if let Some(runs) = options.shrink_runs {
            simulation = simulation.shrink_runs(runs);
        }
        let outcome = simulation.run(seed);
        let _output = totals.output.lock();
        match outcome {
            Ok(report) => {
                let ms = u64::try_from(report.simulated.as_millis()).unwrap_or(u64::MAX);
                totals.simulated_ms.fetch_add(ms, Ordering::Relaxed);
                totals.answers.fetch_add(report.answers, Ordering::Relaxed);
                totals.elections.fetch_add(report.elections, Ordering::Relaxed);
                totals.histories.fetch_add(report.histories, Ordering::Relaxed);
                totals.undecided.fetch_add(report.undecided, Ordering::Relaxed);
                if options.timeline {
                    report.timeline.iter().for_each(|line| println!("{line}"));
                }
            }
            Err(failure) => {
                totals.has_failed.store(true, Ordering::Relaxed);
                println!("{failure}");
                println!(
                    "cargo run --release -p simulated --bin simulate -- --seed {seed} --seeds 1 --seconds {} \
                     --groups {} --nodes {}",
                    options.seconds, options.groups, nodes
                );
            }
        }
        if (n + 1).is_multiple_of(50) {
            summary(totals, began);
        }
    }
}

fn summary(totals: &Totals, began: Instant) {
    let [simulated_ms, answers, elections, histories, undecided] = [
        &totals.simulated_ms,
        &totals.answers,
        &totals.elections,
        &totals.histories,
        &totals.undecided,
    ]
    .map(|total| total.load(Ordering::Relaxed));
    let simulated = Duration::from_millis(simulated_ms).as_secs_f64();
    println!(
        "{simulated:.0} simulated seconds, {:.1} per second; {answers} answers, {elections} elections, {undecided} \
         of {histories} histories undecided",
        simulated / began.elapsed().as_secs_f64()
    );
}
