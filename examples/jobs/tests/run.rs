//! Every job is done and acknowledged once, through crashes and a restart.

use std::process::Command;

#[test]
fn every_job_is_done_and_acknowledged_once() -> std::io::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_jobs")).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for line in ["acknowledged: 60 of 60", "done at least once: true"] {
        assert!(text.lines().any(|printed| printed == line), "no {line:?} in\n{text}");
    }
    let again = text
        .lines()
        .find_map(|line| line.strip_prefix("done again after a crash: "));
    let again: usize = again.and_then(|count| count.parse().ok()).unwrap_or_default();
    assert!(again > 0, "workers crash, and their jobs are done again:\n{text}");
    Ok(())
}
