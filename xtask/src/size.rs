//! `cargo xtask size`: how big the house is, against budgets that are raised on purpose or not at all.

use std::collections::{BTreeMap, BTreeSet};

use crate::failure::{Failure, Result};
use crate::shell;
use crate::source::{self, SourceFile};

/// Whether sizes above budget fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Print,
    Check,
}

/// What may not be exceeded. Raising a number is a decision: say why in the commit.
struct Budgets {
    /// Lines of code of all crates, without tests, comments and blank lines.
    code_lines: usize,
    /// Lines of code of any one crate.
    crate_code_lines: usize,
    /// Packages that the program is built from on this platform, our own not counted.
    dependencies: usize,
    /// Bytes of the release binary as it is linked, line tables included.
    binary_bytes: u64,
}

const BUDGETS: Budgets =
    Budgets { code_lines: 55_000, crate_code_lines: 16_600, dependencies: 180, binary_bytes: 40 << 20 };

/// Lines by kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Lines {
    code: usize,
    comments: usize,
    tests: usize,
}

pub fn run(mode: Mode) -> Result {
    let mut crates: BTreeMap<String, Lines> = BTreeMap::new();
    for file in source::read_all(&shell::root())?.iter().filter(|f| f.rust.is_some()) {
        let (lines, all) = (count(file), crates.entry(file.krate().to_string()).or_default());
        all.code += lines.code;
        all.comments += lines.comments;
        all.tests += lines.tests;
    }
    println!("{:<18} {:>7} {:>9} {:>7}", "crate", "code", "comments", "tests");
    for (name, lines) in &crates {
        println!("{name:<18} {:>7} {:>9} {:>7}", lines.code, lines.comments, lines.tests);
    }
    let total = |of: fn(&Lines) -> usize| crates.values().map(of).sum::<usize>();
    let code = total(|l| l.code);
    println!("{:<18} {code:>7} {:>9} {:>7}", "all", total(|l| l.comments), total(|l| l.tests));
    let dependencies = dependencies()?;
    println!("dependencies of the program: {dependencies}");
    let binary = std::fs::metadata(shell::root().join("target/release/lazuli")).ok().map(|m| m.len());
    match binary {
        Some(bytes) => println!("target/release/lazuli: {:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        None => println!("target/release/lazuli: not built"),
    }
    let mut sizes = vec![
        ("lines of code", code as u64, BUDGETS.code_lines as u64),
        ("dependencies", dependencies as u64, BUDGETS.dependencies as u64),
        ("bytes of the binary", binary.unwrap_or(0), BUDGETS.binary_bytes),
    ];
    let per_crate = BUDGETS.crate_code_lines as u64;
    sizes.extend(crates.iter().map(|(name, lines)| (name.as_str(), lines.code as u64, per_crate)));
    let over = over(&sizes);
    for line in &over {
        println!("over budget: {line}");
    }
    if mode == Mode::Check && !over.is_empty() {
        return Err(Failure::new(format!("{} of the budgets in xtask/src/size.rs are exceeded", over.len())));
    }
    Ok(())
}

fn over(sizes: &[(&str, u64, u64)]) -> Vec<String> {
    let above = sizes.iter().filter(|(_, found, budget)| found > budget);
    above.map(|(what, found, budget)| format!("{what}: {found}, the budget is {budget}")).collect()
}

/// A line is a test's if it stands in test code, else code if any code stands on it, else a comment; or blank.
fn count(file: &SourceFile) -> Lines {
    let mut lines = Lines::default();
    let Some(rust) = &file.rust else { return lines };
    let mut start = 0;
    for line in file.text.split_inclusive('\n') {
        let blank = |text: &str| text[start..start + line.len()].trim().is_empty();
        if file.is_test_file() || rust.in_tests(start) {
            lines.tests += usize::from(!blank(&file.text));
        } else if blank(&rust.code) && !blank(&rust.comments) {
            lines.comments += 1;
        } else {
            lines.code += usize::from(!blank(&file.text));
        }
        start += line.len();
    }
    lines
}

/// Distinct outside packages that the program links or builds with on this platform.
fn dependencies() -> Result<usize> {
    let args =
        ["tree", "--package", "lazuli", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    Ok(outside(&shell::output(shell::cargo().args(args).arg("--quiet"))?))
}

fn outside(tree: &str) -> usize {
    let names = tree.lines().filter_map(|line| line.split(" (").next());
    let names = names.map(str::trim).filter(|name| !name.is_empty() && !name.starts_with("lazuli"));
    names.collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_kind() {
        let text = "//! Doc.\n\nfn a() {} // word\nconst S: &str = \"\n// text\n\";\n#[cfg(test)]\nmod tests {\n    // word\n}\n";
        let lines = count(&SourceFile::new("crates/a/src/lib.rs", text));
        assert_eq!(lines, Lines { code: 4, comments: 1, tests: 4 });
        assert_eq!(
            count(&SourceFile::new("crates/a/tests/a.rs", text)),
            Lines { tests: 9, ..Lines::default() }
        );
    }

    #[test]
    fn packages_are_counted_once() {
        let tree =
            "lazuli v0.1.0 (/x)\nhalf v2.4.1\ncfg-if v1.0.0\nhalf v2.4.1 (*)\nlazuli-core v0.1.0 (/y)\n\n";
        assert_eq!(outside(tree), 2);
    }

    #[test]
    fn only_what_is_above_its_budget_is_reported() {
        assert_eq!(over(&[("a", 2, 2), ("b", 3, 2)]), ["b: 3, the budget is 2"]);
    }
}
