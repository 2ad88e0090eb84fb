//! Backend crates are named in one file only, `crates/lazuli/src/backends.rs`.
//!
//! Looks at the whole text, documentation included. A backend's own crate (its tests and benches too) may of
//! course name itself, and the drivers may name what they drive.

use super::layering::BACKENDS;
use super::{Finding, Workspace};
use crate::source::SourceFile;

const THE_FILE: &str = "crates/lazuli/src/backends.rs";

pub fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.files.iter().filter(|f| f.rust.is_some() && concerned(f)).flat_map(check_file).collect()
}

fn concerned(file: &SourceFile) -> bool {
    file.krate() != "xtask" && file.path != THE_FILE && !BACKENDS.contains(&file.krate())
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let names = BACKENDS.iter().map(|name| name.replace('-', "_"));
    names
        .flat_map(|name| {
            let offsets: Vec<usize> = file.text.match_indices(&name).map(|(at, _)| at).collect();
            offsets.into_iter().map(move |at| {
                Finding::at(
                    file,
                    at,
                    format!("`{name}` is named here; only {THE_FILE} may name a backend crate"),
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{clean, found};
    use super::*;

    #[test]
    fn a_backend_named_elsewhere_is_found() {
        let text = "//! Doc.\nuse lazuli_cpu::Cpu;\n";
        let message =
            "2: `lazuli_cpu` is named here; only crates/lazuli/src/backends.rs may name a backend crate";
        assert_eq!(found(check, "crates/lazuli-nn/src/rope.rs", text), [message]);
        assert_eq!(found(check, "crates/lazuli/src/main.rs", text).len(), 1);
        assert_eq!(found(check, "crates/lazuli/tests/run.rs", text).len(), 1);
    }

    #[test]
    fn the_one_file_and_the_backend_itself_may_name_it() {
        let text = "use lazuli_cpu::Cpu;\n";
        assert!(clean(check, "crates/lazuli/src/backends.rs", text));
        assert!(clean(check, "crates/lazuli-cpu/tests/conformance.rs", text));
        assert!(clean(check, "crates/lazuli-cpu/benches/dot.rs", text));
        assert!(clean(check, "crates/lazuli/src/lib.rs", "pub use backends::default_backend;"));
    }
}
