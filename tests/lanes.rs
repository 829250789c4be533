//! Several targets for one account: each message goes to each, is deleted when all have it, and a target that fails ends
//! alone.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::faults::{Scenario, calls_of, can_trace, fail_at, kill_before};
use crate::sandbox::{
    Account, Destination, Maildir, Run, Sandbox, USER, all_at_home, at_home, mails, mboxrd, message, names, server,
    status, wait_until,
};
use crate::server::{Mail, Maildrop};

/// What a Maildir beside `~/Mail` has, sorted.
fn copies(sandbox: &Sandbox) -> Vec<Vec<u8>> {
    let folder = sandbox.path("copies/new");
    let mut all: Vec<_> = names(&folder).iter().map(|name| fs::read(folder.join(name)).unwrap()).collect();
    all.sort();
    all
}

/// The second of two targets; the first is the Maildir `~/Mail`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Second {
    Is(Destination),
    /// Another Maildir.
    Copies,
}

const SECONDS: [Second; 3] = [Second::Is(Destination::Mbox), Second::Is(Destination::Mda), Second::Copies];

impl Second {
    fn deliver(self, sandbox: &Sandbox) -> String {
        match self {
            Second::Is(destination) => both(&destination.deliver(sandbox)),
            Second::Copies => both("\"maildir:~/copies\""),
        }
    }

    fn messages(self, sandbox: &Sandbox) -> Vec<Vec<u8>> {
        match self {
            Second::Is(destination) => destination.messages(sandbox),
            Second::Copies => copies(sandbox),
        }
    }
}

/// `deliver` to `~/Mail` and a second target.
fn both(second: &str) -> String {
    format!("[\"maildir:~/Mail\", {second}]")
}

fn account(server: &Maildrop, deliver: impl ToString, keep: impl ToString) -> String {
    Account::on(server.port).set("deliver", deliver).set("keep", keep).to_string()
}

/// How many messages a run retrieved.
fn retrieved(server: &Maildrop, run: impl FnOnce()) -> usize {
    let before = server.count("RETR");
    run();
    server.count("RETR") - before
}

#[test]
fn each_message_goes_to_each_target_once_and_is_deleted_when_both_have_it() {
    for second in SECONDS {
        for (keep, left) in [("true", 3), ("false", 0), ("\"14d\"", 3)] {
            let when = format!("{second:?}, keep = {keep}");
            let server = server(mails(3)).start();
            let sandbox = Sandbox::new();
            let deliver = second.deliver(&sandbox);
            sandbox.config(&account(&server, deliver, keep));
            sandbox.popfetch(["-q"]).exits(0).silently();
            let expected = all_at_home(&mails(3));
            assert!(sandbox.maildir().messages() == expected && second.messages(&sandbox) == expected, "{when}");
            assert_eq!((server.count("RETR"), server.unique_ids(USER).len()), (3, left), "{when}");
            assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(0).silently())), 0, "{when}");
            assert!(second.messages(&sandbox) == expected, "{when}");
        }
    }
}

#[test]
fn a_target_that_is_added_later_gets_the_mail_that_comes_later() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    sandbox.config(&account(&server, "\"maildir:~/Mail\"", true));
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.config(&account(&server, Second::Copies.deliver(&sandbox), true));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((copies(&sandbox).len(), server.count("RETR")), (0, 2));
    server.arrive(USER, mails(3).pop().unwrap());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(copies(&sandbox) == all_at_home(&mails(3)[2..]));
    assert!(sandbox.maildir().messages() == all_at_home(&mails(3)));
}

/// An mbox that is larger than the limit on the size of files can take nothing, while a Maildir has small files.
fn full_mbox(sandbox: &Sandbox) -> impl Fn() -> Run + '_ {
    let old = format!("From a@b Thu Jan  1 00:00:00 1970\nSubject: old\n\n{}\n\n", "x".repeat(200 << 10));
    sandbox.file("mbox", old);
    || sandbox.shell("ulimit -f 64; exec popfetch -q")
}

