//! Runs the example as it is.

#![allow(clippy::unwrap_used)]

use std::process::Command;

#[test]
fn a_state_machine_of_ones_own_stands_the_faults() {
    let output = Command::new(env!("CARGO_BIN_EXE_simulated")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.lines().count(), 5, "{text}");
}
