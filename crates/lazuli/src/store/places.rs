//! Where things are kept on this machine, from the environment alone. Creates nothing.

use super::StoreError;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folders that models come from, and the user's alias file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Lazuli's own cache: `LAZULI_HOME`, else `XDG_CACHE_HOME/lazuli`, else `~/Library/Caches/lazuli` on macOS,
    /// `%LOCALAPPDATA%\lazuli` on Windows and `~/.cache/lazuli` elsewhere.
    pub cache: PathBuf,
    /// The hub's cache, shared with other tools: `HF_HUB_CACHE`, else `HF_HOME/hub`, else
    /// `XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`.
    pub hub: PathBuf,
    /// Where the hub's other tools leave the login token: `HF_TOKEN_PATH`, else `token` beside the hub's cache folder.
    pub token_file: PathBuf,
    /// The user's own aliases: `aliases.toml` in `LAZULI_CONFIG`, else in `XDG_CONFIG_HOME/lazuli`, else in
    /// `~/.config/lazuli`.
    pub aliases: PathBuf,
}

impl Places {
    /// The places that the process's environment names.
    pub fn from_env() -> Result<Self, StoreError> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// The places that these variables name; an empty variable counts as absent.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, StoreError> {
        let path = |name: &str| variable(name).filter(|v| !v.is_empty()).map(|v| expand(&v, &variable));
        let home = || home(&variable).ok_or(StoreError::NoHome);
        let or_home = |set: Option<PathBuf>, below: &str| match set {
            Some(path) => Ok(path),
            None => home().map(|home| home.join(below)),
        };
        let xdg_cache = || or_home(path("XDG_CACHE_HOME"), ".cache");
        let cache = match path("LAZULI_HOME") {
            Some(path) => path,
            None if cfg!(target_os = "macos") && path("XDG_CACHE_HOME").is_none() => {
                home()?.join("Library/Caches/lazuli")
            }
            None if cfg!(windows) => or_home(path("LOCALAPPDATA"), "AppData/Local")?.join("lazuli"),
            None => xdg_cache()?.join("lazuli"),
        };
        let hub_home = || match path("HF_HOME") {
            Some(path) => Ok(path),
            None => xdg_cache().map(|cache| cache.join("huggingface")),
        };
        let hub = match path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")) {
            Some(path) => path,
            None => hub_home()?.join("hub"),
        };
        let token_file = match path("HF_TOKEN_PATH") {
            Some(path) => path,
            None => hub_home()?.join("token"),
        };
        let config = match path("LAZULI_CONFIG") {
            Some(path) => path,
            None => or_home(path("XDG_CONFIG_HOME"), ".config")?.join("lazuli"),
        };
        Ok(Places { cache, hub, token_file, aliases: config.join("aliases.toml") })
    }

    /// What the user typed in earlier conversations, beside the aliases.
    pub fn history(&self) -> PathBuf {
        self.aliases.with_file_name("history")
    }

    /// The folder of everything that Python packages brought.
    pub fn pypi(&self) -> PathBuf {
        self.cache.join("pypi")
    }
}

/// `~` and `~/x` as the home folder and what is below it; anything else as it is.
pub fn expand_home(path: &Path) -> PathBuf {
    expand(path.as_os_str(), &|name: &str| std::env::var_os(name))
}

fn expand(path: &std::ffi::OsStr, variable: &impl Fn(&str) -> Option<OsString>) -> PathBuf {
    match (Path::new(path).strip_prefix("~"), home(variable)) {
        (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => home,
        (Ok(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

fn home(variable: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let name = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    variable(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)]) -> Result<Places, StoreError> {
        Places::from_variables(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn defaults_lie_under_home() {
        let found = places(&[("HOME", "/people/ada"), ("HF_HOME", "")]).unwrap();
        assert_eq!(found.cache, Path::new("/people/ada/.cache/lazuli"));
        assert_eq!(found.hub, Path::new("/people/ada/.cache/huggingface/hub"));
        assert_eq!(found.token_file, Path::new("/people/ada/.cache/huggingface/token"));
        assert_eq!(found.aliases, Path::new("/people/ada/.config/lazuli/aliases.toml"));
    }

    #[test]
    #[cfg(unix)]
    fn variables_win_in_the_documented_order() {
        let home = ("HOME", "/h");
        let xdg = ("XDG_CACHE_HOME", "/xdg");
        let found = places(&[home, xdg]).unwrap();
        assert_eq!(found.cache, Path::new("/xdg/lazuli"));
        assert_eq!(found.hub, Path::new("/xdg/huggingface/hub"));
        let found = places(&[home, xdg, ("HF_HOME", "~/hf"), ("LAZULI_HOME", "/l")]).unwrap();
        assert_eq!(found.cache, Path::new("/l"));
        assert_eq!(found.hub, Path::new("/h/hf/hub"));
        assert_eq!(found.token_file, Path::new("/h/hf/token"));
        let found = places(&[home, ("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/blobs")]).unwrap();
        assert_eq!(found.hub, Path::new("/blobs"));
        assert_eq!(found.token_file, Path::new("/hf/token"));
    }

    #[test]
    fn without_a_home_the_error_says_what_to_set() {
        let error = places(&[]).unwrap_err().to_string();
        assert!(error.contains("HOME") && error.contains("LAZULI_HOME"), "{error}");
    }
}