#[test]
fn a_target_that_cannot_be_written_ends_alone_and_gets_what_it_lacks_from_the_next_run() {
    for (keep, left) in [("true", 3), ("false", 0)] {
        let server = server(mails(3)).start();
        let sandbox = Sandbox::new();
        let run_full = full_mbox(&sandbox);
        sandbox.config(&account(&server, both("\"mbox:~/mbox\""), keep));
        let run = run_full().exits(74);
        run.says(&["mbox` gets no more messages in this run", "3 messages delivered and recorded"]);
        assert!(sandbox.maildir().messages() == all_at_home(&mails(3)), "the other target has everything");
        assert_eq!((sandbox.mbox().len(), server.unique_ids(USER).len()), (1, 3), "nothing is deleted");
        // The octets that the mbox lacks are in the spool.
        assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(0).silently())), 0);
        assert!(sandbox.maildir().messages() == all_at_home(&mails(3)), "each message once");
        let mut came: Vec<_> = sandbox.mbox().into_iter().skip(1).map(|message| message.octets).collect();
        came.sort();
        assert!(came == all_at_home(&mails(3)), "each message once");
        assert_eq!(server.unique_ids(USER).len(), left);
        assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(0).silently())), 0);
    }
}

#[test]
fn a_message_that_one_target_refuses_stays_and_is_brought_to_that_target_alone() {
    for (code, status) in [(75, 75), (69, 74)] {
        let server = server(mails(3)).start();
        let sandbox = Sandbox::new();
        fs::create_dir(sandbox.path("mda")).unwrap();
        let kept = format!("f=$(mktemp {0}/tmp.XXXXXX) && cat >$f", sandbox.path("mda").display());
        let picky = format!("{kept} && if grep -q 'Subject: message 2' $f; then rm $f; exit {code}; fi; mv $f $f.done");
        sandbox.config(&account(&server, both(&sandbox.mda_script(&picky)), false));
        let run = sandbox.popfetch(["-q"]).exits(status);
        run.says(&["message 2 (`m2`) stays on the server for `mda:", "the MDA ended with status"]);
        assert!(sandbox.maildir().messages() == all_at_home(&mails(3)));
        assert_eq!(server.unique_ids(USER), ["m2"]);
        let json = sandbox.popfetch(["-q", "--json"]).exits(status);
        assert!(json.stdout.contains("\"lane\"") && json.stdout.contains("mda:"), "{}", json.stdout);
        sandbox.mda_script(&format!("{kept} && mv $f $f.done"));
        assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(0).silently())), 1);
        let expected = all_at_home(&mails(3));
        assert!(sandbox.mda_messages() == expected && sandbox.maildir().messages() == expected);
        assert!(server.unique_ids(USER).is_empty());
    }
}

#[test]
fn what_was_begun_for_a_new_target_is_owed_to_it_and_nothing_is_deleted_before() {
    for options in [&["-q", "--fill"][..], &["-q", "--fill", "--max-messages=1"], &["-q", "--all"]] {
        let server = server(mails(3)).start();
        let sandbox = Sandbox::new();
        sandbox.config(&account(&server, "\"maildir:~/Mail\"", true));
        sandbox.popfetch(["-q"]).exits(0).silently();
        let refusing = sandbox.mda_script("cat >/dev/null; exit 75");
        sandbox.config(&account(&server, both(&refusing), false));
        sandbox.popfetch(options).exits(75);
        assert_eq!(server.unique_ids(USER).len(), 3, "{options:?}");
        sandbox.mda();
        let dry = sandbox.popfetch(["--dry-run"]).exits(0);
        assert!(dry.stdout.contains("would deliver 3 ") && dry.stdout.contains("and delete 3"), "{dry:#?}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(sandbox.mda_messages() == all_at_home(&mails(3)), "{options:?}");
        assert!(server.unique_ids(USER).is_empty(), "{options:?}");
    }
}

#[test]
fn what_is_said_of_a_new_target_can_still_be_done() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::new();
    sandbox.config(&account(&server, "\"maildir:~/Mail\"", true));
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.config(&account(&server, "\"maildir:~/copies\"", false));
    let dry = sandbox.popfetch(["--dry-run"]).exits(0).says(&["`--fill`"]);
    assert!(dry.stdout.contains("and delete 0"), "{dry:#?}");
    sandbox.popfetch(["-q"]).exits(0).says(&["`--fill`", "deletes none"]);
    assert_eq!(server.unique_ids(USER).len(), 3);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((server.unique_ids(USER).len(), copies(&sandbox).len()), (0, 0));
}

