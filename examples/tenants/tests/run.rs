//! The example does what it says.

use std::process::Command;

#[test]
fn tenants_come_use_their_groups_and_go() -> std::io::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_tenants")).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let expected = "\
ada in g1: [\"ada's first note\", \"ada's second note\"]
barbara in g2: [\"barbara's first note\", \"barbara's second note\"]
grace in g3: [\"grace's first note\", \"grace's second note\"]
left: [\"ada\", \"grace\"]
barbara's group: the group is closed on this node
barbara in g4: []
";
    assert_eq!(text, expected);
    Ok(())
}
