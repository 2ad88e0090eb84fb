//! Replaces what stands between `<!-- gen:NAME -->` and `<!-- /gen:NAME -->`. Knows no generator.

use crate::failure::{Failure, Result};

const OPEN: &str = "<!-- gen:";
const CLOSE: &str = "<!-- /gen:";
const END: &str = " -->";

/// `text` with each region's inside replaced by what `generate` returns for its name.
pub fn rewrite(text: &str, generate: &dyn Fn(&str) -> Result<String>) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(OPEN) {
        let behind_open = &rest[start + OPEN.len()..];
        let (name, inside) = behind_open
            .split_once(END)
            .filter(|(name, _)| !name.contains('\n'))
            .ok_or_else(|| Failure::new(format!("`{OPEN}` without `{END}`")))?;
        let close = format!("{CLOSE}{name}{END}");
        let length =
            inside.find(&close).ok_or_else(|| Failure::new(format!("region `{name}` lacks `{close}`")))?;
        if inside[..length].contains(OPEN) {
            return Err(Failure::new(format!("region `{name}` contains another; is its end in place?")));
        }
        out.push_str(&rest[..start]);
        out.extend([OPEN, name, END, "\n", generate(name)?.trim(), "\n", &close]);
        rest = &inside[length + close.len()..];
    }
    if rest.contains(CLOSE) {
        return Err(Failure::new(format!("`{CLOSE}` without its beginning")));
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> Result<String> {
        rewrite(text, &|name| match name {
            "a" => Ok("one\ntwo\n".into()),
            "b" => Ok("three".into()),
            other => Err(Failure::new(other)),
        })
    }

    #[test]
    fn insides_are_replaced_and_the_rest_is_kept() {
        let text = "x\n<!-- gen:a -->\nold\n<!-- /gen:a -->\ny <!-- gen:b --><!-- /gen:b -->\n";
        let expected =
            "x\n<!-- gen:a -->\none\ntwo\n<!-- /gen:a -->\ny <!-- gen:b -->\nthree\n<!-- /gen:b -->\n";
        assert_eq!(rewritten(text).unwrap(), expected);
        assert_eq!(rewritten(expected).unwrap(), expected, "a second pass changes nothing");
    }

    #[test]
    fn broken_marks_are_errors() {
        for text in [
            "<!-- gen:a -->",
            "<!-- gen:a --> <!-- /gen:b -->",
            "<!-- /gen:a -->",
            "<!-- gen:a -->\n<!-- gen:b -->\n<!-- /gen:b -->\n<!-- /gen:a -->",
            "<!-- gen:a\n",
            "<!-- gen:unknown --><!-- /gen:unknown -->",
        ] {
            assert!(rewritten(text).is_err(), "{text}");
        }
    }
}