#[test]
fn two_names_of_one_place_get_each_message_once_and_are_told() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("real")).unwrap();
    std::os::unix::fs::symlink(sandbox.path("real"), sandbox.path("link")).unwrap();
    sandbox.config(&account(&server, "[\"maildir:~/real/Mail\", \"maildir:~/link/Mail\"]", false));
    for _ in 0..2 {
        sandbox.popfetch(["-q"]).exits(78).says(&["link/Mail` gets no more messages", "same place", "leave one"]);
        assert_eq!(names(&sandbox.path("real/Mail/new")).len(), 2);
    }
}

#[test]
fn a_target_that_takes_nothing_gets_no_more_while_the_other_gets_everything() {
    const MESSAGES: usize = 60;
    let server = server(mails(MESSAGES)).start();
    let sandbox = Sandbox::new();
    let counted = "cat >/dev/null; echo >>~/calls; exit 75";
    sandbox.config(&account(&server, both(&sandbox.mda_script(counted)), false));
    let run = sandbox.popfetch(["-q"]).exits(75);
    run.says(&["gets no more messages in this run", "the MDA refuses message after message"]);
    assert!(sandbox.maildir().messages() == all_at_home(&mails(MESSAGES)));
    let calls = fs::read_to_string(sandbox.path("calls")).unwrap().lines().count();
    assert!(calls < MESSAGES, "{calls} calls");
    assert_eq!(server.unique_ids(USER).len(), MESSAGES);
    fs::create_dir(sandbox.path("mda")).unwrap();
    sandbox.mda();
    sandbox.popfetch(["-q"]).exits(0).silently();
    let expected = all_at_home(&mails(MESSAGES));
    assert!(sandbox.mda_messages() == expected && sandbox.maildir().messages() == expected);
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn a_target_that_is_not_there_is_left_out_and_nothing_is_retrieved_for_it() {
    for second in ["\"maildir:~/disk/Mail\"", "\"mbox:~/disk/folder/mbox\""] {
        let server = server(mails(2)).start();
        let sandbox = Sandbox::new();
        sandbox.config(&account(&server, both(second), "\"1s\""));
        sandbox.popfetch(["-q"]).exits(0).silently();
        fs::rename(sandbox.path("disk"), sandbox.path("unmounted")).unwrap();
        server.arrive(USER, mails(3).pop().unwrap());
        let run = sandbox.popfetch(["-q"]).exits(73);
        run.says(&["gets no more messages in this run", "is not there", "--create"]);
        assert!(sandbox.maildir().messages() == all_at_home(&mails(3)), "{second}");
        std::thread::sleep(std::time::Duration::from_millis(2100));
        // What both have is due by now; the new one waits for the second target, and is not retrieved for it.
        assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(73))), 0, "{second}");
        assert_eq!(server.unique_ids(USER), ["m3"], "{second}");
        fs::rename(sandbox.path("unmounted"), sandbox.path("disk")).unwrap();
        assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(0).silently())), 1, "{second}");
        assert_eq!(sandbox.maildir().messages().len(), 3, "{second}: each message once");
        // Its time counts from the first target that had it.
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(server.unique_ids(USER).is_empty(), "{second}");
    }
}

