//! What may have happened to the ledger between two runs: never a panic, never a silent second delivery.

use std::fs;
use std::os::unix::fs::symlink;

use crate::sandbox::{Account, Destination, Run, Sandbox, USER, all_at_home, mails, names, read, server, wait_until};
use crate::server::{Fault, Maildrop, Misdeed, Moment};

/// A home to which three messages were delivered, of which the server still has a copy.
fn delivered() -> (Maildrop, Sandbox) {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    (server, sandbox)
}

/// Another run, after the ledger was changed; how many messages it fetched again.
fn run_again(server: &Maildrop, sandbox: &Sandbox) -> (Run, usize) {
    let before = server.count("RETR");
    let run = sandbox.popfetch(["-q"]);
    (run, server.count("RETR") - before)
}

#[test]
fn an_alarm_stands_until_somebody_has_decided() {
    type Change = fn(&std::path::Path);
    let changes: [(Change, &str); 5] = [
        (|ledger| fs::remove_file(ledger).unwrap(), "is gone or empty though this account was fetched before"),
        (|ledger| fs::write(ledger, "").unwrap(), "is gone or empty"),
        (|ledger| fs::write(ledger, "{\"popfetch\":1,").unwrap(), "is gone or empty"),
        (|ledger| fs::write(ledger, [0; 4096]).unwrap(), "is gone or empty"),
        (|ledger| fs::write(ledger, "garbage\nmore\n").unwrap(), "is not a ledger"),
    ];
    for (change, words) in changes {
        let (server, sandbox) = delivered();
        change(&sandbox.ledger(USER, server.port));
        for _ in 0..2 {
            let (run, fetched) = run_again(&server, &sandbox);
            run.exits(65).says(&[words, ".jsonl", "--all", "nothing was delivered or deleted"]);
            assert_eq!(fetched, 0);
        }
        // Every target would seem to lack everything.
        sandbox.popfetch(["-q", "--fill"]).exits(65).says(&["--all"]);
        assert_eq!(server.count("RETR"), 3);
        // A run that fails before it has done what was decided leaves the alarm.
        server.answer("CAPA", Some("-ERR not now"));
        server.answer("USER", Some("-ERR [SYS/TEMP] not now"));
        assert_ne!(sandbox.popfetch(["-q", "--all"]).code(), 0);
        server.answer("CAPA", None);
        server.answer("USER", None);
        let (run, fetched) = run_again(&server, &sandbox);
        run.exits(65).says(&["--all"]);
        assert_eq!(fetched, 0);
        sandbox.popfetch(["-q", "--all"]).exits(0);
        assert_eq!(server.count("RETR"), 6);
        let (run, fetched) = run_again(&server, &sandbox);
        run.exits(0).silently();
        assert_eq!(fetched, 0);
    }
}

#[test]
fn an_old_copy_of_the_ledger_makes_new_what_it_does_not_know() {
    let (server, sandbox) = delivered();
    let ledger = sandbox.ledger(USER, server.port);
    let old = read(&ledger);
    mails(5).into_iter().skip(3).for_each(|mail| server.arrive(USER, mail));
    let (_, fetched) = run_again(&server, &sandbox);
    assert_eq!(fetched, 2);
    fs::write(&ledger, old).unwrap();
    let (run, fetched) = run_again(&server, &sandbox);
    run.exits(0).silently();
    assert_eq!(fetched, 2, "what came after the copy, and nothing else");
}

#[test]
fn what_is_no_ledger_is_refused_and_nothing_is_fetched() {
    let future = "{\"popfetch\":4,\"maildrop\":\"alice@127.0.0.1\"}\n";
    let foreign = "{\"popfetch\":1,\"maildrop\":\"eve@example.org\"}\n";
    for (text, words) in [
        ("garbage", "is not a ledger"),
        ("\u{0}\n", "is not a ledger"),
        (future, "newer popfetch (format 4)"),
        (foreign, "`eve@example.org`"),
    ] {
        let (server, sandbox) = delivered();
        let ledger = sandbox.ledger(USER, server.port);
        fs::write(&ledger, text).unwrap();
        let (run, fetched) = run_again(&server, &sandbox);
        run.exits(65).says(&[words, ".jsonl", "nothing was delivered or deleted"]);
        assert_eq!((fetched, read(&ledger)), (0, text.as_bytes().to_vec()), "{text:?}");
    }
}

