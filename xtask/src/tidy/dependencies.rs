//! What a build needs: Rust and a linker. No crate that compiles C or asks for a system library may creep in.
//!
//! Reads `Cargo.lock`, which lists every package of the enabled features on every platform, so that a build
//! on a machine unlike this one keeps the promise too.

use std::collections::BTreeSet;

use super::{Finding, Workspace};
use crate::shell;

/// Packages that run a C or C++ compiler, or look for a system library, when they are built.
const REFUSED: &[(&str, &str)] = &[
    ("cc", "runs a C compiler"),
    ("cmake", "runs cmake"),
    ("bindgen", "needs libclang"),
    ("pkg-config", "looks for a system library"),
    ("vcpkg", "looks for a system library"),
    ("openssl-sys", "needs OpenSSL"),
    ("onig_sys", "compiles C"),
];
/// Who may bring a refused package, and why that breaks no promise.
const EXCUSED: &[(&str, &str)] = &[
    // `ring`, the cryptography of the hub client, compiles C and assembler with the `cc` that links everything;
    // the libraries below the binary are free of it, and Apple targets do not build it.
    ("cc", "ring"),
    // Only Apple targets build `native-tls`, and there it uses the Security framework; the lock file lists the
    // OpenSSL bindings of other systems all the same.
    ("openssl-sys", "openssl"),
    ("pkg-config", "openssl-sys"),
    ("vcpkg", "openssl-sys"),
];
/// Async runtimes belong to the server and the binary.
const RUNTIMES: &[&str] = &["tokio", "async-std", "smol", "futures", "hyper", "axum"];
const MAY_WAIT: &[&str] = &["lazuli-server", "lazuli"];

pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = runtimes(workspace);
    match std::fs::read_to_string(shell::root().join("Cargo.lock")) {
        Ok(lock) => findings.extend(refused(&lock)),
        Err(error) => findings.push(Finding::whole("Cargo.lock", error.to_string())),
    }
    findings
}

fn runtimes(workspace: &Workspace) -> Vec<Finding> {
    let below = workspace.packages.iter().filter(|p| !MAY_WAIT.contains(&p.name.as_str()));
    below
        .flat_map(|p| p.dependencies.iter().map(move |d| (p, d)))
        .filter(|(_, d)| RUNTIMES.contains(&d.name.as_str()))
        .map(|(p, d)| {
            let message =
                format!("`{}` imports `{}`; async stands only in the server and the binary", p.name, d.name);
            Finding::whole(super::layering::manifest(&p.name), message)
        })
        .collect()
}

fn refused(lock: &str) -> Vec<Finding> {
    let names: BTreeSet<&str> =
        lock.lines().filter_map(|l| l.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    let excused = |name: &str| EXCUSED.iter().any(|(what, by)| *what == name && names.contains(by));
    REFUSED
        .iter()
        .filter(|(name, _)| names.contains(name) && !excused(name))
        .map(|(name, deed)| {
            let message =
                format!("`{name}` {deed}; `cargo tree --workspace --target all -i {name}` says who wants it");
            Finding::whole("Cargo.lock", message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Dependency, Kind, Package};

    #[test]
    fn a_c_compiler_in_the_lock_file_is_found() {
        let lock = "[[package]]\nname = \"cc\"\nversion = \"1\"\n\n[[package]]\nname = \"half\"\n";
        assert_eq!(refused(lock).len(), 1);
        assert!(refused(lock)[0].message.starts_with("`cc` runs a C compiler"));
        assert!(refused("[[package]]\nname = \"ccc\"\ndependencies = [\n \"cc\",\n]\n").is_empty());
    }

    #[test]
    fn runtimes_stay_above() {
        let package = |name: &str| Package {
            name: name.into(),
            description: None,
            dependencies: vec![Dependency { name: "tokio".into(), kind: Kind::Normal }],
        };
        let packages = vec![package("lazuli-engine"), package("lazuli-server")];
        let findings = runtimes(&Workspace { packages, files: Vec::new() });
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "crates/lazuli-engine/Cargo.toml");
    }
}
