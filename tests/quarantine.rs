//! A message that a target refuses again and again, though it takes others: it is quarantined there, never deleted, and
//! freed by a person.

use std::fs;

use crate::faults::{Call, can_trace, kill_before};
use crate::sandbox::{Account, Run, Sandbox, USER, all_at_home, at_home, mails, names, read, server};
use crate::server::{Mail, Maildrop};

/// An MDA that refuses what has this word in it, and keeps the rest in `~/mda`.
fn picky(sandbox: &Sandbox, word: &str) -> String {
    fs::create_dir_all(sandbox.path("mda")).unwrap();
    let kept = sandbox.path("mda");
    let script = format!(
        "f=$(mktemp {0}/tmp.XXXXXX) && cat >$f && if grep -q {word} $f; then rm $f; exit 75; fi; mv $f $f.done",
        kept.display()
    );
    sandbox.mda_script(&script)
}

/// Message `m2` is refused.
fn setup(more: impl FnOnce(Account, String) -> Account) -> (Maildrop, Sandbox) {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::new();
    let mda = picky(&sandbox, "message.2");
    let account = Account::on(server.port).set("keep", false).set("notify_every", "\"0\"");
    sandbox.config(&more(account, mda).to_string());
    (server, sandbox)
}

fn alone(account: Account, mda: String) -> Account {
    account.set("deliver", mda)
}

fn beside_a_maildir(account: Account, mda: String) -> Account {
    account.set("deliver", format!("[\"maildir:~/Mail\", {mda}]"))
}

/// One more message, which every target takes.
fn arrive(server: &Maildrop, name: &str) {
    server.arrive(USER, Mail::new(name, format!("Message-ID: <{name}@x>\r\nSubject: {name}\r\n\r\n{name}\r\n")));
}

/// Runs so often until the message is quarantined; the last one says so.
fn quarantine(server: &Maildrop, sandbox: &Sandbox) -> Run {
    for nth in 1..5 {
        let run = sandbox.popfetch(["-q"]).exits(75).says(&["message", "(`m2`) stays on the server"]);
        assert!(!run.stderr.contains("quarantined"), "{nth}: {run:#?}");
        arrive(server, &format!("a{nth}"));
    }
    sandbox.popfetch(["-q"]).exits(75).says(&[
        "1 message (`m2`) refused by `mda:/bin/sh ",
        "in five runs that brought it others: quarantined there, not tried again, and left on the server",
        "`popfetch state retry`",
    ])
}

fn verdicts(run: &Run) -> Vec<String> {
    let rows = run.events().into_iter().filter(|event| event["event"] == "message");
    rows.map(|row| format!("{} {}", row["verdict"].as_str().unwrap(), row["reason"].as_str().unwrap())).collect()
}

fn retrieved(server: &Maildrop, run: impl FnOnce()) -> usize {
    let before = server.count("RETR");
    run();
    server.count("RETR") - before
}

#[test]
fn five_refusals_in_runs_that_brought_others_are_enough_and_a_person_frees_the_message() {
    let (server, sandbox) = setup(alone);
    quarantine(&server, &sandbox);
    arrive(&server, "b");
    let list = sandbox.popfetch(["list", "--json"]).exits(0);
    assert_eq!(verdicts(&list), ["leave quarantined", "retrieve new"]);
    let dry = sandbox.popfetch(["--dry-run", "--json"]).exits(0).account();
    assert_eq!([&dry["would_deliver"], &dry["would_delete"], &dry["quarantined"]], [1, 1, 1], "{dry:#}");
    let run = sandbox.popfetch(["--json"]).exits(0).account();
    assert_eq!([&run["delivered"], &run["deleted"], &run["quarantined"]], [1, 1, 1], "{run:#}");
    assert_eq!(run["refused"].as_array().unwrap().len() + run["notices"].as_array().unwrap().len(), 0, "{run:#}");
    assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(0).silently())), 0);
    assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q", "--all"]).exits(0).silently())), 0);
    assert_eq!(server.unique_ids(USER), ["m2"]);
    let shown = sandbox.popfetch(["state", "show", "--json"]).exits(0).account();
    assert_eq!(shown["state"]["quarantined"][0]["unique_id"], "m2", "{shown:#}");
    assert!(shown["state"]["quarantined"][0]["targets"][0].as_str().unwrap().starts_with("mda:"), "{shown:#}");
    assert!(sandbox.popfetch(["state", "show"]).exits(0).stdout.contains("quarantined"));

    sandbox.popfetch(["state", "retry", "--id", "m1"]).exits(65).says(&["no target has refused", "`m1`"]);
    let freed = sandbox.popfetch(["state", "retry", "--id", "m2", "--dry-run"]).exits(0);
    assert!(freed.stdout.contains("1 message would be given again"), "{freed:#?}");
    assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(0).silently())), 0, "it was dry");
    let freed = sandbox.popfetch(["state", "retry", "--id", "m2"]).exits(0);
    assert!(
        freed.stdout.contains("1 message will be given again, by the next run, to targets that refused it"),
        "{freed:#?}"
    );
    assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(75))), 1);
    picky(&sandbox, "nothing");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(server.unique_ids(USER).is_empty());
    assert!(sandbox.mda_messages().contains(&at_home(&mails(3)[1].octets)));
}

