//! What arrives at home: octets, names, modes, quoting, locks, and what an MDA is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::faults::{Scenario, can_trace, disturb_behind};
use crate::sandbox::{Account, Destination, Sandbox, USER, all_at_home, at_home, mails, message, server};
use crate::server::Mail;

/// Messages that invite mistakes.
fn difficult_mails() -> Vec<Mail> {
    let octets: [&[u8]; 12] = [
        b"Subject: 8 bit\r\n\r\n\xff\xfe caf\xe9 \x80\r\n",
        b"Subject: dots\r\n\r\n.\r\n..\r\n...\r\n.. .\r\n",
        b"Subject: from\r\n\r\nFrom here\r\n>From there\r\n>>From everywhere\r\n From\r\nFromage\r\n",
        b"Subject: ends blank\r\n\r\nbody\r\n\r\n\r\n",
        b"Subject: bare\r\n\r\na\rb\nc\r\r\nd\n\r\n",
        b"Subject: nul\r\n\r\na\0b\r\n\0\r\n",
        b"Subject: no body\r\n\r\n",
        b"Subject: no blank line\r\n",
        b"\r\nno header\r\n",
        b"From nobody Thu Jan  1 00:00:00 1970\r\nSubject: From_ line first\r\n\r\nx\r\n",
        b">From quoted first\r\n\r\nx\r\n",
        b"\r\n",
    ];
    let mut mails: Vec<_> = octets.iter().enumerate().map(|(n, octets)| Mail::new(format!("d{n}"), *octets)).collect();
    mails.push(Mail::new("long", format!("Subject: long\r\n\r\n{}\r\n", "x".repeat(300_000))));
    // Every place where a buffer of a power of two could cut a line end, a dot or a From_ line.
    for cut in 65_530..65_540 {
        let head = format!("Subject: cut {cut}\r\n\r\n");
        let filler = "y".repeat(cut - head.len() - 2);
        mails.push(Mail::new(format!("c{cut}"), format!("{head}{filler}\r\n.\r\nFrom x\r\n>From y\r\n")));
    }
    mails
}

#[test]
fn every_octet_arrives_as_it_was_sent() {
    for destination in Destination::ALL {
        for pipelining in [true, false] {
            let builder = server(difficult_mails());
            let server = if pipelining { builder } else { builder.without_pipelining() }.start();
            let sandbox = Sandbox::new();
            let deliver = destination.deliver(&sandbox);
            sandbox.config(&Account::on(server.port).set("deliver", deliver).set("keep", false).to_string());
            sandbox.popfetch(["-q"]).exits(0).silently();
            let (got, sent) = (destination.messages(&sandbox), all_at_home(&difficult_mails()));
            let different = got.iter().zip(&sent).find(|(got, sent)| got != sent);
            assert!(got.len() == sent.len() && different.is_none(), "{destination:?}: {different:?}");
            assert!(server.unique_ids(USER).is_empty());
        }
    }
}

#[test]
fn a_big_message_arrives_whole() {
    let line = "0123456789abcdefghijklmnopqrstuvwxyz.From 0123456789abcdefghijklmnopq\r\n";
    let mail = Mail::new("big", format!("Subject: big\r\n\r\n{}", line.repeat(100_000)));
    let server = server([mail.clone()]).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(sandbox.maildir().messages() == [at_home(&mail.octets)], "octets differ");
}

// Maildir

#[test]
fn a_maildir_is_created_for_its_owner_only_whatever_the_umask() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("deliver", "\"maildir:~/a/b/Mail\""));
    sandbox.shell("umask 000 && exec popfetch -q").exits(0).silently();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let maildir = sandbox.path("a/b/Mail");
    for folder in ["", "tmp", "new", "cur"] {
        assert_eq!(mode(&maildir.join(folder)), 0o700, "{folder:?}");
    }
    for entry in fs::read_dir(maildir.join("new")).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn maildir_names_are_unique_and_carry_the_size() {
    let server = server(mails(50)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let maildir = sandbox.maildir();
    assert_eq!((maildir.files().len(), maildir.litter()), (50, vec![]));
    for path in maildir.files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(path.parent().unwrap().ends_with("new"), "new mail is in new: {path:?}");
        assert!(name.ends_with(&format!(",S={}", fs::metadata(&path).unwrap().len())), "{name}");
        assert!(name.split('.').next().unwrap().parse::<u64>().is_ok(), "seconds come first: {name}");
        assert!(!name.contains([':', '/']), "no flags in new: {name}");
    }
}

#[test]
fn what_others_left_in_tmp_is_not_touched() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.file("Mail/tmp/1700000000.M1P1.another-host", "half a mess");
    for folder in ["new", "cur"] {
        fs::create_dir_all(sandbox.path("Mail").join(folder)).unwrap();
    }
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(sandbox.maildir().litter(), ["1700000000.M1P1.another-host"]);
}

