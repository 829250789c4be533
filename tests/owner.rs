//! `owner`: root fetches for users, and what happens at their targets happens with their rights.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use crate::faults::{Call, calls_of, can_trace, fail_at, kill_before};
use crate::sandbox::{Account, Maildir, Sandbox, USER, all_at_home, left_out, mails, mboxrd, names, read, server};
use crate::server::Maildrop;

/// More than are synced in one thread.
const MESSAGES: usize = 24;

/// Two users that every system has, by their numbers.
pub const NOBODY: u32 = 65534;
const OTHER: u32 = 1;

/// The user's line in passwd(5); `None`, and a word about it, when these tests cannot be made here.
pub fn user(id: u32) -> Option<Vec<String>> {
    if !rustix::process::geteuid().is_root() || !cfg!(target_os = "linux") {
        left_out("delivery as another user", "only root can do it, on Linux");
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let mut users = passwd.lines().map(|line| line.split(':').map(String::from).collect::<Vec<_>>());
    let found = users.find(|fields| fields.get(2) == Some(&id.to_string()));
    if found.is_none() {
        left_out("delivery as another user", "a user is not in /etc/passwd");
    }
    found
}

/// The number of the user's primary group.
fn group(id: u32) -> Option<u32> {
    user(id)?[3].parse().ok()
}

/// A folder of this user's in the sandbox, which others may enter.
fn home(sandbox: &Sandbox, id: u32) -> PathBuf {
    sandbox.mode("", 0o755);
    let home = sandbox.path(format!("home-{id}"));
    fs::create_dir(&home).unwrap();
    chown(&home, Some(id), group(id)).unwrap();
    home
}

/// Fetches all and deletes it, for this user, to `KIND:HOME/PATH`.
fn account(server: &Maildrop, id: u32, deliver: &str) -> Account {
    let account = Account::on(server.port).set("keep", false).set("owner", format!("\"{id}\""));
    account.set("deliver", format!("{deliver:?}"))
}

fn assert_owned(path: &Path, id: u32, mode: u32) {
    let metadata = path.symlink_metadata().unwrap();
    let group = group(id).unwrap();
    let owned = (metadata.uid(), metadata.gid(), metadata.permissions().mode() & 0o777);
    assert_eq!(owned, (id, group, mode), "{}", path.display());
}

/// The state is root's, and holds only ledgers and their locks.
fn assert_state_is_roots(sandbox: &Sandbox, accounts: usize) {
    let state = names(&sandbox.state());
    assert_eq!(state.len(), 2 * accounts, "{state:?}");
    state.iter().for_each(|name| assert_owned(&sandbox.state().join(name), 0, 0o600));
}

fn assert_maildir_is_owned(maildir: &Path, id: u32) {
    ["", "tmp", "new", "cur"].iter().for_each(|name| assert_owned(&maildir.join(name), id, 0o700));
    Maildir { path: maildir.into() }.files().iter().for_each(|file| assert_owned(file, id, 0o600));
    assert_eq!(names(&maildir.join("tmp")), [""; 0]);
}

#[test]
fn a_maildir_is_delivered_to_as_its_owner() {
    let Some(_) = user(NOBODY) else { return };
    let server = server(mails(MESSAGES)).start();
    let sandbox = Sandbox::new();
    let maildir = home(&sandbox, NOBODY).join("Mail");
    sandbox.config(&account(&server, NOBODY, &format!("maildir:{}", maildir.display())).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(Maildir { path: maildir.clone() }.messages() == all_at_home(&mails(MESSAGES)));
    assert_maildir_is_owned(&maildir, NOBODY);
    assert_state_is_roots(&sandbox, 1);
    assert!(server.unique_ids(USER).is_empty());
    sandbox.popfetch(["-q"]).exits(0).silently();
}

#[test]
fn an_mbox_is_delivered_to_as_its_owner() {
    let Some(_) = user(NOBODY) else { return };
    let server = server(mails(MESSAGES)).start();
    let sandbox = Sandbox::new();
    let home = home(&sandbox, NOBODY);
    let mbox = home.join("mbox");
    sandbox.config(&account(&server, NOBODY, &format!("mbox:{}", mbox.display())).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(mboxrd(&read(&mbox)).len(), MESSAGES);
    assert_eq!(names(&home), ["mbox"], "no dotlock is left");
    assert_owned(&mbox, NOBODY, 0o600);
    assert_state_is_roots(&sandbox, 1);
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn an_mda_runs_as_the_owner_and_hears_nothing_of_roots() {
    let Some(fields) = user(NOBODY) else { return };
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    let home = home(&sandbox, NOBODY);
    let script = home.join("mda.sh");
    let kept = home.display();
    let text = format!(
        "echo spoken >/dev/stderr; cat /dev/stdin >{kept}/$POPFETCH_UIDL\n\
         {{ id -u; id -g; id -G; pwd; grep ^CapEff /proc/self/status; }} >{kept}/rights\nenv >{kept}/environment\n"
    );
    fs::write(&script, text).unwrap();
    let deliver = format!("mda:/bin/sh {}", script.display());
    sandbox.config(&account(&server, NOBODY, &deliver).to_string());
    let mut command = sandbox.command(["-q"]);
    command.env("ROOTS_TOKEN", "a secret");
    sandbox.run(command).exits(0).silently();
    let group = &fields[3];
    let rights = format!("{NOBODY}\n{group}\n{group}\n/\nCapEff:\t0000000000000000\n");
    assert_eq!(fs::read_to_string(home.join("rights")).unwrap(), rights);
    let environment = fs::read_to_string(home.join("environment")).unwrap();
    for line in [format!("HOME={}", fields[5]), format!("USER={}", fields[0]), format!("LOGNAME={}", fields[0])] {
        assert!(environment.lines().any(|set| set == line), "{line}: {environment}");
    }
    assert!(environment.contains("POPFETCH_ACCOUNT=work") && !environment.contains("ROOTS"), "{environment}");
    assert_eq!(names(&home), ["environment", "m1", "m2", "mda.sh", "rights"]);
    assert_state_is_roots(&sandbox, 1);
    assert!(server.unique_ids(USER).is_empty());
}

/// Puts links to a folder of root's where the target should be.
type Plant = fn(target: &Path, roots: &Path);

#[test]
fn nothing_that_the_owner_plants_is_followed_with_roots_rights() {
    let Some(_) = user(NOBODY) else { return };
    let plants: [(&str, Plant); 6] = [
        ("maildir", |target, roots| {
            fs::create_dir(target).unwrap();
            ["new", "cur"].iter().for_each(|name| fs::create_dir(target.join(name)).unwrap());
            symlink(roots, target.join("tmp")).unwrap();
        }),
        ("maildir", |target, roots| {
            fs::create_dir(target).unwrap();
            ["tmp", "cur"].iter().for_each(|name| fs::create_dir(target.join(name)).unwrap());
            symlink(roots, target.join("new")).unwrap();
        }),
        ("maildir", |target, roots| symlink(roots, target).unwrap()),
        ("maildir", |target, roots| symlink(roots.join("none"), target).unwrap()),
        ("mbox", |target, roots| symlink(roots.join("precious"), target).unwrap()),
        ("mbox", |target, roots| symlink(roots.join("none"), target).unwrap()),
    ];
    for (nth, (kind, plant)) in plants.into_iter().enumerate() {
        let server = server(mails(2)).start();
        let sandbox = Sandbox::new();
        let target = home(&sandbox, NOBODY).join("target");
        let precious = sandbox.file("roots/precious", "From here on\n");
        plant(&target, &sandbox.path("roots"));
        for path in [&target, &target.join("new"), &target.join("cur"), &target.join("tmp")] {
            // Of a link to what is root's, the link itself.
            if path.symlink_metadata().is_ok() {
                lchown(path, Some(NOBODY), group(NOBODY)).unwrap();
            }
        }
        sandbox.config(&account(&server, NOBODY, &format!("{kind}:{}", target.display())).to_string());
        sandbox.popfetch(["-q"]).exits(73).says(&["cannot create", "nothing was delivered or deleted"]);
        assert_eq!(names(&sandbox.path("roots")), ["precious"], "{nth}");
        assert_eq!(fs::read(&precious).unwrap(), b"From here on\n", "{nth}");
        assert_eq!(server.unique_ids(USER).len(), 2, "{nth}");
    }
}

/// Without the owner, root delivers where a user may put links; nothing of an earlier run leads there either.
#[test]
fn a_former_target_of_another_user_is_left_alone() {
    let Some(_) = user(NOBODY) else { return };
    if !can_trace() {
        return;
    }
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    let maildir = home(&sandbox, NOBODY).join("Mail");
    sandbox.config(&account(&server, NOBODY, &format!("maildir:{}", maildir.display())).to_string());
    assert_eq!(kill_before(&sandbox, &Call::new("renameat2", 1)).code(), 137);
    let staged = names(&maildir.join("tmp"));
    assert_eq!(staged.len(), 2);
    sandbox.config(&Account::on(server.port).set("keep", false).to_string());
    sandbox.popfetch(["-q"]).exits(0).says(&["interrupted run", "belongs to user 65534", "fetched again"]);
    assert_eq!((names(&maildir.join("tmp")), names(&maildir.join("new")).len()), (staged, 0));
    assert!(sandbox.maildir().messages() == all_at_home(&mails(2)));
}

#[test]
fn owners_side_by_side_are_not_mixed() {
    let (Some(_), Some(_)) = (user(NOBODY), user(OTHER)) else { return };
    let sandbox = Sandbox::new();
    let owners =
        [(NOBODY, "maildir"), (OTHER, "maildir"), (NOBODY, "mbox"), (OTHER, "mbox"), (0, "maildir"), (0, "mbox")];
    home(&sandbox, NOBODY);
    home(&sandbox, OTHER);
    home(&sandbox, 0);
    let target = |id: u32, kind: &str| sandbox.path(format!("home-{id}")).join(kind);
    let servers: Vec<_> = owners.iter().map(|_| server(mails(MESSAGES)).start()).collect();
    let mut config = String::new();
    for ((id, kind), server) in owners.iter().zip(&servers) {
        let of_owner = account(server, *id, &format!("{kind}:{}", target(*id, kind).display()));
        // Root's accounts are those without an owner.
        let of_owner = if *id == 0 { of_owner.without("owner") } else { of_owner };
        config += &of_owner.named(&format!("{kind}-{id}")).to_string();
    }
    sandbox.config(&config);
    sandbox.popfetch(["-q", "--jobs", "3"]).exits(0).silently();
    for ((id, kind), server) in owners.iter().zip(&servers) {
        let path = target(*id, kind);
        if *kind == "maildir" {
            assert!(Maildir { path: path.clone() }.messages() == all_at_home(&mails(MESSAGES)), "{kind} of {id}");
            assert_maildir_is_owned(&path, *id);
        } else {
            assert_eq!(mboxrd(&read(&path)).len(), MESSAGES);
            assert_owned(&path, *id, 0o600);
        }
        assert!(server.unique_ids(USER).is_empty());
        assert_eq!(names(&sandbox.path(format!("home-{id}"))), ["maildir", "mbox"]);
    }
    assert_state_is_roots(&sandbox, owners.len());
}

#[test]
fn a_kill_on_the_way_to_an_owner_and_back_loses_and_doubles_nothing() {
    let Some(_) = user(NOBODY) else { return };
    if !can_trace() {
        return;
    }
    for kind in ["maildir", "mbox"] {
        let of_owner = |server: &Maildrop| {
            let sandbox = Sandbox::new();
            let target = home(&sandbox, NOBODY).join("target");
            sandbox.config(&account(server, NOBODY, &format!("{kind}:{}", target.display())).to_string());
            (sandbox, target)
        };
        let mut calls = calls_of(&of_owner(&server(mails(2)).start()).0);
        calls.retain(|call| call.is_of_the_disk() && !["write", "open", "mkdir"].contains(&call.name.as_str()));
        calls.extend((1..=12).flat_map(|nth| ["setresuid", "setgroups"].map(|name| Call::new(name, nth))));
        let mut killed = 0;
        for call in &calls {
            let server = server(mails(2)).start();
            let (sandbox, target) = of_owner(&server);
            killed += usize::from(kill_before(&sandbox, call).code() == 137);
            sandbox.popfetch(["-q"]);
            sandbox.popfetch(["-q"]).exits(0).silently();
            if kind == "maildir" {
                assert!(Maildir { path: target.clone() }.messages() == all_at_home(&mails(2)), "{kind}, {call}");
                assert_maildir_is_owned(&target, NOBODY);
            } else {
                assert_eq!(mboxrd(&read(&target)).len(), 2, "{kind}, {call}");
                assert_owned(&target, NOBODY, 0o600);
            }
            assert_eq!(names(target.parent().unwrap()), ["target"], "{kind}, {call}");
            assert_state_is_roots(&sandbox, 1);
            assert!(server.unique_ids(USER).is_empty(), "{kind}, {call}");
        }
        assert!(killed > 20, "{kind}: {killed} of {} kills happened", calls.len());
    }
}

#[test]
fn without_the_owners_rights_nothing_is_delivered_and_without_roots_nothing_goes_on() {
    let Some(_) = user(NOBODY) else { return };
    if !can_trace() {
        return;
    }
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    let maildir = home(&sandbox, NOBODY).join("Mail");
    sandbox.config(&account(&server, NOBODY, &format!("maildir:{}", maildir.display())).to_string());
    for call in ["setgroups", "setresgid", "setresuid"] {
        let run = fail_at(&sandbox, &Call::new(call, 1), "EPERM", false);
        run.exits(73).says(&["cannot take the rights of user", "operation not permitted"]);
    }
    for call in ["setgroups", "setresgid", "setresuid"] {
        assert_eq!(fail_at(&sandbox, &Call::new(call, 2), "EPERM", false).code(), 128 + 6, "SIGABRT");
    }
    assert_eq!(server.unique_ids(USER).len(), 2);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(Maildir { path: maildir }.messages() == all_at_home(&mails(2)));
}

#[test]
fn an_unknown_owner_is_a_mistake_of_the_configuration() {
    let server = server(mails(1)).start();
    for owner in ["\"no such user\"", "\"\"", "0", "\"4294967295\""] {
        let sandbox = Sandbox::with(Account::on(server.port).set("owner", owner));
        sandbox.popfetch(["-q"]).exits(78).says(&["`owner` cannot be", "in `/etc/passwd`"]);
    }
    let oneself = rustix::process::geteuid().as_raw();
    let sandbox = Sandbox::with(Account::on(server.port).set("owner", format!("\"{oneself}\"")));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(sandbox.maildir().messages().len(), 1, "with one's own name nothing changes");
}

#[test]
fn a_tilde_is_the_home_of_the_owner() {
    let Some(fields) = user(NOBODY) else { return };
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    let defaults = "[defaults]\ndeliver = \"mda:~/no/such/program\"\n";
    sandbox.config(&format!("{defaults}{}", account(&server, NOBODY, "").without("deliver")));
    sandbox.popfetch(["-q"]).exits(73).says(&[&format!("MDA `{}", fields[5]), "/no/such/program`"]);
    assert_eq!(server.unique_ids(USER).len(), 1);
}
