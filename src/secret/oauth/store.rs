//! The file that keeps the tokens of one maildrop: `USER@HOST.oauth2.json` in the state, readable by nobody else.
//!
//! Replaced whole (new file, sync, rename, sync of the folder), so that it always holds one sign-in. Whoever replaces
//! it holds a kernel lock on `USER@HOST.oauth2.lock`; whoever only reads needs none.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::endpoint::Tokens;
use super::error::Error;
use crate::account::{OAuth2, Password};
use crate::os::file::{self, Replacement};
use crate::os::{exposure, folder};
use crate::stop::{Stop, Woken};
use crate::text;

/// An access token is not used when it has less than this left: the login still has to get through.
const SKEW: u64 = 60;

/// How often a lock that somebody else holds is tried.
const LOOK: Duration = Duration::from_millis(50);

/// What is reserved before a refresh: two tokens of the longest kind, and more.
const RESERVED: usize = 32 << 10;

/// One sign-in. It has no `Debug`: it is all secrets.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    client_id: String,
    token_endpoint: String,
    /// None for a service, which asks for a token as itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
}

impl Record {
    /// What came at `now`.
    pub fn new(oauth2: &OAuth2, tokens: &Tokens, refresh_token: Option<Password>, now: u64) -> Self {
        Record {
            client_id: oauth2.client_id.clone(),
            token_endpoint: oauth2.token_endpoint.clone(),
            refresh_token: refresh_token.map(|token| token.reveal().to_owned()),
            access_token: Some(tokens.access_token.reveal().to_owned()),
            expires_at: tokens.expires_in.map(|seconds| now.saturating_add(seconds.as_secs())),
        }
    }

    /// True when the tokens are this client's, at this provider.
    pub fn belongs_to(&self, oauth2: &OAuth2) -> bool {
        self.client_id == oauth2.client_id && self.token_endpoint == oauth2.token_endpoint
    }

    pub fn refresh_token(&self) -> Option<Password> {
        self.refresh_token.as_deref().map(Password::new)
    }

    /// What has to be revoked, and its kind (RFC 7009 §2.1): with a refresh token its access tokens are, too.
    pub fn into_revocable(self) -> Option<(Password, &'static str)> {
        let access_token = || Some((Password::new(self.access_token.as_deref()?), "access_token"));
        self.refresh_token().map(|token| (token, "refresh_token")).or_else(access_token)
    }

    /// The access token, unless it has expired or nearly so. One of unknown age has (RFC 6749 §5.1 leaves it open).
    pub fn access_token(&self, now: u64) -> Option<Password> {
        let is_good = self.expires_at.is_some_and(|end| end > now.saturating_add(SKEW));
        self.access_token.as_deref().filter(|_| is_good).map(Password::new)
    }

    /// The record without this access token, when it is the one in it.
    pub fn without(mut self, refused: &Password) -> Option<Self> {
        let is_refused = self.access_token.as_deref() == Some(refused.reveal());
        self.access_token.take_if(|_| is_refused).zeroize();
        self.expires_at.take_if(|_| is_refused);
        is_refused.then_some(self)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.refresh_token.zeroize();
        self.access_token.zeroize();
    }
}

/// Where a maildrop's tokens are.
pub(super) struct Store {
    folder: PathBuf,
    name: String,
}

impl Store {
    pub fn new(folder: &Path, maildrop: &str) -> Self {
        Store { folder: folder.to_owned(), name: text::file_name(maildrop) }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.oauth2.json", self.name))
    }

    /// What is stored, if anything.
    pub fn load(&self) -> Result<Option<Record>, Error> {
        let path = self.path();
        let mut file = match file::options().read(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let metadata = file.metadata().map_err(Error::io("read", &path))?;
        if let Some(exposure) = exposure::of(&path, &metadata) {
            return Err(Error::Exposed { path, exposure });
        }
        let mut json = Zeroizing::new(vec![]);
        file.read_to_end(&mut json).map_err(Error::io("read", &path))?;
        serde_json::from_slice(&json).map(Some).map_err(|_| Error::Damaged(path))
    }

    /// Takes the lock, which another process holds for one request at most.
    pub fn lock(&self, patience: Duration, stop: &Stop) -> Result<Guard<'_>, Error> {
        folder::create(&self.folder)?;
        let path = self.folder.join(format!("{}.oauth2.lock", self.name));
        let file = file::create(&path)?;
        let end = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Guard { store: self, _lock: file }),
                Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
                Err(TryLockError::WouldBlock) if Instant::now() > end => return Err(Error::Busy(path)),
                Err(TryLockError::WouldBlock) => {}
            }
            if let Woken::Stopped(stopped) = stop.pause(LOOK).map_err(Error::io("lock", &path))? {
                return Err(Error::Stopped(stopped));
            }
        }
    }
}

