//! Finds functions and test items in masked code by counting braces.

use std::ops::Range;

/// One function with a body. Offsets are those of the text it was found in.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// Offset of the word `fn`.
    pub start: usize,
    /// From the opening brace to behind the closing one.
    pub body: Range<usize>,
}

/// All functions with a body, in order, those within others included.
pub fn functions(code: &str) -> Vec<Function> {
    let list: Vec<(usize, &str)> = words(code).collect();
    list.windows(2)
        .filter(|pair| pair[0].1 == "fn" && code[pair[0].0 + 2..pair[1].0].trim().is_empty())
        .filter_map(|pair| {
            let open = body_start(code, pair[1].0)?;
            let end = matching(code, open)?;
            Some(Function { name: pair[1].1.to_string(), start: pair[0].0, body: open..end })
        })
        .collect()
}

/// Byte ranges of the items under `#[cfg(test)]` (also `all(test, ..)`), attribute included.
pub fn test_regions(code: &str) -> Vec<Range<usize>> {
    let mut regions = Vec::new();
    for (start, _) in code.match_indices("#[cfg(") {
        let Some(attribute_end) = matching(code, start + 1) else { continue };
        let condition = &code[start..attribute_end];
        if !words(condition).any(|(_, w)| w == "test") || words(condition).any(|(_, w)| w == "not") {
            continue;
        }
        let end = body_start(code, attribute_end)
            .and_then(|open| matching(code, open))
            .or_else(|| code[attribute_end..].find(';').map(|n| attribute_end + n + 1));
        regions.push(start..end.unwrap_or(code.len()));
    }
    regions
}

/// The offset behind the bracket that closes the one at `open`.
pub fn matching(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Identifiers, keywords and numbers with their offsets.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += code[at..].find(is_word)?;
        let start = at;
        at += code[at..].find(|c| !is_word(c)).unwrap_or(code.len() - at);
        Some((start, &code[start..at]))
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The first `{` behind `from` outside of other brackets; `None` if a `;` comes first (no body).
fn body_start(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.checked_sub(1)?,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(code: &str) -> Vec<String> {
        functions(code).into_iter().map(|f| f.name).collect()
    }

    #[test]
    fn functions_with_bodies_are_found() {
        assert_eq!(names("fn a() {} trait T { fn b(&self); fn c() { fn d() {} } }"), ["a", "c", "d"]);
        assert_eq!(names("type F = fn(u8) -> u8; struct S { f: fn() }"), Vec::<String>::new());
        assert_eq!(names("fn e(x: [u8; 4]) -> [u8; { 2 }] where u8: Copy { [x[0]; 2] }"), ["e"]);
    }

    #[test]
    fn a_body_ends_at_its_own_brace() {
        let code = "fn a() { if x { y } else { z } } fn b() {}";
        let all = functions(code);
        assert_eq!(&code[all[0].body.clone()], "{ if x { y } else { z } }");
        assert_eq!(all[0].start, 0);
    }

    #[test]
    fn test_items_are_found_with_their_attribute() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}";
        let regions = test_regions(code);
        assert_eq!(regions.len(), 1);
        assert_eq!(&code[regions[0].clone()], "#[cfg(test)]\nmod tests { fn b() {} }");
        assert_eq!(test_regions("#[cfg(test)]\nmod tests;\nfn a() {}")[0], 0..23);
    }

    #[test]
    fn other_conditions_are_not_tests() {
        assert!(test_regions("#[cfg(not(test))]\nfn a() {}").is_empty());
        assert!(test_regions("#[cfg(unix)]\nfn test() {}").is_empty());
        assert_eq!(test_regions("#[cfg(all(test, unix))]\nfn a() {}").len(), 1);
    }

    #[test]
    fn unbalanced_code_gives_nothing_rather_than_a_panic() {
        assert!(functions("fn a() { (").is_empty());
        assert!(functions("fn a) {}").is_empty());
        assert_eq!(matching("}", 0), None);
    }
}
