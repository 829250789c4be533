//! The mail of the demonstration: what real mail is like, and what careless programs change in it.
//!
//! Every message is made here, the same on each run; nobody's mail is shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::maildrop::Mail;

/// Octets of the attachment before base64 makes them a third more.
const ATTACHMENT: usize = 1 << 20;

/// Octets of a line in base64 (RFC 2045 §6.8).
const BASE64_LINE: usize = 76;

/// What the maildrop holds, in its order.
pub fn all() -> Vec<Mail> {
    vec![utf8(), latin1(), dots(), from_lines(), alternative(), attachment(), digest(), bounce()]
}

fn mail(unique_id: &str, text: &str) -> Mail {
    Mail::new(unique_id, text.replace('\n', "\r\n"))
}

fn utf8() -> Mail {
    mail(
        "demo-1",
        "Return-Path: <maja@example.org>\n\
         From: =?utf-8?q?Maja_Vuki=C4=87?= <maja@example.org>\n\
         To: you@example.com\n\
         Date: Mon, 02 Nov 2026 09:14:03 +0100\n\
         Message-ID: <1@example.org>\n\
         Subject: =?utf-8?q?Kafa_u_=C4=8Detvrtak=3F?=\n\
         MIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: 8bit\n\
         \n\
         Ćao! Vidimo se u četvrtak u pola šest? – ☕ 咖啡\n",
    )
}

/// Octets that are no UTF-8.
fn latin1() -> Mail {
    let mut mail = mail(
        "demo-2",
        "From: Juergen <juergen@example.net>\n\
         To: you@example.com\n\
         Date: Mon, 02 Nov 2026 10:40:00 +0100\n\
         Subject: =?iso-8859-1?q?Gr=FC=DFe_aus_K=F6ln?=\n\
         MIME-Version: 1.0\n\
         Content-Type: text/plain; charset=iso-8859-1\n\
         Content-Transfer-Encoding: 8bit\n\
         \n",
    );
    mail.octets.extend(b"Sch\xf6ne Gr\xfc\xdfe, und bis n\xe4chste Woche!\r\n");
    mail
}

/// Lines that POP3 has to stuff, one of which looks like the end of the message.
fn dots() -> Mail {
    mail(
        "demo-3",
        "From: Ops <ops@example.com>\n\
         To: you@example.com\n\
         Date: Tue, 03 Nov 2026 07:00:00 +0000\n\
         Subject: How to send mail with nc\n\
         \n\
         DATA\n\
         Subject: by hand\n\
         \n\
         .\n\
         ..\n\
         ...and that is that\n\
         .\n\
         QUIT\n",
    )
}

/// Lines that an mbox has to quote.
fn from_lines() -> Mail {
    mail(
        "demo-4",
        "Sender: historians-bounces@example.org\n\
         From: Ada <ada@example.org>\n\
         To: historians@example.org\n\
         Date: Tue, 03 Nov 2026 18:21:44 +0000\n\
         Subject: The opening of the letter\n\
         \n\
         >From what I read, it begins like this:\n\
         \n\
         From London we took the mail coach to Bath.\n\
         From there on, nobody knows.\n",
    )
}

fn alternative() -> Mail {
    mail(
        "demo-5",
        "From: The Village Library <news@library.example>\n\
         To: you@example.com\n\
         Date: Wed, 04 Nov 2026 06:30:00 +0000\n\
         Subject: Your books are due\n\
         MIME-Version: 1.0\n\
         Content-Type: multipart/alternative; boundary=\"=_part\"\n\
         \n\
         --=_part\n\
         Content-Type: text/plain; charset=us-ascii\n\
         \n\
         Three books are due on Friday.\n\
         --=_part\n\
         Content-Type: text/html; charset=us-ascii\n\
         \n\
         <p>Three books are due on <b>Friday</b>.</p>\n\
         --=_part--\n",
    )
}

fn attachment() -> Mail {
    let head = "From: Scanner <scanner@example.com>\n\
         To: you@example.com\n\
         Date: Wed, 04 Nov 2026 11:05:10 +0000\n\
         Subject: Scan of 14 pages\n\
         MIME-Version: 1.0\n\
         Content-Type: multipart/mixed; boundary=\"=_scan\"\n\
         \n\
         --=_scan\n\
         Content-Type: text/plain\n\
         \n\
         The scan is attached.\n\
         --=_scan\n\
         Content-Type: application/pdf; name=\"scan.pdf\"\n\
         Content-Disposition: attachment; filename=\"scan.pdf\"\n\
         Content-Transfer-Encoding: base64\n\
         \n";
    mail("demo-6", &format!("{head}{}--=_scan--\n", in_base64(&noise(ATTACHMENT))))
}

fn in_base64(octets: &[u8]) -> String {
    let encoded = BASE64.encode(octets);
    let lines = encoded.as_bytes().chunks(BASE64_LINE).map(|line| std::str::from_utf8(line).expect("base64 is ASCII"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Octets that do not repeat, the same on each run (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Many lines, and one that is longer than RFC 5322 §2.1.1 allows.
fn digest() -> Mail {
    let head = "From: rail-list <rail-list-request@example.org>\n\
         To: rail-list@example.org\n\
         Date: Thu, 05 Nov 2026 23:59:59 +0000\n\
         Subject: rail-list Digest, Vol 26, Issue 11\n\
         \n";
    let lines: String = (1..=6000).map(|n| format!("{n:>6}. the 07:{:02} to Novi Sad was on time\n", n % 60)).collect();
    mail("demo-7", &format!("{head}{lines}{}\n", "clickety-clack ".repeat(2000)))
}

fn bounce() -> Mail {
    mail(
        "demo-8",
        "Return-Path: <>\n\
         From: Mail Delivery System <MAILER-DAEMON@mx.example.com>\n\
         To: you@example.com\n\
         Date: Fri, 06 Nov 2026 02:02:02 +0000\n\
         Subject: Undelivered Mail Returned to Sender\n\
         \n\
         <nobody@example.net>: 550 5.1.1 no such user here\n",
    )
}
