//! JSON text as Python's `json.dumps` lays it out: models were trained on exactly that.

use std::fmt::Write;

use serde_json::Value;

/// The arguments of `json.dumps` that matter.
pub(super) struct Layout {
    pub(super) indent: Option<usize>,
    /// Between items, and after a key.
    pub(super) separators: Option<(String, String)>,
    pub(super) ascii: bool,
    pub(super) sort: bool,
}

/// `value` as text.
pub(super) fn to_python_json(value: &Value, layout: &Layout) -> String {
    let item = if layout.indent.is_some() { "," } else { ", " };
    let (item, key) =
        layout.separators.as_ref().map_or((item, ": "), |(item, key)| (item.as_str(), key.as_str()));
    let mut writer = Writer { out: String::new(), layout, item, key };
    writer.value(value, 0);
    writer.out
}

struct Writer<'a> {
    out: String,
    layout: &'a Layout,
    item: &'a str,
    key: &'a str,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(x) => self.out.push_str(if *x { "true" } else { "false" }),
            Value::Number(x) => self.out.push_str(&x.to_string()),
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                self.list(['[', ']'], items.iter(), depth, Writer::value);
            }
            Value::Object(map) => {
                let mut pairs: Vec<_> = map.iter().collect();
                if self.layout.sort {
                    pairs.sort_by_key(|(key, _)| *key);
                }
                self.list(['{', '}'], pairs.into_iter(), depth, |writer, (key, value), depth| {
                    writer.string(key);
                    writer.out.push_str(writer.key);
                    writer.value(value, depth);
                });
            }
        }
    }

    fn list<T>(
        &mut self,
        [open, close]: [char; 2],
        items: impl ExactSizeIterator<Item = T>,
        depth: usize,
        mut write: impl FnMut(&mut Self, T, usize),
    ) {
        self.out.push(open);
        let empty = items.len() == 0;
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.push_str(self.item);
            }
            self.new_line(depth + 1);
            write(self, item, depth + 1);
        }
        if !empty {
            self.new_line(depth);
        }
        self.out.push(close);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = self.layout.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || c == '\u{7f}' && self.layout.ascii || self.layout.ascii && !c.is_ascii() => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a string cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}
