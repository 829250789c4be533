//! `socks5://[USER:PASSWORD@]HOST:PORT` and `http://[USER:PASSWORD@]HOST:PORT`.

use super::forms::Expected;
use super::url;
use crate::account::{Password, Proxy, ProxyKind};

const PROXY: Expected = Expected::new("`socks5://[USER:PASSWORD@]HOST:PORT` or `http://[USER:PASSWORD@]HOST:PORT`");

/// A proxy; user and password are percent-encoded (RFC 3986 §2.1), and take 255 octets (RFC 1929 §2).
pub(super) fn parse(text: &str) -> Result<Proxy, Expected> {
    let (scheme, rest) = text.split_once("://").ok_or(PROXY)?;
    let kind = match scheme.to_ascii_lowercase().as_str() {
        // Others write `socks5h` for what is the only way here: the proxy resolves the name.
        "socks5" | "socks5h" => ProxyKind::Socks5,
        "http" => ProxyKind::Http,
        _ => return Err(PROXY),
    };
    let (written_login, server) = rest.rsplit_once('@').map_or((None, rest), |(login, server)| (Some(login), server));
    let (host, port) = url::split_port(server.strip_suffix('/').unwrap_or(server)).map_err(|_| PROXY)?;
    Ok(Proxy {
        kind,
        host: url::host(host).map_err(|_| PROXY)?,
        port: port.and_then(|port| url::port(port).ok()).ok_or(PROXY)?,
        login: written_login.map(login).transpose()?,
    })
}

fn login(text: &str) -> Result<(String, Password), Expected> {
    let (user, password) = text.split_once(':').ok_or(PROXY)?;
    let plain = |text: &str| {
        let plain = url::percent_decoded(text).map_err(|_| PROXY)?;
        let is_sendable = (1..=255).contains(&plain.len()) && !plain.contains(char::is_control);
        if is_sendable { Ok(plain) } else { Err(PROXY) }
    };
    let user = plain(user)?;
    // HTTP's Basic ends the user at the first colon (RFC 7617 §2).
    if user.contains(':') { Err(PROXY) } else { Ok((user, Password::new(plain(password)?))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_a_kind_a_host_a_port_and_perhaps_a_login() {
        let proxy = parse("socks5://petar:s%40fe@[::1]:1080").unwrap();
        assert_eq!((proxy.kind, proxy.host.as_str(), proxy.port), (ProxyKind::Socks5, "::1", 1080));
        assert_eq!(proxy.login, Some(("petar".to_owned(), Password::new("s@fe"))));
        assert_eq!(proxy.to_string(), "socks5://[::1]:1080");
        assert_eq!(parse("http://proxy.example.org:3128/").unwrap().to_string(), "http://proxy.example.org:3128");
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        for wrong in [
            "",
            "proxy:1080",
            "socks4://h:1",
            "http://h",
            "http://h:0",
            "http://h:1/x",
            "http://user@h:1",
            "http://:x@h:1",
            "http://a%0d:x@h:1",
            "http://a%3ab:x@h:1",
        ] {
            assert_eq!(parse(wrong), Err(PROXY), "{wrong}");
        }
    }
}
