//! `cargo xtask tidy`: the rules of the house that the compiler does not check.
//!
//! Owns the list of rules and how findings are shown. Each rule is a file of its own with samples of good and
//! bad text beside it; a rule sees the workspace's packages and files and returns findings.

mod backend_names;
mod dependencies;
mod features;
mod file_size;
mod function_size;
mod header;
mod layering;
mod leftovers;
mod names;
mod purity;
mod text;
mod unsafe_code;
mod vector_code;

use crate::failure::{Failure, Result};
use crate::metadata::{self, Package};
use crate::shell;
use crate::source::{self, SourceFile};

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What fails, and how many warnings there are.
    Failures,
    /// Warnings too.
    Verbose,
}

/// What a rule looks at.
#[derive(Debug)]
pub struct Workspace {
    pub packages: Vec<Package>,
    pub files: Vec<SourceFile>,
}

/// Whether a finding fails the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Warning,
    Failure,
}

/// One place that a rule has something to say about.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub path: String,
    /// From 1; 0 if the finding is about the whole file.
    pub line: usize,
    pub message: String,
}

impl Finding {
    /// A failure at a byte offset of `file`.
    fn at(file: &SourceFile, offset: usize, message: impl Into<String>) -> Self {
        Self {
            level: Level::Failure,
            path: file.path.clone(),
            line: file.line_of(offset),
            message: message.into(),
        }
    }

    /// A failure that concerns all of `path`.
    fn whole(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level: Level::Failure, path: path.into(), line: 0, message: message.into() }
    }

    fn warning(self) -> Self {
        Self { level: Level::Warning, ..self }
    }
}

/// A rule: its name in the output, and what it finds.
type Rule = (&'static str, fn(&Workspace) -> Vec<Finding>);

const RULES: &[Rule] = &[
    ("layering", layering::check),
    ("dependencies", dependencies::check),
    ("backend-names", backend_names::check),
    ("purity", purity::check),
    ("file-size", file_size::check),
    ("function-size", function_size::check),
    ("unsafe", unsafe_code::check),
    ("header", header::check),
    ("names", names::check),
    ("leftovers", leftovers::check),
    ("features", features::check),
    ("text", text::check),
    ("vector-code", vector_code::check),
];

/// Runs every rule over the workspace and prints what they find.
pub fn run(detail: Detail) -> Result {
    let workspace = Workspace { packages: metadata::packages()?, files: source::read_all(&shell::root())? };
    let (mut failures, mut warnings) = (0, 0);
    for (name, rule) in RULES {
        for finding in rule(&workspace) {
            match finding.level {
                Level::Failure => failures += 1,
                Level::Warning => warnings += 1,
            }
            if finding.level == Level::Failure || detail == Detail::Verbose {
                println!("{}", shown(name, &finding));
            }
        }
    }
    let hint = if warnings > 0 && detail == Detail::Failures { " (--verbose lists them)" } else { "" };
    println!("tidy: {} files, {failures} failures, {warnings} warnings{hint}", workspace.files.len());
    if failures == 0 { Ok(()) } else { Err(Failure::new(format!("tidy found {failures} failures"))) }
}

fn shown(rule: &str, finding: &Finding) -> String {
    let level = match finding.level {
        Level::Failure => "error",
        Level::Warning => "warning",
    };
    let place =
        if finding.line == 0 { finding.path.clone() } else { format!("{}:{}", finding.path, finding.line) };
    format!("{level}[{rule}] {place}: {}", finding.message)
}

#[cfg(test)]
mod samples {
    //! What the rules' tests share: a workspace of one file, and the messages found in it.

    use super::{Finding, SourceFile, Workspace};

    /// `line: message` of what `rule` finds in a file at `path` with this text.
    pub fn found(rule: fn(&Workspace) -> Vec<Finding>, path: &str, text: &str) -> Vec<String> {
        let workspace = Workspace { packages: Vec::new(), files: vec![SourceFile::new(path, text)] };
        rule(&workspace).into_iter().map(|f| format!("{}: {}", f.line, f.message)).collect()
    }

    /// Whether `rule` finds nothing in a file at `path` with this text.
    pub fn clean(rule: fn(&Workspace) -> Vec<Finding>, path: &str, text: &str) -> bool {
        found(rule, path, text).is_empty()
    }
}