/// The right to replace the file.
pub(super) struct Guard<'s> {
    store: &'s Store,
    _lock: File,
}

impl Guard<'_> {
    /// Removes the file, durably; false when there is none.
    pub fn remove(&self) -> Result<bool, Error> {
        let path = self.store.path();
        match fs::remove_file(&path) {
            Ok(()) => Ok(folder::sync(&self.store.folder).map(|()| true)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("remove", &path)(error)),
        }
    }

    /// Makes room for a new record, as far as that can be made sure of.
    pub fn reserve(&self) -> Result<Reserved, Error> {
        let path = self.store.path();
        let mut new = Replacement::begin(&path, path.with_extension("json.new"))?;
        let written = new.file().write_all(&[b'\n'; RESERVED]).and_then(|()| new.file().sync_all());
        written.map_err(|source| new.failed("write", source))?;
        Ok(Reserved(new))
    }
}

/// Room for a record. Dropped without one, it is gone again.
pub(super) struct Reserved(Replacement);

impl Reserved {
    /// Replaces the file; when this returns, the record is durable.
    pub fn save(mut self, record: &Record) -> Result<(), Error> {
        let mut json = Zeroizing::new(serde_json::to_vec(record).expect("a record is plain strings and numbers"));
        json.push(b'\n');
        let file = self.0.file();
        let written = file.rewind().and_then(|()| file.write_all(&json)).and_then(|()| file.set_len(json.len() as u64));
        written.map_err(|source| self.0.failed("write", source))?;
        Ok(self.0.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;
    use crate::os::exposure::Exposure;
    use crate::stop::Stopped;

    fn record(access_token: &str, expires_at: Option<u64>) -> Record {
        Record {
            client_id: "c".into(),
            token_endpoint: "https://a.example/t".into(),
            refresh_token: Some("r".into()),
            access_token: Some(access_token.into()),
            expires_at,
        }
    }

    fn never() -> Stop {
        Stop::new().unwrap()
    }

    #[test]
    fn a_record_is_kept_for_its_owner_alone_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("state"), "a/b@pop.example.com");
        assert!(store.load().unwrap().is_none());
        let guard = store.lock(Duration::ZERO, &never()).unwrap();
        guard.reserve().unwrap().save(&record("first", Some(1))).unwrap();
        guard.reserve().unwrap().save(&record("second", Some(2))).unwrap();
        drop(guard.reserve().unwrap());
        assert_eq!(store.load().unwrap().unwrap().access_token.as_deref(), Some("second"));
        assert_eq!(fs::metadata(store.path()).unwrap().mode() & 0o7777, 0o600);
        let mut names: Vec<_> = fs::read_dir(&store.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["a%2Fb@pop.example.com.oauth2.json", "a%2Fb@pop.example.com.oauth2.lock"]);
    }

    #[test]
    fn a_token_is_good_until_a_minute_before_its_end() {
        assert_eq!(record("t", Some(1061)).access_token(1000), Some(Password::new("t")));
        assert_eq!(record("t", Some(1060)).access_token(1000), None);
        assert_eq!(record("t", None).access_token(1000), None);
        assert_eq!(record("t", Some(u64::MAX)).access_token(u64::MAX), None);
    }

    #[test]
    fn only_the_token_that_was_refused_is_dropped() {
        assert!(record("t", Some(9)).without(&Password::new("other")).is_none());
        let record = record("t", Some(u64::MAX)).without(&Password::new("t")).unwrap();
        assert_eq!((record.access_token(0), record.refresh_token()), (None, Some(Password::new("r"))));
    }

    #[test]
    fn a_file_that_others_can_read_or_that_makes_no_sense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), "a@b");
        fs::write(store.path(), "{}").unwrap();
        fs::set_permissions(store.path(), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(store.load(), Err(Error::Exposed { exposure: Exposure::Mode(0o640), .. })));
        fs::set_permissions(store.path(), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(store.load(), Err(Error::Damaged(_))));
    }

    #[test]
    fn one_refresh_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (Store::new(folder.path(), "a@b"), Store::new(folder.path(), "a@b"));
        let held = one.lock(Duration::ZERO, &never()).unwrap();
        assert!(matches!(other.lock(Duration::ZERO, &never()), Err(Error::Busy(_))));
        let stop = never();
        stop.request(15);
        assert!(matches!(other.lock(Duration::from_secs(60), &stop), Err(Error::Stopped(Stopped { signal: 15 }))));
        drop(held);
        assert!(other.lock(Duration::ZERO, &never()).is_ok());
    }
}
