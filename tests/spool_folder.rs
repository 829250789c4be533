//! An mbox in a folder where only a group may make its dotlock, as in `/var/mail`: dotlockfile(1) makes it.
//!
//! First a script in its place, which says when it was called and may kill the run; then the real one.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::owner::{NOBODY, user};
use crate::sandbox::{
    Account, MboxMessage, Run, Sandbox, USER, all_at_home, copy_program, left_out, mails, mboxrd, message, names, read,
    server, wait_until,
};
use crate::server::{Mail, Maildrop};

/// The group that may make locks in Debian's `/var/mail`.
const MAIL: u32 = 8;

/// What the script does when it is called; in `$lock` is the lock's name, in `$PPID` we are.
const MAKE: &str = "(set -C; echo $PPID >$lock) 2>/dev/null || status=4";
const REMOVE: &str = "rm -f $lock";

/// A folder of this user's in which the user may not write but others may, and a `dotlockfile` that may.
fn sandbox(server: &Maildrop, make: &str, remove: &str) -> Sandbox {
    let sandbox = Sandbox::with(Account::on(server.port).set("deliver", "\"mbox:~/spool/alice\"").set("keep", false));
    sandbox.file("spool/alice", "");
    sandbox.file(
        "bin/dotlockfile",
        format!(
            "#!/bin/sh\nprintf '%s ' \"$@\" >>~/calls; echo >>~/calls; status=0\nfor lock; do :; done\n\
             folder=${{lock%/*}}; chmod 720 $folder\ncase $1 in\n-l) {make};;\n-u) {remove};;\nesac\n\
             chmod 520 $folder; exit $status\n"
        )
        .replace('~', &sandbox.path("").display().to_string()),
    );
    sandbox.mode("bin/dotlockfile", 0o755);
    sandbox.mode("spool", 0o520);
    sandbox
}

/// A run as nobody where the tests are root's, with this `dotlockfile` first in the PATH.
fn fetch(sandbox: &Sandbox, bin: &str, arguments: &[&str]) -> Run {
    sandbox.run(command(sandbox, bin, arguments))
}

fn command(sandbox: &Sandbox, bin: &str, arguments: &[&str]) -> Command {
    let program = sandbox.path("popfetch");
    if !program.exists() {
        copy_program(Path::new(env!("CARGO_BIN_EXE_popfetch")), &program);
    }
    let mut command = Command::new(&program);
    sandbox.adopt(&mut command);
    if rustix::process::geteuid().is_root() {
        give_away(&sandbox.path(""));
        command.uid(NOBODY).gid(NOBODY);
    }
    command.env("PATH", bin.replace('~', &sandbox.path("").display().to_string())).args(arguments);
    command
}

fn give_away(path: &Path) {
    // The spool of the system stays whose it is.
    if path.metadata().unwrap().gid() == MAIL {
        return;
    }
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        names(path).iter().for_each(|name| give_away(&path.join(name)));
    }
}

const FAKE: &str = "~/bin:/bin:/usr/bin";
const NONE: &str = "/nowhere";

fn arrived(sandbox: &Sandbox) -> Vec<MboxMessage> {
    mboxrd(&fs::read(sandbox.path("spool/alice")).unwrap())
}

