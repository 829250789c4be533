//! The ways to a server: proxies, tunnels, sockets of this machine, source addresses.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::sandbox::{Account, CANARY, Run, Sandbox, USER, mails, names, server};
use crate::server::{Authority, Fault, Maildrop, Misdeed, Moment};

/// The user that proxies know; the password is the canary.
const PROXY_USER: &str = "bruno";

/// A proxy for one connection: `agree` speaks its protocol and gives the server to connect to.
fn proxy(agree: impl FnOnce(&mut TcpStream) -> Option<String> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        if let Some(server) = agree(&mut client) {
            relay(client, TcpStream::connect(server).unwrap());
        }
    });
    port
}

/// Copies both ways until both ends are closed.
fn relay(client: TcpStream, server: TcpStream) {
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(std::net::Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    let _ = io::copy(&mut from_server, &mut to_client);
    let _ = to_client.shutdown(std::net::Shutdown::Write);
}

fn read<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut octets = [0; N];
    stream.read_exact(&mut octets).unwrap();
    octets
}

fn read_string(stream: &mut TcpStream) -> String {
    let [length] = read(stream);
    let mut octets = vec![0; usize::from(length)];
    stream.read_exact(&mut octets).unwrap();
    String::from_utf8(octets).unwrap()
}

/// SOCKS5 up to the request; the server that it names.
fn socks5_request(client: &mut TcpStream) -> String {
    let [5, 1, 0, kind] = read(client) else { panic!("no CONNECT of version 5") };
    let host = match kind {
        1 => std::net::Ipv4Addr::from(read::<4>(client)).to_string(),
        3 => read_string(client),
        kind => panic!("address of type {kind}"),
    };
    format!("{host}:{}", u16::from_be_bytes(read(client)))
}

/// The bound address as a name, which is the longest form.
const SOCKS5_DONE: &[u8] = b"\x05\x00\x00\x03\x09localhost\x00\x00";

fn via(port: u16, proxy: &str) -> Account {
    Account::on(port).set("proxy", format!("{proxy:?}"))
}

fn fetch(account: Account) -> Run {
    Sandbox::with(account).popfetch(["-q"])
}

