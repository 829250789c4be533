//! What happens to places between two runs: a target that is gone, renamed, out of reach or another user's.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};
use std::path::Path;

use crate::faults::{Call, can_trace, kill_before};
use crate::sandbox::{Account, Sandbox, USER, all_at_home, left_out, mails, names, server, wait_until};
use crate::server::{Fault, Maildrop, Misdeed, Moment};

const MESSAGES: usize = 3;

// Between an interrupted run and the next one

/// A home in which a run to this target was killed before it published three messages.
fn killed_before_publishing(deliver: &str) -> Option<(Maildrop, Sandbox)> {
    let server = server(mails(MESSAGES)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("deliver", deliver).set("keep", false));
    if !can_trace() {
        return None;
    }
    let is_mbox = deliver.contains("mbox");
    // Of an mbox, the flushes of the ledger's beginning, the spool and the intents come first.
    let calls = if is_mbox { vec![Call::new("fdatasync", 3)] } else { vec![Call::new("renameat2", 1)] };
    calls.iter().for_each(|call| assert_eq!(kill_before(&sandbox, call).code(), 137));
    let ledger = fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap();
    assert!(ledger.contains("intend") && !ledger.contains("published"), "{ledger}");
    Some((server, sandbox))
}

#[test]
fn a_former_target_that_cannot_be_used_any_more_holds_nothing_up() {
    let makes_useless: [fn(&Path); 4] = [
        |target| symlink(target.file_name().unwrap(), target).unwrap(),
        |target| fs::write(target, "a file").unwrap(),
        |target| symlink("/proc/self/nothing/at/all", target).unwrap(),
        |target| {
            fs::create_dir_all(target.join("new")).unwrap();
            symlink("new", target.join("cur")).unwrap();
            // A place where nobody can make a file, not even root.
            symlink("/proc", target.join("tmp")).unwrap();
        },
    ];
    for deliver in ["\"maildir:~/old\"", "\"mbox:~/old\""] {
        for (way, make_useless) in makes_useless.iter().enumerate() {
            let Some((server, sandbox)) = killed_before_publishing(deliver) else { return };
            let old = sandbox.path("old");
            if old.is_dir() {
                fs::remove_dir_all(&old).unwrap()
            } else {
                fs::remove_file(&old).unwrap()
            }
            make_useless(&old);
            sandbox.config(&Account::on(server.port).set("keep", false).to_string());
            let run = sandbox.popfetch(["-q"]).exits(0).says(&["interrupted run", "fetched again"]);
            assert!(run.stderr.lines().count() == 1, "{deliver}, {way}: {run:#?}");
            assert!(sandbox.maildir().messages() == all_at_home(&mails(MESSAGES)), "{deliver}, {way}");
            assert!(server.unique_ids(USER).is_empty(), "{deliver}, {way}");
            sandbox.popfetch(["-q"]).exits(0).silently();
        }
    }
}

#[test]
fn a_present_target_that_cannot_be_used_for_now_is_waited_for() {
    let Some((server, sandbox)) = killed_before_publishing("\"maildir:~/Mail\"") else { return };
    let (mail, away) = (sandbox.path("Mail"), sandbox.path("away"));
    fs::rename(&mail, &away).unwrap();
    symlink("Mail", &mail).unwrap();
    let run = sandbox.popfetch(["-q"]);
    assert!(matches!(run.code(), 73 | 74), "{run:#?}");
    // Nor is it made anew when it is not there at all.
    fs::remove_file(&mail).unwrap();
    sandbox.popfetch(["-q"]).exits(73).says(&["Mail", "--create"]);
    fs::rename(&away, &mail).unwrap();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), MESSAGES, "what was intended is found");
    assert!(sandbox.maildir().messages() == all_at_home(&mails(MESSAGES)));
}

#[test]
fn what_its_reader_deleted_before_the_next_run_is_said_once() {
    let Some((server, sandbox)) = killed_before_publishing("\"maildir:~/Mail\"") else { return };
    let litter = sandbox.maildir().litter();
    fs::remove_file(sandbox.path("Mail/tmp").join(&litter[0])).unwrap();
    sandbox.popfetch(["-q"]).exits(0).says(&["1 message of an interrupted run not found", "fetched again"]);
    assert_eq!(server.count("RETR"), MESSAGES + 1);
    assert!(sandbox.maildir().messages() == all_at_home(&mails(MESSAGES)));
    sandbox.popfetch(["-q"]).exits(0).silently();
}