#[test]
fn only_an_ordinary_file_is_taken_for_a_ledger_or_a_lock() {
    for ending in ["jsonl", "lock"] {
        let plants: [fn(&std::path::Path); 4] = [
            |path| fs::create_dir(path).unwrap(),
            |path| symlink("precious", path).unwrap(),
            |path| symlink("/dev/zero", path).unwrap(),
            |path| rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap(),
        ];
        for plant in plants {
            // Not where the sandbox reads every file.
            let run = |sandbox: &Sandbox| sandbox.popfetch(["-q", "--state-dir", "state"]);
            let server = server(mails(3)).start();
            let sandbox = Sandbox::with(Account::on(server.port));
            run(&sandbox).exits(0).silently();
            let path = sandbox.path(format!("state/{USER}@127.0.0.1:{}.{ending}", server.port));
            fs::remove_file(&path).unwrap();
            plant(&path);
            run(&sandbox).exits(65).says(&[ending, "nothing was delivered or deleted"]);
            assert_eq!((server.count("RETR"), sandbox.path("state/precious").exists()), (3, false));
        }
    }
}

#[test]
fn a_folder_of_the_state_that_cannot_be_made_is_told_with_a_way_out() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let file = sandbox.file("file", "");
    let mut folders = vec![(file.join("state"), format!("cannot create `{}`: not a directory", file.display()))];
    if cfg!(target_os = "linux") {
        folders.push(("/proc/popfetch".into(), "cannot create `/proc/popfetch`: nothing can be created there".into()));
    }
    for (folder, why) in folders {
        let run = sandbox.popfetch(["-q", "--state-dir", folder.to_str().unwrap()]).exits(74);
        run.says(&[
            &why,
            "nothing was delivered or deleted",
            "hint: name another folder for the state with `--state-dir`",
        ]);
    }
    assert_eq!(server.count("PASS"), 0);
}

#[test]
fn damaged_lines_are_numbered_kept_and_passed_over() {
    let (server, sandbox) = delivered();
    let ledger = sandbox.ledger(USER, server.port);
    let mut lines: Vec<_> = read(&ledger).split_inclusive(|octet| *octet == b'\n').map(<[u8]>::to_vec).collect();
    for (at, damage) in [(1, &b"\0\0\0\n"[..]), (3, b"{\"delivered\":\"x\"\n"), (5, b"\xff\n")] {
        lines.insert(at, damage.to_vec());
    }
    fs::write(&ledger, lines.concat()).unwrap();
    let (run, fetched) = run_again(&server, &sandbox);
    run.exits(65).says(&["3 lines", "line 2, 4, 6", "damaged-1"]);
    assert_eq!(fetched, 0, "what is intact is used");
    assert_eq!(read(&ledger.with_extension("damaged-1")), lines.concat());
    let (run, fetched) = run_again(&server, &sandbox);
    run.exits(0).silently();
    assert_eq!(fetched, 0);
}

#[test]
fn more_damaged_lines_than_a_few_are_an_alarm_that_stands() {
    let (server, sandbox) = delivered();
    let ledger = sandbox.ledger(USER, server.port);
    let damaged = [read(&ledger), b"garbage\n".repeat(4)].concat();
    fs::write(&ledger, &damaged).unwrap();
    for _ in 0..2 {
        let (run, fetched) = run_again(&server, &sandbox);
        run.exits(65).says(&["4 of ", "cannot be read", "--all"]);
        assert_eq!((fetched, read(&ledger)), (0, damaged.clone()));
    }
    sandbox.popfetch(["-q", "--all"]).exits(65).says(&["damaged-1"]);
    assert_eq!(read(&ledger.with_extension("damaged-1")), damaged);
    sandbox.popfetch(["-q"]).exits(0).silently();
    // Of very many lines, a few more are only worth a notice.
    let lines: String = (0..600).map(|n| format!("{{\"delivered\":\"old{n}\",\"at\":1}}\n")).collect();
    fs::write(&ledger, [read(&ledger), lines.into_bytes(), b"garbage\n".repeat(4)].concat()).unwrap();
    let (run, fetched) = run_again(&server, &sandbox);
    run.exits(65).says(&["4 lines of the ledger", "the rest is used"]);
    assert_eq!(fetched, 0);
}

