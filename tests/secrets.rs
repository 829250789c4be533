//! Passwords: every place one may come from, everything that is refused, and the places where none may be seen.
//!
//! That no output and no ledger holds the password is checked by the sandbox after every run of every test.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;

use crate::sandbox::{Account, CANARY, Run, Sandbox, USER, left_out, mails, server, wait_until};
use crate::server::{Fault, Mail, Maildrop, Misdeed, Moment, ScriptServer};

fn without_password(port: u16) -> Account {
    Account::on(port).without("password")
}

/// A server that was logged in to, or not, by a run of an account.
#[track_caller]
fn assert_logged_in(server: &Maildrop, run: Run) {
    run.exits(0).silently();
    assert_eq!(server.count("RETR"), 1);
}

#[test]
fn a_password_in_the_configuration() {
    let server = server(mails(1)).start();
    assert_logged_in(&server, Sandbox::with(Account::on(server.port)).popfetch(["-q"]));
}

#[test]
fn a_command_whose_first_line_is_the_password() {
    let server = server(mails(1)).start();
    let command = format!("[\"/bin/sh\", \"-c\", \"echo {CANARY}; echo more\"]");
    let sandbox = Sandbox::with(without_password(server.port).set("password_command", command));
    assert_logged_in(&server, sandbox.popfetch(["-q"]));
}

#[test]
fn a_command_runs_only_for_an_account_that_is_fetched_and_stops_only_that_one() {
    let (good, bad) = (server(mails(1)).start(), server(mails(1)).start());
    let failing = "[\"/bin/sh\", \"-c\", \"echo asked >>~/asked; exit 3\"]";
    let sandbox = Sandbox::new();
    let accounts = [
        without_password(bad.port).named("bad").set("password_command", failing),
        Account::on(good.port).named("good"),
    ];
    sandbox.config(&accounts.map(|account| account.to_string()).concat());
    sandbox.popfetch(["-q", "good"]).exits(0).silently();
    assert!(!sandbox.path("asked").exists(), "nobody asked for that account");
    let run = sandbox.popfetch(["-q"]).says(&["bad", "/bin/sh", "3"]);
    assert_ne!(run.code(), 0);
    assert_eq!((good.connections(), bad.count("PASS"), bad.count("AUTH")), (2, 0, 0));
}

#[test]
fn a_commands_output_is_never_shown_even_when_it_fails() {
    let server = server(mails(1)).start();
    let command = format!("[\"/bin/sh\", \"-c\", \"echo {CANARY}; exit 1\"]");
    let sandbox = Sandbox::with(without_password(server.port).set("password_command", command));
    assert_ne!(sandbox.popfetch(["-vv"]).code(), 0);
}

#[test]
fn a_command_that_hangs_holds_no_account_and_is_given_up() {
    for key in ["password_command", "token_command"] {
        let server = server(mails(1)).start();
        let command = "[\"/bin/sh\", \"-c\", \"echo >~/asked; exec sleep 600\"]";
        let sandbox = Sandbox::with(without_password(server.port).set(key, command).set("password_timeout", "\"3s\""));
        let running = sandbox.start(&mut sandbox.command(["-q"]));
        wait_until(|| sandbox.path("asked").exists());
        let other = sandbox.file("other.toml", Account::on(server.port).to_string());
        sandbox.popfetch(["-q", "--config", &other.display().to_string()]).exits(0).silently();
        running.finish().exits(75).says(&["did not end within 3 s", "`password_timeout`"]);
        assert_eq!(server.connections(), 1, "without a password there is nothing to say to a server");
    }
}

#[test]
fn nobody_is_asked_for_an_account_that_another_run_has() {
    let stall = Fault { moment: Moment::BeforeCommand(3), misdeed: Misdeed::Stall };
    let server = server(mails(1)).faults([stall]).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let first = sandbox.start(&mut sandbox.command(["-q"]));
    wait_until(|| server.count("AUTH") > 0);
    let command = "[\"/bin/sh\", \"-c\", \"echo >~/asked\"]";
    sandbox.config(&without_password(server.port).set("password_command", command).to_string());
    sandbox.popfetch(["-q"]).exits(75).says(&[&first.pid().to_string()]);
    assert!(!sandbox.path("asked").exists());
    first.signal(Signal::KILL);
    first.finish();
}

