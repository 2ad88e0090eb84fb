//! Models on the Hugging Face hub: found in its cache on this machine if they are there, fetched into it if not.

pub(super) mod cache;
mod client;
mod headers;
pub(super) mod select;

pub use client::HubSettings;
pub(super) use headers::headers;
pub use headers::{Headers, TensorHeader};

use super::landing::{Landing, Lock, copy, need_room};
use super::{FetchPolicy, HubRef, Progress, StoreError};
use cache::{RepoCache, path_of};
use client::{Client, Listing, OpenError, RemoteFile};
use select::{Choice, choose};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Tries without a single new byte before a download is given up.
const TRIES: u32 = 5;
/// The wait before the second try; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(400);

impl HubSettings {
    /// What the environment says; the token file is read only if no variable holds a token.
    pub fn from_env(token_file: &Path) -> Self {
        Self::from_variables(token_file, |name| std::env::var_os(name))
    }

    /// What these variables say; empty ones count as absent.
    pub fn from_variables(token_file: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| {
            let value = variable(name).and_then(|v| v.into_string().ok()).map(|v| v.trim().to_owned());
            value.filter(|value| !value.is_empty())
        };
        let on = |name: &str| {
            text(name).is_some_and(|v| ["1", "true", "yes", "on"].contains(&v.to_ascii_lowercase().as_str()))
        };
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let file = || {
            if on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
                return None;
            }
            let token = std::fs::read_to_string(token_file).ok()?.trim().to_owned();
            (!token.is_empty()).then_some(token)
        };
        let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).or_else(file);
        HubSettings { endpoint, token, offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE") }
    }
}

/// The path to load, from the cache or from the hub.
pub(super) fn resolve(
    hub: &Path,
    settings: &dyn Fn() -> HubSettings,
    what: &HubRef,
    policy: FetchPolicy,
    progress: &dyn Progress,
) -> Result<PathBuf, StoreError> {
    let cache = RepoCache::new(hub, &what.repo);
    if policy != FetchPolicy::Refresh {
        if let Some((path, _)) = cache.find(what) {
            return Ok(path);
        }
    }
    let settings = settings();
    if policy == FetchPolicy::Never || settings.offline {
        return Err(StoreError::NotFetched { label: what.to_string(), offline: settings.offline });
    }
    let client = Client::new(settings);
    let fetch = Fetch { client, cache, repo: &what.repo, progress, first_wait: FIRST_WAIT };
    fetch.model(what)
}

/// One model on its way.
struct Fetch<'a> {
    client: Client,
    cache: RepoCache,
    repo: &'a str,
    progress: &'a dyn Progress,
    first_wait: Duration,
}

