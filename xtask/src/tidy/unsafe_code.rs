//! Where `unsafe` may stand, and that every crate says so itself.
//!
//! The roots of `core`, `cpu` and `io` carry `#![deny(unsafe_code)]`, and the few modules listed here lift it
//! with `#[allow(unsafe_code)]`. The drivers are made of foreign calls and carry neither. Every other root
//! carries `#![forbid(unsafe_code)]`.

use super::{Finding, Workspace};
use crate::source::{Rust, SourceFile, words};

/// Crates, and the beginnings of the paths below them where `unsafe` may stand.
const PLACES: &[(&str, &[&str])] = &[
    ("lazuli-core", &["src/buffer"]),
    ("lazuli-cpu", &["src/simd", "src/kernel", "src/pool", "src/exec/task", "tests/", "benches/"]),
    ("lazuli-io", &["src/mmap"]),
];
const DRIVERS: &[&str] = &["lazuli-metal", "lazuli-cuda"];

pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &workspace.files {
        let Some(rust) = &file.rust else { continue };
        if DRIVERS.contains(&file.krate()) {
            continue;
        }
        if is_root(file) {
            findings.extend(root(file, rust));
        }
        findings.extend(places(file, rust));
    }
    findings
}

fn places(file: &SourceFile, rust: &Rust) -> Vec<Finding> {
    let list = allowed(file.krate());
    if list.iter().any(|place| inside(file).starts_with(place)) {
        return Vec::new();
    }
    let where_to = if list.is_empty() { "nowhere".to_string() } else { list.join(", ") };
    let lifted = rust.code.match_indices("allow(unsafe_code)").map(|(at, _)| at);
    // A root lifts the lint for a module it declares; the module itself is judged by its own path.
    let lifted = lifted.filter(|_| !is_root(file) || list.is_empty());
    words(&rust.code)
        .filter(|(_, word)| *word == "unsafe")
        .map(|(at, _)| at)
        .chain(lifted)
        .map(|at| {
            let message =
                format!("`unsafe` may not stand here; in `{}` it may stand in: {where_to}", file.krate());
            Finding::at(file, at, message)
        })
        .collect()
}

fn root(file: &SourceFile, rust: &Rust) -> Option<Finding> {
    let attribute =
        if allowed(file.krate()).is_empty() { "#![forbid(unsafe_code)]" } else { "#![deny(unsafe_code)]" };
    let message = format!("expected `{attribute}` in this crate root");
    (!rust.code.contains(attribute)).then(|| Finding::whole(file.path.clone(), message))
}

fn allowed(krate: &str) -> &'static [&'static str] {
    PLACES.iter().find(|(name, _)| *name == krate).map_or(&[], |(_, places)| places)
}

/// The path from the crate's folder.
fn inside(file: &SourceFile) -> &str {
    file.path.strip_prefix("crates/").unwrap_or(&file.path).split_once('/').map_or("", |(_, rest)| rest)
}

fn is_root(file: &SourceFile) -> bool {
    matches!(inside(file), "src/lib.rs" | "src/main.rs") || inside(file).starts_with("src/bin/")
}

#[cfg(test)]
mod tests {
    use super::super::samples::{clean, found};
    use super::*;

    #[test]
    fn unsafe_stands_only_where_it_may() {
        let text = "// SAFETY: it is.\nunsafe { f() }\n";
        assert!(clean(check, "crates/lazuli-core/src/buffer.rs", text));
        assert!(clean(check, "crates/lazuli-cpu/src/kernel/dot.rs", text));
        assert!(clean(check, "crates/lazuli-io/src/mmap.rs", text));
        assert!(clean(check, "crates/lazuli-metal/src/device.rs", text));
        let message = "2: `unsafe` may not stand here; in `lazuli-core` it may stand in: src/buffer";
        assert_eq!(found(check, "crates/lazuli-core/src/plan.rs", text), [message]);
        assert_eq!(found(check, "crates/lazuli-nn/src/rope.rs", text).len(), 1);
    }

    #[test]
    fn words_that_only_look_like_it_pass() {
        let text = "#[deny(unsafe_op_in_unsafe_fn)]\n// unsafe\nconst A: &str = \"unsafe\";\n";
        assert!(clean(check, "crates/lazuli-nn/src/rope.rs", text));
    }

    #[test]
    fn roots_say_what_they_refuse() {
        assert!(clean(check, "crates/lazuli-nn/src/lib.rs", "#![forbid(unsafe_code)]\n"));
        assert_eq!(found(check, "crates/lazuli-nn/src/lib.rs", "//! Doc.\n").len(), 1);
        assert_eq!(found(check, "crates/lazuli-nn/src/lib.rs", "// #![forbid(unsafe_code)]\n").len(), 1);
        let text = "#![deny(unsafe_code)]\n#[allow(unsafe_code)]\nmod buffer;\n";
        assert!(clean(check, "crates/lazuli-core/src/lib.rs", text));
        assert_eq!(found(check, "crates/lazuli-nn/src/lib.rs", text).len(), 2);
    }

    #[test]
    fn the_lint_is_lifted_only_where_unsafe_may_stand() {
        let text = "#![allow(unsafe_code)]\n";
        assert!(clean(check, "crates/lazuli-cpu/src/simd/avx2.rs", text));
        assert_eq!(found(check, "crates/lazuli-cpu/src/exec.rs", text).len(), 1);
    }
}
