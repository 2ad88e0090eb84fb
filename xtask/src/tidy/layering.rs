//! Who may import whom among the crates of the workspace.
//!
//! Reads the dependency tables as cargo reports them. A development dependency obeys the same table, with
//! `lazuli-testkit` added: tests may use the kit from any room.

use super::{Finding, Workspace};
use crate::metadata::{Dependency, Kind, Package};

/// A crate and what it may import; every name on the right is below the name on the left.
const TABLE: &[(&str, &[&str])] = &[
    ("lazuli-quant", &[]),
    ("lazuli-core", &["lazuli-quant"]),
    ("lazuli-cpu", &["lazuli-quant", "lazuli-core"]),
    ("lazuli-gpu", &["lazuli-quant", "lazuli-core"]),
    ("lazuli-metal", &["lazuli-quant", "lazuli-core", "lazuli-gpu"]),
    ("lazuli-cuda", &["lazuli-quant", "lazuli-core", "lazuli-gpu"]),
    ("lazuli-io", &["lazuli-quant", "lazuli-core"]),
    ("lazuli-nn", &["lazuli-quant", "lazuli-core"]),
    ("lazuli-models", &["lazuli-quant", "lazuli-core", "lazuli-io", "lazuli-nn"]),
    ("lazuli-planner", &["lazuli-quant", "lazuli-core", "lazuli-io", "lazuli-nn", "lazuli-models"]),
    (
        "lazuli-engine",
        &["lazuli-quant", "lazuli-core", "lazuli-io", "lazuli-nn", "lazuli-models", "lazuli-planner"],
    ),
    (
        "lazuli-server",
        &[
            "lazuli-quant",
            "lazuli-core",
            "lazuli-io",
            "lazuli-nn",
            "lazuli-models",
            "lazuli-planner",
            "lazuli-engine",
        ],
    ),
    ("lazuli-testkit", &["lazuli-quant", "lazuli-core"]),
    (
        "lazuli",
        &[
            "lazuli-quant",
            "lazuli-core",
            "lazuli-cpu",
            "lazuli-gpu",
            "lazuli-metal",
            "lazuli-cuda",
            "lazuli-io",
            "lazuli-nn",
            "lazuli-models",
            "lazuli-planner",
            "lazuli-engine",
            "lazuli-server",
        ],
    ),
    ("xtask", &[]),
];

/// The crates that implement the backend seam.
pub const BACKENDS: &[&str] = &["lazuli-cpu", "lazuli-gpu", "lazuli-metal", "lazuli-cuda"];

/// What any crate may import for its tests.
const FOR_TESTS: &str = "lazuli-testkit";

pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let ours = |d: &&Dependency| d.name == "lazuli" || d.name.starts_with("lazuli-") || d.name == "xtask";
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let manifest = manifest(&package.name);
        let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == package.name) else {
            let message = format!(
                "crate `{}` has no row in the layering table (xtask/src/tidy/layering.rs)",
                package.name
            );
            findings.push(Finding::whole(manifest, message));
            continue;
        };
        for dependency in package.dependencies.iter().filter(ours) {
            if !allows(allowed, dependency) {
                findings.push(Finding::whole(manifest.clone(), refusal(package, dependency, allowed)));
            }
        }
    }
    findings
}

fn allows(allowed: &[&str], dependency: &Dependency) -> bool {
    allowed.contains(&dependency.name.as_str())
        || (dependency.kind == Kind::Dev && dependency.name == FOR_TESTS)
}

fn refusal(package: &Package, dependency: &Dependency, allowed: &[&str]) -> String {
    let may = if allowed.is_empty() { "no crate of the workspace".to_string() } else { allowed.join(", ") };
    format!("`{}` imports `{}`; it may import {may}", package.name, dependency.name)
}

/// Where a package's manifest stands; a folder's name is the crate's name.
pub fn manifest(package: &str) -> String {
    if package == "xtask" { "xtask/Cargo.toml".into() } else { format!("crates/{package}/Cargo.toml") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, dependencies: &[(&str, Kind)]) -> Vec<String> {
        let dependencies =
            dependencies.iter().map(|&(name, kind)| Dependency { name: name.into(), kind }).collect();
        let package = Package { name: name.into(), description: None, dependencies };
        let workspace = Workspace { packages: vec![package], files: Vec::new() };
        check(&workspace).into_iter().map(|f| f.message).collect()
    }

    #[test]
    fn nn_never_sees_io() {
        let messages = found("lazuli-nn", &[("lazuli-core", Kind::Normal), ("lazuli-io", Kind::Normal)]);
        assert_eq!(messages, ["`lazuli-nn` imports `lazuli-io`; it may import lazuli-quant, lazuli-core"]);
    }

    #[test]
    fn tests_may_use_the_kit_and_nothing_else_new() {
        assert!(found("lazuli-cpu", &[("lazuli-testkit", Kind::Dev)]).is_empty());
        assert_eq!(found("lazuli-cpu", &[("lazuli-testkit", Kind::Normal)]).len(), 1);
        assert_eq!(found("lazuli-nn", &[("lazuli-io", Kind::Dev)]).len(), 1);
        assert_eq!(found("lazuli-core", &[("lazuli-cpu", Kind::Dev)]).len(), 1);
    }

    #[test]
    fn outside_crates_are_free_and_new_rooms_need_a_row() {
        assert!(found("lazuli-quant", &[("half", Kind::Normal)]).is_empty());
        assert!(found("lazuli-attic", &[])[0].contains("no row in the layering table"));
    }

    #[test]
    fn only_the_facade_may_import_a_backend() {
        for (name, allowed) in TABLE.iter().filter(|(name, _)| *name != "lazuli") {
            let backends: Vec<_> = allowed.iter().filter(|a| BACKENDS.contains(a)).collect();
            let driver = matches!(*name, "lazuli-metal" | "lazuli-cuda");
            assert!(backends.is_empty() || (driver && backends == [&"lazuli-gpu"]), "{name}");
        }
    }

    #[test]
    fn the_table_has_no_cycle() {
        let below = |name: &str| TABLE.iter().find(|(n, _)| *n == name).map_or(&[][..], |(_, list)| list);
        for (name, allowed) in TABLE {
            for lower in *allowed {
                assert!(!below(lower).contains(name), "{name} and {lower} import each other");
                assert!(
                    below(lower).iter().all(|l| allowed.contains(l)),
                    "{name} lacks what {lower} may import"
                );
            }
        }
    }
}
