//! Where models come from: paths, aliases, the Hugging Face hub and Python packages, and the caches that keep them.
//!
//! A reference is parsed ([`ModelRef`]), then resolved ([`Store::resolve`]) to a path that a loader can open. What is
//! already on this machine is found by looking at the disk alone: no network, no other program, well under 2 ms.
//!
//! ```no_run
//! use lazuli::store::{self, FetchPolicy, ModelRef};
//!
//! let model = ModelRef::parse("smollm2")?;
//! let found = store::resolve(&model, FetchPolicy::IfMissing)?;
//! println!("{} is at {}", found.label, found.path.display());
//! # Ok::<(), store::StoreError>(())
//! ```
//!
//! Left out: reading models (that is `lazuli-io`'s), and every question of how progress looks.

mod alias;
mod error;
mod hub;
mod inventory;
mod landing;
pub mod names;
mod path;
mod places;
mod progress;
mod pypi;
mod reference;
mod wheel;

pub use alias::{Alias, Aliases};
pub use error::StoreError;
pub use hub::{Headers, HubSettings, TensorHeader};
pub use inventory::{Entry, Format, Removal, Source};
pub use places::Places;
pub use progress::{Progress, Silent};
pub use reference::{HubRef, ModelRef, PypiRef, Selector};

use std::path::PathBuf;

/// Whether the network may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchPolicy {
    /// Only if the model is not on this machine.
    IfMissing,
    /// Not at all.
    Never,
    /// Ask the source again even if there is a copy; what has not changed is not fetched again from the hub.
    Refresh,
}

/// A model that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// A GGUF file (the first part of a split one), or a checkpoint folder.
    pub path: PathBuf,
    /// What to call it: the alias, the hub's name, or the file's.
    pub label: String,
}

/// The places that models come from. Cheap to make: nothing is read before it is needed.
pub struct Store {
    places: Places,
    hub: Box<dyn Fn() -> HubSettings>,
    progress: Box<dyn Progress>,
}

/// Resolves with the environment's settings and without a word; see [`Store::resolve`].
pub fn resolve(model: &ModelRef, policy: FetchPolicy) -> Result<Resolved, StoreError> {
    Store::from_env()?.resolve(model, policy)
}

impl Store {
    /// The store that the environment describes.
    pub fn from_env() -> Result<Self, StoreError> {
        let places = Places::from_env()?;
        let token_file = places.token_file.clone();
        let hub = Box::new(move || HubSettings::from_env(&token_file));
        Ok(Store { places, hub, progress: Box::new(Silent) })
    }

    /// A store at given places that talks to a given hub.
    pub fn new(places: Places, hub: HubSettings) -> Self {
        Store { places, hub: Box::new(move || hub.clone()), progress: Box::new(Silent) }
    }

    /// Tells this watcher what is fetched.
    pub fn with_progress(mut self, progress: Box<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Where things are kept.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The short names: built in and the user's own.
    pub fn aliases(&self) -> Result<Aliases, StoreError> {
        Aliases::load(&self.places.aliases)
    }

    /// The model that is meant when none is given.
    pub fn default_model(&self) -> Result<ModelRef, StoreError> {
        Ok(ModelRef::Alias(self.aliases()?.default_name().to_owned()))
    }

    /// Finds a model on this machine, or fetches it if the policy allows.
    ///
    /// An alias that is not in the table but names a file or folder here is that file or folder.
    pub fn resolve(&self, model: &ModelRef, policy: FetchPolicy) -> Result<Resolved, StoreError> {
        let (meant, sha256) = self.expand(model)?;
        let label = |path: &PathBuf| match (model, &meant) {
            (ModelRef::Alias(name), ModelRef::Hub(_) | ModelRef::Pypi(_)) => name.to_ascii_lowercase(),
            (_, ModelRef::Hub(hub)) => hub.to_string(),
            _ => path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        };
        let progress = &*self.progress;
        let path = match &meant {
            ModelRef::Path(path) => path::resolve(path)?,
            ModelRef::Hub(what) => hub::resolve(&self.places.hub, &*self.hub, what, policy, progress)?,
            ModelRef::Pypi(what) => {
                let place = pypi::place(&self.places, what);
                match policy {
                    FetchPolicy::IfMissing | FetchPolicy::Never if place.is_file() => place,
                    FetchPolicy::Never => {
                        return Err(StoreError::NotFetched { label: model.to_string(), offline: false });
                    }
                    _ => pypi::fetch(&self.places, what, sha256.as_deref(), policy, progress)?,
                }
            }
            ModelRef::Alias(name) => return Err(self.aliases()?.unknown(name)),
        };
        Ok(Resolved { label: label(&path), path })
    }

    /// What a model on the hub is, by its settings and the headers of its files alone: a few hundred kilobytes of it.
    ///
    /// # Errors
    /// If the hub cannot be reached, or the repository holds no model.
    pub fn headers(&self, model: &HubRef) -> Result<Headers, StoreError> {
        hub::headers((self.hub)(), model)
    }

    /// What a reference stands for once aliases are looked up, with the SHA-256 that the alias pins.
    fn expand(&self, model: &ModelRef) -> Result<(ModelRef, Option<String>), StoreError> {
        let ModelRef::Alias(name) = model else { return Ok((model.clone(), None)) };
        let aliases = self.aliases()?;
        if let Some(alias) = aliases.get(name) {
            return Ok((ModelRef::parse(&alias.model)?, alias.sha256.clone()));
        }
        let path = PathBuf::from(name);
        if path.exists() { Ok((ModelRef::Path(path), None)) } else { Err(aliases.unknown(name)) }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("places", &self.places).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
