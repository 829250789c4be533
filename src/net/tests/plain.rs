use super::*;
use crate::failure::{Failure as _, Kind};
use crate::net::Wait;
use crate::stop::Stopped;
use std::io::{Read, Write};
use std::net::SocketAddr;

/// Writes one octet every 20 ms for as long as the peer takes them.
fn drip(mut tcp: TcpStream) {
    while tcp.write_all(b"x").is_ok() {
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_refused_connection_is_temporary_and_names_host_and_port() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = connect("127.0.0.1", port, SHORT, &Stop::new().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot connect to `127.0.0.1:{port}`: connection refused"));
    assert_eq!(error.kind(), Kind::Temporary);
}

#[test]
fn a_server_on_one_family_is_found_at_once() {
    let port = serve(|mut tcp| tcp.write_all(b"+OK\r\n").unwrap());
    let addresses: Vec<SocketAddr> = vec![([0, 0, 0, 0, 0, 0, 0, 1], port).into(), ([127, 0, 0, 1], port).into()];
    let allowance = super::super::Allowance::new(crate::net::Deadline::Connect, SHORT);
    let began = Instant::now();
    let tcp = super::super::dial::dial(addresses, None, allowance, &Stop::new().unwrap(), || ()).unwrap();
    assert_eq!(tcp.peer_addr().unwrap(), ([127, 0, 0, 1], port).into());
    assert!(began.elapsed() < Duration::from_millis(200));
}

#[test]
fn localhost_is_resolved() {
    let port = serve(|mut tcp| tcp.write_all(b"+OK\r\n").unwrap());
    let mut stream = connect("localhost", port, SHORT, &Stop::new().unwrap()).unwrap();
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "+OK\r\n");
    assert!(!stream.is_encrypted());
}

/// A listener whose backlog is full drops what comes, as a firewall does.
fn swallowing() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let fill = Duration::from_millis(100);
    let clogs = std::iter::from_fn(|| TcpStream::connect_timeout(&address, fill).ok()).collect();
    (listener, clogs)
}

#[test]
fn an_address_that_swallows_packets_meets_the_deadline() {
    let (listener, _clogs) = swallowing();
    let port = listener.local_addr().unwrap().port();
    let error = promptly(|| connect("127.0.0.1", port, SHORT, &Stop::new().unwrap()).unwrap_err());
    assert_eq!(error.to_string(), format!("cannot connect to `127.0.0.1:{port}`: no answer (timeout `connect`)"));
    assert!(error.is_transient());
}

#[test]
fn an_address_that_swallows_packets_does_not_hold_up_the_next() {
    let (listener, _clogs) = swallowing();
    let port = serve(|_| stall());
    let addresses = vec![listener.local_addr().unwrap(), ([127, 0, 0, 1], port).into()];
    let allowance = super::super::Allowance::new(crate::net::Deadline::Connect, Duration::from_secs(60));
    let dialled = promptly(|| super::super::dial::dial(addresses, None, allowance, &Stop::new().unwrap(), || ()));
    assert_eq!(dialled.unwrap().peer_addr().unwrap().port(), port);
}

#[test]
fn a_stop_ends_a_connect() {
    let (listener, _clogs) = swallowing();
    let port = listener.local_addr().unwrap().port();
    let stop = Stop::new().unwrap();
    stop_soon(&stop);
    let error = promptly(|| connect("127.0.0.1", port, Duration::from_secs(60), &stop).unwrap_err());
    assert_eq!(error, Error::Stopped(Stopped { signal: 15 }));
}

#[test]
fn a_silent_server_meets_the_deadline_that_is_running() {
    for (wait, name) in [(Wait::Greeting, "greeting"), (Wait::Reply, "reply"), (Wait::Body, "body")] {
        let mut stream = dialled(serve(|_tcp| stall()));
        stream.expect(wait);
        let error = promptly(|| stream.read(&mut [0; 99]).unwrap_err());
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(cause(&error), format!("nothing came within 0.3 s (timeout `{name}`)"));
    }
}

#[test]
fn a_dripping_server_meets_the_deadline_too() {
    for (wait, name) in [(Wait::Reply, "reply"), (Wait::Body, "body")] {
        let mut stream = dialled(serve(drip));
        stream.expect(wait);
        let error = promptly(|| stream.read_to_end(&mut Vec::new()).unwrap_err());
        let text = cause(&error);
        assert!(
            text.starts_with("only ") && text.ends_with(&format!(" came within 0.3 s (timeout `{name}`)")),
            "{text}"
        );
    }
}

#[test]
fn a_body_that_comes_slowly_but_steadily_arrives() {
    let mut stream = dialled(serve(|mut tcp| {
        for _ in 0..10 {
            tcp.write_all(&[b'x'; 600]).unwrap();
            thread::sleep(SHORT / 4);
        }
    }));
    stream.expect(Wait::Body);
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 6000);
}

#[test]
fn time_spent_on_this_side_is_not_held_against_the_server() {
    let mut stream = dialled(serve(|mut tcp| {
        thread::sleep(SHORT * 2);
        tcp.write_all(b"+OK\r\n").unwrap();
    }));
    stream.expect(Wait::Reply);
    thread::sleep(SHORT + SHORT / 2);
    assert_eq!(stream.read(&mut [0; 99]).unwrap(), 5);
}

#[test]
fn a_server_that_reads_nothing_meets_the_deadline() {
    let mut stream = dialled(serve(|_tcp| stall()));
    let error = promptly(|| stream.write_all(&vec![0; 64 << 20]).unwrap_err());
    assert_eq!(cause(&error), "the server took nothing more within 0.3 s (timeout `write`)");
}

#[test]
fn a_stop_ends_a_read_and_whatever_follows() {
    let port = serve(|mut tcp| {
        let _ = tcp.read_exact(&mut [0; 6]);
    });
    let stop = Stop::new().unwrap();
    let mut stream = connect("127.0.0.1", port, Duration::from_secs(60), &stop).unwrap();
    stop_soon(&stop);
    let error = promptly(|| stream.read(&mut [0; 99]).unwrap_err());
    assert_eq!(cause(&error), "stopped by signal 15");
    assert_eq!(cause(&stream.write(b"NOOP\r\n").unwrap_err()), "stopped by signal 15");
}

#[test]
fn a_connection_that_breaks_is_temporary() {
    let mut stream = dialled(serve(|tcp| {
        // With unread octets in its queue, the close is a reset.
        thread::sleep(Duration::from_millis(50));
        drop(tcp);
    }));
    stream.write_all(b"CAPA\r\n").unwrap();
    let error = stream.read(&mut [0; 99]).unwrap_err();
    assert_eq!(cause(&error), "the connection broke: connection reset by peer");
    assert!(Error::of(&error).unwrap().is_transient());
}

#[test]
fn a_large_transfer_arrives_whole() {
    let sent: Vec<u8> = (0..32_u32 << 20).map(|position| (position / 3) as u8).collect();
    let expected = sent.clone();
    let mut stream = dialled(serve(move |mut tcp| tcp.write_all(&sent).unwrap()));
    stream.expect(Wait::Body);
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received == expected);
}
