//! The credentials that a service manager gives to a service (systemd.exec(5)).

use std::env;
use std::path::{Component, Path, PathBuf};

/// The folder of the credentials, where there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials(pub Option<PathBuf>);

impl Credentials {
    pub fn of_process() -> Self {
        let folder = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Credentials(folder.filter(|folder| folder.is_absolute()))
    }

    /// The credential of that name, if there is one.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let is_inside = Path::new(name).components().all(|component| matches!(component, Component::Normal(_)));
        Some(self.0.as_ref()?.join(name)).filter(|path| is_inside && path.is_file())
    }

    /// True for a file that the service manager made for this process alone.
    pub fn has(&self, path: &Path) -> bool {
        self.0.as_ref().is_some_and(|folder| path.starts_with(folder))
    }
}
