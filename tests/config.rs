//! Account definitions: what is accepted, and how a mistake is shown: file, line, column, what was meant.
//!
//! Every mistake ends the run with 78 before anything is connected to.

use crate::sandbox::{Account, CANARY, Sandbox, USER, mails, server};

/// The error about a configuration.
#[track_caller]
fn error_of(toml: &str) -> String {
    let sandbox = Sandbox::new();
    sandbox.config(toml);
    sandbox.popfetch(["-q"]).exits(78).stderr
}

#[track_caller]
fn assert_error(toml: &str, words: &[&str]) {
    let error = error_of(toml);
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

const GOOD: &str = "[accounts.work]\nserver = \"127.0.0.1\"\nuser = \"alice\"\ndeliver = \"maildir:~/Mail\"\n";

#[test]
fn an_unknown_key_is_placed_and_the_right_one_suggested() {
    assert_error(
        &format!("{GOOD}pasword = \"x\"\n"),
        &["config.toml:5:1: ", "unknown key `pasword`", "`work`", "did you mean `password`?"],
    );
}

#[test]
fn an_unknown_table_is_placed() {
    assert_error("[acounts.work]\nuser = \"x\"\n", &["config.toml:1:2: ", "`acounts`", "`accounts`"]);
}

#[test]
fn a_value_of_the_wrong_kind_is_placed_with_what_is_accepted() {
    for (line, column, words) in [
        ("tls = \"ssl\"", 7, ["implicit", "starttls", "none"]),
        ("keep = \"0d\"", 8, ["keep", "true", "14d"]),
        ("keep = 14", 8, ["keep", "true", "14d"]),
        ("timeout = 0", 11, ["timeout", "1", "90s"]),
        ("port = 70000", 8, ["port", "65535", "1"]),
        ("enabled = \"yes\"", 11, ["enabled", "true", "false"]),
        ("max_size = \"20X\"", 12, ["max_size", "20X", "20M"]),
    ] {
        let place = format!("config.toml:5:{column}: ");
        assert_error(&format!("{GOOD}{line}\n"), &[&place, words[0], words[1], words[2]]);
    }
}

#[test]
fn a_destination_of_an_unknown_kind_is_placed() {
    let toml = GOOD.replace("maildir:", "imap:");
    assert_error(&toml, &["config.toml:4:11: ", "maildir:PATH", "mbox:PATH", "mda:COMMAND"]);
}

#[test]
fn what_is_missing_is_named_at_the_account() {
    for key in ["server", "user"] {
        let toml: String = GOOD.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        assert_error(&toml, &["config.toml:1:", "`work`", key]);
    }
}

#[test]
fn a_syntax_error_is_one_line_with_its_place() {
    let error = error_of(&format!("{GOOD}port = = 1\n"));
    assert!(error.contains("config.toml:5:"), "{error}");
    assert_eq!(error.lines().filter(|line| !line.trim_start().starts_with("hint:")).count(), 1, "{error}");
}

#[test]
fn a_secret_is_not_shown_by_an_error_about_it() {
    // The sandbox looks for the canary.
    error_of(&format!("{GOOD}password = [\"{CANARY}\"]\n"));
    error_of(&format!("{GOOD}password = \"{CANARY}\" \"\n"));
    error_of(&format!("{GOOD}password = \"{CANARY}\"\npassword_file = \"x\"\n"));
}

#[test]
fn an_account_that_is_not_asked_for_is_checked_too() {
    let sandbox = Sandbox::new();
    sandbox.config(&format!("{GOOD}\n[accounts.home]\nserver = \"x\"\nuser = \"y\"\nport = \"z\"\n"));
    sandbox.popfetch(["-q", "work"]).exits(78).says(&["config.toml:9:8: "]);
}

#[test]
fn an_unknown_account_is_told_with_the_known_ones() {
    let sandbox = Sandbox::new();
    sandbox.config(GOOD);
    sandbox.popfetch(["-q", "wrok"]).exits(78).says(&["wrok", "work"]);
}

#[test]
fn without_a_configuration_the_first_step_is_shown() {
    Sandbox::new().popfetch(["-q"]).exits(78).says(&["config.toml", "popfetch pop3s://"]);
}

#[test]
fn a_configuration_that_was_named_must_be_there() {
    Sandbox::new().popfetch(["-q", "--config", "nowhere.toml"]).exits(78).says(&["nowhere.toml"]);
}

#[test]
fn defaults_hold_for_every_account_that_does_not_say_otherwise() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    let account = Account::on(server.port).without("deliver").without("timeout");
    sandbox
        .config(&format!("[defaults]\ndeliver = \"maildir:~/Elsewhere\"\nkeep = false\ntimeout = \"9s\"\n\n{account}"));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(crate::sandbox::names(&sandbox.path("Elsewhere/new")).len(), 1);
    assert!(server.unique_ids(USER).is_empty());
}

fn as_json(port: u16) -> String {
    format!(
        r#"{{ "accounts": {{ "work": {{ "server": "127.0.0.1", "port": {port}, "tls": "none", "user": "{USER}",
            "password": "{CANARY}", "deliver": {{ "maildir": "~/Mail" }} }} }} }}"#
    )
}