#[test]
fn every_octet_of_a_ledger_may_be_damaged() {
    let (server, sandbox) = delivered();
    let ledger = sandbox.ledger(USER, server.port);
    let whole = read(&ledger);
    for at in (0..whole.len()).step_by(11) {
        let mut damaged = whole.clone();
        damaged[at] = [0, b'\n', b'"', 0xff][at % 4];
        fs::write(&ledger, damaged).unwrap();
        let (run, fetched) = run_again(&server, &sandbox);
        assert!(matches!(run.code(), 0 | 65), "octet {at}: {run:#?}");
        // A unique-id that is another one now knows nothing of the old one; all else is said.
        assert!(fetched <= 1 || !run.stderr.is_empty(), "octet {at}: {fetched} fetched again in silence");
    }
}

#[test]
fn a_million_lines_are_read_and_left_behind() {
    let (server, sandbox) = delivered();
    let ledger = sandbox.ledger(USER, server.port);
    let mut text = String::from_utf8(read(&ledger)).unwrap();
    for number in 0..500_000 {
        text += &format!("{{\"delivered\":\"old{number}\",\"at\":1}}\n{{\"gone\":\"old{number}\",\"at\":1}}\n");
    }
    fs::write(&ledger, &text).unwrap();
    // 256 MiB of addresses, programs and libraries included.
    let before = server.count("RETR");
    sandbox.shell("ulimit -v 262144 && exec popfetch -q").exits(0).silently();
    assert_eq!(server.count("RETR"), before, "what is known is found among a million lines");
    assert!(read(&ledger).len() < 10_000, "what is long gone is dropped");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), before);
}

// A folder that others can write to

#[test]
fn a_state_that_others_can_exchange_is_refused_with_the_command_that_mends_it() {
    let server = server(mails(1)).start();
    let is_root = rustix::process::geteuid().is_root();
    for (folder, mode, is_refused) in [
        ("a/b", 0o777, true),
        ("a/b", 0o757, true),
        ("a/b", 0o1777, false),
        ("a/b", 0o755, false),
        ("a", 0o777, is_root),
    ] {
        let sandbox = Sandbox::with(Account::on(server.port));
        fs::create_dir_all(sandbox.path("a/b")).unwrap();
        sandbox.mode(folder, mode);
        let run = |words: &[&str]| sandbox.popfetch([words, &["-q", "--state-dir", "a/b"]].concat());
        if !is_refused {
            run(&[]).exits(0).silently();
            continue;
        }
        let advice = format!("run `chmod go-w {}`", sandbox.path(folder).display());
        let connections = server.connections();
        for words in [&[][..], &["--dry-run"], &["login", "work"]] {
            run(words).exits(78).says(&["can be exchanged by others", &advice]);
        }
        assert_eq!((server.connections(), names(&sandbox.path("a/b"))), (connections, vec![]));
        sandbox.mode(folder, 0o755);
        run(&[]).exits(0).silently();
    }
}

#[test]
fn a_state_that_the_users_own_group_can_write_to_is_used() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    fs::create_dir(sandbox.path("state")).unwrap();
    sandbox.mode("state", 0o2775);
    sandbox.popfetch(["-q", "--state-dir", "state"]).exits(0).silently();
}

// Traps in a folder that others can write to

#[test]
fn a_planted_link_is_never_written_through() {
    let server = server(mails(2)).start();
    for (deliver, link, code) in [
        ("mbox:~/shared/mbox", "shared/mbox", Some(73)),
        ("mbox:~/shared/mbox", "shared/mbox.lock", None),
        ("mbox:~/mbox", "state/alice@127.0.0.1:PORT.jsonl", Some(65)),
        ("mbox:~/mbox", "state/alice@127.0.0.1:PORT.lock", Some(65)),
        ("mbox:~/mbox", "state/alice@127.0.0.1:PORT.new", Some(0)),
    ] {
        let sandbox = Sandbox::with(Account::on(server.port).set("deliver", format!("{deliver:?}")));
        sandbox.file("precious", "mine");
        for folder in ["shared", "state"] {
            fs::create_dir(sandbox.path(folder)).unwrap();
            sandbox.mode(folder, 0o1777);
        }
        let link = link.replace("PORT", &server.port.to_string());
        symlink(sandbox.path("precious"), sandbox.path(&link)).unwrap();
        let mut command = sandbox.command(["-q", "--state-dir", "state"]);
        match code {
            Some(code) => drop(sandbox.run(command).exits(code)),
            // A lock that says nothing of its owner is waited for.
            None => {
                let running = sandbox.start(&mut command);
                std::thread::sleep(std::time::Duration::from_millis(300));
                running.signal(rustix::process::Signal::TERM);
                running.finish().exits(143);
            }
        }
        assert_eq!(read(&sandbox.path("precious")), b"mine", "{link}");
    }
}

