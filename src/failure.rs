//! What kind of failure an error is, which is the exit status that it deserves; and what helps against it.
//!
//! Each room knows its own errors and says both of them. Nobody else looks into them for it.

use std::fmt;
use std::path::Path;

use crate::stop::Stopped;

/// The kinds of failures, as sysexits(3) numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With `--fail-if-none`: nothing failed, and no mail came.
    NoMail,
    /// The command line is wrong (`EX_USAGE`).
    Usage,
    /// The state has bad data (`EX_DATAERR`).
    BadState,
    /// The host is not known (`EX_NOHOST`).
    UnknownHost,
    /// TLS failed, or the server offers no service (`EX_UNAVAILABLE`).
    Unavailable,
    /// The target cannot be created, or the MDA cannot be started (`EX_CANTCREAT`).
    CannotCreate,
    /// Input or output failed (`EX_IOERR`).
    Io,
    /// Trying again later may help (`EX_TEMPFAIL`).
    Temporary,
    /// The server broke the protocol (`EX_PROTOCOL`).
    Protocol,
    /// The login was refused (`EX_NOPERM`).
    LoginRefused,
    /// The configuration is wrong (`EX_CONFIG`).
    Configuration,
    /// A signal asked to stop: 128 and its number.
    Stopped(Stopped),
}

impl Kind {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Kind::NoMail => 1,
            Kind::Usage => 64,
            Kind::BadState => 65,
            Kind::UnknownHost => 68,
            Kind::Unavailable => 69,
            Kind::CannotCreate => 73,
            Kind::Io => 74,
            Kind::Temporary => 75,
            Kind::Protocol => 76,
            Kind::LoginRefused => 77,
            Kind::Configuration => 78,
            Kind::Stopped(Stopped { signal }) => 128 + u8::try_from(signal).unwrap_or(0),
        }
    }

    fn weight(self) -> u8 {
        match self {
            Kind::Temporary => 0,
            Kind::Stopped(_) => 2,
            _ => 1,
        }
    }
}

/// The hint against a full disk. The file itself may be gone by now.
pub(crate) fn make_room(path: &Path) -> String {
    format!("make room on the file system of `{}`; nothing is lost", path.parent().unwrap_or(path).display())
}

/// An error of any room.
pub trait Failure: fmt::Debug + fmt::Display + Send {
    /// The kind that decides about the exit status.
    fn kind(&self) -> Kind;

    /// Lines about it that are too long for its own.
    fn details(&self) -> Vec<String> {
        vec![]
    }

    /// What to do about it, where that is sure.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Seconds that have to pass before another try, where the server says so.
    fn retry_after(&self) -> Option<u64> {
        None
    }

    /// True when trying again later may help without anyone doing anything.
    fn is_transient(&self) -> bool {
        self.kind() == Kind::Temporary
    }
}

impl Failure for Stopped {
    fn kind(&self) -> Kind {
        Kind::Stopped(*self)
    }
}

/// Of several failures the one that decides: a signal, else the first that waiting does not mend, else the first that it
/// may.
pub fn worst(kinds: impl IntoIterator<Item = Kind>) -> Option<Kind> {
    kinds.into_iter().reduce(|worst, kind| if kind.weight() > worst.weight() { kind } else { worst })
}

/// The exit status of a run with this failure, or with none.
pub fn exit_status(worst: Option<Kind>) -> u8 {
    worst.map_or(0, Kind::code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_that_waiting_does_not_mend_decides() {
        use Kind::*;
        let by_signal = Stopped(crate::stop::Stopped { signal: 15 });
        assert_eq!(exit_status(worst([])), 0);
        assert_eq!(worst([Temporary]), Some(Temporary));
        assert_eq!(worst([Temporary, LoginRefused, Io]), Some(LoginRefused));
        assert_eq!(worst([Io, by_signal, Configuration]), Some(by_signal));
        assert_eq!(exit_status(Some(by_signal)), 143);
    }
}
