//! What was meant to go before landing: `todo!`, `dbg!`, and a note to self without an issue number.

use super::{Finding, Workspace};
use crate::source::{SourceFile, words};

const MACROS: &[&str] = &["todo", "dbg", "unimplemented"];
const NOTES: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

pub fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.files.iter().flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let Some(rust) = &file.rust else { return Vec::new() };
    let macros = words(&rust.code)
        .filter(|(at, word)| MACROS.contains(word) && rust.code[at + word.len()..].starts_with('!'))
        .map(|(at, word)| Finding::at(file, at, format!("`{word}!` is left over")));
    let notes = words(&rust.comments)
        .filter(|(at, word)| NOTES.contains(word) && !has_issue(&rust.comments[at + word.len()..]))
        .map(|(at, word)| {
            Finding::at(file, at, format!("`{word}` without an issue: write `{word}(#123)` or mend it"))
        });
    macros.chain(notes).collect()
}

/// Whether `(#` and a number follow at once.
fn has_issue(rest: &str) -> bool {
    let Some(number) = rest.strip_prefix("(#").and_then(|rest| rest.split_once(')')) else { return false };
    !number.0.is_empty() && number.0.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::samples::{clean, found};
    use super::*;

    #[test]
    fn leftovers_are_found() {
        assert_eq!(found(check, "a.rs", "fn f() { todo!() }\n"), ["1: `todo!` is left over"]);
        assert_eq!(found(check, "a.rs", "fn f() { dbg!(x); unimplemented!() }\n").len(), 2);
        assert_eq!(found(check, "a.rs", "// TODO: later\n/* FIXME(me) */\n// TODO(#)\n").len(), 3);
    }

    #[test]
    fn numbered_notes_and_other_words_pass() {
        let text = "// TODO(#12): the second half\nlet todo = \"TODO dbg!\";\nlet todos = debug!();\n";
        assert!(clean(check, "a.rs", text));
    }
}
