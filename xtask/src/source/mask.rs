//! Splits Rust text into code and comments of the same length, so that a search in one never hits the other.
//!
//! Knows strings (plain, raw, byte and C), characters against lifetimes, and nested block comments. It does not
//! parse: what is not a comment or a literal stays as it is.

/// A Rust text, taken apart. Both parts have the bytes of the text at their old offsets, and spaces elsewhere.
#[derive(Debug)]
pub struct Masked {
    pub code: String,
    pub comments: String,
}

/// Takes `text` apart.
pub fn mask(text: &str) -> Masked {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut comments = blank(bytes);
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_end(bytes, at),
            b'"' => {
                let close = string_close(bytes, at + 1);
                blank_range(&mut code, at + 1, close);
                at = (close + 1).min(bytes.len());
                continue;
            }
            b'r' => match raw_string(bytes, at) {
                Some((inside, end, close)) => {
                    blank_range(&mut code, inside, close);
                    at = end;
                    continue;
                }
                None => at,
            },
            b'\'' => match char_end(text, at) {
                Some(end) => {
                    blank_range(&mut code, at + 1, end - 1);
                    at = end;
                    continue;
                }
                None => at,
            },
            _ => at,
        };
        if end == at {
            at += 1;
        } else {
            comments[at..end].copy_from_slice(&bytes[at..end]);
            blank_range(&mut code, at, end);
            at = end;
        }
    }
    Masked { code: into_text(&code), comments: into_text(&comments) }
}

/// Every masked range begins and ends at an ASCII byte, so what is left is whole characters.
fn into_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn blank(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|&b| if b == b'\n' { b } else { b' ' }).collect()
}

fn blank_range(bytes: &mut [u8], from: usize, to: usize) {
    for byte in bytes.iter_mut().take(to).skip(from) {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| at + n)
}

fn block_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        match &bytes[at..(at + 2).min(bytes.len())] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The offset of the closing quote of a string whose inside begins at `at`.
fn string_close(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Inside's start, the offset behind the literal, and inside's end, if a raw string's `r` stands at `at`.
fn raw_string(bytes: &[u8], at: usize) -> Option<(usize, usize, usize)> {
    let mut start = at;
    if start > 0 && matches!(bytes[start - 1], b'b' | b'c') {
        start -= 1;
    }
    if start > 0 && (bytes[start - 1].is_ascii_alphanumeric() || bytes[start - 1] == b'_') {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|&&b| b == b'#').count();
    let inside = at + 1 + hashes + 1;
    if bytes.get(inside - 1) != Some(&b'"') {
        return None;
    }
    let closing: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let length = bytes[inside..].windows(closing.len()).position(|window| window == closing);
    let close = length.map_or(bytes.len(), |n| inside + n);
    Some((inside, (close + closing.len()).min(bytes.len()), close))
}

/// The offset behind a character literal that begins at `at`; `None` for a lifetime.
fn char_end(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at + 1..];
    let first = rest.chars().next()?;
    if first == '\\' {
        let (close, _) = rest.char_indices().skip(2).find(|&(_, c)| c == '\'')?;
        return Some(at + 1 + close + 1);
    }
    let behind = at + 1 + first.len_utf8();
    (text.as_bytes().get(behind) == Some(&b'\'')).then_some(behind + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The masked code with runs of blanks closed, for reading.
    fn code(text: &str) -> String {
        let masked = mask(text);
        assert_eq!(masked.code.len(), text.len());
        assert_eq!(masked.comments.len(), text.len());
        masked.code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_strings_leave_the_code() {
        assert_eq!(code("let a = 1; // unsafe {"), "let a = 1;");
        assert_eq!(code("a /* x /* y */ { */ b"), "a b");
        assert_eq!(code(r#"f("a \" { b", c)"#), r#"f(" ", c)"#);
        assert_eq!(code(r##"f(r#"a " { b"#, c)"##), r##"f(r#" "#, c)"##);
        assert_eq!(code(r#"f(br"\", b"{")"#), r#"f(br" ", b" ")"#);
    }

    #[test]
    fn characters_are_told_from_lifetimes() {
        assert_eq!(code("fn f<'a>(x: &'a str) { '{' }"), "fn f<'a>(x: &'a str) { ' ' }");
        assert_eq!(code(r"match c { '\'' => '\\', '\u{7b}' => 'ü', _ => '\n' }"), {
            "match c { ' ' => ' ', ' ' => ' ', _ => ' ' }"
        });
        assert_eq!(code("'outer: loop { break 'outer; }"), "'outer: loop { break 'outer; }");
    }

    #[test]
    fn raw_identifiers_and_names_that_end_in_r_are_code() {
        assert_eq!(code("let r#type = for_r; \"x\""), "let r#type = for_r; \" \"");
    }

    #[test]
    fn comments_keep_their_text_and_place() {
        let text = "let a = \"// no\"; // yes\n/// doc\n";
        let masked = mask(text);
        assert_eq!(masked.comments.trim_start(), "// yes\n/// doc\n");
        assert_eq!(masked.comments.find("// yes"), text.find("// yes"));
    }

    #[test]
    fn an_unfinished_literal_ends_with_the_file() {
        for text in ["\"abc", "r#\"abc\"", "/* abc", "'", "'\\", "r", "\"\\", "\"ü", "'ü"] {
            assert_eq!(mask(text).code.len(), text.len());
        }
    }
}
