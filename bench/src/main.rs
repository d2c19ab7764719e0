//! The load generator. All of it is in the library, which the benches share.

use std::process::ExitCode;

/// Of small objects that one thread allocates and another one frees there are many.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    raftyard_bench::run()
}
