//! Disks that are full, broken or not ours: nothing is deleted that is not durable at home, the error names the path,
//! and the next run gets everything when the cause is gone.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::faults::{Call, Scenario, calls_of, can_trace, fail_at, return_zero_at};
use crate::sandbox::{Account, Destination, Run, Sandbox, USER, all_at_home, copy_program, mails, names, server};
use crate::server::{Mail, Maildrop};

#[track_caller]
fn recover(scenario: Scenario, sandbox: &Sandbox, server: &Maildrop, when: &str) {
    let run = sandbox.popfetch(["-q"]);
    assert_eq!((run.code(), run.stderr.as_str()), (0, ""), "{scenario:?}, {when}");
    scenario.assert_done(sandbox, server, when);
}

/// `error` is what the disk says at each call: `ENOSPC`, or `EROFS` for one that has turned read-only.
fn fail_everywhere(destination: Destination, error: &str) {
    if !can_trace() {
        return;
    }
    let scenario = Scenario { destination, keep: false };
    // A full disk still lets go of files.
    let needs_room = |call: &Call| call.is_of_the_disk() && !call.name.starts_with("unlink");
    let calls: Vec<_> = scenario.calls().into_iter().filter(needs_room).collect();
    let (mut tried, mut failed) = (0, 0);
    for (call, stays_full) in calls.iter().flat_map(|call| [(call, false), (call, true)]) {
        // That would be every library, too.
        if stays_full && call.name.starts_with("open") {
            continue;
        }
        tried += 1;
        let server = scenario.server();
        let sandbox = scenario.sandbox(server.port);
        let when = format!("{error} at {call}{}", if stays_full { " and later" } else { "" });
        let run = fail_at(&sandbox, call, error, stays_full);
        assert!(matches!(run.code(), 0 | 73 | 74 | 75), "{scenario:?}, {when}: {run:#?}");
        failed += usize::from(run.code() != 0);
        scenario.assert_nothing_lost(&sandbox, &server, &when);
        recover(scenario, &sandbox, &server, &when);
    }
    println!("{scenario:?}: {tried} tried, {failed} failed and recovered");
}

#[test]
fn a_maildir_survives_a_full_disk_at_every_call() {
    fail_everywhere(Destination::Maildir, "ENOSPC");
}

#[test]
fn a_maildir_survives_a_disk_that_turns_read_only_at_any_call() {
    fail_everywhere(Destination::Maildir, "EROFS");
}

#[test]
fn an_mbox_survives_a_full_disk_at_every_call() {
    fail_everywhere(Destination::Mbox, "ENOSPC");
}

#[test]
fn an_mda_survives_a_full_disk_at_every_call() {
    fail_everywhere(Destination::Mda, "ENOSPC");
}

#[test]
fn a_write_that_takes_nothing_is_an_error_of_its_account() {
    if !can_trace() {
        return;
    }
    for destination in Destination::ALL {
        let scenario = Scenario { destination, keep: false };
        let writes = |call: &Call| ["write", "pwrite64", "writev"].contains(&call.name.as_str());
        let mut failed = 0;
        for call in scenario.calls().into_iter().filter(writes) {
            let server = scenario.server();
            let sandbox = scenario.sandbox(server.port);
            let when = format!("nothing taken at {call}");
            let run = return_zero_at(&sandbox, &call);
            // 75 when it was the line to the server.
            assert!(matches!(run.code(), 0 | 74 | 75), "{scenario:?}, {when}: {run:#?}");
            failed += usize::from(run.code() == 74);
            scenario.assert_nothing_lost(&sandbox, &server, &when);
            recover(scenario, &sandbox, &server, &when);
        }
        assert!(failed > 3, "{scenario:?}: only {failed} failed");
    }
}

#[test]
fn nothing_is_deleted_after_a_sync_that_failed() {
    if !can_trace() {
        return;
    }
    for destination in Destination::ALL {
        let scenario = Scenario { destination, keep: false };
        for call in scenario.calls().iter().filter(|call| call.is_sync()) {
            let server = scenario.server();
            let sandbox = scenario.sandbox(server.port);
            let when = format!("an error at {call}");
            // The kernel tells of lost pages once, and the next sync succeeds.
            let run = fail_at(&sandbox, call, "EIO", false);
            assert_eq!(run.code(), 74, "{scenario:?}, {when}: {run:#?}");
            assert!(run.stderr.contains("cannot sync `/"), "{scenario:?}, {when}: {run:#?}");
            assert_eq!(server.count("DELE"), 0, "{scenario:?}, {when}");
            recover(scenario, &sandbox, &server, &when);
        }
    }
}

