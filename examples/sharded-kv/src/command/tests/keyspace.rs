//! Commands on keys and on all keys.

use super::*;
use crate::gather::Cursor;

fn gather(line: &str) -> Gather {
    match parse(&mut session(), &words(line)) {
        Action::Gather(gather) => gather,
        _ => panic!("{line}: asks no group"),
    }
}

#[test]
fn scan_options() {
    let scan = |line: &str| match gather(line) {
        Gather::Scan {
            cursor,
            pattern,
            count,
            strings,
        } => (cursor.number(), pattern, count, strings),
        other => panic!("{other:?}"),
    };
    assert_eq!(scan("SCAN 0"), (0, None, 10, true));
    let pattern = Some(Bytes::from_static(b"a*"));
    assert_eq!(
        scan("scan 16385 match a* count 5 type STRING"),
        (16385, pattern, 5, true)
    );
    assert_eq!(scan("SCAN 0 MATCH * TYPE list"), (0, None, 10, false));
    let max = u64::MAX;
    assert_eq!(gather(&format!("SCAN {max}")), gather(&format!("SCAN {max} COUNT 10")));
    assert_eq!(Cursor::from_number(max).number(), max);
    for (line, text) in [
        ("SCAN x", "ERR invalid cursor"),
        ("SCAN -1", "ERR invalid cursor"),
        ("SCAN 0 COUNT 0", "ERR syntax error"),
        ("SCAN 0 COUNT x", "ERR value is not an integer or out of range"),
        ("SCAN 0 MATCH", "ERR syntax error"),
        ("SCAN 0 WHAT 1", "ERR syntax error"),
    ] {
        assert_eq!(error(line), text, "{line}");
    }
}

#[test]
fn commands_on_all_keys() {
    assert_eq!(gather("KEYS a*"), Gather::Keys(Bytes::from_static(b"a*")));
    assert_eq!(gather("DBSIZE"), Gather::Size);
    assert_eq!(gather("RANDOMKEY"), Gather::Random);
    assert_eq!(gather("WAIT 2 100"), Gather::Replicas);
    assert_eq!(error("WAIT 1 -1"), "ERR timeout is negative");
    assert_eq!(error("WAIT x 1"), "ERR value is not an integer or out of range");
    for line in ["FLUSHALL", "flushdb async", "FLUSHALL SYNC"] {
        assert!(matches!(parse(&mut session(), &words(line)), Action::Flush), "{line}");
    }
    for line in ["FLUSHALL NOW", "FLUSHALL ASYNC SYNC"] {
        assert_eq!(error(line), "ERR syntax error");
    }
    let Reply::Array(time) = reply("TIME") else {
        panic!("no array")
    };
    assert_eq!(time.len(), 2);
}

#[test]
fn renames_and_copies() {
    let (from, to) = (Bytes::from_static(b"{a}1"), Bytes::from_static(b"{a}2"));
    let copy = Command::Copy {
        from: from.clone(),
        to: to.clone(),
        replace: true,
    };
    assert_eq!(write("COPY {a}1 {a}2 DB 0 REPLACE"), (slot_of(b"a"), copy));
    let if_absent = true;
    assert_eq!(write("RENAMENX {a}1 {a}2").1, Command::Rename { from, to, if_absent });
    for (line, text) in [
        ("RENAME a b", "CROSSSLOT Keys in request don't hash to the same slot"),
        ("COPY a b", "CROSSSLOT Keys in request don't hash to the same slot"),
        ("COPY a a", "ERR source and destination objects are the same"),
        (
            "COPY {a}1 {a}2 DB 1",
            "ERR Copying to another database is not allowed in cluster mode",
        ),
        ("COPY {a}1 {a}2 DB x", "ERR value is not an integer or out of range"),
        ("COPY {a}1 {a}2 WHAT", "ERR syntax error"),
        ("SETRANGE k -1 v", "ERR offset is out of range"),
        ("SETRANGE k x v", "ERR value is not an integer or out of range"),
        ("GETRANGE k 0 x", "ERR value is not an integer or out of range"),
        ("INCRBYFLOAT k x", "ERR value is not a valid float"),
        ("INCRBYFLOAT k nan", "ERR value is not a valid float"),
        ("MSETNX a", "ERR wrong number of arguments for 'msetnx' command"),
        ("MSETNX a 1 a", "ERR wrong number of arguments for 'msetnx' command"),
    ] {
        assert_eq!(error(line), text, "{line}");
    }
}
