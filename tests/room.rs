//! `min_free`: what is left on the server so that a disk at home keeps some room.

use std::fs;
use std::process::Command;

use crate::sandbox::{Account, CANARY, Destination, Run, Sandbox, USER, all_at_home, left_out, mails, server};
use crate::server::Mail;

/// More than any disk has.
const ALL: &str = "\"8000000G\"";

/// What `popfetch list --json` says of each message.
fn verdicts(run: &Run) -> Vec<String> {
    let rows = run.events().into_iter().filter(|event| event["event"] == "message");
    rows.map(|row| format!("{} {}", row["verdict"].as_str().unwrap(), row["reason"].as_str().unwrap())).collect()
}

#[test]
fn below_min_free_nothing_is_fetched_and_what_is_safe_is_deleted() {
    for destination in Destination::ALL {
        let server = server(mails(2)).start();
        let sandbox = Sandbox::new();
        let account = Account::on(server.port).set("deliver", destination.deliver(&sandbox));
        sandbox.config(&account.to_string());
        sandbox.popfetch(["-q"]).exits(0).silently();
        server.arrive(USER, mails(3).pop().unwrap());
        sandbox.config(&account.set("keep", false).set("min_free", ALL).to_string());
        let dry = sandbox.popfetch(["--dry-run", "--json"]).exits(75).account();
        assert_eq!((&dry["would_deliver"], &dry["would_delete"]), (&0.into(), &2.into()), "{destination:?}: {dry:#}");
        let list = sandbox.popfetch(["list", "--json"]).exits(75).says(&["only ", "are free on the disk of `"]);
        assert_eq!(verdicts(&list), ["delete due", "delete due", "leave target-closed"], "{destination:?}");
        let run = sandbox.popfetch(["-q"]).exits(75);
        run.says(&[
            "only ",
            "are free on the disk of `",
            "and `min_free` is 7812.5 TiB",
            "make room",
            "lower `min_free`",
        ]);
        assert_eq!((server.count("RETR"), server.unique_ids(USER)), (2, vec!["m3".to_owned()]), "{destination:?}");
        // Nothing is wanted any more, and so nothing lacks room.
        let run = sandbox.popfetch(["-q", "--max-size", "1"]);
        assert_eq!((run.code(), server.count("RETR")), (0, 2), "{destination:?}: {run:?}");
        sandbox.config(&Account::on(server.port).set("deliver", destination.deliver(&sandbox)).to_string());
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(destination.messages(&sandbox) == all_at_home(&mails(3)), "{destination:?}");
    }
}

#[test]
fn a_target_that_is_wanted_only_without_another_is_asked_as_well() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    sandbox.file(".netrc", format!("default login {USER} password {CANARY}\n"));
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    sandbox.popfetch(["-q", "--tls=none", "--keep", "--deliver=mbox:~/mbox", &url]).exits(0);
    server.arrive(USER, mails(3).pop().unwrap());
    // Only the third one is for both of them, and the first one, which is for the Maildir alone, takes its place.
    let account = Account::on(server.port).set("deliver", "[\"maildir:~/Mail\", \"mbox:~/mbox\"]");
    let account = account.set("max_messages", 1).set("notify_every", "\"0\"");
    sandbox.config(&account.set("min_free", ALL).to_string());
    let dry = sandbox.popfetch(["--dry-run", "--json"]).exits(75).account();
    assert_eq!(dry["would_deliver"], 0, "{dry:#}");
    let list = sandbox.popfetch(["list", "--json"]).exits(75);
    assert_eq!(verdicts(&list), ["leave target-closed"; 3]);
    sandbox.popfetch(["-q"]).exits(75).says(&["maildir:", "mbox:", "`min_free` is 7812.5 TiB"]);
    assert_eq!(server.count("RETR"), 2);
}

#[test]
fn a_message_that_would_leave_too_little_waits_and_smaller_ones_behind_it_come() {
    let mut all = mails(3);
    all[0].announced = Some(1 << 40);
    let server = server(all).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("min_free", 1000).set("notify_every", "\"0\""));
    let dry = sandbox.popfetch(["--dry-run", "--json"]).exits(75).account();
    assert_eq!(dry["would_deliver"], 2, "{dry:#}");
    let list = sandbox.popfetch(["list", "--json"]).exits(75);
    assert_eq!(verdicts(&list), ["leave no-room", "retrieve new", "retrieve new"]);
    for _ in 0..2 {
        let run = sandbox.popfetch(["-q"]).exits(75);
        run.says(&["1 message left on the server: ", "are free on the disk of `", "`min_free` is 1000 B; make room"]);
        assert!(sandbox.maildir().messages() == all_at_home(&mails(3)[1..]));
        assert_eq!(server.count("RETR"), 2);
    }
}

