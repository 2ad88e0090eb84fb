//! How long a file may be: 800 lines at most, 300 as the aim; an architecture file 200 at most.

use super::{Finding, Workspace};
use crate::source::SourceFile;

const AIM: usize = 300;
const LIMIT: usize = 800;
const ARCHITECTURES: &str = "crates/lazuli-models/src/arch/";
const ARCHITECTURE_LIMIT: usize = 200;

pub fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.files.iter().filter(|f| f.rust.is_some()).filter_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Option<Finding> {
    let lines = file.text.lines().count();
    let finding = |rest: String| Finding::whole(file.path.clone(), format!("{lines} lines; {rest}"));
    let architecture = file.path.strip_prefix(ARCHITECTURES).is_some_and(|name| name != "mod.rs");
    if architecture && lines > ARCHITECTURE_LIMIT {
        let rest = "the limit of an architecture file: move what is shared into lazuli-nn";
        return Some(finding(format!("{ARCHITECTURE_LIMIT} is {rest}")));
    }
    if lines > LIMIT {
        return Some(finding(format!("{LIMIT} is the limit: split by concept")));
    }
    (lines > AIM).then(|| finding(format!("{AIM} is the aim")).warning())
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn level(path: &str, lines: usize) -> Option<Level> {
        check_file(&SourceFile::new(path, "x\n".repeat(lines))).map(|f| f.level)
    }

    #[test]
    fn limits_hold_at_their_line() {
        let path = "crates/lazuli-core/src/op.rs";
        assert_eq!(level(path, 300), None);
        assert_eq!(level(path, 301), Some(Level::Warning));
        assert_eq!(level(path, 800), Some(Level::Warning));
        assert_eq!(level(path, 801), Some(Level::Failure));
    }

    #[test]
    fn an_architecture_is_short() {
        assert_eq!(level("crates/lazuli-models/src/arch/llama.rs", 200), None);
        assert_eq!(level("crates/lazuli-models/src/arch/llama.rs", 201), Some(Level::Failure));
        assert_eq!(level("crates/lazuli-models/src/registry.rs", 201), None);
    }
}