#[test]
fn a_maildir_whose_reader_and_server_rename_files_gets_each_message_once() {
    if !can_trace() {
        return;
    }
    let server = server(mails(0)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    sandbox.file("Mail/new/1.M1P1.elsewhere,S=0", "");
    ["tmp", "cur"].iter().for_each(|folder| fs::create_dir(sandbox.path("Mail").join(folder)).unwrap());
    sandbox.popfetch(["-q"]).exits(0).silently();
    fs::remove_file(&sandbox.maildir().files()[0]).unwrap();
    mails(MESSAGES).into_iter().for_each(|mail| server.arrive(USER, mail));
    // Behind the flushes of the messages comes that of `new`: everything is published then, and nothing recorded.
    assert_eq!(kill_before(&sandbox, &Call::new("fsync", MESSAGES + 1)).code(), 137);
    let ledger = fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap();
    assert!(sandbox.maildir().files().len() == MESSAGES && !ledger.contains("published"), "{ledger}");
    let maildir = sandbox.maildir();
    for (file, ending) in maildir.files().iter().zip([",W=200:2,S", ":2,", ",W=300"]) {
        let name = file.file_name().unwrap().to_str().unwrap();
        fs::rename(file, maildir.path.join("cur").join(format!("{name}{ending}"))).unwrap();
    }
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(maildir.messages() == all_at_home(&mails(MESSAGES)), "each message once");
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn a_maildir_on_two_file_systems_is_known_before_the_first_message() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    let elsewhere = tempfile::Builder::new().prefix("popfetch-test-").tempdir_in("/dev/shm");
    let Some(elsewhere) = elsewhere.ok().filter(|folder| device(folder.path()) != device(&sandbox.path(""))) else {
        return left_out("a Maildir on two file systems", "there is no second one in /dev/shm");
    };
    fs::create_dir(sandbox.path("Mail")).unwrap();
    symlink(elsewhere.path(), sandbox.path("Mail/tmp")).unwrap();
    for _ in 0..2 {
        sandbox.popfetch(["-q"]).exits(73).says(&["different file systems", "hint: put", "nothing was delivered"]);
    }
    assert_eq!(server.count("RETR"), 0);
    fs::remove_file(sandbox.path("Mail/tmp")).unwrap();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(sandbox.maildir().messages().len(), 1);
}

// The target is gone: a disk that is not mounted

#[test]
fn a_target_with_a_history_that_is_gone_is_not_made_anew_in_silence() {
    for (deliver, folder) in [("maildir:~/disk/Mail", "disk/Mail"), ("mbox:~/disk/mbox", "disk")] {
        for has_note in [true, false] {
            let server = server(mails(1)).start();
            let account = Account::on(server.port).set("deliver", format!("{deliver:?}")).set("keep", false);
            let sandbox = Sandbox::with(account);
            sandbox.popfetch(["-q"]).exits(0).silently();
            if !has_note {
                // As an earlier release left it.
                let ledger = sandbox.ledger(USER, server.port);
                let text = fs::read_to_string(&ledger).unwrap();
                let lines = text.split_inclusive('\n').filter(|line| !line.contains("\"note\""));
                fs::write(&ledger, lines.collect::<String>()).unwrap();
            }
            mails(2).into_iter().skip(1).for_each(|mail| server.arrive(USER, mail));
            fs::rename(sandbox.path("disk"), sandbox.path("unmounted")).unwrap();
            let connections = server.connections();
            for arguments in [vec!["-q"], vec!["--dry-run"]] {
                sandbox.popfetch(arguments).exits(73).says(&[
                    folder,
                    "is not there",
                    "--create",
                    "nothing was delivered",
                ]);
            }
            // Nor below an empty mount point.
            fs::create_dir(sandbox.path("disk")).unwrap();
            if deliver.starts_with("maildir") {
                sandbox.popfetch(["-q"]).exits(73).says(&["--create"]);
                fs::create_dir(sandbox.path("disk/Mail")).unwrap();
                sandbox.popfetch(["-q"]).exits(73).says(&["--create"]);
                fs::remove_dir(sandbox.path("disk/Mail")).unwrap();
            }
            fs::remove_dir(sandbox.path("disk")).unwrap();
            assert_eq!((server.connections(), sandbox.path(folder).exists()), (connections, false));
            sandbox.popfetch(["-q", "--create"]).exits(0).silently();
            assert!(sandbox.path(folder).exists() && server.unique_ids(USER).is_empty());
            sandbox.popfetch(["-q"]).exits(0).silently();
        }
    }
}

#[test]
fn a_history_outlives_the_compaction_of_its_ledger() {
    let server = server(mails(700)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    let ledger = fs::read(sandbox.ledger(USER, server.port)).unwrap();
    assert!(ledger.len() < 1000, "it is compacted: {} octets", ledger.len());
    fs::remove_dir_all(sandbox.path("Mail")).unwrap();
    sandbox.popfetch(["-q"]).exits(73).says(&["Mail", "is not there"]);
}

#[test]
fn a_target_that_is_new_or_only_tidied_up_is_made_in_silence() {
    let server = server(mails(1)).start();
    let account = |deliver: &str| Account::on(server.port).set("deliver", format!("{deliver:?}")).to_string();
    let sandbox = Sandbox::new();
    sandbox.config(&account("maildir:~/Mail"));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let arrive = |number: usize| server.arrive(USER, mails(number).pop().unwrap());
    for (number, folders) in [(2, vec!["tmp"]), (3, vec!["tmp", "cur"])] {
        folders.iter().for_each(|folder| fs::remove_dir(sandbox.path("Mail").join(folder)).unwrap());
        arrive(number);
        sandbox.popfetch(["-q"]).exits(0).silently();
    }
    for (number, deliver) in [(4, "maildir:~/other/Mail"), (5, "mbox:~/one/more/mbox"), (6, "mbox:~/one/more/mbox")] {
        sandbox.config(&account(deliver));
        arrive(number);
        let run = sandbox.popfetch(["-q"]).exits(0);
        // A new target gets new mail only, which is worth a line.
        assert!(run.stderr.lines().all(|line| line.contains("--fill")), "{run:#?}");
        // Readers remove an empty mbox.
        let _ = fs::remove_file(sandbox.path("one/more/mbox"));
    }
}

// Two states

#[test]
fn two_states_do_not_sweep_each_others_files() {
    let stall = Fault { moment: Moment::BeforeCommand(7), misdeed: Misdeed::Stall };
    let server = server(mails(2)).faults([stall]).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let worker = sandbox.start(&mut sandbox.command(["-q"]));
    wait_until(|| !sandbox.maildir().litter().is_empty());
    let staged = sandbox.maildir().litter();
    // It may find the maildrop in use, but that comes later.
    sandbox.popfetch(["-q", "--state-dir", "other", "--timeout", "1"]);
    assert_eq!(sandbox.maildir().litter()[..staged.len()], staged[..]);
    worker.signal(rustix::process::Signal::KILL);
    worker.finish();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(sandbox.maildir().litter(), [""; 0], "what is its own is swept");
}

// Root and other users

const NOBODY: u32 = 65534;

fn is_root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        left_out(what, "only root can give files away");
    }
    is_root
}

