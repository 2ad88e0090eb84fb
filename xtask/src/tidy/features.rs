//! No `cfg(feature = ..)` within a function: features select crates and modules, in one place.

use super::{Finding, Workspace};
use crate::source::{SourceFile, functions, matching, words};

pub fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.files.iter().flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let Some(rust) = &file.rust else { return Vec::new() };
    let bodies: Vec<_> = functions(&rust.code).into_iter().map(|f| f.body).collect();
    let mut findings = Vec::new();
    for (at, word) in words(&rust.code).filter(|(_, word)| matches!(*word, "cfg" | "cfg_attr")) {
        let behind = at + word.len();
        let gap =
            rust.code[behind..].find('(').filter(|&gap| matches!(&rust.code[behind..behind + gap], "" | "!"));
        let Some(open) = gap.map(|gap| behind + gap) else { continue };
        let Some(end) = matching(&rust.code, open) else { continue };
        let on_feature = words(&rust.code[open..end]).any(|(_, word)| word == "feature");
        if on_feature && bodies.iter().any(|body| body.contains(&at)) {
            let message = "`cfg(feature)` within a function; choose a module or a crate by feature instead";
            findings.push(Finding::at(file, at, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::samples::{clean, found};
    use super::*;

    #[test]
    fn features_within_functions_are_found() {
        assert_eq!(found(check, "a.rs", "fn f() {\n    #[cfg(feature = \"x\")]\n    g();\n}\n").len(), 1);
        assert_eq!(found(check, "a.rs", "fn f() { if cfg!(all(unix, feature = \"x\")) {} }\n").len(), 1);
    }

    #[test]
    fn other_conditions_and_places_pass() {
        assert!(clean(check, "a.rs", "#[cfg(feature = \"metal\")]\nmod metal;\n"));
        assert!(clean(check, "a.rs", "fn f() {\n    #[cfg(target_feature = \"avx2\")]\n    g();\n}\n"));
        assert!(clean(check, "a.rs", "fn f() {\n    // cfg(feature = \"x\")\n    if cfg!(unix) {}\n}\n"));
        assert!(clean(check, "a.rs", "impl S {\n    #[cfg(feature = \"x\")]\n    fn f() {}\n}\n"));
    }
}
