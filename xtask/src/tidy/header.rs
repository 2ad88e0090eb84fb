//! Every Rust file opens with `//!`: what it owns, what it leaves out.

use super::{Finding, Workspace};

pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let files = workspace.files.iter().filter(|f| f.rust.is_some());
    files
        .filter(|f| !f.text.trim_start_matches('\u{feff}').starts_with("//!"))
        .map(|f| {
            Finding::whole(
                f.path.clone(),
                "expected `//!` on the first line: what the file owns and leaves out",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{clean, found};
    use super::*;

    #[test]
    fn the_first_line_speaks() {
        assert!(clean(check, "a.rs", "//! Rotary embeddings.\nfn f() {}\n"));
        assert!(clean(check, "a.md", "# Title\n"));
        assert_eq!(found(check, "a.rs", "fn f() {}\n").len(), 1);
        assert_eq!(found(check, "a.rs", "// Rotary embeddings.\n").len(), 1);
        assert_eq!(found(check, "a.rs", "#![forbid(unsafe_code)]\n//! Late.\n").len(), 1);
    }
}
