//! The quickstart does what the README says.

use std::process::Command;

#[test]
fn it_counts_to_forty_two() -> std::io::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_quickstart")).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text, "add 1: 1\nadd 2: 3\nadd 39: 42\nread: 42\n");
    Ok(())
}