#[test]
fn a_group_whose_barrier_failed_is_not_deleted() {
    if !can_trace() {
        return;
    }
    let start = || {
        let server = server(mails(20)).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
        (server, sandbox)
    };
    let (_server, sandbox) = start();
    let last_sync_of_a_message = Call::new("fsync", 3);
    for call in calls_of(&sandbox).into_iter().filter(|call| call.name == "syncfs").chain([last_sync_of_a_message]) {
        let (server, sandbox) = start();
        let run = fail_at(&sandbox, &call, "EIO", false).exits(74);
        assert!(run.stderr.contains("cannot sync"), "{call}: {run:#?}");
        assert_eq!((server.count("DELE"), server.unique_ids(USER).len()), (0, 20), "{call}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(sandbox.maildir().messages() == all_at_home(&mails(20)), "{call}: each message once");
    }
}

/// How often a run was interrupted by a full disk, that deleted what it had delivered by then.
fn deletes_what_is_safe(scenario: Scenario, pipelining: bool, count: usize, calls: &[Call]) -> usize {
    let mut seen = 0;
    for call in calls {
        let when = format!("{scenario:?}, pipelining {pipelining}, full at {call}");
        let server = server(mails(count));
        let server = if pipelining { server } else { server.without_pipelining() }.start();
        let sandbox = scenario.sandbox(server.port);
        let run = fail_at(&sandbox, call, "ENOSPC", false);
        // 75 when it was the line to the server.
        assert!(matches!(run.code(), 0 | 74 | 75), "{when}: {run:#?}");
        let (home, left) = (scenario.destination.messages(&sandbox).len(), server.unique_ids(USER).len());
        assert!(home + left >= count, "{when}: {home} at home, {left} left");
        if run.code() == 74 && left > 0 && left < count {
            seen += 1;
            assert_eq!(home + left, count, "{when}: {run:#?}");
            let words =
                format!("{home} message{} delivered and recorded, {home} deleted", if home == 1 { "" } else { "s" });
            run.says(&["no space left", &words, "hint: make room"]);
        }
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(scenario.destination.messages(&sandbox) == all_at_home(&mails(count)), "{when}: each message once");
        assert!(server.unique_ids(USER).is_empty(), "{when}");
    }
    seen
}

#[test]
fn what_is_safe_at_home_when_the_disk_becomes_full_is_deleted_in_the_same_session() {
    if !can_trace() {
        return;
    }
    let of = |name: &str, numbers: &[usize]| numbers.iter().map(|nth| Call::new(name, *nth)).collect::<Vec<_>>();
    // The reader stages, the committer syncs: either may find the disk full.
    for (destination, count, calls) in [
        (Destination::Maildir, 20, of("write", &[15, 22, 23, 24])),
        (Destination::Mbox, 20, of("pwrite64", &[8, 15])),
        (Destination::Mbox, 600, of("fdatasync", &[4, 5, 6])),
    ] {
        let scenario = Scenario { destination, keep: false };
        for pipelining in [true, false] {
            let seen = deletes_what_is_safe(scenario, pipelining, count, &calls);
            assert!(seen > 0, "{scenario:?}, {count} messages, pipelining {pipelining}: none of {calls:?} was one");
        }
    }
}

#[test]
fn what_came_before_is_deleted_though_the_disk_is_full_now() {
    if !can_trace() {
        return;
    }
    let mut seen = 0;
    for nth in 2..8 {
        let server = server(mails(3)).start();
        let sandbox = Sandbox::with(Account::on(server.port));
        sandbox.popfetch(["-q"]).exits(0).silently();
        mails(5).into_iter().skip(3).for_each(|mail| server.arrive(USER, mail));
        sandbox.config(&Account::on(server.port).set("keep", false).to_string());
        let run = fail_at(&sandbox, &Call::new("write", nth), "ENOSPC", false);
        if !run.stderr.contains("Mail/tmp") {
            continue;
        }
        seen += 1;
        let left = server.unique_ids(USER);
        let words =
            if left.len() == 2 { "nothing was delivered, 3 messages deleted that came before" } else { "4 deleted" };
        run.exits(74).says(&[words]);
        assert!(["m1", "m2", "m3"].iter().all(|known| left.iter().all(|id| id != known)), "{left:?}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(sandbox.maildir().messages() == all_at_home(&mails(5)), "{nth}: each message once");
    }
    assert!(seen > 0);
}

/// What is thrown away to come to the end of the session has an end.
#[test]
fn a_large_message_that_finds_the_disk_full_is_not_read_to_its_end() {
    if !can_trace() {
        return;
    }
    let large = Mail::new("large", format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(2 << 20)));
    let all: Vec<_> = mails(3).into_iter().chain([large]).collect();
    let server = server(all.clone()).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    let run = fail_at(&sandbox, &Call::new("write", 40), "ENOSPC", false).exits(74);
    run.says(&["Mail/tmp", "3 messages delivered and recorded, the rest waits"]);
    assert_eq!(server.count("DELE"), 0);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(sandbox.maildir().messages() == all_at_home(&all), "each message once");
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_no_death() {
    for destination in Destination::ALL {
        let scenario = Scenario { destination, keep: false };
        let server = scenario.server();
        let sandbox = scenario.sandbox(server.port);
        let run = sandbox.shell("ulimit -f 64 && exec popfetch -q").exits(74).says(&["file too large", "/"]);
        assert!(run.stderr.contains("waits on the server") || run.stderr.contains("nothing was"), "{run:#?}");
        scenario.assert_nothing_lost(&sandbox, &server, "limited");
        assert_eq!(sandbox.maildir().litter(), [""; 0], "{destination:?}");
        assert_eq!(server.count("DELE"), 0, "{destination:?}");
        recover(scenario, &sandbox, &server, "without the limit");
    }
}

// Permissions

/// The user that owns nothing.
const NOBODY: u32 = 65534;

/// Runs popfetch as a user whom permissions bind, in a home that is that user's.
fn run_unprivileged(sandbox: &Sandbox) -> Run {
    let program = sandbox.path("popfetch");
    if !program.exists() {
        // The build folder may be out of reach.
        copy_program(Path::new(env!("CARGO_BIN_EXE_popfetch")), &program);
    }
    let mut command = Command::new(&program);
    sandbox.adopt(&mut command);
    if rustix::process::geteuid().is_root() {
        give_away(&sandbox.path(""));
        command.uid(NOBODY).gid(NOBODY);
    }
    command.arg("-q");
    sandbox.run(command)
}

fn give_away(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        names(path).iter().for_each(|name| give_away(&path.join(name)));
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Takes a permission away after a first run, and gives it back later.
fn forbid(deliver: &str, path: &str, mode: u32, code: i32) {
    let server = server(mails(1)).start();
    let account = Account::on(server.port).set("deliver", format!("{deliver:?}")).set("keep", false);
    let sandbox = Sandbox::with(account);
    run_unprivileged(&sandbox).exits(0).silently();
    for mail in mails(3).into_iter().skip(1) {
        server.arrive(USER, mail);
    }
    let path = sandbox.path(path);
    let before = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let retrieved = server.count("RETR");
    set_mode(&path, mode);
    let run = run_unprivileged(&sandbox).exits(code);
    assert!(run.stderr.contains(&path.display().to_string()), "{}: {run:#?}", path.display());
    assert!(run.stderr.to_lowercase().contains("permission denied"), "{run:#?}");
    assert!(run.stderr.contains("nothing was delivered or deleted"), "{run:#?}");
    assert_eq!(server.count("RETR"), retrieved, "{}: it is tried before anything is fetched", path.display());
    set_mode(&path, before);
    run_unprivileged(&sandbox).exits(0).silently();
    assert!(server.unique_ids(USER).is_empty());
    let delivered = if deliver.starts_with("mbox") { Destination::Mbox } else { Destination::Maildir };
    assert!(delivered.messages(&sandbox) == all_at_home(&mails(3)), "{}: each message once", path.display());
}

#[test]
fn a_permission_that_is_missing_is_known_before_anything_is_fetched() {
    for folder in ["Mail/tmp", "Mail/new"] {
        forbid("maildir:~/Mail", folder, 0o400, 73);
        forbid("maildir:~/Mail", folder, 0o500, 73);
    }
    forbid("maildir:~/Mail", "Mail", 0o400, 74);
    forbid("mbox:~/mbox", "mbox", 0o400, 73);
    for deliver in ["maildir:~/Mail", "mbox:~/mbox"] {
        forbid(deliver, ".local/state/popfetch", 0o500, 74);
    }
}

#[test]
fn an_mbox_in_a_folder_without_room_for_a_dotlock_is_written_all_the_same() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("deliver", "\"mbox:~/spool/mbox\""));
    sandbox.file("spool/mbox", "");
    sandbox.mode("spool", 0o500);
    run_unprivileged(&sandbox).exits(0).silently();
    assert!(!fs::read(sandbox.path("spool/mbox")).unwrap().is_empty());
    sandbox.mode("spool", 0o700);
}

#[test]
fn another_users_ledger_is_not_believed() {
    if !rustix::process::geteuid().is_root() {
        crate::sandbox::left_out("another user's ledger", "only root can give files away");
        return;
    }
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    run_unprivileged(&sandbox).exits(0).silently();
    let ledger = sandbox.ledger(USER, server.port);
    let mut command = Command::new(sandbox.path("popfetch"));
    sandbox.adopt(&mut command);
    chown(&ledger, Some(0), Some(0)).unwrap();
    set_mode(&ledger, 0o666);
    sandbox
        .run({
            command.uid(NOBODY).gid(NOBODY).arg("-q");
            command
        })
        .exits(65)
        .says(&["another user's file", "nothing was delivered or deleted"]);
}