#[test]
fn json_on_standard_input_means_the_same() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    sandbox.popfetch_reading(["-q", "--config", "-"], &as_json(server.port)).exits(0).silently();
    assert_eq!(sandbox.maildir().messages().len(), 2);
}

#[test]
fn toml_on_standard_input_means_the_same() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    let toml = Account::on(server.port).to_string();
    sandbox.popfetch_reading(["-q", "--config", "-"], &toml).exits(0).silently();
    assert_eq!(sandbox.maildir().messages().len(), 2);
}

#[test]
fn a_json_file_means_the_same_and_its_mistakes_have_a_place() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    let path = sandbox.file("accounts.json", as_json(server.port));
    sandbox.popfetch(["-q", "--config", path.to_str().unwrap()]).exits(0).silently();
    assert_eq!(sandbox.maildir().messages().len(), 2);
    let path = sandbox.file("wrong.json", "{\n  \"accounts\": {\n    \"work\": { \"usr\": \"x\" }\n  }\n}\n");
    sandbox.popfetch(["-q", "--config", path.to_str().unwrap()]).exits(78).says(&["wrong.json:3:", "`usr`", "`user`"]);
}

#[test]
fn a_url_on_the_command_line_needs_no_configuration() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    sandbox.file(".netrc", format!("machine 127.0.0.1 login {USER} password {CANARY}\n"));
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    let arguments = ["-q", "--tls", "none", "--deliver", "maildir:Mail", &url];
    sandbox.popfetch(arguments).exits(0).silently();
    sandbox.popfetch(arguments).exits(0).silently();
    assert_eq!((sandbox.maildir().messages().len(), server.count("RETR")), (2, 2));
    // A second destination starts afresh.
    sandbox.popfetch(["-q", "--tls", "none", "--deliver", "mbox:mbox", &url]).exits(0).silently();
    assert_eq!((sandbox.mbox().len(), server.count("RETR")), (2, 4));
}

#[test]
fn a_url_without_a_user_shows_its_port_and_suggests_a_user() {
    let sandbox = Sandbox::new();
    for host in ["127.0.0.1", "[::1]", "localhost", "pop.example.com"] {
        let run = sandbox.popfetch([format!("pop3s://{host}:36361")]).exits(78);
        let (said, hint) =
            (format!("`pop3s://{host}:36361`: the user is missing"), "hint: write `pop3s://nobody-in-particular@");
        run.says(&[&said, &format!("{hint}{host}:36361` if that is your name there")]);
    }
    // What could be a password is not shown, and an option is no name.
    let run = sandbox.popfetch(["pop3s://petar:36361"]).exits(78);
    assert!(
        run.stderr.contains("`pop3s://petar:****`: the user is missing") && !run.stderr.contains("hint"),
        "{run:#?}"
    );
    let mut command = sandbox.command(["pop3s://127.0.0.1"]);
    let run = sandbox
        .run({
            command.env("USER", "a:b");
            command
        })
        .exits(78);
    assert!(!run.stderr.contains("hint"), "{run:#?}");
}

#[test]
fn a_flag_overrides_the_configuration() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q", "--no-keep", "--max-messages", "1", "--deliver", "mbox:mbox"]).exits(0);
    assert_eq!((sandbox.mbox().len(), server.unique_ids(USER).len()), (1, 2));
}

#[test]
fn the_state_goes_where_it_is_told() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0);
    assert!(sandbox.ledger(USER, server.port).is_file(), "{:?}", crate::sandbox::names(&sandbox.state()));
    sandbox.popfetch(["-q", "--state-dir", "other"]).exits(0);
    assert!(sandbox.path(format!("other/{USER}@127.0.0.1:{}.jsonl", server.port)).is_file());
}

#[test]
fn two_accounts_for_one_maildrop_are_refused_where_the_second_one_stands() {
    for server in ["server = \"127.0.0.1\"", "server = \"127.0.0.1\"\ntls = \"starttls\""] {
        let second = format!("[accounts.archive]\n{server}\nuser = \"alice\"\ndeliver = \"mbox:~/archive\"\n");
        assert_error(
            &format!("{GOOD}{second}"),
            &["config.toml:5:11: ", "`work` and `archive`", "`alice@127.0.0.1`", "one maildrop, one account"],
        );
    }
}

#[test]
fn another_user_host_or_port_is_another_maildrop() {
    let servers = ["server = \"localhost\"\nuser = \"alice\"", "server = \"127.0.0.1\"\nuser = \"Alice\""];
    for (others, port) in servers.into_iter().zip(["", "port = 1110\n"]) {
        let second = format!("[accounts.archive]\n{others}\n{port}enabled = false\n");
        let error = error_of(&format!("{GOOD}enabled = false\n{second}deliver = \"mbox:~/archive\"\n"));
        assert!(error.contains("enabled = false"), "only that is wrong: {error}");
    }
}

#[test]
fn many_accounts_are_read_in_linear_time() {
    // Compared each with all, they would take minutes, and no run may take half of one.
    let account =
        |n| format!("[accounts.a{n}]\nserver = \"h\"\nuser = \"u{n}\"\ndeliver = \"mbox:/m\"\nenabled = false\n");
    let text: String = (0..12_000).map(account).collect();
    let sandbox = Sandbox::new();
    sandbox.config(&text);
    sandbox.popfetch(["-q"]).exits(78).says(&["enabled"]);
}
