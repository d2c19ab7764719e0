//! A soak: many groups on three nodes that restart, while groups are written, read, left alone until they sleep,
//! destroyed and created again, all at random. At the end every group must still take a write, and all replicas of a
//! group must hold the same.

mod group;
mod report;
mod tally;
mod world;

use crate::Failure;
use crate::interrupt::Interrupt;
use crate::output::DataDir;
use group::SoakGroup;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use report::Samples;
pub(crate) use report::SoakReport;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use world::World;

/// Tasks that write, read, destroy and create.
const ACTORS: u64 = 16;
/// What an actor waits between two actions, at most.
const PAUSE_MAX: Duration = Duration::from_millis(16);
/// How long a node stays away.
const AWAY_MAX: Duration = Duration::from_secs(3);
/// How long all nodes are there between two restarts.
const TOGETHER: Duration = Duration::from_secs(5);

/// What is soaked.
#[derive(Clone, Debug)]
pub(crate) struct SoakPlan {
    pub(crate) groups: u64,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
    pub(crate) workers: usize,
    pub(crate) data: Option<PathBuf>,
}

/// Runs the soak to its end; `None` if it was interrupted.
///
/// # Errors
///
/// What was found: a group that takes no write any more, replicas that differ, an acknowledged write that is gone or
/// counted twice; or what kept a node from opening.
pub(crate) async fn soak(plan: &SoakPlan, interrupt: &Interrupt) -> Result<Option<SoakReport>, Failure> {
    let parent = plan.data.clone().unwrap_or_else(std::env::temp_dir);
    let data = DataDir::create(&parent)?;
    eprintln!("seed {}: {} groups on 3 nodes", plan.seed, plan.groups);
    let world = Arc::new(World::start(data.path(), plan.groups, plan.workers).await?);
    let found = run(plan, &world, interrupt).await;
    world.stop().await;
    drop(world);
    data.remove()?;
    found
}

async fn run(plan: &SoakPlan, world: &Arc<World>, interrupt: &Interrupt) -> Result<Option<SoakReport>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let end = Instant::now() + plan.duration;
    let mut tasks = JoinSet::new();
    for actor in 0..ACTORS {
        let rng = StdRng::seed_from_u64(plan.seed.wrapping_add(1 + actor));
        tasks.spawn(act(Arc::clone(world), Arc::clone(&stop), rng));
    }
    let rng = StdRng::seed_from_u64(plan.seed);
    tasks.spawn(restart_nodes(Arc::clone(world), Arc::clone(&stop), rng));
    let mut samples = Samples::default();
    let mut failed = Ok(());
    while failed.is_ok() && Instant::now() < end && !interrupt.is_asked() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        samples.take(world, end);
        while let Some(ended) = tasks.try_join_next() {
            failed = ended?;
        }
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        failed = failed.and(ended?);
    }
    failed?;
    if interrupt.is_asked() {
        return Ok(None);
    }
    eprintln!("time is up: every group is written once more and its replicas are compared");
    world.all_agree().await?;
    Ok(Some(samples.report(plan, world)))
}

/// Does this and that with groups, until told to stop.
async fn act(world: Arc<World>, stop: Arc<AtomicBool>, mut rng: StdRng) -> Result<(), Failure> {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(PAUSE_MAX.mul_f64(rng.random())).await;
        let group: &tokio::sync::Mutex<SoakGroup> = world.group(rng.random_range(0..world.groups()));
        let mut group = group.lock().await;
        match rng.random_range(0..100) {
            0..=69 => {
                for _ in 0..rng.random_range(1..=4) {
                    group.write(rng.random()).await?;
                }
            }
            70..=94 => group.read().await?,
            _ => world.create_again(&mut group).await?,
        }
    }
    Ok(())
}

/// Takes one node after the other away for a while, until told to stop; all are there at the end.
async fn restart_nodes(world: Arc<World>, stop: Arc<AtomicBool>, mut rng: StdRng) -> Result<(), Failure> {
    loop {
        let until = Instant::now() + TOGETHER;
        while Instant::now() < until {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let node = rng.random_range(0..world::NODES);
        world.stop_node(node).await;
        tokio::time::sleep(AWAY_MAX.mul_f64(rng.random())).await;
        world.start_node(node).await?;
    }
}