#[test]
fn a_target_without_room_is_left_out_and_gets_what_it_lacks_later() {
    let other = tempfile::Builder::new().prefix("popfetch-test-").tempdir_in("/dev/shm");
    let Ok(other) = other else { return left_out("targets on two disks", "there is no /dev/shm") };
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    let free = |path: &std::path::Path| {
        let disk = rustix::fs::statvfs(path).unwrap();
        disk.f_bavail * disk.f_frsize
    };
    let (here, there) = (free(&sandbox.path("")), free(other.path()));
    if here.abs_diff(there) < 1 << 30 {
        return left_out("targets on two disks", "both have as much room");
    }
    let (mail, copies) = (sandbox.path("Mail"), other.path().join("copies"));
    let (roomy, full) = if here > there { (&mail, &copies) } else { (&copies, &mail) };
    let both = format!("[\"maildir:{}\", \"maildir:{}\"]", full.display(), roomy.display());
    let account = Account::on(server.port).set("deliver", both).set("keep", false).set("notify_every", "\"0\"");
    sandbox.config(&account.clone().set("min_free", here.min(there) + here.abs_diff(there) / 2).to_string());
    let count = |folder: &std::path::Path| fs::read_dir(folder.join("new")).map_or(0, Iterator::count);
    for _ in 0..2 {
        let run = sandbox.popfetch(["-q"]).exits(75);
        run.says(&["gets no more messages in this run: only ", "are free on the disk of `", "lower `min_free`"]);
        assert_eq!((count(roomy), count(full), server.unique_ids(USER).len()), (2, 0, 2));
    }
    sandbox.config(&account.to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((count(roomy), count(full), server.unique_ids(USER).len()), (2, 2, 0));
}

#[test]
fn a_disk_that_others_fill_meanwhile_is_noticed_before_the_next_batch() {
    let small = |number: usize| Mail::new(format!("{number}"), format!("Subject: {number}\r\n\r\n{number}\r\n"));
    let server = server((0..60).map(small)).start();
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("mda")).unwrap();
    fs::create_dir_all(sandbox.path(".local/state")).unwrap();
    let (kept, eaten) = (sandbox.path("mda"), sandbox.path(".local/state/eaten"));
    let script = format!(
        "cat >$(mktemp {}/XXXXXX); test -e {2} || dd if=/dev/zero of={1} bs=1M count=12 2>/dev/null",
        kept.display(),
        eaten.display(),
        sandbox.path("mda/done").display()
    );
    let account = Account::on(server.port).set("deliver", sandbox.mda_script(&script)).set("keep", false);
    sandbox.config(&account.set("min_free", "\"8M\"").to_string());
    let script = format!(
        "mount -t tmpfs -o size=16m,mode=700 none {} || exit 99; \"$0\" -q; echo $?; ls mda | wc -l; \
         rm {}; touch mda/done; \"$0\" -q; echo $?",
        sandbox.path(".local/state").display(),
        eaten.display()
    );
    let mut command = Command::new("/bin/sh");
    sandbox.adopt(&mut command);
    command.args(["-c", "exec unshare -m sh -c \"$1\" \"$0\"", env!("CARGO_BIN_EXE_popfetch"), &script]);
    let run = sandbox.run(command);
    if matches!(run.code(), 1 | 99 | 127) {
        return left_out("a disk that becomes full", "there is no unshare(1), or it may not mount");
    }
    let said: Vec<&str> = run.stdout.split_whitespace().collect();
    assert_eq!((said[0], said[2]), ("75", "0"), "{run:#?}");
    assert!((1..60).contains(&said[1].parse::<usize>().unwrap()), "{run:#?}");
    run.says(&["only ", "and `min_free` is 8.0 MiB"]);
    assert_eq!((fs::read_dir(&kept).unwrap().count(), server.unique_ids(USER).len()), (61, 0));
}
