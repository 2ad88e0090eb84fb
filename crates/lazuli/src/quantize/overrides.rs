//! `PATTERN=FORMAT`: formats for single tensors, by name.

use super::error::{QuantizeError, Result};
use super::formats::{Container, TensorFormat};

/// One such wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    text: String,
    pattern: String,
    format: TensorFormat,
}

impl Override {
    /// Reads `PATTERN=FORMAT`. In a pattern `*` stands for any characters; it must match a tensor's whole name in the
    /// target, with or without `.weight` at the end.
    ///
    /// # Errors
    /// [`QuantizeError::Pattern`], or [`QuantizeError::Format`] for the part after the `=`.
    pub fn parse(text: &str, container: Container) -> Result<Self> {
        let wrong = |what: &str| QuantizeError::Pattern { text: text.to_owned(), what: what.to_owned() };
        let (pattern, format) =
            text.split_once('=').ok_or_else(|| wrong("expected PATTERN=FORMAT, such as '*down_proj=q8'"))?;
        if pattern.is_empty() {
            return Err(wrong("the pattern is empty"));
        }
        let format = TensorFormat::parse(format, container)?;
        Ok(Self { text: text.to_owned(), pattern: pattern.to_owned(), format })
    }

    /// The text that it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The format for `name`, if the pattern matches it.
    pub fn format(&self, name: &str) -> Option<TensorFormat> {
        let short = name.strip_suffix(".weight").unwrap_or(name);
        (matches(&self.pattern, name) || matches(&self.pattern, short)).then_some(self.format)
    }
}

/// Whether the whole of `text` is what `pattern` describes.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("*b", "a.b", true),
            ("*b", "b.a", false),
            ("a*", "a", true),
            ("*.3*.down*", "model.layers.3.mlp.down_proj", true),
            ("*.3.*down*", "model.layers.13.mlp.down_proj", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("", "", true),
            ("a*b*b", "abb", true),
            ("a*b*b", "ab", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn wishes_name_formats() {
        let wish = Override::parse("*down_proj=8g32", Container::Folder).unwrap();
        assert!(wish.format("model.layers.0.mlp.down_proj.weight").is_some());
        assert!(wish.format("model.layers.0.mlp.up_proj.weight").is_none());
        for bad in ["x", "=q4", "x=Q4_K", "x="] {
            assert!(Override::parse(bad, Container::Folder).is_err(), "{bad}");
        }
    }
}