#[test]
fn a_run_that_brings_the_target_nothing_does_not_count() {
    let (server, sandbox) = setup(alone);
    sandbox.popfetch(["-q"]).exits(75);
    for _ in 0..7 {
        assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(75))), 1);
    }
    arrive(&server, "a");
    let run = sandbox.popfetch(["-q"]).exits(75);
    assert!(!run.stderr.contains("quarantined"), "{run:#?}");
    assert!(read(&sandbox.ledger(USER, server.port)).windows(9).any(|window| window == b"\"times\":2"));
}

#[test]
fn what_is_quarantined_at_one_target_goes_to_the_others_and_is_never_deleted() {
    for more in ["", "delete_over", "keep_newest"] {
        let of = |account: Account, mda| {
            let account = beside_a_maildir(account, mda);
            if more.is_empty() { account } else { account.set("keep", true).set(more, 1) }
        };
        let (server, sandbox) = setup(of);
        quarantine(&server, &sandbox);
        assert!(sandbox.maildir().messages().contains(&at_home(&mails(3)[1].octets)), "{more}");
        for name in ["b", "c"] {
            arrive(&server, name);
            assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(0).silently())), 1, "{more}");
            assert!(server.unique_ids(USER).contains(&"m2".to_owned()), "{more}");
        }
        let seven_each = (sandbox.maildir().messages().len(), sandbox.mda_messages().len());
        assert_eq!(seven_each, (9, 8), "{more}");
        // Another message under its unique-id was never refused.
        let mut there = server.mails(USER);
        let reused = there.iter_mut().find(|mail| mail.unique_id == "m2").unwrap();
        reused.octets = b"Message-ID: <other@x>\r\nSubject: another one\r\n\r\nanother one\r\n".to_vec();
        let octets = at_home(&reused.octets);
        server.replace(USER, there);
        sandbox.popfetch(["-q"]).exits(0);
        assert!(sandbox.mda_messages().contains(&octets) && sandbox.maildir().messages().contains(&octets), "{more}");
        assert!(!sandbox.mda_messages().contains(&at_home(&mails(3)[1].octets)), "{more}");
    }
}

#[test]
fn another_mda_was_never_refused_to() {
    let (server, sandbox) = setup(alone);
    quarantine(&server, &sandbox);
    let mda = sandbox.mda();
    let other = mda.replace("\"%F\"", "\"%F\", \"now\"");
    sandbox.config(&Account::on(server.port).set("deliver", other).set("keep", false).to_string());
    assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(0).silently())), 1);
    assert!(server.unique_ids(USER).is_empty());
    assert!(sandbox.mda_messages().contains(&at_home(&mails(3)[1].octets)));
}

#[test]
fn a_kill_at_any_call_of_the_run_that_quarantines_loses_nothing() {
    if !can_trace() {
        return;
    }
    let prepared = || {
        let (server, sandbox) = setup(beside_a_maildir);
        sandbox.popfetch(["-q"]).exits(75);
        let path = sandbox.ledger(USER, server.port);
        let text = String::from_utf8(read(&path)).unwrap();
        assert!(text.contains("\"note\":\"refusals\"") && text.contains("\"times\":1"), "{text}");
        fs::write(&path, text.replace("\"times\":1", "\"times\":4")).unwrap();
        arrive(&server, "a");
        (server, sandbox)
    };
    let mut killed = 0;
    for name in ["write", "fdatasync", "fsync", "rename"] {
        for nth in 1.. {
            let (server, sandbox) = prepared();
            let call = Call { name: name.into(), nth };
            let code = kill_before(&sandbox, &call).code();
            assert!(matches!(code, 75 | 137), "{call}: {code}");
            killed += usize::from(code == 137);
            // Where it was not counted, one more run is needed, which has to bring something.
            for more in 0..3 {
                arrive(&server, &format!("b{more}"));
                let run = sandbox.popfetch(["-q"]);
                assert!(matches!(run.code(), 0 | 75), "{call}: {run:#?}");
            }
            assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(0).silently())), 0, "{call}");
            assert_eq!(server.unique_ids(USER), ["m2"], "{call}");
            assert_eq!(sandbox.maildir().messages().len(), 7, "{call}");
            assert!(all_at_home(&mails(3)).iter().all(|mail| sandbox.maildir().messages().contains(mail)), "{call}");
            let kept = names(&sandbox.path("mda")).into_iter().filter(|name| name.ends_with(".done")).count();
            assert!((6..=7).contains(&kept), "{call}: {kept}");
            if code == 75 {
                break;
            }
        }
    }
    assert!(killed > 10, "only {killed} kills");
}
