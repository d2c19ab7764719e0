//! The example does what it says.

use std::process::Command;

const STORY: &str = "\
ada in g1: [\"ada's first note\", \"ada's second note\"]
barbara in g2: [\"barbara's first note\", \"barbara's second note\"]
grace in g3: [\"grace's first note\", \"grace's second note\"]
left: [\"ada\", \"grace\"]
barbara's group: the group is closed on this node
barbara in g4: []
all at half their share
";

/// The number before `word` in a line.
fn number(line: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|found| found.trim_end_matches(',') == word)?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

#[test]
fn tenants_come_use_their_groups_within_their_limits_and_go() -> std::io::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_tenants")).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.starts_with(STORY), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(" asks ")).collect();
    let loads: Vec<(Option<u64>, Option<u64>)> = lines
        .iter()
        .map(|line| (number(line, "accepted"), number(line, "refused")))
        .collect();
    // How long it takes is the machine's; who is refused is not.
    let quiet = (Some(100), Some(0));
    assert_eq!(loads.len(), 6, "{text}");
    assert_eq!(loads[..5], [quiet; 5], "{text}");
    let (accepted, refused) = (loads[5].0.unwrap_or_default(), loads[5].1.unwrap_or_default());
    assert_eq!(accepted + refused, 2_000, "{text}");
    // Its share of 200 per second, for as long as it took, and what it may save up beside that.
    let millis = lines[5]
        .strip_suffix(" ms in all")
        .and_then(|line| line.split(' ').next_back());
    let millis: u64 = millis.and_then(|millis| millis.parse().ok()).unwrap_or_default();
    assert!(millis >= 999 && accepted < 800 + millis / 5, "{text}");
    assert!(text.contains(&format!("and refused {refused}\n")), "{text}");
    Ok(())
}
