//! Rules for every text file: no trailing blanks, a last newline, no path of one person's machine.

use super::{Finding, Workspace};
use crate::source::SourceFile;

/// First folders of absolute paths that only exist on the machine where they were written.
const PRIVATE: &[&str] = &["home", "Users", "root", "work", "workspace"];

pub fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.files.iter().flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut start = 0;
    for line in file.text.split_inclusive('\n') {
        let bare = line.strip_suffix('\n').unwrap_or(line);
        if bare.ends_with([' ', '\t', '\r']) {
            findings.push(Finding::at(file, start, "blanks at the end of the line"));
        }
        if let Some(folder) = private_path(bare) {
            findings.push(Finding::at(file, start, format!("an absolute path below /{folder}")));
        }
        start += line.len();
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        findings.push(Finding::whole(file.path.clone(), "the last line does not end"));
    }
    findings
}

/// The private folder that an absolute path in `line` begins with. A path is absolute if nothing that could
/// belong to a name, a variable or an address stands before its slash.
fn private_path(line: &str) -> Option<&'static str> {
    PRIVATE.iter().copied().find(|folder| {
        let needle = format!("/{folder}/");
        line.match_indices(&needle).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let begins = !before.is_some_and(|c| c.is_alphanumeric() || "_-.~/}>*".contains(c));
            begins && line[at + needle.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '.')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{clean, found};
    use super::*;

    /// An absolute path that this file's own text does not contain.
    fn path(folder: &str) -> String {
        format!("/{folder}/ada/model.gguf")
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for folder in PRIVATE {
            assert_eq!(found(check, "a.md", &format!("see `{}`\n", path(folder))).len(), 1, "{folder}");
        }
        assert_eq!(found(check, "a.rs", &format!("let p = \"{}\";\n", path("home"))).len(), 1);
    }

    #[test]
    fn other_paths_pass() {
        let text = "`/usr/lib/x` $HOME/work/x https://a.org/home/x docs/work/x ~/work/x /root /home/<name>\n";
        assert!(clean(check, "a.md", text));
    }

    #[test]
    fn line_ends_are_clean() {
        assert_eq!(found(check, "a.md", "x \ny\n"), ["1: blanks at the end of the line"]);
        assert_eq!(found(check, "a.md", "x\r\n").len(), 1);
        assert_eq!(found(check, "a.md", "x").len(), 1);
        assert!(clean(check, "a.md", "x\n\ny\n"));
    }
}