#[test]
fn a_maildir_that_cannot_be_created_leaves_everything_on_the_server() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false).set("deliver", "\"maildir:~/file/Mail\""));
    sandbox.file("file", "");
    sandbox.popfetch(["-q"]).exits(73).says(&["file"]);
    assert_eq!(server.unique_ids(USER).len(), 1);
}

// mbox

fn to_mbox(port: u16) -> Account {
    Account::on(port).set("deliver", "\"mbox:~/mbox\"").set("keep", false)
}

#[test]
fn the_from_line_names_the_sender_and_the_time_of_delivery() {
    let nobody = Mail::new("n", "Return-Path: <>\r\nSubject: bounce\r\n\r\nx\r\n");
    let sender = Mail::new("s", "Sender: Ana <ana@example.org>\r\nSubject: list\r\n\r\nx\r\n");
    let server = server([Mail::new("m", message(1)), nobody, sender]).start();
    let sandbox = Sandbox::with(to_mbox(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let from_lines: Vec<_> = sandbox.mbox().into_iter().map(|message| message.from_line).collect();
    let year = chrono::Utc::now().format("%Y").to_string();
    for (line, sender) in from_lines.iter().zip(["sender1@example.org", "MAILER-DAEMON", "ana@example.org"]) {
        let time = line.strip_prefix(&format!("From {sender} ")).unwrap_or_else(|| panic!("{line}: {sender}"));
        assert_eq!(time.len(), "Thu Jan  1 00:00:00 1970".len(), "asctime: {line}");
        assert!(time.ends_with(&year), "{line}");
    }
}

#[test]
fn an_mbox_is_appended_to_and_for_its_owner_only() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(to_mbox(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let before = fs::read(sandbox.path("mbox")).unwrap();
    server.arrive(USER, Mail::new("late", message(2)));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let after = fs::read(sandbox.path("mbox")).unwrap();
    assert!(after.starts_with(&before) && after.len() > before.len());
    assert_eq!(sandbox.mbox().len(), 2);
    assert_eq!(fs::metadata(sandbox.path("mbox")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!sandbox.path("mbox.lock").exists());
}

#[test]
fn an_mbox_without_a_blank_line_at_its_end_gets_one_before_the_next_message() {
    for tail in ["old", "old\n", "old\n\n"] {
        let server = server(mails(1)).start();
        let sandbox = Sandbox::with(to_mbox(server.port));
        sandbox.file("mbox", format!("From a@b Thu Jan  1 00:00:00 1970\nSubject: old\n\n{tail}"));
        sandbox.popfetch(["-q"]).exits(0).silently();
        let messages = sandbox.mbox();
        assert_eq!(messages.len(), 2, "{tail:?}");
        assert_eq!(messages[1].octets, at_home(message(1).as_bytes()), "{tail:?}");
    }
}

#[test]
fn a_file_that_is_not_an_mbox_is_refused_and_not_touched() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(to_mbox(server.port));
    sandbox.file("mbox", "Dear diary\n");
    sandbox.popfetch(["-q"]).exits(73).says(&["mbox", "not an mbox"]);
    assert_eq!(fs::read(sandbox.path("mbox")).unwrap(), b"Dear diary\n");
    assert_eq!(server.unique_ids(USER).len(), 1);
}

#[test]
fn a_dotlock_of_a_process_that_is_gone_is_broken() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(to_mbox(server.port));
    // Above the largest process number that Linux allows.
    sandbox.file("mbox.lock", "4194305\n");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(sandbox.mbox().len(), 1);
    assert!(!sandbox.path("mbox.lock").exists());
}

#[test]
fn a_dotlock_of_a_live_process_is_waited_for() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(to_mbox(server.port));
    let lock = sandbox.file("mbox.lock", format!("{}\n", std::process::id()));
    let running = sandbox.start(&mut sandbox.command(["-q"]));
    thread::sleep(Duration::from_millis(700));
    assert_eq!(sandbox.mbox().len(), 0, "it must wait for the lock");
    fs::remove_file(lock).unwrap();
    running.finish().exits(0).silently();
    assert_eq!(sandbox.mbox().len(), 1);
}

#[test]
fn a_kernel_lock_on_the_mbox_is_waited_for() {
    use rustix::fs::{FlockOperation, fcntl_lock};
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(to_mbox(server.port));
    let path = sandbox.file("mbox", "");
    let held = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    fcntl_lock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let running = sandbox.start(&mut sandbox.command(["-q"]));
    thread::sleep(Duration::from_millis(700));
    assert_eq!(fs::metadata(sandbox.path("mbox")).unwrap().len(), 0, "it must wait for the lock");
    fcntl_lock(&held, FlockOperation::Unlock).unwrap();
    running.finish().exits(0).silently();
    assert_eq!(sandbox.mbox().len(), 1);
}

/// What an editor, `sed -i`, rsync or a restore does, which know no locks: it has read the mbox before the run, and puts
/// its copy in its place behind one call of the run after the other.
#[test]
fn an_mbox_that_is_replaced_in_spite_of_its_lock_loses_nothing() {
    if !can_trace() {
        return;
    }
    let scenario = Scenario { destination: Destination::Mbox, keep: false };
    let old = "From a@b Thu Jan  1 00:00:00 1970\nSubject: old\n\nold\n\n";
    let (mut noticed, mut tried) = (0, 0);
    for call in scenario.calls().iter().filter(|call| call.is_of_the_disk()) {
        let server = scenario.server();
        let sandbox = scenario.sandbox(server.port);
        let (mbox, copy) = (sandbox.file("mbox", old), sandbox.file("copy", old));
        let ledger = sandbox.ledger(USER, server.port);
        let mut is_over = false;
        let run = disturb_behind(&sandbox, call, || {
            // Once the locks are released again, a copy that was read before is a loss that nobody can notice.
            let is_intended = fs::read_to_string(&ledger).is_ok_and(|ledger| ledger.contains("intend"));
            is_over = is_intended && !sandbox.path("mbox.lock").exists();
            fs::rename(&copy, &mbox).unwrap();
        });
        tried += 1;
        if is_over || sandbox.path("copy").exists() {
            continue;
        }
        noticed += usize::from(run.code() == 75);
        assert!(matches!(run.code(), 0 | 75), "behind {call}: {run:#?}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        let mut expected = all_at_home(&Scenario::mails());
        expected.push(b"Subject: old\n\nold\n".to_vec());
        expected.sort();
        assert!(Destination::Mbox.messages(&sandbox) == expected, "behind {call}: each message once");
        assert!(server.unique_ids(USER).is_empty(), "behind {call}");
        scenario.assert_no_litter(&sandbox, &format!("behind {call}"));
    }
    println!("{tried} tried, {noticed} noticed");
    assert!(noticed >= 2, "{noticed} of {tried} were noticed");
}

/// Somebody removes the lock behind one call of the run after the other, and another program takes it.
#[test]
fn an_mbox_whose_lock_is_removed_loses_nothing_and_leaves_the_lock_of_another_program() {
    if !can_trace() {
        return;
    }
    let scenario = Scenario { destination: Destination::Mbox, keep: false };
    let mut noticed = 0;
    for call in scenario.calls().iter().filter(|call| call.is_of_the_disk()) {
        let server = scenario.server();
        let sandbox = scenario.sandbox(server.port);
        let lock = sandbox.path("mbox.lock");
        let mut was_taken = false;
        let run = disturb_behind(&sandbox, call, || {
            was_taken = fs::remove_file(&lock).is_ok();
            if was_taken {
                fs::write(&lock, "1\n").unwrap();
            }
        });
        if !was_taken {
            continue;
        }
        assert!(matches!(run.code(), 0 | 75), "behind {call}: {run:#?}");
        assert_eq!(fs::read_to_string(&lock).unwrap(), "1\n", "behind {call}: {run:#?}");
        if run.code() == 75 {
            noticed += 1;
            assert_eq!(server.unique_ids(USER).len(), Scenario::mails().len(), "behind {call}");
            run.says(&["another program removed the lock"]);
        }
        fs::remove_file(&lock).unwrap();
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(sandbox.mbox().len() == Scenario::mails().len(), "behind {call}: each message once");
        assert!(server.unique_ids(USER).is_empty(), "behind {call}");
        scenario.assert_no_litter(&sandbox, &format!("behind {call}"));
    }
    println!("{noticed} noticed");
    assert!(noticed >= 2, "{noticed} were noticed");
}

// MDA

/// A sandbox whose MDA runs this script with the sender as `$1`.
fn with_mda(port: u16, script: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let deliver = sandbox.mda_script(script);
    sandbox.config(&Account::on(port).set("deliver", deliver).set("keep", false).to_string());
    sandbox
}

#[test]
fn an_mda_is_told_who_and_what() {
    let server = server([Mail::new("id-1", message(1))]).start();
    let script = "printf '%s|' \"$1\" \"$SENDER\" \"$RECIPIENT\" \"$POPFETCH_ACCOUNT\" \"$POPFETCH_UIDL\" >~/told";
    let sandbox = with_mda(server.port, script);
    sandbox.popfetch(["-q"]).exits(0).silently();
    let told = fs::read_to_string(sandbox.path("told")).unwrap();
    let told: Vec<_> = told.split('|').collect();
    assert_eq!([told[0], told[1], told[3], told[4]], ["sender1@example.org", "sender1@example.org", "work", "id-1"]);
    assert!(!told[2].is_empty(), "RECIPIENT");
}

#[test]
fn a_sender_cannot_become_an_option_or_a_command_of_the_mda() {
    let senders = ["-oQ/tmp", "\u{202e}-oQ/tmp", "a;touch${IFS}evil", "$(touch evil)", "`touch evil`", ""];
    let mails = senders
        .iter()
        .enumerate()
        .map(|(n, sender)| Mail::new(format!("s{n}"), format!("Return-Path: <{sender}>\r\nSubject: {n}\r\n\r\nx\r\n")));
    let server = server(mails).start();
    let sandbox = with_mda(server.port, "printf '%s\\n' \"$1\" >>~/told; printf '%s\\n' \"$SENDER\" >>~/senders");
    sandbox.popfetch(["-q"]).exits(0).silently();
    let told = fs::read_to_string(sandbox.path("senders")).unwrap();
    assert!(told.lines().all(|sender| !sender.starts_with('-') && !sender.contains('\u{202e}')), "{told}");
    let told = fs::read_to_string(sandbox.path("told")).unwrap();
    assert_eq!(told.lines().count(), senders.len());
    for sender in told.lines() {
        let is_safe = |c: char| c.is_ascii_alphanumeric() || "._+=@-".contains(c);
        assert!(!sender.is_empty() && !sender.starts_with('-') && sender.chars().all(is_safe), "{sender:?}");
    }
    assert!(told.lines().any(|sender| sender == "MAILER-DAEMON"), "{told}");
    assert!(!sandbox.path("evil").exists());
}

#[test]
fn an_mda_is_run_without_a_shell() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    sandbox.file("mda.sh", "cat >/dev/null; printf '%s\\n' \"$@\" >~/told");
    let words = "\"$HOME\" \\; \">\" * '%T' \"two words\"";
    let deliver = format!("\"\"\"mda:/bin/sh {} {words}\"\"\"", sandbox.path("mda.sh").display()).replace('\\', "\\\\");
    sandbox.config(&Account::on(server.port).set("deliver", deliver).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(fs::read_to_string(sandbox.path("told")).unwrap(), "$HOME\n;\n>\n*\n%T\ntwo words\n");
}

#[test]
fn an_mda_that_says_later_is_believed_and_the_others_go_on() {
    let server = server(mails(3)).start();
    let sandbox = with_mda(server.port, "grep -q '^Subject: message 2' && exit 75; exit 0");
    sandbox.popfetch(["-q"]).exits(75).says(&["75"]);
    assert_eq!(server.unique_ids(USER), ["m2"]);
}

#[test]
fn an_mda_that_fails_keeps_its_message_on_the_server_and_is_quoted() {
    let server = server(mails(3)).start();
    let script = "grep -q '^Subject: message 2' && { echo 'mailbox is \x1b[1m full' >&2; exit 67; }; exit 0";
    let sandbox = with_mda(server.port, script);
    let run = sandbox.popfetch(["-q"]).says(&["67", "mailbox is \\x1b[1m full"]);
    assert_ne!(run.code(), 0);
    assert_eq!(server.unique_ids(USER), ["m2"]);
}

#[test]
fn an_mda_that_reads_nothing_has_still_delivered() {
    let mail = Mail::new("big", format!("Subject: big\r\n\r\n{}", "0123456789\r\n".repeat(25_000)));
    let server = server([mail]).start();
    let sandbox = with_mda(server.port, "exit 0");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn an_mda_that_never_ends_is_ended() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    let deliver = sandbox.mda_script("exec sleep 60");
    let account = Account::on(server.port).set("deliver", deliver).set("mda_timeout", 1).set("keep", false);
    sandbox.config(&account.to_string());
    let run = sandbox.popfetch(["-q"]).exits(75);
    assert!(run.elapsed < Duration::from_secs(8), "{run:#?}");
    assert_eq!(server.unique_ids(USER).len(), 1);
}

#[test]
fn an_mda_may_leave_a_process_behind() {
    let server = server(mails(1)).start();
    let sandbox = with_mda(server.port, "cat >/dev/null; sleep 5 & exit 0");
    let run = sandbox.popfetch(["-q"]).exits(0);
    assert!(run.elapsed < Duration::from_secs(4), "{run:#?}");
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn an_mda_that_is_not_there_is_named() {
    let server = server(mails(1)).start();
    let sandbox =
        Sandbox::with(Account::on(server.port).set("deliver", "\"mda:/no/such/mda -d x\"").set("keep", false));
    sandbox.popfetch(["-q"]).exits(73).says(&["/no/such/mda"]);
    assert_eq!(server.unique_ids(USER).len(), 1);
}
