//! The table of crates: name, what it is for, and what it imports from the workspace.

use crate::failure::{Failure, Result};
use crate::metadata::{self, Kind, Package};

/// The crates, lowest first.
pub fn table() -> Result<String> {
    render(&metadata::packages()?)
}

fn render(packages: &[Package]) -> Result<String> {
    let mut rows = String::from("| crate | what it is for | imports |\n|---|---|---|\n");
    for package in in_order(packages) {
        let description = package.description.as_deref().ok_or_else(|| {
            Failure::new(format!("`{}` has no description; add one sentence to its Cargo.toml", package.name))
        })?;
        let imports: Vec<_> = imports(package, packages).map(|name| format!("`{name}`")).collect();
        rows.extend(["| `", &package.name, "` | ", description, " | ", &imports.join(", "), " |\n"]);
    }
    Ok(rows)
}

/// By height above the ground, then by name.
fn in_order(packages: &[Package]) -> Vec<&Package> {
    let mut order: Vec<&Package> = packages.iter().collect();
    order.sort_by_key(|p| (height(p, packages), p.name.clone()));
    order
}

/// The longest chain of imports below a package. Cargo has refused cycles before we come here.
fn height(package: &Package, packages: &[Package]) -> usize {
    let below = imports(package, packages).filter_map(|name| packages.iter().find(|p| p.name == name));
    below.map(|p| height(p, packages) + 1).max().unwrap_or(0)
}

fn imports<'a>(package: &'a Package, packages: &'a [Package]) -> impl Iterator<Item = &'a str> {
    let ours = |name: &str| packages.iter().any(|p| p.name == name);
    let normal = package.dependencies.iter().filter(|d| d.kind == Kind::Normal);
    normal.map(|d| d.name.as_str()).filter(move |name| ours(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Dependency;

    fn package(name: &str, imports: &[(&str, Kind)]) -> Package {
        let dependencies =
            imports.iter().map(|&(name, kind)| Dependency { name: name.into(), kind }).collect();
        Package { name: name.into(), description: Some(format!("The {name}.")), dependencies }
    }

    #[test]
    fn the_ground_comes_first_and_only_our_crates_are_imports() {
        let packages = [
            package("attic", &[("middle", Kind::Normal), ("serde", Kind::Normal)]),
            package("ground", &[("attic", Kind::Dev)]),
            package("middle", &[("ground", Kind::Normal)]),
        ];
        let table = render(&packages).unwrap();
        let rows: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `ground` | The ground. |  |",
                "| `middle` | The middle. | `ground` |",
                "| `attic` | The attic. | `middle` |",
            ]
        );
    }

    #[test]
    fn a_crate_without_a_description_is_named() {
        let bare = Package { description: None, ..package("bare", &[]) };
        assert!(render(&[bare]).unwrap_err().to_string().contains("`bare`"));
    }
}
