//! How long a function may be: 120 lines of code at most, 60 as the aim.
//!
//! Counts from `fn` to the closing brace, without blank lines and lines that only hold comments.

use super::{Finding, Workspace};
use crate::source::{SourceFile, functions};

const AIM: usize = 60;
const LIMIT: usize = 120;

pub fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.files.iter().flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let Some(rust) = &file.rust else { return Vec::new() };
    let mut findings = Vec::new();
    for function in functions(&rust.code) {
        let code = &rust.code[function.start..function.body.end];
        let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
        if lines <= AIM {
            continue;
        }
        let bound = if lines > LIMIT { format!("{LIMIT} is the limit") } else { format!("{AIM} is the aim") };
        let message = format!("function `{}` has {lines} lines; {bound}", function.name);
        let finding = Finding::at(file, function.start, message);
        findings.push(if lines > LIMIT { finding } else { finding.warning() });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn levels(text: &str) -> Vec<Level> {
        check_file(&SourceFile::new("a.rs", text)).into_iter().map(|f| f.level).collect()
    }

    fn function(lines: usize) -> String {
        format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2))
    }

    #[test]
    fn limits_hold_at_their_line() {
        assert_eq!(levels(&function(60)), []);
        assert_eq!(levels(&function(61)), [Level::Warning]);
        assert_eq!(levels(&function(120)), [Level::Warning]);
        assert_eq!(levels(&function(121)), [Level::Failure]);
    }

    #[test]
    fn comments_strings_and_blank_lines_do_not_confuse_it() {
        let body = "    // }\n\n    let a = \"}\";\n    /* } */\n".repeat(59);
        assert_eq!(levels(&format!("fn f() {{\n{body}}}\n")), [Level::Warning]);
        let body = "    // only words\n\n".repeat(200);
        assert_eq!(levels(&format!("fn f() {{\n{body}}}\n")), []);
    }

    #[test]
    fn two_functions_are_two_functions() {
        assert_eq!(levels(&function(40).repeat(2)), []);
    }
}