#[test]
fn a_private_file_whose_first_line_is_the_password() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(without_password(server.port).set("password_file", "\"~/secret\""));
    sandbox.file("secret", format!("{CANARY}\nnot this\n"));
    assert_logged_in(&server, sandbox.popfetch(["-q"]));
}

#[test]
fn a_credential_of_the_service_manager() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(without_password(server.port));
    sandbox.file("credentials/work", CANARY);
    let mut command = sandbox.command(["-q"]);
    command.env("CREDENTIALS_DIRECTORY", sandbox.path("credentials"));
    assert_logged_in(&server, sandbox.run(command));
}

#[test]
fn a_netrc_entry_for_the_host_and_the_user() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(without_password(server.port));
    let netrc = format!(
        "machine other.example.org login {USER} password wrong\n\
         machine 127.0.0.1 login somebody password wrong\n\
         machine 127.0.0.1\n  login {USER}\n  password {CANARY}\n"
    );
    sandbox.file(".netrc", netrc);
    assert_logged_in(&server, sandbox.popfetch(["-q"]));
}

#[test]
fn the_configuration_comes_before_netrc() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.file(".netrc", format!("machine 127.0.0.1 login {USER} password wrong\n"));
    assert_logged_in(&server, sandbox.popfetch(["-q"]));
}

#[test]
fn without_a_password_and_a_terminal_the_ways_to_give_one_are_listed() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(without_password(server.port));
    // A session of its own has no terminal, even where the tests have one.
    let run = sandbox.shell("exec setsid -w popfetch -q").exits(78);
    run.says(&["work", "password_command", "password_file"]);
    assert_eq!(server.count("PASS") + server.count("AUTH"), 0);
}

#[test]
fn a_password_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    for mode in [0o644, 0o640, 0o604] {
        sandbox.mode(".config/popfetch/config.toml", mode);
        sandbox.popfetch(["-q"]).exits(78).says(&["chmod 600", "config.toml"]);
    }
    assert_eq!(server.connections(), 0);
    sandbox.mode(".config/popfetch/config.toml", 0o400);
    assert_logged_in(&server, sandbox.popfetch(["-q"]));
}

#[test]
fn a_configuration_without_a_password_may_be_read_by_all() {
    let server = server(mails(1)).start();
    let command = format!("[\"/bin/sh\", \"-c\", \"echo {CANARY}\"]");
    let sandbox = Sandbox::with(without_password(server.port).set("password_command", command));
    sandbox.mode(".config/popfetch/config.toml", 0o644);
    assert_logged_in(&server, sandbox.popfetch(["-q"]));
}

/// A run with a configuration that names a command; whether the command ran.
fn is_asked(sandbox: &Sandbox, arguments: &[&str]) -> (Run, bool) {
    let asked = sandbox.path("asked");
    let _ = fs::remove_file(&asked);
    let run = sandbox.popfetch(arguments);
    (run, asked.exists())
}

fn asking(port: u16) -> Account {
    let command = format!("[\"/bin/sh\", \"-c\", \"touch ~/asked; echo {CANARY}\"]");
    without_password(port).set("password_command", command)
}

const CONFIG: &str = ".config/popfetch/config.toml";

#[test]
fn a_configuration_that_others_can_write_is_refused_always() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(asking(server.port));
    for mode in [0o620, 0o602, 0o664, 0o666, 0o4777] {
        sandbox.mode(CONFIG, mode);
        let (run, is_asked) = is_asked(&sandbox, &["-q"]);
        run.exits(78).says(&["can be changed by others", "chmod go-w", "config.toml"]);
        assert!(!is_asked, "{mode:o}");
    }
    sandbox.mode(CONFIG, 0o644);
    for folder in [".config/popfetch", ".config", ""] {
        for mode in [0o777, 0o775, 0o757] {
            sandbox.mode(folder, mode);
            let (run, is_asked) = is_asked(&sandbox, &["-q"]);
            let hint = format!("`chmod go-w {}", sandbox.path(folder).display().to_string().trim_end_matches('/'));
            run.exits(78).says(&["can be exchanged by others", &hint]);
            assert!(!is_asked, "{folder} {mode:o}");
        }
        sandbox.mode(folder, 0o1777);
        assert!(is_asked(&sandbox, &["-q"]).1, "in a sticky folder only its owner can exchange it");
        sandbox.mode(folder, 0o755);
    }
    assert!(is_asked(&sandbox, &["-q"]).1);
}