fn calls(sandbox: &Sandbox) -> Vec<String> {
    let calls = fs::read_to_string(sandbox.path("calls")).unwrap_or_default();
    calls.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Everything once, and no lock left.
#[track_caller]
fn assert_done(sandbox: &Sandbox, server: &Maildrop, count: usize) {
    let mut octets: Vec<_> = arrived(sandbox).into_iter().map(|message| message.octets).collect();
    octets.sort();
    assert!(octets == all_at_home(&mails(count)), "{octets:?}");
    assert_eq!(names(&sandbox.path("spool")), ["alice"]);
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn dotlockfile_makes_and_removes_the_lock_that_we_may_not_make() {
    let server = server(mails(3)).start();
    let sandbox = sandbox(&server, MAKE, REMOVE);
    fetch(&sandbox, FAKE, &["-q"]).exits(0).silently();
    assert_done(&sandbox, &server, 3);
    let lock = sandbox.path("spool/alice.lock").display().to_string();
    let (make, remove) = (format!("-l -q -p -r 0 {lock}"), format!("-u -q {lock}"));
    // Once before anything is fetched, and once for the batch.
    assert_eq!(calls(&sandbox), [make.as_str(), &remove, &make, &remove]);
    // Nothing new needs no lock.
    fetch(&sandbox, FAKE, &["-q"]).exits(0).silently();
    assert_eq!(calls(&sandbox).len(), 4);
}

#[test]
fn without_the_right_and_without_dotlockfile_nothing_is_fetched_and_both_are_named() {
    let server = server(mails(1)).start();
    let sandbox = sandbox(&server, MAKE, REMOVE);
    for (arguments, is_stale) in [(&["-q"][..], false), (&["check"], false), (&["-q"], true), (&["check"], true)] {
        // A lock that is to go does not hide that nobody can remove it.
        if is_stale {
            plant(&sandbox, "4194305\n");
        }
        let run = fetch(&sandbox, NONE, arguments).exits(73);
        let said = format!("{}{}", run.stdout, run.stderr);
        for words in [
            "spool/alice.lock`: permission denied, and there is no `dotlockfile` in `PATH`",
            "install `dotlockfile` (Debian's package `liblockfile-bin`), or become a member of the group of `/",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    assert_eq!((server.count("RETR"), arrived(&sandbox).len()), (0, 0));
    fetch(&sandbox, FAKE, &["check"]).exits(0);
}

#[test]
fn an_mbox_that_only_the_group_may_create_is_told_with_what_root_has_to_do() {
    let server = server(mails(1)).start();
    let sandbox = sandbox(&server, MAKE, REMOVE);
    sandbox.mode("spool", 0o700);
    fs::remove_file(sandbox.path("spool/alice")).unwrap();
    sandbox.mode("spool", 0o520);
    let run = fetch(&sandbox, FAKE, &["-q"]).exits(73);
    run.says(&["spool/alice` is not there, and only the group of `", "hint: as root, run `install -m 600 -o "]);
    assert_eq!((server.count("RETR"), calls(&sandbox).len()), (0, 0));
}

#[test]
fn a_dotlockfile_that_refuses_is_quoted_before_anything_is_fetched() {
    for (script, said) in [
        ("status=2", "permission denied, and `dotlockfile` may not either"),
        ("status=5", "`dotlockfile` ended with exit status 5"),
        ("kill -9 $$", "`dotlockfile` was killed"),
    ] {
        let server = server(mails(1)).start();
        let sandbox = sandbox(&server, script, REMOVE);
        let run = fetch(&sandbox, FAKE, &["-q"]).exits(73);
        run.says(&[said, "hint: `dotlockfile` locks only an mbox of its user's own, and must be setgid"]);
        assert_eq!((server.count("RETR"), server.unique_ids(USER).len()), (0, 1), "{script}");
    }
}

#[test]
fn a_dotlockfile_that_lies_locks_nothing() {
    // It says that it made the lock, and it is another process's, or none.
    for script in ["echo 1 >$lock", ":"] {
        let server = server(mails(1)).start();
        let sandbox = sandbox(&server, script, REMOVE);
        let running = sandbox.start(&mut command(&sandbox, FAKE, &["-q"]));
        wait_until(|| server.count("RETR") == 1);
        std::thread::sleep(Duration::from_millis(300));
        running.signal(rustix::process::Signal::TERM);
        running.finish().exits(143);
        assert_eq!((arrived(&sandbox).len(), server.unique_ids(USER).len()), (0, 1), "{script}");
    }
}

#[test]
fn a_lock_of_another_program_is_waited_for() {
    let server = server(mails(1)).start();
    let sandbox = sandbox(&server, MAKE, REMOVE);
    let living = format!("{}\n", std::process::id());
    let lock = plant(&sandbox, &living);
    let running = sandbox.start(&mut command(&sandbox, FAKE, &["-q"]));
    wait_until(|| server.count("RETR") == 1);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((arrived(&sandbox).len(), fs::read_to_string(&lock).unwrap()), (0, living));
    unplant(&sandbox);
    running.finish().exits(0).silently();
    assert_done(&sandbox, &server, 1);
}

#[test]
fn a_lock_that_counts_no_more_is_removed_through_dotlockfile() {
    let old = SystemTime::now() - Duration::from_secs(16 * 60);
    // Above the largest process number that Linux allows; an old one of a process that lives, and one of nobody.
    for (content, time) in [("4194305\n", SystemTime::now()), ("1\n", old), ("", old)] {
        let server = server(mails(1)).start();
        let sandbox = sandbox(&server, MAKE, REMOVE);
        let lock = plant(&sandbox, content);
        fs::File::options().write(true).open(&lock).unwrap().set_modified(time).unwrap();
        fetch(&sandbox, FAKE, &["-q"]).exits(0).silently();
        assert_done(&sandbox, &server, 1);
    }
}

fn plant(sandbox: &Sandbox, content: &str) -> PathBuf {
    sandbox.mode("spool", 0o720);
    let lock = sandbox.file("spool/alice.lock", content);
    sandbox.mode("spool", 0o520);
    lock
}

fn unplant(sandbox: &Sandbox) {
    sandbox.mode("spool", 0o720);
    fs::remove_file(sandbox.path("spool/alice.lock")).unwrap();
    sandbox.mode("spool", 0o520);
}

/// The run is killed when the lock has just been made (before anything is fetched, and for the batch), and when it is
/// about to go.
#[test]
fn a_kill_while_dotlockfile_holds_the_lock_loses_and_doubles_nothing() {
    let nth = "[ $(wc -l <~/calls) != ";
    for (make, remove) in [
        (format!("{MAKE}; {nth}1 ] || kill -9 $PPID"), REMOVE.to_owned()),
        (format!("{MAKE}; {nth}3 ] || kill -9 $PPID"), REMOVE.to_owned()),
        (MAKE.to_owned(), format!("{nth}2 ] || {{ kill -9 $PPID; remove=:; }}; ${{remove-{REMOVE}}}")),
        (MAKE.to_owned(), format!("{nth}4 ] || {{ kill -9 $PPID; remove=:; }}; ${{remove-{REMOVE}}}")),
    ] {
        let server = server(mails(3)).start();
        let sandbox = sandbox(&server, &make, &remove);
        assert_eq!(fetch(&sandbox, FAKE, &["-q"]).code(), 137, "{make}, {remove}");
        wait_until(|| sandbox.path("spool").metadata().unwrap().permissions().mode() & 0o777 == 0o520);
        assert_eq!(names(&sandbox.path("spool")), ["alice", "alice.lock"], "{make}, {remove}");
        fetch(&sandbox, FAKE, &["-q"]).exits(0).silently();
        assert_done(&sandbox, &server, 3);
    }
}

/// Where a folder is our own and nobody else may write to it, no other program makes a lock there.
#[test]
fn a_folder_that_is_closed_to_everybody_needs_no_dotlockfile() {
    let server = server(mails(1)).start();
    let sandbox = sandbox(&server, MAKE, REMOVE);
    sandbox.mode("spool", 0o500);
    fetch(&sandbox, FAKE, &["-q"]).exits(0).silently();
    assert_eq!((arrived(&sandbox).len(), calls(&sandbox)), (1, vec![]));
    sandbox.mode("spool", 0o700);
}

/// A folder like Debian's `/var/mail` with an mbox of nobody's; `None`, and a word about it, where there can be none.
fn spool_of_the_system(sandbox: &Sandbox) -> Option<PathBuf> {
    user(NOBODY)?;
    let program = Path::new("/usr/bin/dotlockfile").metadata();
    if !program.is_ok_and(|program| program.gid() == MAIL && program.mode() & 0o2000 != 0) {
        left_out("Debian's dotlockfile", "there is no setgid /usr/bin/dotlockfile; tests/run installs it");
        return None;
    }
    sandbox.mode("", 0o755);
    let mbox = sandbox.file("spool/nobody", "");
    chown(&mbox, Some(NOBODY), Some(MAIL)).unwrap();
    chown(sandbox.path("spool"), Some(0), Some(MAIL)).unwrap();
    sandbox.mode("spool", 0o2775);
    Some(mbox)
}

fn to_spool(server: &Maildrop) -> Account {
    Account::on(server.port).set("deliver", "\"mbox:~/spool/nobody\"").set("keep", false)
}

#[test]
fn debians_dotlockfile_locks_the_spool_of_the_system() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(to_spool(&server));
    let Some(mbox) = spool_of_the_system(&sandbox) else { return };
    let bin = "/usr/bin:/bin";
    fetch(&sandbox, NONE, &["-q"]).exits(73).says(&["there is no `dotlockfile` in `PATH`"]);
    fetch(&sandbox, bin, &["-q"]).exits(0).silently();
    let lock = sandbox.path("spool/nobody.lock");
    let plant = |process: u32| {
        fs::write(&lock, format!("{process}\n")).unwrap();
        chown(&lock, Some(NOBODY), Some(MAIL)).unwrap();
    };
    // A killed run has left it, and only the group can remove it.
    plant(4194305);
    server.arrive(USER, Mail::new("a", message(2)));
    fetch(&sandbox, bin, &["-q"]).exits(0).silently();
    plant(std::process::id());
    server.arrive(USER, Mail::new("b", message(3)));
    let running = sandbox.start(&mut command(&sandbox, bin, &["-q"]));
    wait_until(|| server.count("RETR") == 3);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(mboxrd(&read(&mbox)).len(), 2, "it must wait for the lock");
    fs::remove_file(&lock).unwrap();
    running.finish().exits(0).silently();
    assert_eq!((mboxrd(&read(&mbox)).len(), names(&sandbox.path("spool"))), (3, vec!["nobody".to_owned()]));
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn root_has_the_lock_of_an_owners_mbox_made_with_the_rights_of_the_owner() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::new();
    let Some(mbox) = spool_of_the_system(&sandbox) else { return };
    let for_owner = |mbox: &Path| {
        let account = to_spool(&server).set("owner", format!("\"{NOBODY}\""));
        sandbox.config(&account.set("deliver", format!("\"mbox:{}\"", mbox.display())).to_string());
    };
    for_owner(&mbox);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((mboxrd(&read(&mbox)).len(), names(&sandbox.path("spool"))), (3, vec!["nobody".to_owned()]));
    // What is another user's, the owner cannot lock: not with root's rights either.
    server.arrive(USER, Mail::new("a", message(4)));
    let other = sandbox.file("spool/daemon", "");
    chown(&other, Some(1), Some(MAIL)).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o666)).unwrap();
    for_owner(&other);
    sandbox.popfetch(["-q"]).exits(73);
    assert_eq!(
        (read(&other).len(), names(&sandbox.path("spool"))),
        (0, vec!["daemon".to_owned(), "nobody".to_owned()])
    );
}
