//! Patterns of keys, as `KEYS` and `SCAN … MATCH` take them.

/// Whether the whole of `text` matches: `*` any bytes, `?` one byte, `[abc]`, `[a-z]` and `[^a-z]` one byte of a set (or not
/// of it), `\` takes the next byte as it is. At most `pattern × text` steps, whatever the pattern: only the last `*` is
/// tried in other places, because what matched before it can always be kept.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
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
            Some((byte, tail)) => step(rest, *byte).map(|after| (after, tail)),
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

/// What is left of the pattern after it matched `byte`, `None` if it does not.
fn step(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (matched, rest) = match pattern {
        [] => return None,
        [b'?', rest @ ..] => (true, rest),
        [b'[', rest @ ..] => set(rest, byte),
        [b'\\', escaped, rest @ ..] => (*escaped == byte, rest),
        [other, rest @ ..] => (*other == byte, rest),
    };
    matched.then_some(rest)
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
                    assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), wanted, "{pattern} {text}");
                }
            }
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(10_000).as_bytes()));
    }
}
