//! The workspace's packages, as `cargo metadata` describes them. Nothing outside of the workspace is read.

use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::shell;

/// One package of the workspace.
#[derive(Debug, Clone)]
pub struct Package {
    pub name: String,
    pub description: Option<String>,
    pub dependencies: Vec<Dependency>,
}

/// One line of a package's dependency tables.
#[derive(Debug, Clone)]
pub struct Dependency {
    pub name: String,
    pub kind: Kind,
}

/// Which table the dependency stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Dev,
    Build,
}

/// The packages of this workspace, by name.
pub fn packages() -> Result<Vec<Package>> {
    let args = ["metadata", "--no-deps", "--format-version", "1", "--quiet"];
    parse(&shell::output(shell::cargo().args(args))?)
}

fn parse(json: &str) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(json)?;
    let list =
        metadata["packages"].as_array().ok_or_else(|| Failure::new("cargo metadata lists no packages"))?;
    let mut packages = list.iter().map(package).collect::<Result<Vec<_>>>()?;
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

fn package(value: &Value) -> Result<Package> {
    let dependencies = value["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(Package {
        name: text(&value["name"])?,
        description: value["description"].as_str().map(str::to_string),
        dependencies: dependencies.iter().map(dependency).collect::<Result<_>>()?,
    })
}

fn dependency(value: &Value) -> Result<Dependency> {
    let kind = match value["kind"].as_str() {
        None => Kind::Normal,
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        Some(other) => {
            return Err(Failure::new(format!("cargo metadata has a dependency of kind `{other}`")));
        }
    };
    Ok(Dependency { name: text(&value["name"])?, kind })
}

fn text(value: &Value) -> Result<String> {
    value
        .as_str()
        .map(str::to_string)
        .ok_or_else(|| Failure::new("cargo metadata has a package or dependency without a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_come_sorted_with_the_kinds_of_their_dependencies() {
        let json = r#"{"packages":[
            {"name":"b","description":"second","dependencies":[{"name":"a","kind":null},{"name":"t","kind":"dev"}]},
            {"name":"a","description":null,"dependencies":[]}]}"#;
        let packages = parse(json).unwrap();
        assert_eq!(packages.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(packages[1].dependencies[0].kind, Kind::Normal);
        assert_eq!(packages[1].dependencies[1].kind, Kind::Dev);
        assert_eq!(packages[0].description, None);
    }

    #[test]
    fn json_of_another_shape_is_an_error() {
        assert!(parse("{}").is_err());
        assert!(parse(r#"{"packages":[{"dependencies":[]}]}"#).is_err());
    }
}
