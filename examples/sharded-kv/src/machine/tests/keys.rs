//! Scans, renames, and commands on parts of values.

use std::collections::BTreeSet;

use super::*;
use crate::random::Random;

impl Kv {
    fn scan(&self, before: u64, count: u64, pattern: Option<&str>) -> (u64, Vec<String>) {
        let pattern = pattern.map(bytes);
        match self.query(Query::Scan { before, count, pattern }) {
            Answer::Page { before, keys } => {
                let text = |key: Bytes| String::from_utf8(key.to_vec()).unwrap();
                (before, keys.into_iter().map(text).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    fn range(&self, start: i64, end: i64) -> String {
        let key = bytes("k");
        match self.query(Query::Range { key, start, end }) {
            Answer::Value(Some(value)) => String::from_utf8(value.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn delete(&mut self, key: &str) {
        let keys = vec![bytes(key)];
        assert_eq!(self.apply(Command::Delete { keys }, NOW), Response::Integer(1));
    }
}

/// A group answers nobody else while a pattern is tried.
#[test]
fn a_page_ends_when_the_pattern_has_taken_its_steps() {
    for mut kv in [Kv::default(), Kv::on_disk()] {
        // Each of these keys takes more than half of the steps of a page.
        let pattern = format!("*{}b", "a".repeat(2_000));
        let long = "a".repeat(7_000);
        for number in 0..3 {
            kv.put(&format!("{number}{long}"), "v");
        }
        let (mut before, mut pages) = (0, 0);
        loop {
            let keys;
            (before, keys) = kv.scan(before, 100, Some(&pattern));
            pages += 1;
            assert!(keys.is_empty());
            if before == 0 {
                break;
            }
        }
        assert_eq!(pages, 3);
        kv.put(&"a".repeat(20_000), "v");
        let query = |before| Query::Scan {
            before,
            count: 100,
            pattern: Some(bytes(&pattern)),
        };
        let mut answer = kv.query(query(0));
        while let Answer::Page { before, .. } = answer {
            assert_ne!(before, 0, "the longest key was passed");
            answer = kv.query(query(before));
        }
        assert_eq!(answer, Answer::Refused(Refusal::PatternTooCostly));
    }
}

/// All of them are in memory with the reply.
#[test]
fn a_page_ends_when_its_keys_are_long_together() {
    for mut kv in [Kv::default(), Kv::on_disk()] {
        let long = "a".repeat(1024 * 1024);
        let all: BTreeSet<String> = (10..30).map(|number| format!("{number}{long}")).collect();
        for key in &all {
            kv.put(key, "v");
        }
        let (mut before, mut seen) = (0, BTreeSet::new());
        loop {
            let keys;
            (before, keys) = kv.scan(before, 4_096, None);
            assert!(keys.len() <= 4, "{} keys of 1 MiB", keys.len());
            seen.extend(keys);
            if before == 0 {
                break;
            }
        }
        assert!(seen == all, "{} of {}", seen.len(), all.len());
    }
}

/// A scan through random writes returns what was there all the while, and nothing that was not there at all.
#[test]
fn a_scan_survives_writes() {
    for seed in 1..200_u64 {
        let mut random = Random::new(seed);
        let mut kv = if seed % 2 == 0 { Kv::default() } else { Kv::on_disk() };
        let mut lasting: BTreeSet<String> = (0..random.below(60)).map(|number| format!("k{number}")).collect();
        for key in &lasting {
            kv.put(key, "v");
        }
        let (mut before, mut seen, mut ever) = (0, BTreeSet::new(), lasting.clone());
        loop {
            let keys;
            (before, keys) = kv.scan(before, random.below(7) + 1, None);
            seen.extend(keys);
            if before == 0 {
                break;
            }
            for _ in 0..random.below(8) {
                let key = format!("k{}", random.below(90));
                if kv.get(&key).is_some() && random.below(2) == 0 {
                    kv.delete(&key);
                    lasting.remove(&key);
                } else {
                    kv.put(&key, "w");
                    ever.insert(key);
                }
            }
        }
        assert!(seen.is_superset(&lasting), "seed {seed}: {lasting:?} {seen:?}");
        assert!(seen.is_subset(&ever), "seed {seed}");
    }
}

#[test]
fn a_scan_has_steps_and_patterns() {
    let mut kv = Kv::default();
    assert_eq!(kv.scan(0, 10, None), (0, vec![]));
    for key in ["a1", "b1", "a2", "b2", "a3"] {
        kv.put(key, "v");
    }
    assert_eq!(kv.scan(0, 2, None), (3, vec!["b2".into(), "a3".into()]));
    assert_eq!(kv.scan(3, 2, Some("a*")), (1, vec!["a2".into()]));
    assert_eq!(kv.scan(1, 2, None), (0, vec!["a1".into()]));
    assert_eq!(
        kv.scan(1_000_000, u64::MAX, Some("b?")).1.len(),
        2,
        "there is no such place any more"
    );
    kv.apply(Command::Flush, NOW);
    assert_eq!(kv.scan(3, 2, None), (0, vec![]));
    assert_eq!(kv.query(Query::KeyAt(7)), Answer::Value(None));
}

#[test]
fn every_key_can_be_drawn() {
    for mut kv in [Kv::default(), Kv::on_disk()] {
        for key in ["a", "b", "c"] {
            kv.put(key, "v");
        }
        let drawn: BTreeSet<_> = (0..3)
            .map(|number| format!("{:?}", kv.query(Query::KeyAt(number))))
            .collect();
        assert_eq!(drawn.len(), 3);
        assert_eq!(kv.query(Query::KeyAt(4)), kv.query(Query::KeyAt(1)));
    }
}

#[test]
fn rename_takes_value_and_deadline() {
    let mut kv = Kv::default();
    let rename = |from: &str, to: &str, if_absent| Command::Rename {
        from: bytes(from),
        to: bytes(to),
        if_absent,
    };
    let missing = Response::Refused(Refusal::NoSuchKey);
    assert_eq!(kv.apply(rename("a", "b", false), NOW), missing);
    assert_eq!(kv.apply(rename("a", "a", true), NOW), missing);
    kv.put("a", "1");
    kv.put("b", "2");
    assert_eq!(kv.apply(rename("a", "b", true), NOW), Response::Integer(0));
    assert_eq!(kv.apply(rename("a", "a", true), NOW), Response::Integer(0));
    assert_eq!(kv.apply(rename("a", "a", false), NOW), Response::Ok);
    let expiry = Expiry::After(50);
    let condition = ExpireCondition::default();
    kv.apply(
        Command::Expire {
            key: bytes("a"),
            expiry,
            condition,
        },
        NOW,
    );
    assert_eq!(kv.apply(rename("a", "b", false), NOW), Response::Ok);
    assert_eq!((kv.get("a"), kv.get("b").unwrap()), (None, "1".into()));
    assert_eq!(kv.apply(rename("b", "c", true), NOW), Response::Integer(1));
    kv.apply(Command::Purge, NOW.plus(50));
    assert_eq!(kv.get("c"), None);
}

#[test]
fn copy_leaves_the_source() {
    let mut kv = Kv::default();
    let copy = |replace| Command::Copy {
        from: bytes("a"),
        to: bytes("b"),
        replace,
    };
    assert_eq!(kv.apply(copy(true), NOW), Response::Integer(0));
    kv.put("a", "1");
    assert_eq!(kv.apply(copy(false), NOW), Response::Integer(1));
    kv.put("a", "2");
    assert_eq!(kv.apply(copy(false), NOW), Response::Integer(0));
    assert_eq!(kv.get("b").unwrap(), "1");
    assert_eq!(kv.apply(copy(true), NOW), Response::Integer(1));
    assert_eq!((kv.get("a").unwrap(), kv.get("b").unwrap()), ("2".into(), "2".into()));
}

#[test]
fn ranges_are_those_of_redis() {
    let mut kv = Kv::default();
    assert_eq!(kv.range(0, -1), "");
    kv.put("k", "This is a string");
    for (start, end, wanted) in [
        (0, 3, "This"),
        (-3, -1, "ing"),
        (0, -1, "This is a string"),
        (10, 100, "string"),
        (5, 3, ""),
        (-1, -5, ""),
        (-100, 3, "This"),
        (-100, -200, ""),
        (-200, -100, "T"),
        (0, -100, "T"),
        (16, 20, ""),
        (i64::MIN, i64::MAX, "This is a string"),
    ] {
        assert_eq!(kv.range(start, end), wanted, "{start} {end}");
    }
}

#[test]
fn setrange_fills_up_with_zeros() {
    let mut kv = Kv::default();
    let mut set = |offset, part: &str| {
        let response = kv.apply(
            Command::SetRange {
                key: bytes("k"),
                offset,
                part: bytes(part),
            },
            NOW,
        );
        (response, kv.get("k"))
    };
    assert_eq!(set(3, ""), (Response::Integer(0), None), "nothing makes no key");
    assert_eq!(set(2, "ab"), (Response::Integer(4), Some("\0\0ab".into())));
    assert_eq!(set(0, "xy"), (Response::Integer(4), Some("xyab".into())));
    assert_eq!(set(3, "zz"), (Response::Integer(5), Some("xyazz".into())));
    assert_eq!(set(1, ""), (Response::Integer(5), Some("xyazz".into())));
    for offset in [MAX_VALUE_BYTES as u64, u64::MAX] {
        assert_eq!(set(offset, "a").0, Response::Refused(Refusal::TooLong));
    }
    assert_eq!(
        set(MAX_VALUE_BYTES as u64 - 1, "a").0,
        Response::Integer(integer(MAX_VALUE_BYTES))
    );
}

#[test]
fn decimals_are_added_as_people_do() {
    for (before, delta, wanted) in [
        ("10.50", "0.1", Ok("10.6")),
        ("5.0e3", "2.0e2", Ok("5200")),
        ("0.1", "0.2", Ok("0.3")),
        ("3", "-3", Ok("0")),
        ("-0", "0", Ok("0")),
        ("1", "-1.25", Ok("-0.25")),
        ("17179869184", "1.5", Ok("17179869185.5")),
        ("+1.5", ".5", Ok("2")),
        ("0", "123e-2", Ok("1.23")),
        ("0", "5e-18", Ok("0")),
        ("0", "0e999", Ok("0")),
        ("99999999999999999999", "1", Ok("100000000000000000000")),
        ("1e20", "1e20", Ok("200000000000000000000")),
        ("0.00000000000000001", "0", Ok("0.00000000000000001")),
        ("x", "1", Err(Refusal::NotANumber)),
        ("nan", "1", Err(Refusal::NotANumber)),
        ("", "1", Err(Refusal::NotANumber)),
        (" 1", "1", Err(Refusal::NotANumber)),
        ("inf", "1", Err(Refusal::Infinite)),
        ("1e308", "1e308", Err(Refusal::Infinite)),
    ] {
        let mut kv = Kv::default();
        kv.put("k", before);
        let (key, text) = (bytes("k"), bytes(delta));
        let response = kv.apply(Command::AddDecimal { key, delta: text }, NOW);
        let after = wanted.as_ref().map_or(before, |sum| sum);
        assert_eq!(kv.get("k").unwrap(), after, "{before} + {delta}");
        assert_eq!(
            response,
            wanted.map_or_else(Response::Refused, value),
            "{before} + {delta}"
        );
    }
}

#[test]
fn the_largest_sum_can_be_added_to() {
    let mut kv = Kv::default();
    let mut add = |delta| {
        let (key, delta) = (bytes("k"), bytes(delta));
        kv.apply(Command::AddDecimal { key, delta }, NOW)
    };
    let sum = add("1e308");
    assert!(matches!(&sum, Response::Value(Some(text)) if text.len() == 309));
    assert_eq!(add("1"), sum);
    assert!(matches!(add("-1e308"), Response::Value(Some(text)) if text == "0"));
}

#[test]
fn all_or_none_of_the_absent() {
    let mut kv = Kv::default();
    let mut set = |keys: [&str; 2]| {
        let pairs = keys.map(|key| (bytes(key), bytes("v"))).to_vec();
        kv.apply(Command::SetManyAbsent { pairs }, NOW)
    };
    assert_eq!(set(["a", "b"]), Response::Integer(1));
    assert_eq!(set(["c", "b"]), Response::Integer(0));
    assert_eq!(kv.get("c"), None);
}