/// The user that owns nothing.
const NOBODY: u32 = 65534;

#[test]
fn a_configuration_of_another_user_is_refused_and_one_of_root_is_not() {
    if !rustix::process::geteuid().is_root() {
        return left_out("another user's configuration", "only root can give files away");
    }
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(asking(server.port));
    sandbox.mode(CONFIG, 0o644);
    for given_away in [CONFIG, ".config/popfetch", ".config", ""] {
        chown(sandbox.path(given_away), Some(NOBODY), None).unwrap();
        let (run, is_asked) = is_asked(&sandbox, &["-q"]);
        run.exits(78).says(&["belongs to someone else (user id 65534)", "yours or root's"]);
        assert!(!is_asked, "{given_away}");
        chown(sandbox.path(given_away), Some(0), None).unwrap();
    }
    // A service reads what its administrator wrote; the program itself may be out of its reach.
    sandbox.mode("", 0o755);
    let home = Sandbox::new();
    chown(home.path(""), Some(NOBODY), None).unwrap();
    let program = home.path("popfetch");
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_popfetch")).arg(&program).status().unwrap().success());
    let mut command = Command::new(program);
    home.adopt(&mut command);
    command.args(["-q", "--config"]).arg(sandbox.path(CONFIG)).uid(NOBODY).gid(NOBODY);
    assert_logged_in(&server, home.run(command));
}

#[test]
fn a_configuration_without_a_name_has_no_folder_to_be_judged_by() {
    let server = server(mails(0)).start();
    let sandbox = Sandbox::new();
    sandbox.file("accounts.toml", Account::on(server.port).to_string());
    for script in [
        "popfetch -q --config - <~/accounts.toml",
        "cat ~/accounts.toml | popfetch -q --config /dev/stdin",
        "cat ~/accounts.toml | popfetch -q --config /dev/fd/0",
        "popfetch -q --config /dev/stdin <<end\n$(cat ~/accounts.toml)\nend",
        "rm -f ~/fifo; mkfifo -m 600 ~/fifo; cat ~/accounts.toml >~/fifo & popfetch -q --config ~/fifo",
        // The last one removes its own file.
        "exec 3<~/accounts.toml; rm ~/accounts.toml; popfetch -q --config /dev/fd/3",
    ] {
        let run = sandbox.shell(script);
        assert_eq!((run.code(), run.stderr.as_str()), (0, ""), "{script}");
    }
    assert_eq!(server.connections(), 6);
}

#[test]
fn a_link_to_a_configuration_is_judged_at_both_ends() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(asking(server.port));
    fs::create_dir_all(sandbox.path("store/files")).unwrap();
    fs::rename(sandbox.path(CONFIG), sandbox.path("store/files/config.toml")).unwrap();
    symlink(sandbox.path("store/files/config.toml"), sandbox.path(CONFIG)).unwrap();
    sandbox.mode("store/files/config.toml", 0o444);
    assert!(is_asked(&sandbox, &["-q"]).1, "the store of a package manager");
    for (path, open, closed) in
        [("store/files/config.toml", 0o666, 0o444), ("store/files", 0o777, 0o755), (".config/popfetch", 0o777, 0o755)]
    {
        sandbox.mode(path, open);
        let (run, is_asked) = is_asked(&sandbox, &["-q"]);
        run.exits(78).says(&["by others", "chmod go-w"]);
        assert!(!is_asked, "{path}");
        sandbox.mode(path, closed);
    }
}

