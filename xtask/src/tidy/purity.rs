//! What a room may not touch: files, environment, threads and network below the engine, `async` below the server.
//!
//! `core` reads no file and no environment and starts no thread; `nn` and `models` likewise. Test code is free.

use super::{Finding, Workspace};
use crate::source::{Rust, SourceFile, words};

/// Rooms, the paths they may not name, and what to say.
const WORLDLESS: &[&str] = &["lazuli-quant", "lazuli-core", "lazuli-nn", "lazuli-models"];
const WORLD: &[(&str, &str)] = &[
    ("std::fs", "reads files"),
    ("std::env", "reads the environment"),
    ("std::net", "opens connections"),
    ("std::process", "starts programs"),
    ("thread::spawn", "starts threads"),
    ("thread::Builder", "starts threads"),
    ("thread::scope", "starts threads"),
];
/// Where `async` may stand.
const ASYNC: &[&str] = &["lazuli-server", "lazuli"];

pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.files.iter().filter(|f| f.path.starts_with("crates/") && !f.is_test_file()) {
        let Some(rust) = &file.rust else { continue };
        if WORLDLESS.contains(&file.krate()) {
            findings.extend(world(file, rust));
        }
        if !ASYNC.contains(&file.krate()) {
            findings.extend(asynchrony(file, rust));
        }
    }
    findings
}

fn world(file: &SourceFile, rust: &Rust) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, deed) in WORLD {
        for (at, _) in rust.code.match_indices(name).filter(|(at, _)| !rust.in_tests(*at)) {
            let message = format!("`{name}` {deed}; `{}` may not", file.krate());
            findings.push(Finding::at(file, at, message));
        }
    }
    findings
}

fn asynchrony(file: &SourceFile, rust: &Rust) -> Vec<Finding> {
    words(&rust.code)
        .filter(|(at, word)| *word == "async" && !rust.in_tests(*at))
        .map(|(at, _)| Finding::at(file, at, "`async` stands only in lazuli-server and the binary"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{clean, found};
    use super::*;

    #[test]
    fn the_world_stays_outside_of_core() {
        let text = "use std::fs::File;\nfn f() { std::thread::spawn(|| ()); }\n";
        let messages = found(check, "crates/lazuli-core/src/plan.rs", text);
        assert_eq!(messages[0], "1: `std::fs` reads files; `lazuli-core` may not");
        assert_eq!(messages.len(), 2);
        assert!(clean(check, "crates/lazuli-io/src/gguf.rs", text));
    }

    #[test]
    fn tests_and_comments_are_free() {
        let text = "// std::fs\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert!(clean(check, "crates/lazuli-core/src/plan.rs", text));
        assert!(clean(check, "crates/lazuli-core/tests/plan.rs", "use std::env;"));
    }

    #[test]
    fn async_is_for_the_server() {
        let text = "async fn f() {}\nfn async_eval() {}\n";
        assert_eq!(found(check, "crates/lazuli-engine/src/lib.rs", text).len(), 1);
        assert!(clean(check, "crates/lazuli-server/src/routes.rs", text));
    }
}
