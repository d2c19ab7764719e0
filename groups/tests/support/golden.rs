//! Golden scripts. A script is a list of blocks with blank lines between them:
//!
//! ```text
//! # Why this step is taken.
//! command arguments
//! ----
//! what it printed
//! ```

use super::commands::Script;
use std::fmt::Write;
use std::path::{Path, PathBuf};

struct Block {
    prose: Vec<String>,
    commands: Vec<String>,
    expected: Vec<String>,
}

pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// Runs a script and compares; or writes what it printed if `RAFTYARD_GOLDEN=rewrite`.
pub(crate) fn run(name: &str) {
    let path = directory().join(format!("{name}.script"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut script = Script::default();
    let mut blocks = parse(&text);
    let mut diff = String::new();
    for block in &mut blocks {
        let mut printed = Vec::new();
        for command in &block.commands {
            printed.extend(script.run(command));
        }
        if printed != block.expected {
            let _ = writeln!(diff, "{}", block.commands.join("\n"));
            write_diff(&mut diff, &block.expected, &printed);
        }
        block.expected = printed;
    }
    if std::env::var("RAFTYARD_GOLDEN").is_ok_and(|value| value == "rewrite") {
        std::fs::write(&path, render(&blocks)).expect("the script can be written");
    } else {
        assert!(
            diff.is_empty(),
            "{name}.script printed something else (- expected, + printed):\n{diff}"
        );
        assert_eq!(
            text,
            render(&blocks),
            "{name}.script is not laid out as it would be written"
        );
    }
}

fn parse(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    for part in text.split("\n\n").filter(|part| !part.trim().is_empty()) {
        let mut block = Block {
            prose: Vec::new(),
            commands: Vec::new(),
            expected: Vec::new(),
        };
        let mut is_output = false;
        for line in part.lines().filter(|line| !line.is_empty()) {
            match line {
                "----" => is_output = true,
                line if is_output => block.expected.push(line.to_owned()),
                line if line.starts_with('#') => block.prose.push(line.to_owned()),
                line => block.commands.push(line.to_owned()),
            }
        }
        assert!(!block.prose.is_empty(), "a step without a word why: {part}");
        blocks.push(block);
    }
    blocks
}

fn render(blocks: &[Block]) -> String {
    let mut text = String::new();
    for (number, block) in blocks.iter().enumerate() {
        if number > 0 {
            text.push('\n');
        }
        for line in block.prose.iter().chain(&block.commands) {
            let _ = writeln!(text, "{line}");
        }
        if !block.commands.is_empty() {
            text.push_str("----\n");
        }
        for line in &block.expected {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// Lines both sides have in common at the start and at the end are shown as they are.
fn write_diff(diff: &mut String, expected: &[String], printed: &[String]) {
    let shared = |a: &mut dyn Iterator<Item = (&String, &String)>| a.take_while(|(a, b)| a == b).count();
    let head = shared(&mut expected.iter().zip(printed));
    let (expected_rest, printed_rest) = (&expected[head..], &printed[head..]);
    let tail = shared(&mut expected_rest.iter().rev().zip(printed_rest.iter().rev()));
    for line in &expected[..head] {
        let _ = writeln!(diff, "    {line}");
    }
    for line in &expected_rest[..expected_rest.len() - tail] {
        let _ = writeln!(diff, "  - {line}");
    }
    for line in &printed_rest[..printed_rest.len() - tail] {
        let _ = writeln!(diff, "  + {line}");
    }
    for line in &printed_rest[printed_rest.len() - tail..] {
        let _ = writeln!(diff, "    {line}");
    }
}