#[test]
fn what_others_can_write_decides_neither_a_password_nor_whom_to_trust() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    let other = |key: &str| without_password(server.port).named("other").set(key, "\"~/open/file\"").to_string();
    for (account, code) in [
        (other("password_file"), 78),
        (
            Account::on(server.port)
                .set("tls", "\"starttls\"")
                .set("tls_client_identity", "\"~/open/file\"")
                .to_string(),
            78,
        ),
        (Account::on(server.port).set("tls", "\"implicit\"").set("tls_ca_file", "\"~/open/file\"").to_string(), 78),
    ] {
        sandbox.file("open/file", "-----BEGIN CERTIFICATE-----\n");
        sandbox.config(&account);
        sandbox.mode("open", 0o777);
        sandbox.popfetch(["-q"]).exits(code).says(&["open/file", "can be exchanged by others", "chmod go-w"]);
        sandbox.mode("open", 0o755);
        sandbox.mode("open/file", 0o622);
        sandbox.popfetch(["-q"]).exits(code).says(&["open/file", "can be changed by others", "chmod"]);
    }
    assert_eq!(server.count("PASS") + server.count("AUTH"), 0);
}

#[test]
fn a_password_file_or_netrc_that_others_can_read_is_refused() {
    let server = server(mails(1)).start();
    let by_file = Sandbox::with(without_password(server.port).set("password_file", "\"~/secret\""));
    by_file.file("secret", CANARY);
    by_file.mode("secret", 0o644);
    by_file.popfetch(["-q"]).exits(78).says(&["chmod 600", "secret"]);
    let by_netrc = Sandbox::with(without_password(server.port));
    by_netrc.file(".netrc", format!("machine 127.0.0.1 login {USER} password {CANARY}\n"));
    by_netrc.mode(".netrc", 0o644);
    by_netrc.popfetch(["-q"]).exits(78).says(&["chmod 600", ".netrc"]);
    assert_eq!(server.count("PASS") + server.count("AUTH"), 0);
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    let sandbox = Sandbox::new();
    for scheme in ["pop3", "pop3s"] {
        let url = format!("{scheme}://{USER}:{CANARY}@127.0.0.1:1");
        let run = sandbox.popfetch([&url, "--deliver", "maildir:Mail"]).says(&["password"]);
        assert!(matches!(run.code(), 64 | 78), "{run:#?}");
    }
}

#[test]
fn the_wire_is_shown_with_its_secrets_masked() {
    for auth in ["user", "plain"] {
        let server = server(mails(1)).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("auth", format!("{auth:?}")));
        let run = sandbox.popfetch(["-vv"]).exits(0).says(&["****", "RETR", "QUIT"]);
        assert!(run.stdout.is_empty(), "{run:#?}");
    }
}

#[test]
fn a_server_that_repeats_the_password_is_not_repeated() {
    let echo = format!("-ERR [AUTH] {CANARY} is wrong");
    let server = server(mails(1)).answer("PASS", &echo).start();
    // Whatever popfetch does with such a reply, the sandbox looks for the password in it.
    Sandbox::with(Account::on(server.port).set("auth", "\"user\"")).popfetch(["-vv"]).exits(77);
}

#[test]
fn a_server_that_repeats_the_password_in_another_form_is_not_repeated() {
    let encoded = BASE64.encode(CANARY);
    let within = BASE64.encode(format!("you said {CANARY}, didn't you?"));
    let percent: String = CANARY.bytes().map(|octet| format!("%{octet:02x}")).collect();
    let of_plain = BASE64.encode(format!("\0{USER}\0{CANARY}"));
    for form in [&encoded, &within, &percent, &of_plain] {
        for (auth, command) in
            [("user", "PASS"), ("plain", "AUTH"), ("user", "RETR 1"), ("user", "DELE"), ("user", "UIDL")]
        {
            for status in ["-ERR ", ""] {
                let server = server(mails(1)).answer(command, &format!("{status}said: {form}")).start();
                let account = Account::on(server.port).set("auth", format!("{auth:?}")).set("keep", false);
                let run = Sandbox::with(account).popfetch(["-vv", "--json"]);
                assert_ne!(run.code(), 0);
                let run = run.says(&["said: ****"]);
                assert!(!(run.stdout + &run.stderr).contains(form.as_str()), "{command}: {form}");
            }
        }
    }
}

