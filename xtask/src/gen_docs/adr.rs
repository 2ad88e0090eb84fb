//! The list of decisions: number, title and status of each file in docs/adr.

use crate::failure::{Failure, Result};
use crate::shell;

/// One line per decision, by number.
pub fn list() -> Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(shell::root().join("docs/adr"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            names.push(name);
        }
    }
    names.sort();
    names
        .iter()
        .map(|name| line(name, &std::fs::read_to_string(shell::root().join("docs/adr").join(name))?))
        .collect()
}

fn line(name: &str, text: &str) -> Result<String> {
    let title = text.lines().find_map(|l| l.strip_prefix("# "));
    let title = title.ok_or_else(|| Failure::new(format!("docs/adr/{name} has no title line")))?;
    let number = name.split('-').next().unwrap_or_default().trim_start_matches('0');
    if title.split('.').next() != Some(number) {
        return Err(Failure::new(format!(
            "docs/adr/{name} is titled `{title}`, expected it to begin with {number}."
        )));
    }
    let missing = ["## Status", "## Context", "## Decision", "## Consequences"];
    if let Some(heading) = missing.iter().find(|heading| !text.lines().any(|l| l == **heading)) {
        return Err(Failure::new(format!("docs/adr/{name} has no `{heading}`")));
    }
    Ok(format!("- [{title}](adr/{name})\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "# 7. Doors\n\n## Status\n\n## Context\n\n## Decision\n\n## Consequences\n";

    #[test]
    fn a_decision_is_listed_by_its_title() {
        assert_eq!(line("0007-doors.md", WHOLE).unwrap(), "- [7. Doors](adr/0007-doors.md)\n");
    }

    #[test]
    fn a_wrong_number_and_a_missing_part_are_errors() {
        assert!(line("0008-doors.md", WHOLE).is_err());
        assert!(line("0007-doors.md", &WHOLE.replace("## Decision\n", "")).is_err());
        assert!(line("0007-doors.md", "Doors\n").is_err());
    }
}