#[test]
fn what_only_a_target_lacks_that_cannot_be_opened_is_not_retrieved_and_keeps_nothing_back() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    let account = Account::on(server.port).set("deliver", both("\"maildir:~/file/Mail\"")).set("keep", false);
    sandbox.config(&account.set("max_messages", 1).to_string());
    sandbox.file("file", "no folder");
    for number in 1..=2 {
        let run = || drop(sandbox.popfetch(["-q"]).exits(73).says(&["gets no more messages in this run", "file"]));
        assert_eq!(retrieved(&server, run), 1, "the next message has its turn");
        assert!(sandbox.maildir().messages() == all_at_home(&mails(number)));
    }
    assert_eq!(retrieved(&server, || drop(sandbox.popfetch(["-q"]).exits(73))), 0);
    assert_eq!(server.unique_ids(USER).len(), 2);
    fs::remove_file(sandbox.path("file")).unwrap();
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    let there = names(&sandbox.path("file/Mail/new")).len();
    assert_eq!((there, sandbox.maildir().messages().len(), server.unique_ids(USER).len()), (2, 2, 0));
}

#[test]
fn a_dry_run_and_a_talkative_one_name_every_target() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    sandbox.config(&account(&server, both("\"mbox:~/mbox\""), true));
    let run = sandbox.popfetch(["--dry-run"]).exits(0);
    assert!(run.stdout.contains("would deliver 1 to maildir:") && run.stdout.contains("/mbox"), "{}", run.stdout);
    assert!(!sandbox.path("Mail").exists() && !sandbox.path("mbox").exists());
    let run = sandbox.popfetch(["-v"]).exits(0);
    let lines: Vec<_> = run.stderr.lines().filter(|line| line.contains("1 m1 ")).collect();
    assert_eq!(lines.len(), 2, "{run:#?}");
    assert!(
        lines.iter().any(|line| line.contains("/Mail/new/")) && lines.iter().any(|line| line.contains("/mbox at 0"))
    );
}