#[test]
fn an_mbox_below_a_folder_that_is_a_link_is_found() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("deliver", "\"mbox:~/link/mbox\""));
    fs::create_dir(sandbox.path("real")).unwrap();
    symlink("real", sandbox.path("link")).unwrap();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(names(&sandbox.path("real")), ["mbox"]);
}

#[test]
fn a_maildir_that_is_a_file_is_refused() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    sandbox.file("Mail", "precious");
    sandbox.popfetch(["-q"]).exits(73).says(&["Mail", "not a directory", "nothing was delivered"]);
    assert_eq!((server.count("RETR"), read(&sandbox.path("Mail"))), (0, b"precious".to_vec()));
}

#[test]
fn no_umask_opens_or_closes_anything() {
    use std::os::unix::fs::PermissionsExt;
    for (umask, destination) in ["000", "077", "777"].into_iter().zip([Destination::Mbox; 3]) {
        let server = server(mails(2)).start();
        let sandbox = Sandbox::new();
        let deliver = destination.deliver(&sandbox);
        sandbox.config(&Account::on(server.port).set("deliver", deliver).to_string());
        let run = sandbox.shell(&format!("umask {umask} && exec popfetch -q"));
        let modes: Vec<_> = [sandbox.path("mbox"), sandbox.ledger(USER, server.port)]
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|metadata| metadata.permissions().mode() & 0o777)
            .collect();
        match umask {
            "777" => assert!(modes.iter().all(|mode| *mode == 0), "{run:#?}: {modes:?}"),
            _ => assert_eq!((run.exits(0).code(), modes), (0, vec![0o600, 0o600])),
        }
    }
}

// Several accounts, several runs

#[test]
fn two_accounts_may_deliver_to_one_place_at_once() {
    for destination in [Destination::Maildir, Destination::Mbox] {
        let all = mails(60);
        let (one, other) = (server(all[..30].to_vec()).start(), server(all[30..].to_vec()).start());
        let sandbox = Sandbox::new();
        let deliver = destination.deliver(&sandbox);
        let account = |name, port| Account::on(port).named(name).set("deliver", &deliver).set("keep", false);
        sandbox.config(&format!("{}{}", account("one", one.port), account("other", other.port)));
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(destination.messages(&sandbox) == all_at_home(&all), "{destination:?}: each message once");
        assert!(!sandbox.path("mbox.lock").exists());
    }
}

#[test]
fn of_ten_runs_one_works_and_the_others_say_so() {
    let stall = Fault { moment: Moment::BeforeCommand(3), misdeed: Misdeed::Stall };
    let server = server(mails(3)).faults([stall]).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let worker = sandbox.start(&mut sandbox.command(["-q"]));
    wait_until(|| server.count("AUTH") > 0);
    let others: Vec<_> = (0..9).map(|_| sandbox.start(&mut sandbox.command(["-q"]))).collect();
    for other in others {
        other.finish().exits(75).says(&["another run", &worker.pid().to_string()]);
    }
    assert_eq!(server.connections(), 1);
    worker.signal(rustix::process::Signal::KILL);
    worker.finish();
}

#[test]
fn ten_runs_at_the_same_moment_deliver_once() {
    let server = server(mails(20)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let runs: Vec<_> = (0..10).map(|_| sandbox.start(&mut sandbox.command(["-q"]))).collect();
    let codes: Vec<_> = runs.into_iter().map(|run| run.finish().code()).collect();
    assert!(codes.contains(&0) && codes.iter().all(|code| matches!(code, 0 | 75)), "{codes:?}");
    assert!(sandbox.maildir().messages() == all_at_home(&mails(20)), "each message once");
    assert_eq!(server.count("RETR"), 20);
}
