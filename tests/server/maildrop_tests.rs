//! The maildrop server itself, spoken to by hand.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::maildrop::{Fault, Mail, Maildrop, Misdeed, Moment};

fn mails() -> Vec<Mail> {
    vec![Mail::new("a", "Subject: a\r\n\r\n.dot\r\n"), Mail::new("b", "Subject: b\r\n\r\nB\r\n")]
}

/// Says everything at once and returns all that came back.
fn say(server: &Maildrop, words: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    socket.write_all(words.as_bytes()).unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn a_session_goes_from_greeting_to_update() {
    let server = Maildrop::builder().user("u", "p", mails()).start();
    let said = say(&server, "USER u\r\nPASS p\r\nSTAT\r\nUIDL\r\nRETR 1\r\nTOP 2 0\r\nDELE 1\r\nLIST\r\nQUIT\r\n");
    let expected = "+OK ready\r\n+OK\r\n+OK logged in\r\n+OK 2 37\r\n+OK\r\n1 a\r\n2 b\r\n.\r\n\
        +OK 20 octets\r\nSubject: a\r\n\r\n..dot\r\n.\r\n+OK 17 octets\r\nSubject: b\r\n\r\n.\r\n\
        +OK\r\n+OK\r\n2 17\r\n.\r\n+OK bye\r\n";
    assert_eq!(said, expected);
    assert_eq!(server.unique_ids("u"), ["b"]);
    assert_eq!(server.commands(1).len(), 9);
    assert_eq!(server.count("RETR"), 1);
}

#[test]
fn without_quit_nothing_is_deleted() {
    let fault = Fault { moment: Moment::BeforeCommand(4), misdeed: Misdeed::HangUp };
    let server = Maildrop::builder().user("u", "p", mails()).faults([fault]).start();
    assert!(say(&server, "USER u\r\nPASS p\r\nDELE 1\r\nQUIT\r\n").ends_with("logged in\r\n+OK\r\n"));
    assert_eq!(server.unique_ids("u"), ["a", "b"]);
}

#[test]
fn a_fault_comes_at_its_exact_line_or_octet_and_only_once() {
    let lines = Fault { moment: Moment::LinesSent(2), misdeed: Misdeed::HangUp };
    let octets = Fault { moment: Moment::OctetsSent(5), misdeed: Misdeed::HangUp };
    let server = Maildrop::builder().user("u", "p", mails()).faults([lines, octets]).start();
    assert_eq!(say(&server, "USER u\r\nPASS p\r\nQUIT\r\n"), "+OK ready\r\n+OK\r\n");
    assert_eq!(say(&server, "QUIT\r\n"), "+OK r");
    assert_eq!(say(&server, "QUIT\r\n"), "+OK ready\r\n+OK bye\r\n");
}

#[test]
fn a_held_maildrop_is_in_use() {
    let server = Maildrop::builder().user("u", "p", mails()).start();
    server.lock("u");
    assert!(say(&server, "AUTH PLAIN AHUAcA==\r\nQUIT\r\n").contains("-ERR [IN-USE]"));
}

#[test]
fn apop_and_both_forms_of_plain_log_in() {
    // The example of RFC 1939 §7.
    let greeting = "POP3 server ready <1896.697170952@dbc.mtview.ca.us>";
    let server = Maildrop::builder().greeting(greeting).user("mrose", "tanstaaf", mails()).start();
    assert!(say(&server, "APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\nQUIT\r\n").contains("logged in"));
    assert!(say(&server, "AUTH PLAIN AG1yb3NlAHRhbnN0YWFm\r\nQUIT\r\n").contains("logged in"));
    assert!(say(&server, "AUTH PLAIN\r\nAG1yb3NlAHRhbnN0YWFm\r\nQUIT\r\n").contains("+ \r\n+OK logged in"));
    assert!(say(&server, "APOP mrose 00\r\nQUIT\r\n").contains("-ERR [AUTH]"));
}

#[test]
fn an_answer_stands_in_for_a_command_or_a_keyword() {
    let server = Maildrop::builder().answer("RETR 2", "-ERR gone").answer("CAPA", "-ERR what?").start();
    assert_eq!(say(&server, "RETR 2\r\nCAPA\r\nQUIT\r\n"), "+OK ready\r\n-ERR gone\r\n-ERR what?\r\n+OK bye\r\n");
}

#[test]
#[should_panic(expected = "more came before the reply to \\\"NOOP\\\"")]
fn without_pipelining_a_second_command_in_the_same_flight_is_a_complaint() {
    let server = Maildrop::builder().without_pipelining().start();
    say(&server, "NOOP\r\nQUIT\r\n");
}