/// The ledger has to keep a unique-id as it is, so this is another password than the one that the sandbox looks for.
#[test]
fn a_unique_id_that_is_the_password_is_shown_nowhere() {
    const PASSWORD: &str = "perroquet-91c3e7";
    for unique_id in [PASSWORD.to_owned(), format!("{}{PASSWORD}", "x".repeat(190))] {
        for command in ["", "RETR 1", "DELE"] {
            let mail = Mail::new(&*unique_id, "Subject: x\r\n\r\nx\r\n");
            let mut server = Maildrop::builder().user(USER, PASSWORD, [mail]);
            if !command.is_empty() {
                server = server.answer(command, "-ERR not now");
            }
            let server = server.start();
            let account = Account::on(server.port).set("keep", false).set("password", format!("{PASSWORD:?}"));
            let run = Sandbox::with(account).popfetch(["-v", "--json"]);
            let all = run.stdout + &run.stderr;
            assert!(!all.contains(&PASSWORD[..8]), "{command}: {all}");
            assert!(all.contains("**"), "{command}: {all}");
        }
    }
}

#[test]
fn a_short_password_is_masked_where_a_login_is_answered() {
    for password in ["xyz", "q", "7"] {
        for (auth, command) in [("user", "PASS"), ("plain", "AUTH")] {
            let encoded = BASE64.encode(password);
            let answer = format!("-ERR [AUTH] wrong password {password} ({encoded})");
            let server = server(mails(1)).answer(command, &answer).start();
            let account = Account::on(server.port).set("auth", format!("{auth:?}"));
            let sandbox = Sandbox::with(account.set("password", format!("{password:?}")));
            let run = sandbox.popfetch(["-vv"]).exits(77).says(&["wrong password **** (****)"]);
            assert!(!run.stderr.contains(&format!("password {password}")), "{run:#?}");
        }
    }
}

#[test]
fn of_a_long_password_that_is_repeated_no_part_is_shown() {
    let password = "z".repeat(700);
    for answer in ["-ERR [AUTH] wrong: ", "wrong: "] {
        let server = server(mails(1)).answer("PASS", &format!("{answer}{password}")).start();
        let account = Account::on(server.port).set("auth", "\"user\"").set("password", format!("{password:?}"));
        let run = Sandbox::with(account).popfetch(["-vv"]).says(&["wrong: ****"]);
        assert!(!run.stderr.contains("zzzz"), "{run:#?}");
    }
}

#[test]
fn a_password_cannot_smuggle_in_a_command() {
    let script = ScriptServer::tcp("S: +OK ready\nC: CAPA\nS: -ERR\nC: USER alice\nS: +OK\nC: PASS first\nS: -ERR no");
    let sandbox = Sandbox::with(without_password(script.port).set("password_file", "\"~/secret\""));
    sandbox.file("secret", "first\r\nDELE 1\r\n");
    sandbox.popfetch(["-q"]).exits(77);
    script.finish();
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("password", "\"a\\r\\nDELE 1\""));
    sandbox.popfetch(["-q"]).exits(78);
    assert_eq!(server.count("DELE"), 0);
}

#[test]
fn neither_arguments_nor_environment_of_a_run_hold_the_password() {
    let fault = Fault { moment: Moment::BeforeCommand(4), misdeed: Misdeed::Stall };
    let server = server(mails(1)).faults([fault]).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let running = sandbox.start(&mut sandbox.command(["-q"]));
    wait_until(|| server.count("AUTH") > 0);
    for file in ["cmdline", "environ"] {
        // Elsewhere than on Linux there is nothing to read.
        let octets = fs::read(format!("/proc/{}/{file}", running.pid())).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&octets).contains(CANARY), "{file}");
    }
    running.signal(Signal::KILL);
    running.finish();
}

#[test]
fn an_mda_does_not_inherit_the_password() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    let deliver = sandbox.mda_script("cat >/dev/null; env >~/env");
    sandbox.config(&Account::on(server.port).set("deliver", deliver).to_string());
    sandbox.popfetch(["-q"]).exits(0);
    assert!(!fs::read_to_string(sandbox.path("env")).unwrap().contains(CANARY));
}