impl Fetch<'_> {
    fn model(&self, what: &HubRef) -> Result<PathBuf, StoreError> {
        let revision = what.revision.as_deref().unwrap_or("main");
        let listing = self.client.list(self.repo, revision)?;
        let names: Vec<String> = listing.files.iter().map(|file| file.path.clone()).collect();
        let choice = choose(what, &names)?;
        if let Choice::Gguf { remark: Some(remark), .. } = &choice {
            self.progress.note(remark);
        }
        let files = pick(&listing, &choice);
        self.check_room(&files)?;
        for file in files {
            self.file(&listing.commit, file)?;
        }
        self.cache.set_ref(revision, &listing.commit)?;
        Ok(path_of(&self.cache.snapshot(&listing.commit), &choice))
    }

    fn check_room(&self, files: &[&RemoteFile]) -> Result<(), StoreError> {
        let length = |path: PathBuf| path.metadata().map_or(0, |data| data.len());
        let missing = |file: &&RemoteFile| {
            let here = length(self.cache.blob(&file.etag)).max(length(self.cache.incomplete(&file.etag)));
            file.size.unwrap_or(0).saturating_sub(here)
        };
        let bytes = files.iter().map(missing).fold(0, u64::saturating_add);
        need_room(self.cache.folder(), bytes, "HF_HOME")
    }

    /// Makes sure that a file is in the cache, under its commit.
    fn file(&self, commit: &str, file: &RemoteFile) -> Result<(), StoreError> {
        let blob = self.cache.blob(&file.etag);
        let whole = || blob.metadata().is_ok_and(|data| file.size.is_none_or(|size| size == data.len()));
        if !whole() {
            let _lock = Lock::take(&self.cache.lock(&file.etag), self.progress)?;
            if !whole() {
                self.bytes(commit, file, &blob)?;
            }
        }
        self.cache.link(commit, &file.path, &file.etag)
    }

    fn bytes(&self, commit: &str, file: &RemoteFile, blob: &Path) -> Result<(), StoreError> {
        let mut landing = Landing::resume(self.cache.incomplete(&file.etag))?;
        if file.size.is_some_and(|size| landing.written() > size) {
            landing.restart()?;
        }
        self.progress.begin(&file.path, file.size, landing.written());
        let streamed = self.stream_until_whole(commit, file, &mut landing);
        self.progress.end();
        streamed?;
        landing.finish(blob, file.sha256.as_deref())
    }

    fn stream_until_whole(
        &self,
        commit: &str,
        file: &RemoteFile,
        landing: &mut Landing,
    ) -> Result<(), StoreError> {
        let mut size = file.size;
        let mut failures = 0;
        loop {
            if size.is_some_and(|size| landing.written() == size) {
                return Ok(());
            }
            let before = landing.written();
            let why = match self.stream(commit, file, &mut size, landing) {
                Ok(()) if size.is_none_or(|size| landing.written() == size) => return Ok(()),
                Ok(()) => "the connection was closed".to_owned(),
                Err(OpenError::Transient(why)) => why,
                Err(OpenError::Final(error)) => return Err(error),
            };
            failures = if landing.written() > before { 1 } else { failures + 1 };
            if failures >= TRIES {
                let (done, total) = (landing.written(), size.unwrap_or(0));
                return Err(StoreError::BrokeOff { file: file.path.clone(), done, total, why });
            }
            self.pause(self.first_wait * 2_u32.pow(failures - 1))?;
        }
    }

    /// One request, read to its end.
    fn stream(
        &self,
        commit: &str,
        file: &RemoteFile,
        size: &mut Option<u64>,
        landing: &mut Landing,
    ) -> Result<(), OpenError> {
        let stream = self.client.open(self.repo, commit, &file.path, landing.written())?;
        if stream.start != landing.written() {
            landing.restart().map_err(OpenError::Final)?;
        }
        if stream.start > landing.written() {
            return Err(OpenError::Transient("the server began in the wrong place".to_owned()));
        }
        *size = size.or(stream.total);
        if let (Some(announced), Some(offered)) = (*size, stream.total) {
            if announced != offered {
                let why = format!("{offered} bytes are offered where {announced} were announced");
                return Err(OpenError::Final(StoreError::BadAnswer { what: file.path.clone(), why }));
            }
        }
        let rest = size.map_or(u64::MAX, |size| size.saturating_sub(landing.written()));
        // A closed connection arrives here as an error of the reader; what came before it is kept.
        let mut broke = None;
        let outcome = copy(&mut stream.body.take(rest), landing, self.progress, |error| {
            broke = Some(error.to_string());
            StoreError::Interrupted
        });
        match (outcome, broke) {
            (_, Some(why)) => Err(OpenError::Transient(why)),
            (outcome, None) => outcome.map_err(OpenError::Final),
        }
    }

    fn pause(&self, time: Duration) -> Result<(), StoreError> {
        let end = std::time::Instant::now() + time;
        while std::time::Instant::now() < end {
            if self.progress.stopped() {
                return Err(StoreError::Interrupted);
            }
            std::thread::sleep(time.min(Duration::from_millis(100)));
        }
        Ok(())
    }
}

/// The chosen files with what the hub says about them, in the order of the choice.
fn pick<'a>(listing: &'a Listing, choice: &Choice) -> Vec<&'a RemoteFile> {
    choice.files().iter().filter_map(|name| listing.files.iter().find(|file| file.path == *name)).collect()
}

#[cfg(test)]
mod tests;