#[test]
fn when_no_target_is_left_the_session_ends_and_the_next_run_goes_on() {
    let server = server(mails(40)).start();
    let sandbox = Sandbox::new();
    let run_full = full_mbox(&sandbox);
    let deliver = format!("[\"mbox:~/mbox\", {}]", sandbox.mda_script("exit 75"));
    sandbox.config(&account(&server, deliver, false));
    let run = run_full().exits(74);
    run.says(&["mbox` gets no more messages in this run", "mda:", "nothing was delivered or deleted"]);
    assert_eq!(server.unique_ids(USER).len(), 40);
    sandbox.mda();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(sandbox.mda_messages() == all_at_home(&mails(40)) && sandbox.mbox().len() == 41);
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn two_targets_survive_a_disk_that_fails_at_any_sync() {
    if !can_trace() {
        return;
    }
    let expected = all_at_home(&Scenario::mails());
    let start = || {
        let server = server(Scenario::mails()).start();
        let sandbox = Sandbox::new();
        sandbox.config(&account(&server, Second::Is(Destination::Mbox).deliver(&sandbox), false));
        (server, sandbox)
    };
    let (_server, sandbox) = start();
    let mut failed = 0;
    for call in calls_of(&sandbox).iter().filter(|call| call.is_sync()) {
        let (server, sandbox) = start();
        let run = fail_at(&sandbox, call, "EIO", false);
        assert!(matches!(run.code(), 0 | 73 | 74), "{call}: {run:#?}");
        failed += usize::from(run.code() != 0);
        for mail in Scenario::mails().iter().filter(|mail| !server.unique_ids(USER).contains(&mail.unique_id)) {
            assert_safe_at_both(&sandbox, Second::Is(Destination::Mbox), mail, &call.to_string());
        }
        sandbox.popfetch(["-q"]).exits(0).silently();
        let mbox = Destination::Mbox.messages(&sandbox);
        assert!(sandbox.maildir().messages() == expected && mbox == expected, "{call}: each message once");
        assert!(server.unique_ids(USER).is_empty(), "{call}");
    }
    assert!(failed > 5, "{failed} runs failed");
}

#[test]
fn two_targets_survive_a_kill_before_every_call() {
    if !can_trace() {
        return;
    }
    let expected = all_at_home(&Scenario::mails());
    for second in [Second::Is(Destination::Mbox), Second::Is(Destination::Mda)] {
        let start = || {
            let server = server(Scenario::mails()).start();
            let sandbox = Sandbox::new();
            let deliver = second.deliver(&sandbox);
            sandbox.config(&account(&server, deliver, false));
            (server, sandbox)
        };
        let (_server, sandbox) = start();
        let calls = calls_of(&sandbox);
        let mut killed = 0;
        for call in &calls {
            let (server, sandbox) = start();
            let when = format!("{second:?}, killed before {call}");
            let code = kill_before(&sandbox, call).code();
            assert!(matches!(code, 0 | 137), "{when}: {code}");
            killed += usize::from(code == 137);
            let left = server.unique_ids(USER);
            for mail in Scenario::mails().iter().filter(|mail| !left.contains(&mail.unique_id)) {
                assert_safe_at_both(&sandbox, second, mail, &when);
            }
            let run = sandbox.popfetch(["-q"]);
            assert_eq!((run.code(), run.stderr.as_str()), (0, ""), "{when}");
            assert!(sandbox.maildir().messages() == expected, "{when}: each message once in the Maildir");
            let mut there = second.messages(&sandbox);
            let repeated = there.len() - expected.len();
            assert!(repeated <= usize::from(second == Second::Is(Destination::Mda)), "{when}: {repeated} repeated");
            there.dedup();
            assert!(there == expected, "{when}: each message at the second target");
            assert!(server.unique_ids(USER).is_empty(), "{when}");
            assert_eq!(sandbox.maildir().litter(), [""; 0], "{when}: litter");
            let state: BTreeSet<_> = names(&sandbox.state()).into_iter().collect();
            assert_eq!(state.len(), 2, "{when}: litter in the state: {state:?}");
        }
        println!("{second:?}: {} calls, {killed} kills", calls.len());
        assert!(killed > 20, "only {killed} of {} kills happened", calls.len());
    }
}

/// What is deleted on the server is whole at both targets, before anything is recovered.
#[track_caller]
fn assert_safe_at_both(sandbox: &Sandbox, second: Second, mail: &Mail, when: &str) {
    let home = at_home(&mail.octets);
    assert!(sandbox.maildir().messages().contains(&home), "{when}: `{}` is not in the Maildir", mail.unique_id);
    assert!(second.messages(sandbox).contains(&home), "{when}: `{}` is not at {second:?}", mail.unique_id);
}

// Slow targets

/// An MDA that notes that it has begun, takes nothing until `~/go` is there, and keeps each message then.
fn waiting(sandbox: &Sandbox) -> String {
    sandbox.mda();
    let (kept, go) = (sandbox.path("mda"), sandbox.path("go"));
    let script = format!(
        "echo >>{0}/begun; while [ ! -e {1} ]; do sleep 0.05; done; f=$(mktemp {0}/tmp.XXXXXX) && cat >$f && mv $f $f.done",
        kept.display(),
        go.display()
    );
    sandbox.mda_script(&script)
}

/// A number that has not changed for a second. On a slow machine it may be smaller than it would have become.
fn settled(number: impl Fn() -> u64) -> u64 {
    let (mut last, mut since) = (number(), Instant::now());
    while since.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(20));
        let now = number();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

#[test]
fn a_slow_target_makes_the_reader_wait_in_a_small_memory_and_slows_its_own_account_only() {
    const MESSAGES: usize = 200;
    const OCTETS: usize = 512 << 10;
    let line = "x".repeat(62) + "\r\n";
    let large = |number| Mail::new(format!("m{number}"), message(number) + &line.repeat(OCTETS / line.len()));
    let all: Vec<Mail> = (1..=MESSAGES).map(large).collect();
    let (slow, quick) = (server(all.clone()).start(), server(mails(50)).start());
    let sandbox = Sandbox::new();
    let slow_account = Account::on(slow.port).set("deliver", both(&waiting(&sandbox))).set("keep", false);
    let quick_account = Account::on(quick.port).named("quick").set("deliver", "\"maildir:~/copies\"");
    sandbox.config(&format!("{slow_account}{}", quick_account.set("keep", false)));
    let running = sandbox.start(&mut sandbox.command(["-q"]));
    wait_until(|| sandbox.path("mda/begun").exists());
    wait_until(|| quick.unique_ids(USER).is_empty());
    assert!(copies(&sandbox) == all_at_home(&mails(50)), "another account does not wait");
    let sent = settled(|| slow.traffic(1).octets_sent);
    // What the lane may have ahead, and what is on its way: the server's buffers, and ours.
    let asked = slow.count("RETR");
    assert!(sent < (MESSAGES * OCTETS / 2) as u64 && asked < MESSAGES / 2, "{sent} octets sent, {asked} RETR");
    let peak = status(running.pid(), "VmHWM").unwrap_or(0);
    assert!(peak < 24 << 10, "{peak} KiB");
    let begun = fs::read_to_string(sandbox.path("mda/begun")).unwrap().lines().count();
    assert_eq!((begun, sandbox.mda_messages().len(), slow.unique_ids(USER).len()), (1, 0, MESSAGES));
    sandbox.file("go", "");
    running.finish().exits(0).silently();
    let expected = all_at_home(&all);
    assert!(sandbox.mda_messages() == expected && sandbox.maildir().messages() == expected);
    assert_eq!((slow.count("RETR"), slow.unique_ids(USER).len()), (MESSAGES, 0), "each message once");
}

// Targets that are gone, and targets that change

#[test]
fn what_an_absent_target_lacks_is_never_deleted() {
    for second in ["maildir:~/disk/Mail", "mbox:~/disk/folder/mbox"] {
        for options in [&["-q"][..], &["-q", "--all"], &["-q", "--fill"], &["-q", "--max-messages=1"]] {
            let when = format!("{second}, {options:?}");
            let server = server(mails(1)).start();
            let sandbox = Sandbox::new();
            let deliver = both(&format!("{second:?}"));
            sandbox.config(&account(&server, "\"maildir:~/Mail\"", true));
            sandbox.popfetch(["-q"]).exits(0).silently();
            let at_both = |disk: &str| {
                let maildir = Maildir { path: sandbox.path(disk).join("Mail") };
                let mbox = mboxrd(&fs::read(sandbox.path(disk).join("folder/mbox")).unwrap_or_default());
                let mbox = mbox.into_iter().map(|message| message.octets);
                maildir.messages().into_iter().chain(mbox).collect::<Vec<_>>()
            };
            sandbox.config(&account(&server, &deliver, true));
            let mut all = mails(5);
            server.arrive(USER, all[1].clone());
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!(at_both("disk").len(), 1, "{when}");
            // The second is gone; meanwhile there is new mail, and another message under a used unique-id.
            fs::rename(sandbox.path("disk"), sandbox.path("unmounted")).unwrap();
            all[4].unique_id = "m2".into();
            server.replace(USER, [&all[..1], &all[2..]].concat());
            sandbox.config(&account(&server, &deliver, false));
            for _ in 0..4 {
                sandbox.popfetch(options).exits(73).says(&["gets no more messages in this run"]);
                let left = server.unique_ids(USER);
                assert!(left.len() >= 3 && left[left.len() - 3..] == ["m3", "m4", "m2"], "{when}: {left:?}");
                // Without a word to the contrary, what came before the second target is settled.
                let is_settled = options.len() == 1 || options[1].starts_with("--max");
                assert_eq!(left.len(), if is_settled { 3 } else { 4 }, "{when}: {left:?}");
            }
            fs::rename(sandbox.path("unmounted"), sandbox.path("disk")).unwrap();
            for _ in 0..4 {
                sandbox.popfetch(["-q"]).exits(0).silently();
            }
            assert!(server.unique_ids(USER).is_empty(), "{when}");
            let (first, second) = (sandbox.maildir().messages(), at_both("disk"));
            for mail in &all {
                let home = at_home(&mail.octets);
                let count = |there: &[Vec<u8>]| there.iter().filter(|octets| **octets == home).count();
                let is_settled = mail.unique_id == "m1" && !matches!(options[1..], ["--all"] | ["--fill"]);
                assert_eq!(count(&second), usize::from(!is_settled), "{when}: {}", mail.unique_id);
                let is_once = count(&first) == 1 || (options[1..] == ["--all"] && count(&first) > 1);
                assert!(is_once, "{when}: {} comes {} times", mail.unique_id, count(&first));
            }
        }
    }
}

#[test]
fn without_unique_ids_an_absent_target_keeps_mail_on_the_server_and_doubles_none() {
    for second in ["maildir:~/disk/Mail", "maildir:~/file/Mail"] {
        let server = server(mails(1)).capabilities(&["USER", "SASL PLAIN"]).answer("UIDL", "-ERR what?").start();
        let sandbox = Sandbox::new();
        sandbox.config(&account(&server, both(&format!("{second:?}")), false));
        match second {
            "maildir:~/disk/Mail" => {
                sandbox.popfetch(["-q"]).exits(0).silently();
                fs::rename(sandbox.path("disk"), sandbox.path("unmounted")).unwrap();
            }
            _ => drop(sandbox.file("file", "no folder")),
        }
        server.replace(USER, mails(3));
        for _ in 0..3 {
            sandbox.popfetch(["-q"]).exits(73).says(&["gets no more messages in this run"]);
            assert_eq!(server.unique_ids(USER).len(), 3, "{second}");
        }
        match second {
            "maildir:~/disk/Mail" => fs::rename(sandbox.path("unmounted"), sandbox.path("disk")).unwrap(),
            _ => fs::remove_file(sandbox.path("file")).unwrap(),
        }
        sandbox.popfetch(["-q"]).exits(0);
        let expected = all_at_home(&mails(3));
        let is_before = |octets: &[u8]| second == "maildir:~/disk/Mail" && octets == at_home(&mails(1)[0].octets);
        for there in [sandbox.maildir().messages(), Maildir { path: sandbox.path(&second[10..]) }.messages()] {
            for octets in &expected {
                let count = there.iter().filter(|message| *message == octets).count();
                assert_eq!(count, if is_before(octets) { 2 } else { 1 }, "{second}");
            }
        }
        assert!(server.unique_ids(USER).is_empty(), "{second}");
    }
}

#[test]
fn a_target_that_changes_and_changes_back_loses_nothing() {
    for (between, status) in [(&["-q"][..], 0), (&["-q", "--fill"], 75)] {
        let server = server(mails(2)).start();
        let sandbox = Sandbox::new();
        sandbox.config(&account(&server, "\"maildir:~/Mail\"", true));
        sandbox.popfetch(["-q"]).exits(0).silently();
        let elsewhere = match status {
            0 => "\"maildir:~/copies\"".to_owned(),
            _ => sandbox.mda_script("cat >/dev/null; exit 75"),
        };
        sandbox.config(&account(&server, elsewhere, false));
        server.arrive(USER, mails(3).pop().unwrap());
        sandbox.popfetch(between).exits(status);
        let at_home = |number: usize| {
            let home = at_home(&mails(number)[number - 1].octets);
            [sandbox.maildir().messages(), copies(&sandbox)].concat().contains(&home)
        };
        let is_safe = || {
            let left = server.unique_ids(USER);
            (1..=4).all(|number| left.contains(&format!("m{number}")) || at_home(number))
        };
        server.arrive(USER, mails(4).pop().unwrap());
        assert!(is_safe());
        sandbox.config(&account(&server, "\"maildir:~/Mail\"", false));
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(is_safe() && server.unique_ids(USER).is_empty(), "{between:?}");
        let (first, second) = (sandbox.maildir().messages().len(), copies(&sandbox).len());
        assert_eq!((first, second), if status == 0 { (3, 1) } else { (4, 0) }, "each message once");
    }
}

#[test]
fn the_time_of_keep_counts_with_all_and_for_the_last_target_as_well() {
    // What comes again by `all` is deleted when its time is over, and not before.
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    let with_all = |keep: &str| Account::on(server.port).set("all", true).set("keep", keep).to_string();
    sandbox.config(&with_all("\"14d\""));
    sandbox.popfetch(["-q"]).exits(0).silently();
    std::thread::sleep(Duration::from_millis(2100));
    sandbox.popfetch(["-q"]).exits(0).silently();
    server.arrive(USER, mails(3).pop().unwrap());
    sandbox.config(&with_all("\"1s\""));
    let dry = sandbox.popfetch(["--dry-run", "--json"]).exits(0).account();
    assert_eq!((&dry["would_deliver"], &dry["would_delete"]), (&3.into(), &2.into()));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.unique_ids(USER), ["m3"], "it came just now");
    // What the last target gets is deleted by the run that brings it.
    let sandbox = Sandbox::new();
    let refusing = sandbox.mda_script("cat >/dev/null; exit 75");
    sandbox.config(&account(&server, both(&refusing), "\"1s\""));
    sandbox.popfetch(["-q"]).exits(75);
    sandbox.mda();
    std::thread::sleep(Duration::from_millis(2100));
    let dry = sandbox.popfetch(["--dry-run", "--json"]).exits(0).account();
    assert_eq!((&dry["would_deliver"], &dry["would_delete"]), (&1.into(), &1.into()));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(server.unique_ids(USER).is_empty());
    assert_eq!((sandbox.maildir().messages().len(), sandbox.mda_messages().len()), (1, 1));
}

