//! The load generator. All of it is in the library, which the benches share.

use std::process::ExitCode;

fn main() -> ExitCode {
    raftyard_bench::run()
}