fn head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(read::<1>(client)[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn socks5_resolves_the_name_at_the_proxy() {
    let server = server(mails(1)).start();
    let (sender, asked) = channel();
    let port = proxy(move |client| {
        assert_eq!(read(client), [5, 1, 0]);
        client.write_all(&[5, 0]).unwrap();
        let asked = socks5_request(client);
        client.write_all(SOCKS5_DONE).unwrap();
        sender.send(asked.clone()).unwrap();
        Some(asked.replace("pop.invalid", "127.0.0.1"))
    });
    let account = via(server.port, &format!("socks5://127.0.0.1:{port}"));
    // Named, so that the password in clear is meant.
    let account = account.set("server", "\"pop.invalid\"").set("auth", "\"plain\"");
    fetch(account).exits(0).silently();
    assert_eq!(asked.recv().unwrap(), format!("pop.invalid:{}", server.port));
    assert_eq!(server.count("RETR"), 1);
}

#[test]
fn socks5_knows_a_user_and_a_password() {
    for (status, code) in [(0, 0), (1, 78)] {
        let server = server(mails(1)).start();
        let port = proxy(move |client| {
            assert_eq!(read(client), [5, 2, 0, 2]);
            client.write_all(&[5, 2]).unwrap();
            assert_eq!(read(client), [1]);
            assert_eq!((read_string(client), read_string(client)), (PROXY_USER.into(), CANARY.into()));
            client.write_all(&[1, status]).unwrap();
            let asked = (status == 0).then(|| socks5_request(client))?;
            client.write_all(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00").unwrap();
            Some(asked)
        });
        let proxy = format!("socks5://{PROXY_USER}:{CANARY}@127.0.0.1:{port}");
        let sandbox = Sandbox::with(via(server.port, &proxy));
        let run = sandbox.popfetch(["-vv"]).exits(code);
        if code != 0 {
            run.says(&[&format!("`socks5://127.0.0.1:{port}`"), "refused the user and the password"]);
        }
    }
}

#[test]
fn a_proxy_that_says_no_is_told_in_its_words() {
    let answers: [(&[u8], i32, &str); 7] = [
        (b"\x05\x00\x05\x05\x00\x01", 75, "connection refused"),
        (b"\x05\x00\x05\x02\x00\x01", 69, "not allowed by its rules"),
        (b"\x05\x00\x05\x2a\x00\x01", 69, "reply 42"),
        (b"\x05\x00\x05\x00\x00\x09", 69, "an address of type 9"),
        (b"\x05\xff", 78, "asks for a user and a password"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 69, "it said: HT"),
        (b"\x05", 75, "it closed the connection"),
    ];
    for (answer, code, words) in answers {
        // Read to the end, so that the close is no reset.
        let port = proxy(move |client| {
            client.write_all(answer).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = io::copy(client, &mut io::sink());
            None
        });
        let run = fetch(via(995, &format!("socks5://127.0.0.1:{port}"))).exits(code);
        run.says(&[&format!("no connection through the proxy `socks5://127.0.0.1:{port}`"), words]);
    }
}

/// A proxy that answers CONNECT with this; what it was asked.
fn http_proxy(answer: &str) -> (u16, Receiver<String>) {
    let answer = answer.to_owned();
    let (sender, asked) = channel();
    let port = proxy(move |client| {
        let head = head(client);
        let server = head.split(' ').nth(1).unwrap().to_owned();
        sender.send(head).unwrap();
        client.write_all(answer.as_bytes()).unwrap();
        answer.contains(" 200 ").then_some(server)
    });
    (port, asked)
}

#[test]
fn an_http_proxy_connects_and_the_session_is_encrypted_to_the_server() {
    let authority = Authority::new("ours");
    let server = server(mails(2)).implicit_tls(authority.good().server_config()).start();
    let (port, asked) = http_proxy("HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n");
    let proxy = format!("http://{PROXY_USER}:{CANARY}@127.0.0.1:{port}");
    let account = via(server.port, &proxy).set("tls", "\"implicit\"").set("tls_ca_file", "\"~/ca.pem\"");
    let sandbox = Sandbox::with(account);
    sandbox.file("ca.pem", &authority.pem);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 2);
    let to = format!("127.0.0.1:{}", server.port);
    let login = BASE64.encode(format!("{PROXY_USER}:{CANARY}"));
    let expected = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nProxy-Authorization: Basic {login}\r\n\r\n");
    assert_eq!(asked.recv().unwrap(), expected);
}

#[test]
fn the_refusals_of_an_http_proxy_are_understood() {
    for (answer, code, words) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", 78, "asks for a user and a password"),
        ("HTTP/1.0 403 Forbidden\r\nServer: x\r\n\r\n", 69, "403 Forbidden"),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", 75, "503 Service Unavailable"),
        ("SSH-2.0-OpenSSH\x1b[2J\r\n\r\n", 69, "it said: SSH-2.0-OpenSSH\\x1b[2J"),
        ("HTTP/1.1 two\r\n\r\n", 69, "it said: HTTP/1.1 two"),
    ] {
        let (port, _asked) = http_proxy(answer);
        fetch(via(995, &format!("http://127.0.0.1:{port}"))).exits(code).says(&["through the proxy `http:", words]);
    }
}

#[test]
fn a_proxy_that_repeats_its_password_is_not_repeated() {
    // Not the one of the account, which is masked in everything.
    for password in ["of-the-proxy", "xyz"] {
        let login = BASE64.encode(format!("{PROXY_USER}:{password}"));
        for answer in ["HTTP/1.1 403", "HTTP/1.1 two", "SSH-2.0"] {
            let (port, _asked) = http_proxy(&format!("{answer} said: {password} {login}\r\n\r\n"));
            let run = fetch(via(995, &format!("http://{PROXY_USER}:{password}@127.0.0.1:{port}"))).exits(69);
            run.says(&["through the proxy `http:", "said: **** ****"]);
        }
    }
}

#[test]
fn a_proxy_that_is_silent_or_absent_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let account = via(995, &format!("socks5://127.0.0.1:{port}")).set("timeout", 1);
    fetch(account.clone()).exits(75).says(&["through the proxy `socks5://127.0.0.1:", "(timeout `proxy`)"]);
    drop(listener);
    fetch(account).exits(75).says(&["through the proxy `socks5://127.0.0.1:", "connection refused"]);
}

