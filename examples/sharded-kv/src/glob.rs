//! Patterns of keys, as `KEYS` and `SCAN … MATCH` take them.

/// Longest pattern, in bytes.
pub(crate) const PATTERN_BYTES_MAX: usize = 4 * 1024;

/// Steps that a page of a scan may take: some hundredths of a second, in which the group answers nobody else.
pub(crate) const PAGE_STEPS: usize = 16 * 1024 * 1024;

/// Whether the whole of `text` matches: `*` any bytes, `?` one byte, `[abc]`, `[a-z]` and `[^a-z]` one byte of a set (or not
/// of it), `\` takes the next byte as it is. At most `pattern × text` steps, whatever the pattern: only the last `*` is
/// tried in other places, because what matched before it can always be kept. What it takes is taken off `steps`; once
/// these are 0, it gives up.
pub(crate) fn matches(pattern: &[u8], text: &[u8], steps: &mut usize) -> bool {
    let (mut rest, mut left) = (pattern, text);
    // What follows the last `*`, and what was left of the text when it was last tried.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = rest {
            star = Some((after, left));
            rest = after;
            continue;
        }
        let matched = match left.split_first() {
            None if rest.is_empty() => return true,
            // A `*` that takes more leaves less.
            None => return false,
            Some((byte, tail)) => {
                let (matched, after) = step(rest, *byte);
                *steps = steps.saturating_sub((rest.len() - after.len()).max(1));
                if *steps == 0 {
                    return false;
                }
                matched.then_some((after, tail))
            }
        };
        (rest, left) = match (matched, star) {
            (Some(next), _) => next,
            (None, None) => return false,
            (None, Some((after, from))) => {
                // The text was not at its end, so neither was it here.
                let from = from.get(1..).unwrap_or_default();
                star = Some((after, from));
                (after, from)
            }
        };
    }
}

/// Whether what the pattern begins with matches `byte`, and what follows that.
fn step(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    match pattern {
        [] => (false, pattern),
        [b'?', rest @ ..] => (true, rest),
        [b'[', rest @ ..] => set(rest, byte),
        [b'\\', escaped, rest @ ..] => (*escaped == byte, rest),
        [other, rest @ ..] => (*other == byte, rest),
    }
}

/// Whether `byte` is in the set that `pattern` begins with, and what follows it. A set that is not closed ends with the
/// pattern.
fn set(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [] => break,
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [b'\\', escaped, after @ ..] => {
                found |= *escaped == byte;
                after
            }
            [first, b'-', last, after @ ..] => {
                let (low, high) = (first.min(last), first.max(last));
                found |= (low..=high).contains(&&byte);
                after
            }
            [one, after @ ..] => {
                found |= *one == byte;
                after
            }
        };
    }
    (found != negated, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_redis() {
        for (pattern, yes, no) in [
            ("", vec![""], vec!["a"]),
            ("*", vec!["", "a", "a*b"], vec![]),
            ("h?llo", vec!["hello", "hallo"], vec!["hllo", "heello"]),
            ("h*llo", vec!["hllo", "heeeello"], vec!["hell", "ahello"]),
            ("h[ae]llo", vec!["hello", "hallo"], vec!["hillo"]),
            ("h[^e]llo", vec!["hallo", "hbllo"], vec!["hello", "hllo"]),
            ("h[a-b]llo", vec!["hallo", "hbllo"], vec!["hcllo"]),
            ("h[b-a]llo", vec!["hallo", "hbllo"], vec!["hcllo"]),
            ("[a\\]-]", vec!["a", "]", "-"], vec!["\\"]),
            ("[]a", vec![], vec!["a", "]a"]),
            ("[abc", vec!["a", "c"], vec!["["]),
            ("\\*", vec!["*"], vec!["a", "\\*"]),
            ("a\\", vec!["a\\"], vec!["a"]),
            ("*a*b*", vec!["ab", "xaxbx"], vec!["ba", "a"]),
            ("*ab", vec!["aab", "abab"], vec!["aba"]),
            ("a**?b", vec!["axb", "abb"], vec!["ab"]),
        ] {
            for (texts, wanted) in [(yes, true), (no, false)] {
                for text in texts {
                    let matched = matches(pattern.as_bytes(), text.as_bytes(), &mut PAGE_STEPS.clone());
                    assert_eq!(matched, wanted, "{pattern} {text}");
                }
            }
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends() {
        let pattern = "a*".repeat(200) + "b";
        let mut steps = PAGE_STEPS;
        assert!(!matches(pattern.as_bytes(), "a".repeat(10_000).as_bytes(), &mut steps));
        assert!(PAGE_STEPS - steps <= pattern.len() * 10_000 && steps > 0);
    }

    #[test]
    fn steps_are_counted_in_sets_too_and_end_it() {
        let set = format!("*[{}]b", "c".repeat(1_000));
        let text = "a".repeat(1_000);
        let mut steps = PAGE_STEPS;
        assert!(!matches(set.as_bytes(), text.as_bytes(), &mut steps));
        assert!(PAGE_STEPS - steps >= 1_000_000, "{} steps", PAGE_STEPS - steps);
        let mut steps = 10_000;
        assert!(!matches(set.as_bytes(), text.as_bytes(), &mut steps));
        assert_eq!(steps, 0);
    }
}