#[test]
fn root_does_not_deliver_to_what_is_another_users() {
    if !is_root("root and another user's target") {
        return;
    }
    for (deliver, others) in [
        ("maildir:~/user/Mail", "user"),
        ("maildir:~/user/Mail", "user/Mail"),
        ("maildir:~/user/Mail", "user/Mail/tmp"),
        ("maildir:~/user/new/Mail", "user"),
        ("mbox:~/user/mbox", "user"),
        ("mbox:~/user/mbox", "user/mbox"),
        ("mbox:~/user/none", "user"),
    ] {
        let server = server(mails(1)).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("deliver", format!("{deliver:?}")).set("keep", false));
        sandbox.file("user/mbox", "");
        ["tmp", "new", "cur"].iter().for_each(|name| fs::create_dir_all(sandbox.path("user/Mail").join(name)).unwrap());
        chown(sandbox.path(others), Some(NOBODY), Some(NOBODY)).unwrap();
        let run = sandbox.popfetch(["-q"]).exits(73);
        run.says(&["belongs to user 65534", "hint: write `owner = \"nobody\"`", "nothing was delivered or deleted"]);
        assert_eq!((server.connections(), sandbox.maildir().files().len()), (0, 0), "{deliver}, {others}");
    }
}

#[test]
fn root_follows_no_link_of_another_user_and_appends_to_no_hard_link() {
    if !is_root("root and another user's links") {
        return;
    }
    let server = server(mails(1)).start();
    // A link of the user's to a folder of root's.
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    fs::create_dir(sandbox.path("precious")).unwrap();
    fs::create_dir(sandbox.path("Mail")).unwrap();
    symlink(sandbox.path("precious"), sandbox.path("Mail/tmp")).unwrap();
    lchown(sandbox.path("Mail/tmp"), Some(NOBODY), Some(NOBODY)).unwrap();
    sandbox.popfetch(["-q"]).exits(73).says(&["Mail/tmp", "belongs to user 65534"]);
    assert!(names(&sandbox.path("precious")).is_empty());
    // A name that anybody gave to a file of root's.
    let sandbox = Sandbox::with(Account::on(server.port).set("deliver", "\"mbox:~/shared/mbox\"").set("keep", false));
    let precious = sandbox.file("precious", "From here on\n");
    fs::create_dir(sandbox.path("shared")).unwrap();
    sandbox.mode("shared", 0o1777);
    fs::hard_link(&precious, sandbox.path("shared/mbox")).unwrap();
    sandbox.popfetch(["-q"]).exits(73).says(&["shared"]);
    assert_eq!(fs::read(&precious).unwrap(), b"From here on\n");
    assert_eq!(server.unique_ids(USER).len(), 1);
}

