//! From a host to its addresses, through the system's resolver.
//!
//! The resolver cannot be interrupted, so it runs on a thread of its own, which is left behind when the
//! deadline passes or a stop is requested. Address literals need none.

use super::deadline::{Allowance, obey};
use super::error::Error;
use crate::os::poll::{PollFd, PollFlags};
use crate::stop::Stop;
use crate::text::reason;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Every address of `host` once, in the order in which they should be tried.
pub(super) fn resolve(host: &str, port: u16, allowance: Allowance, stop: &Stop) -> Result<Vec<SocketAddr>, Error> {
    obey(stop)?;
    if let Some(address) = literal(host) {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = host.to_owned();
    let addresses = on_a_thread(move || Ok((name.as_str(), port).to_socket_addrs()?.collect()), allowance, stop)?
        .map_err(|failure| failed(host, &failure))?;
    if addresses.is_empty() {
        return Err(Error::UnknownHost { host: host.to_owned(), reason: "it has no address".to_owned() });
    }
    Ok(interleaved(addresses))
}

/// `192.0.2.1`, `2001:db8::1`, `[2001:db8::1]`.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

type Answer = io::Result<Vec<SocketAddr>>;

/// The answer of `ask`, for which it has as long as the allowance. A pipe that the thread closes when it is
/// done makes its end something to poll for.
fn on_a_thread(
    ask: impl FnOnce() -> Answer + Send + 'static,
    mut allowance: Allowance,
    stop: &Stop,
) -> Result<Answer, Error> {
    let (sender, answer) = mpsc::sync_channel(1);
    let (done, finished) = match io::pipe() {
        Ok(pipe) => pipe,
        Err(failure) => return Ok(Err(failure)),
    };
    let spawned = thread::Builder::new().name("resolve".to_owned()).spawn(move || {
        // Nobody may be listening any more; then nobody misses it.
        let _ = sender.send(ask());
        drop(finished);
    });
    if let Err(failure) = spawned {
        return Ok(Err(failure));
    }
    loop {
        match answer.try_recv() {
            Ok(answer) => return Ok(answer),
            Err(mpsc::TryRecvError::Empty) => {
                allowance.wait([PollFd::new(&done, PollFlags::IN)], Duration::MAX, stop)?;
            }
            Err(mpsc::TryRecvError::Disconnected) => return Ok(Err(io::Error::other("the resolver gave up"))),
        }
    }
}

fn failed(host: &str, failure: &io::Error) -> Error {
    let text = reason(failure);
    // getaddrinfo's code is lost in std's error, but its text follows this prefix.
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    let (host, reason) = (host.to_owned(), text.to_owned());
    match is_temporary(failure) {
        true => Error::Resolver { host, reason },
        false => Error::UnknownHost { host, reason },
    }
}

/// EAI_AGAIN by its text, in the words of glibc, musl and FreeBSD; and every failure of this machine (no
/// descriptors, no memory), which says nothing about the host.
fn is_temporary(failure: &io::Error) -> bool {
    let text = failure.to_string().to_lowercase();
    failure.raw_os_error().is_some()
        || ["temporary failure", "try again", "at this time"].iter().any(|again| text.contains(again))
}

/// IPv6 and IPv4 by turns, so that one broken family costs one attempt and not all of its addresses
/// (RFC 8305 §4). The first stays first: the resolver knows which family it prefers.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let preferred = addresses[0].is_ipv6();
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == preferred);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return mixed;
        }
        for address in pair.into_iter().flatten() {
            if !mixed.contains(&address) {
                mixed.push(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Deadline;
    use super::*;
    use crate::failure::{Failure as _, Kind};
    use crate::stop::Stopped;
    use std::time::Instant;

    fn allowance(milliseconds: u64) -> Allowance {
        Allowance::new(Deadline::Resolve, Duration::from_millis(milliseconds))
    }

    fn sleeper() -> Answer {
        thread::sleep(Duration::from_secs(3));
        Ok(Vec::new())
    }

    #[test]
    fn literals_need_no_resolver() {
        for (host, address) in [("127.0.0.1", "127.0.0.1:1"), ("::1", "[::1]:1"), ("[::1]", "[::1]:1")] {
            let found = resolve(host, 1, allowance(0), &Stop::new().unwrap()).unwrap();
            assert_eq!(found, [address.parse().unwrap()]);
        }
    }

    #[test]
    fn families_take_turns_and_the_preferred_one_begins() {
        let parse = |list: &str| list.split(' ').map(|address| address.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let given = parse("[::1]:1 [::2]:1 [::2]:1 [::3]:1 1.1.1.1:1 2.2.2.2:1");
        assert_eq!(interleaved(given), parse("[::1]:1 1.1.1.1:1 [::2]:1 2.2.2.2:1 [::3]:1"));
        assert_eq!(interleaved(parse("1.1.1.1:1 [::1]:1")), parse("1.1.1.1:1 [::1]:1"));
    }

    #[test]
    fn a_resolver_that_does_not_answer_meets_the_deadline() {
        let error = on_a_thread(sleeper, allowance(50), &Stop::new().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the resolver gave no answer within 0.05 s (timeout `resolve`)");
        assert!(error.is_transient());
    }

    #[test]
    fn a_stop_ends_a_lookup() {
        let stop = Stop::new().unwrap();
        stop.request(15);
        let began = Instant::now();
        assert_eq!(on_a_thread(sleeper, allowance(60_000), &stop).unwrap_err(), Error::Stopped(Stopped { signal: 15 }));
        assert!(began.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn no_such_host_is_not_the_same_as_no_answer_yet() {
        let said =
            |text| failed("pop.example", &io::Error::other(format!("failed to lookup address information: {text}")));
        assert_eq!(
            said("Name or service not known").to_string(),
            "unknown host `pop.example`: Name or service not known"
        );
        for unknown in ["Name or service not known", "No address associated with hostname", "Name does not resolve"] {
            assert_eq!(said(unknown).kind(), Kind::UnknownHost);
        }
        for temporary in ["Temporary failure in name resolution", "Try again"] {
            assert_eq!(said(temporary).kind(), Kind::Temporary);
        }
    }
}