#[test]
fn a_proxys_password_makes_the_configuration_a_secret() {
    let account = via(995, &format!("http://{PROXY_USER}:{CANARY}@127.0.0.1:1")).without("password");
    let sandbox = Sandbox::with(account);
    sandbox.mode(".config/popfetch/config.toml", 0o644);
    sandbox.popfetch(["-q"]).exits(78).says(&["holds a password but is open to others"]);
}

/// A program that copies between its standard input and output, which are one socket, and a TCP port.
pub fn dial(port: u16) -> String {
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port} || exit 7; cat <&3 & relay=$!; cat >&3; kill $relay");
    format!("[\"bash\", \"-c\", {script:?}]")
}

/// An account whose server is not where it says.
fn through(tunnel: impl ToString) -> Account {
    Account::on(1).set("server", "\"pop.invalid\"").set("tunnel", tunnel)
}

#[test]
fn a_command_can_be_the_line() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(through(dial(server.port)));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(sandbox.maildir().messages().len(), 3);
    assert!(sandbox.state().join(format!("{USER}@pop.invalid:1.jsonl")).exists());
}

#[test]
fn tls_goes_through_a_tunnel_to_the_name_of_the_server() {
    let authority = Authority::new("ours");
    let server = server(mails(1)).implicit_tls(authority.wrong_name().server_config()).start();
    let account = through(dial(server.port)).set("server", "\"pop.example.net\"").set("tls", "\"implicit\"");
    let sandbox = Sandbox::with(account.set("tls_ca_file", "\"~/ca.pem\""));
    sandbox.file("ca.pem", &authority.pem);
    sandbox.popfetch(["-q"]).exits(0).silently();
}

#[test]
fn a_tunnel_that_ends_is_told_with_what_it_complained_of() {
    let script = "echo 'no \\u001b[2J route' >&2; echo to host >&2; exit 255";
    let run = fetch(through(format!("[\"sh\", \"-c\", \"{script}\"]"))).exits(75);
    run.says(&["the tunnel `sh` ended with exit status 255; it said: no \\x1b[2J route; to host"]);
    fetch(through("[\"/no/such/program\"]"))
        .exits(78)
        .says(&["cannot run the tunnel `/no/such/program`: no such file"]);
}

#[test]
fn a_tunnel_that_says_nothing_meets_the_deadline_and_is_ended() {
    let sandbox = Sandbox::with(through("[\"sh\", \"-c\", \"echo $$ >pid; exec sleep 600\"]").set("timeout", 3));
    sandbox.popfetch(["-q"]).exits(75).says(&["(timeout `greeting`)"]);
    let pid: i32 = std::fs::read_to_string(sandbox.path("pid")).unwrap().trim().parse().unwrap();
    let gone = rustix::process::test_kill_process(rustix::process::Pid::from_raw(pid).unwrap());
    assert_eq!(gone, Err(rustix::io::Errno::SRCH));
}

