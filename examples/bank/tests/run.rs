//! No money is made or lost, and no transfer is made twice, while leaders fail.

use std::process::Command;

#[test]
fn every_transfer_is_made_once_and_the_total_stays() -> std::io::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_bank")).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for line in ["transfers: 800 of 800", "total: 1000 of 1000"] {
        assert!(text.lines().any(|printed| printed == line), "no {line:?} in\n{text}");
    }
    let mishaps = text.split(' ').next().and_then(|count| count.parse::<u64>().ok());
    assert!(
        mishaps.is_some_and(|mishaps| mishaps >= 3),
        "leaders fail meanwhile:\n{text}"
    );
    Ok(())
}