#[test]
fn another_message_that_comes_by_all_is_owed_to_a_target_that_fails() {
    let with_id = |id: &str, number: usize| format!("Message-ID: <{id}@x>\r\n{}", message(number));
    // Of the very size of the one before, too.
    for number in [1, 100] {
        let server = server([Mail::new("a", with_id("one", 1)), Mail::new("b", message(8))]).start();
        let sandbox = Sandbox::new();
        let deliver = both(&sandbox.mda());
        sandbox.config(&account(&server, &deliver, true));
        sandbox.popfetch(["-q"]).exits(0).silently();
        let other = with_id("two", number);
        server.replace(USER, [Mail::new("a", other.clone()), Mail::new("b", message(8))]);
        sandbox.mda_script("cat >/dev/null; exit 75");
        sandbox.config(&account(&server, &deliver, false));
        sandbox.popfetch(["-q", "--all"]).exits(75);
        assert_eq!(server.unique_ids(USER).len(), 2);
        sandbox.mda();
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(sandbox.mda_messages().contains(&at_home(other.as_bytes())), "it is not lost");
        assert!(server.unique_ids(USER).is_empty());
        assert_eq!((sandbox.mda_messages().len(), sandbox.maildir().messages().len()), (3, 4));
    }
}

#[test]
fn another_message_under_the_id_of_one_that_a_target_lacks_goes_to_all_targets() {
    let with_id = |id: &str| Mail::new("a", format!("Message-ID: <{id}@x>\r\n{}", message(1)));
    let server = server([with_id("one")]).start();
    let sandbox = Sandbox::new();
    let refusing = both(&sandbox.mda_script("cat >/dev/null; exit 75"));
    sandbox.config(&account(&server, &refusing, true));
    sandbox.popfetch(["-q"]).exits(75);
    // Of the very size of the one before.
    server.replace(USER, [with_id("two")]);
    sandbox.mda();
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
    assert!(server.unique_ids(USER).is_empty());
    assert!(sandbox.maildir().messages() == all_at_home(&[with_id("one"), with_id("two")]), "it is not lost");
    assert!(sandbox.mda_messages() == all_at_home(&[with_id("two")]));
}
