//! No `array::from_fn` and no `[T; N]::map` in functions that are generic over a vector level: their closures lack the
//! instructions of the stamped kernel, and were calls in its innermost loops until somebody looked.

use super::{Finding, Workspace};
use crate::source::{SourceFile, functions, words};

pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let kernels = |file: &&SourceFile| file.path.starts_with("crates/lazuli-cpu/src/kernel/");
    workspace.files.iter().filter(kernels).flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let Some(rust) = &file.rust else { return Vec::new() };
    let mut findings = Vec::new();
    for function in functions(&rust.code) {
        let head = &rust.code[function.start..function.body.start];
        if !head.contains("S: Simd") && !head.contains("S: Dot") {
            continue;
        }
        for (at, _) in words(&rust.code[function.body.clone()]).filter(|(_, word)| *word == "from_fn") {
            let message =
                "`from_fn` in vector code may stay a call without the level's instructions; use `array!`";
            findings.push(Finding::at(file, function.body.start + at, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::samples::{clean, found};
    use super::*;

    const PATH: &str = "crates/lazuli-cpu/src/kernel/x.rs";

    #[test]
    fn closures_over_vectors_are_found() {
        let text = "unsafe fn f<S: Simd, const N: usize>(s: S) {\n    let v: [S::F; N] = std::array::from_fn(|_| s.zero());\n}\n";
        assert_eq!(found(check, PATH, text).len(), 1);
    }

    #[test]
    fn plain_functions_and_other_crates_pass() {
        let plain = "fn f() -> [u8; 4] {\n    std::array::from_fn(|i| i as u8)\n}\n";
        assert!(clean(check, PATH, plain));
        let vector = "fn f<S: Simd>(s: S) {\n    std::array::from_fn(|_| s.zero());\n}\n";
        assert!(clean(check, "crates/lazuli-core/src/x.rs", vector));
    }
}