#[test]
fn root_does_not_deliver_where_others_can_put_another_target() {
    if !is_root("root and folders that others can write to") {
        return;
    }
    // The folder, its mode, its group; 0 is root's.
    for (deliver, folder, mode, group) in [
        ("maildir:~/open/Mail", "open", 0o777, 0),
        ("maildir:~/open/Mail", "open", 0o775, NOBODY),
        ("maildir:~/open/new/Mail", "open", 0o757, 0),
        ("maildir:~/open/Mail", "open/Mail", 0o777, 0),
        ("maildir:~/open/Mail", "open/Mail/cur", 0o772, 0),
        ("maildir:~/link/Mail", "open", 0o777, 0),
        ("maildir:~/way/Mail", "ways", 0o777, 0),
        ("mbox:~/open/mbox", "open", 0o777, 0),
        ("mbox:~/open/below/mbox", "open", 0o2775, NOBODY),
    ] {
        let server = server(mails(1)).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("deliver", format!("{deliver:?}")).set("keep", false));
        for made in ["open/Mail/tmp", "open/Mail/new", "open/Mail/cur", "open/below", "ways"] {
            fs::create_dir_all(sandbox.path(made)).unwrap();
        }
        // Of two links, the second is where others can put another one.
        symlink("open", sandbox.path("link")).unwrap();
        symlink("ways/link", sandbox.path("way")).unwrap();
        symlink("../open", sandbox.path("ways/link")).unwrap();
        chown(sandbox.path(folder), None, Some(group)).unwrap();
        sandbox.mode(folder, mode);
        let shown = sandbox.path(folder).display().to_string();
        let run = sandbox.popfetch(["-q"]).exits(73);
        run.says(&["can be exchanged by others", &format!("hint: run `chmod go-w {shown}`"), "nothing was delivered"]);
        assert_eq!(server.connections(), 0, "{deliver}, {folder}");
        sandbox.mode(folder, mode & !0o022);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(server.unique_ids(USER).is_empty(), "{deliver}, {folder}");
    }
}

#[test]
fn root_delivers_to_the_spool_of_the_system_and_below_a_folder_for_temporary_files() {
    if !is_root("root and folders that others can write to") {
        return;
    }
    for (deliver, mode, group) in [
        ("maildir:~/open/Mail", 0o1777, NOBODY),
        ("maildir:~/open/Mail", 0o775, 0),
        ("mbox:~/open/mbox", 0o1777, NOBODY),
        // As Debian makes `/var/mail`.
        ("mbox:~/open/mbox", 0o2775, NOBODY),
    ] {
        let server = server(mails(1)).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("deliver", format!("{deliver:?}")).set("keep", false));
        fs::create_dir(sandbox.path("open")).unwrap();
        chown(sandbox.path("open"), None, Some(group)).unwrap();
        sandbox.mode("open", mode);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(server.unique_ids(USER).is_empty(), "{deliver}, {mode:o}");
    }
}

#[test]
fn root_believes_no_ledger_of_another_user() {
    if !is_root("root and another user's ledger") {
        return;
    }
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    chown(sandbox.ledger(USER, server.port), Some(NOBODY), Some(NOBODY)).unwrap();
    sandbox.popfetch(["-q"]).exits(65).says(&["another user's file", "nothing was delivered or deleted"]);
}