#[test]
fn a_tunnel_that_dies_in_the_middle_loses_nothing() {
    let hang_up = Fault { moment: Moment::OctetsSent(900), misdeed: Misdeed::HangUp };
    let server = server(mails(9)).faults([hang_up]).start();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; (cat <&3; kill -9 $$) & exec cat >&3", server.port);
    let account = through(format!("[\"bash\", \"-c\", {script:?}]"));
    let sandbox = Sandbox::with(account.clone());
    sandbox.popfetch(["-q"]).exits(75).says(&["the tunnel `bash` was killed by signal 9"]);
    sandbox.config(&account.set("tunnel", dial(server.port)).to_string());
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!(sandbox.maildir().messages().len(), 9);
}

#[test]
fn a_socket_of_this_machine_can_be_the_server() {
    let server: Maildrop = server(mails(2)).start();
    let port = server.port;
    let sandbox = Sandbox::with(Account::on(1).set("server", "\"pop.invalid\"").set("socket", "\"~/pop3\""));
    sandbox.popfetch(["-q"]).exits(75).says(&["cannot connect to the socket `", "/pop3`: no such file"]);
    let listener = UnixListener::bind(sandbox.path("pop3")).unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut to_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut from_server, &mut to_client));
        let _ = io::copy(&mut client, &mut &server);
    });
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(sandbox.maildir().messages().len(), 2);
}

/// Linux answers on all of 127.0.0.0/8; others only where it was set up.
#[cfg(target_os = "linux")]
#[test]
fn a_connection_comes_from_the_address_that_is_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, peer) = channel();
    thread::spawn(move || {
        let (mut client, address) = listener.accept().unwrap();
        sender.send(address.ip().to_string()).unwrap();
        client.write_all(b"-ERR [SYS/TEMP] enough\r\n").unwrap();
        let _ = io::copy(&mut client, &mut io::sink());
    });
    fetch(Account::on(port).set("source_address", "\"127.0.0.2\"")).exits(75).says(&["enough"]);
    assert_eq!(peer.recv().unwrap(), "127.0.0.2");
    let run = fetch(Account::on(port).set("source_address", "\"192.0.2.1\"")).exits(75);
    run.says(&["from `192.0.2.1`: cannot assign requested address"]);
    fetch(Account::on(port).set("source_address", "\"::1\"")).exits(78).says(&["`127.0.0.1` has no IPv6 address"]);
}

#[test]
fn an_ipv6_address_stands_in_brackets_but_its_ledger_keeps_its_name() {
    let sandbox = Sandbox::new();
    sandbox.file(".netrc", format!("machine ::1 login {USER} password {CANARY}\n"));
    let url = format!("pop3://{USER}@[::1]:1");
    let run = sandbox.popfetch(["-q", "--json", "--tls", "none", "--deliver", "maildir:Mail", &url]).exits(75);
    assert!(run.stdout.contains(&format!("\"{USER}@[::1]:1\"")), "{run:#?}");
    run.says(&[&format!("popfetch: {USER}@[::1]:1: "), "`[::1]:1`"]);
    let ledgers: Vec<_> = names(&sandbox.state()).into_iter().filter(|name| name.ends_with(".jsonl")).collect();
    assert!(ledgers[..].iter().all(|name| name.starts_with(&format!("{USER}@::1:1"))), "{ledgers:?}");
    let text = std::fs::read_to_string(sandbox.state().join(&ledgers[0])).unwrap();
    assert!(text.contains(&format!("\"maildrop\":\"{USER}@::1:1\"")), "{text}");
}

#[test]
fn a_silent_server_on_the_port_for_implicit_tls_gets_a_hint() {
    for (tls, is_hinted) in [("starttls", true), ("implicit", false)] {
        let tunnel = "[\"sh\", \"-c\", \"exec sleep 600\"]";
        let account = through(tunnel).set("port", 995).set("tls", format!("{tls:?}")).set("timeout", 1);
        let run = fetch(account).exits(75);
        assert_eq!(run.stderr.contains("port 995 usually wants `tls = \"implicit\"`"), is_hinted, "{run:#?}");
    }
}
