//! Names that say nothing: types that end in Manager, Helper, Utils or Processor, and files of that name.

use super::{Finding, Workspace};
use crate::source::{SourceFile, words};

const TYPES: &[&str] = &["Manager", "Helper", "Helpers", "Util", "Utils", "Processor"];
const FILES: &[&str] = &["manager", "helper", "helpers", "util", "utils", "processor"];
const KEYWORDS: &[&str] = &["struct", "enum", "trait", "type", "union"];

pub fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.files.iter().filter(|f| f.rust.is_some()).flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let Some(rust) = &file.rust else { return Vec::new() };
    let list: Vec<(usize, &str)> = words(&rust.code).collect();
    let types = list.windows(2).filter(|pair| KEYWORDS.contains(&pair[0].1)).map(|pair| pair[1]);
    let mut findings: Vec<Finding> = types
        .filter_map(|(at, name)| {
            let end = TYPES.iter().find(|end| name.ends_with(*end))?;
            Some(Finding::at(file, at, format!("type `{name}` ends in {end}; name what it does")))
        })
        .collect();
    let parts = file.path.trim_end_matches(".rs").rsplit('/').take(2);
    findings.extend(parts.filter(|part| FILES.contains(part)).map(|part| {
        Finding::whole(file.path.clone(), format!("a file or folder named `{part}`; name what it owns"))
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::super::samples::{clean, found};
    use super::*;

    #[test]
    fn empty_words_are_found() {
        let text = "pub struct CacheManager;\nenum TextUtils {}\ntrait LogitsProcessor {}\n";
        let messages = found(check, "a.rs", text);
        assert_eq!(messages[0], "1: type `CacheManager` ends in Manager; name what it does");
        assert_eq!(messages.len(), 3);
        assert_eq!(found(check, "crates/lazuli-nn/src/utils.rs", "").len(), 1);
        assert_eq!(found(check, "crates/lazuli-nn/src/helpers/mod.rs", "").len(), 1);
    }

    #[test]
    fn honest_names_pass() {
        let text = "struct KvPool;\n// struct PoolManager\nfn helper() {}\nuse other::Processor;\n";
        assert!(clean(check, "crates/lazuli-nn/src/kv_pool.rs", text));
    }
}
