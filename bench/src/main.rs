//! The load generator. All of it is in the library, which the benches share.

use std::process::ExitCode;

/// Of small objects that one thread allocates and another one frees there are many.
#[cfg(not(feature = "heap"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts.
#[cfg(feature = "heap")]
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    raftyard_bench::run()
}
