//! A stale holder is refused, and the locks outlive their leader.

use std::process::Command;

#[test]
fn a_stale_holder_is_refused() -> std::io::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_locks")).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for line in [
        "ada has the lock, token 1",
        "bob has not: ada has it",
        "ada's lease ran out, bob has the lock, token 2",
        "ada comes too late: token 1 is older than 2",
        "ada can't renew: true",
        "free again: true; the file: [\"by ada\", \"by bob\"]",
    ] {
        assert!(text.lines().any(|printed| printed == line), "no {line:?} in\n{text}");
    }
    Ok(())
}
