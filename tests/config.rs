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
    let toml = GOOD.replace("maildir:", "nntp:");
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
    assert_eq!(error.lines().filter(|line| line.starts_with("popfetch: ")).count(), 1, "{error}");
}

#[test]
fn a_secret_is_not_shown_by_an_error_about_it() {
    // The sandbox looks for the canary.
    error_of(&format!("{GOOD}password = [\"{CANARY}\"]\n"));
    error_of(&format!("{GOOD}password = \"{CANARY}\" \"\n"));
    error_of(&format!("{GOOD}password = \"{CANARY}\"\npassword_file = \"x\"\n"));
}

/// The error about a configuration, without the path before each line and with the excerpts.
#[track_caller]
fn told(toml: &str) -> String {
    let sandbox = Sandbox::new();
    let path = sandbox.config(toml);
    sandbox.popfetch(["-q"]).exits(78).stderr.replace(&format!("popfetch: {}:", path.display()), "")
}

#[test]
fn every_mistake_is_told_at_once_with_its_line_and_carets() {
    let toml = "[defaults]\nserver = \"x\"\n\n[accounts.work]\nhost = \"pop.example.com\"\nkeep = \"14\"\n\
                user = petar # not me\nport = = 1\n\n\
                [accounts.home]\nurl = \"pop3s://petar@pop.example.com\"\nports = 1\n";
    let expected = "\
2:1: `server` belongs to an account, not to `[defaults]`
    2 | server = \"x\"
      | ^^^^^^
5:1: unknown key `host` in account `work`; did you mean `server`?
    5 | host = ****
      | ^^^^
6:8: `keep` cannot be \"14\"; expected `true`, `false`, or a duration such as \"14d\" or \"1d12h\" (units s, m, h, d, w), \
not zero
    6 | keep = \"14\"
      |        ^^^^
7:8: the value of `user` is text; put \"petar\" in quotes
    7 | user = petar
      |        ^^^^^
8:8: not TOML: extra `=`, expected nothing
10:11: `deliver` is missing in account `home`
   10 | [accounts.home]
      |           ^^^^
12:1: unknown key `ports` in account `home`; did you mean `port`?
   12 | ports = ****
      | ^^^^^
";
    // What account `work` lacks may have been meant by `host`.
    let told = told(toml).replace("4:11: `server` (or `url`) and `deliver` are missing in account `work`\n    4 | [accounts.work]\n      |           ^^^^\n", "");
    assert_eq!(told, expected);
}

#[test]
fn a_line_that_is_no_toml_hides_no_other_mistake() {
    let toml = "[accounts.work\nserver = \"x\"\n[accounts.home]\nuser \"petar\"\nserver: \"x\"\nkeep = \nprot = 1\n";
    let error = told(toml);
    let places: Vec<_> = error.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        places,
        [
            "1:15: not TOML: unclosed table, expected `]`",
            "4:6: not TOML: key with no value, expected `=`",
            "5:7: not TOML: write `=` in place of `:`",
            "6:8: `keep` has no value",
            "7:1: unknown key `prot` in account `home`; did you mean `port`?",
        ]
    );
    assert!(error.contains("    1 | [accounts.work\n      |               ^\n"), "{error}");
}

#[test]
fn after_twenty_mistakes_the_others_are_counted() {
    let lines: String = (0..53).map(|number| format!("key_{number} = 1\n")).collect();
    let error = told(&format!("{GOOD}{lines}"));
    assert_eq!(error.lines().filter(|line| line.contains("unknown key")).count(), 20, "{error}");
    assert!(error.ends_with("\npopfetch: and 33 more mistakes\n"), "{error}");
    let error = told(&"nonsense\n".repeat(53));
    assert_eq!(error.lines().filter(|line| line.contains("not TOML")).count(), 20, "{error}");
    assert!(error.ends_with("\npopfetch: and 33 more mistakes\n"), "{error}");
}

#[test]
fn text_without_quotes_is_told_what_it_lacks() {
    for (line, column, words) in [
        ("server = 127.0.0.1", 10, "the value of `server` is text; put \"127.0.0.1\" in quotes"),
        ("server = pop.example.com # x", 10, "put \"pop.example.com\" in quotes"),
        ("user = petar@example.com", 8, "put \"petar@example.com\" in quotes"),
        ("keep = 14d", 8, "put \"14d\" in quotes"),
        ("tls = none", 7, "put \"none\" in quotes"),
        ("deliver = maildir:~/x", 11, "put \"maildir:~/x\" in quotes"),
        ("timeout = 90s", 11, "put \"90s\" in quotes"),
        ("max_size = 20M", 12, "put \"20M\" in quotes"),
        ("password = geheim", 12, "the value of `password` is text; put it in quotes"),
        ("url = pop3s://petar@host", 7, "the value of `url` is text; put it in quotes"),
        // What would not do in quotes either is told what to be.
        ("keep = yes", 8, "`keep` cannot be `yes`; expected `true`, `false`, or"),
        ("enabled = True", 11, "`enabled` cannot be `True`; expected `true` or `false`"),
        ("port = 99x", 8, "`port` cannot be `99x`; expected an integer from 1 to 65535"),
        ("tls = ssl", 7, "`tls` cannot be `ssl`; expected `implicit`, `starttls` or `none`"),
        ("password_command = pass show x", 20, "`password_command` cannot be text without quotes; expected an array"),
    ] {
        let error = told(&format!("[accounts.work]\n{line}\n"));
        assert!(error.contains(&format!("2:{column}: ")) && error.contains(words), "{line}: {error}");
        assert!(!error.contains("not TOML"), "{line}: {error}");
    }
}

#[test]
fn names_of_other_programs_lead_to_ours() {
    for (names, meant) in [
        ("host hostname via", "`server`"),
        ("username login User", "`user`"),
        ("ssl tls_mode sslproto use_ssl", "`tls`"),
        ("starttls tls_starttls", "`tls = \"starttls\"`"),
        ("folder maildir mailbox path delivery mda", "`deliver`"),
        ("passwordeval passwordcommand password_eval password-command", "`password_command`"),
        ("pass passwd", "`password`"),
        ("keep_on_server leave leave_on_server", "`keep`"),
        ("delete nokeep", "`keep = false`"),
        ("sslfingerprint tls_fingerprint fingerprint", "`tls_pin`"),
        ("sslcertck tls_certcheck", "`tls_verify`"),
        ("insecure", "`tls_verify = false`"),
        ("sslcertfile tls_trust_file ca_certs ca_file", "`tls_ca_file`"),
        ("limit skipsize max_message_size", "`max_size`"),
        ("fetchlimit max_messages_per_session", "`max_messages`"),
        ("fetchall read_all", "`all`"),
        ("skip disabled", "`enabled = false`"),
        ("plugin", "`tunnel`"),
        ("use_apop", "`auth = \"apop\"`"),
    ] {
        let lines: String = names.split(' ').map(|name| format!("{name} = true\n")).collect();
        let error = told(&format!("{GOOD}{lines}"));
        for name in names.split(' ') {
            assert!(error.contains(&format!("`{name}` in account `work`; did you mean {meant}?")), "{name}: {error}");
        }
    }
    assert_error(&format!("{GOOD}interval = 300\n"), &["unknown key `interval`", "cron or a systemd timer"]);
}

#[test]
fn a_configuration_of_another_program_is_recognized() {
    for (text, program) in [
        ("set daemon 300\npoll pop.example.com proto pop3\n  user jane there with password geheim\n", "fetchmail"),
        ("defaults\ntls on\n\naccount isp\nhost pop.example.com\npassword geheim\n", "mpop"),
        ("[retriever]\ntype = SimplePOP3SSLRetriever\n  indented\npassword = geheim\n", "getmail"),
        ("$home = \"x\"\naccount \"isp\" pop3s server \"pop.example.com\" pass \"geheim\"\n", "fdm"),
    ] {
        let error = told(text);
        assert!(error.contains(&format!("this looks like a configuration of {program}; ")), "{error}");
        assert!(!error.contains("geheim") && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn no_excerpt_shows_a_secret() {
    // The sandbox looks for the canary.
    for lines in [
        format!("pasword = \"{CANARY}\""),
        format!("pasword = {CANARY}"),
        format!("password = {CANARY}"),
        format!("password = \"{CANARY}\"\nprot = 1 # {CANARY}"),
        format!("user = petar # {CANARY}"),
        format!("password = \"{CANARY}\"\nport = \"x\""),
        format!("password: {CANARY}"),
        format!("password {CANARY}"),
        format!("password = \"{CANARY}"),
        format!("password = '''\n{CANARY}\nuser = {CANARY} \n''' x"),
        format!("password = \"\"\"\n{CANARY}\n[accounts.{CANARY}"),
        format!("password_command = [\n\"echo\", {CANARY}\n]"),
        format!("password_command = [\"echo\" \"{CANARY}\"]"),
        format!("oauth2 = {{ provider = \"x\", client_secret = \"{CANARY}\", flow = 1 }}"),
        format!("oauth2 = {{ client_secret = {CANARY} }}"),
        format!("oauth2 = \"{CANARY}\""),
        format!("proxy = \"socks4://petar:{CANARY}@h\""),
        format!("proxy = socks5://petar:{CANARY}@h:1"),
        format!("server = \"pop3s://petar:{CANARY}@h\""),
        format!("server = pop3s://petar:{CANARY}@h"),
        format!("user = \"petar:{CANARY}@h\\n\""),
        format!("deliver = \"imaps://petar:{CANARY}@h/INBOX\""),
        format!("tunnel = [\"ssh\", {CANARY}]"),
        format!("work.password = \"{CANARY}\""),
        format!("tls_client_identity_password = {CANARY}"),
        format!("password = \"x\"\npassword = \"{CANARY}\""),
    ] {
        told(&format!("[accounts.work]\n{lines}\n"));
        told(&format!("accounts.work = {{ server = 5, {} }}\n", lines.replace('\n', ", ")));
    }
    let secrets = format!("\"pass\": \"{CANARY}\", \"password\": [\"{CANARY}\"]");
    for port in ["\"x\"", "x"] {
        told(&format!("{{\"accounts\": {{\"work\": {{{secrets}, \"port\": {port}}}}}}}"));
    }
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
    sandbox.popfetch(["-q", "--keep", "14d"]).exits(78).says(&["no account `14d`", "hint: ", "`--keep=14d`"]);
    sandbox.popfetch(["-q", "pop.example.com"]).exits(78).says(&["hint: ", "`pop3s://USER@pop.example.com`"]);
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

/// A folder of configurations: defaults, an account of alice, and one of bob.
fn folder_of(sandbox: &Sandbox, port: u16) {
    sandbox.file("conf/10-defaults.toml", "[defaults]\ndeliver = \"maildir:~/Mail\"\ntimeout = 9\n");
    sandbox.file("conf/20-work.toml", Account::on(port).without("deliver").without("timeout").to_string());
    let home = as_json(port).replace("work", "home").replace(USER, "bob").replace("~/Mail", "~/Other");
    sandbox.file("conf/30-home.JSON", home);
}

#[test]
fn every_configuration_of_a_folder_is_read_and_their_defaults_hold_for_all() {
    let server = server(mails(2)).user("bob", CANARY, mails(1)).start();
    let sandbox = Sandbox::new();
    folder_of(&sandbox, server.port);
    for ignored in [".hidden.toml", "work.toml~", "#work.toml#", "#work.toml", "work.toml.bak", ".#work.toml", "README"]
    {
        sandbox.file(&format!("conf/{ignored}"), "not = = TOML");
    }
    sandbox.popfetch(["-q", "--config", "conf"]).exits(0).silently();
    assert_eq!(sandbox.maildir().messages().len(), 2);
    assert_eq!(crate::sandbox::names(&sandbox.path("Other/new")).len(), 1);
    // The same by the variable, and one after the other.
    let mut command = sandbox.command(["-q", "--no-keep", "home"]);
    command.env("POPFETCH_CONFIG", "conf");
    sandbox.run(command).exits(0).silently();
    assert!(server.unique_ids("bob").is_empty());
    let files = ["--config", "conf/10-defaults.toml", "--config", "conf/20-work.toml"];
    sandbox.popfetch(["-q", "--no-keep"].into_iter().chain(files)).exits(0).silently();
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn an_option_is_stronger_than_the_variable_and_the_variable_than_the_default() {
    let sandbox = Sandbox::new();
    sandbox.config("[accounts.default]\n");
    sandbox.file("one.toml", "[accounts.one]\n");
    let run = |arguments: &[&str], variable: &str| {
        let mut command = sandbox.command(arguments);
        command.env("POPFETCH_CONFIG", variable);
        sandbox.run(command).exits(78)
    };
    run(&["-q", "--config", "one.toml"], "nowhere.toml").says(&["account `one`"]);
    run(&["-q"], "one.toml").says(&["account `one`"]);
    run(&["-q"], "~/one.toml").says(&["account `one`"]);
    run(&["-q"], "nowhere.toml").says(&["cannot read `nowhere.toml`"]);
    run(&["-q"], "one.toml:two.toml").says(&["cannot read `one.toml:two.toml`"]);
    run(&["-q"], "").says(&["account `default`"]);
}

#[test]
fn standard_input_may_be_one_of_several_configurations() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    sandbox.file("defaults.toml", "[defaults]\nmax_messages = 5\n");
    let toml = Account::on(server.port).to_string();
    sandbox.popfetch_reading(["-q", "--config", "defaults.toml", "--config", "-"], &toml).exits(0).silently();
    assert_eq!(sandbox.maildir().messages().len(), 1);
    sandbox.popfetch(["-q", "--config", "-", "--config", "-"]).exits(64).says(&["standard input"]);
}

#[test]
fn configurations_that_contradict_each_other_are_told_with_both_places() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "conf/a.toml",
        "[defaults]\nkeep = true\ntimeout = 9\ntunnel = [\"x\"]\n\n[accounts.work]\nurl = \"pop3s://a@h\"\n\
         deliver = \"mbox:m\"\n",
    );
    sandbox.file(
        "conf/b.toml",
        "[defaults]\nkeep = false\ntimeout = 9\nsource_address = \"::1\"\n[accounts.work]\nurl = \"pop3s://b@h\"\n\
         [accounts.copy]\nurl = \"pop3s://a@h\"\ndeliver = \"mbox:m\"\n",
    );
    let run = sandbox.popfetch(["-q", "--config", "conf"]).exits(78).says(&[
        "conf/b.toml:2:1: `keep` has another value in the defaults of `conf/a.toml:2`",
        "conf/b.toml:4:1: `tunnel` of `conf/a.toml:4` and `source_address` exclude each other in `[defaults]`",
        "conf/b.toml:5:11: account `work` stands in `conf/a.toml:6`, too",
        "conf/b.toml:7:11: `work` and `copy` fetch from the same maildrop",
    ]);
    assert!(!run.stderr.contains("timeout"), "{}", run.stderr);
}

#[test]
fn a_default_with_a_relative_path_means_the_folder_of_its_file() {
    let sandbox = Sandbox::new();
    for name in ["a/c.toml", "b/c.toml"] {
        sandbox.file(name, "[defaults]\ndeliver = \"maildir:in\"\n");
    }
    let other = "b/c.toml:2:1: `deliver` has another value in the defaults of `a/c.toml:2`";
    sandbox.popfetch(["-q", "--config", "a/c.toml", "--config", "b/c.toml"]).exits(78).says(&[other]);
    let none = "there is no account in `a/c.toml`, `a/c.toml`";
    sandbox.popfetch(["-q", "--config", "a/c.toml", "--config", "a/c.toml"]).exits(78).says(&[none]);
}

#[test]
fn a_folder_without_a_configuration_is_a_mistake() {
    let sandbox = Sandbox::new();
    sandbox.file("conf/work.toml.bak", GOOD);
    sandbox.popfetch(["-q", "--config", "conf"]).exits(78).says(&["`conf`", "`.toml` or `.json`", "hint: "]);
    sandbox.popfetch(["-q", "--config", "nowhere"]).exits(78).says(&["cannot read `nowhere`"]);
}

#[test]
fn a_folder_of_configurations_and_each_of_its_files_must_be_the_users() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    folder_of(&sandbox, server.port);
    let run = || sandbox.popfetch(["-q", "--config", "conf", "work"]);
    // Others could put a file into it, also where they cannot touch those of others.
    for mode in [0o777, 0o775, 0o1777] {
        sandbox.mode("conf", mode);
        run().exits(78).says(&["/conf` can be changed by others", "chmod go-w"]);
    }
    sandbox.mode("conf", 0o755);
    sandbox.mode("conf/10-defaults.toml", 0o622);
    run().exits(78).says(&["10-defaults.toml` can be changed by others"]);
    sandbox.mode("conf/10-defaults.toml", 0o644);
    sandbox.mode("conf/20-work.toml", 0o644);
    run().exits(78).says(&["20-work.toml` holds a password but is open to others"]);
    sandbox.mode("conf/20-work.toml", 0o600);
    run().exits(0);
}

#[test]
fn what_only_a_shell_understands_is_refused_with_the_way_out() {
    let sandbox = Sandbox::new();
    for (target, words) in [
        ("mda:cat | grep x", "`mda:sh -c 'cat | grep x'`, for no shell reads this command: `|`"),
        ("mda:cat > ~/x", "`mda:sh -c 'cat > ~/x'`, for no shell reads this command: `>`"),
        ("mda:cat; true", "`mda:sh -c 'cat; true'`"),
        ("mda:cat &", "`mda:sh -c 'cat &'`"),
        ("mda:cat < x", "`mda:sh -c 'cat < x'`"),
        ("mda:maildrop -d $USER", "`mda:sh -c 'maildrop -d $USER'`, for no shell reads this command: `$USER`"),
        ("mda:lda -d `id -un`", "mda:sh -c 'lda -d `id -un`'"),
        (
            "mda:procmail -d %T",
            "expected `%F` (the sender) or `%%` (a percent sign), not `%T`; the variable `RECIPIENT`",
        ),
        ("maildir:$HOME/Mail", "expected a path without `$HOME`, which only a shell would replace; write `~`"),
        ("mbox:/var/mail/${USER}", "expected a path without `${USER}`"),
        ("maildir:`pwd`/Mail", "write `~` for the home folder"),
        ("maildir:/m/%T", "(its user up to the `@`) or `%%` (a percent sign), not `%T`; write `%%` for each `%`"),
        ("mbox:/m/a%20b", "`%%` (a percent sign), not `%2`; write `%%` for each `%` that is part of the path"),
        ("mbox:/m/100%", "not a `%` at its end; write `%%`"),
        ("maildir:~no-such-user/Mail", "expected a path whose `~user` stands in `/etc/passwd`"),
    ] {
        let url = "pop3s://petar@pop.example.com";
        sandbox.popfetch(["-q", "--deliver", target, url]).exits(64).says(&[words]);
        let toml = format!("[accounts.work]\nurl = \"{url}\"\ndeliver = \"{target}\"\n");
        sandbox.config(&toml);
        sandbox.popfetch(["-q"]).exits(78).says(&["config.toml:3:11: `deliver` cannot be ", words]);
    }
    assert!(!sandbox.path("$HOME").exists());
}

#[test]
fn what_is_quoted_or_in_a_table_is_meant_as_it_stands() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    let account = |deliver: &str| Account::on(server.port).set("deliver", deliver).to_string();
    sandbox.config(&account("\"mda:sh -c 'cat | grep -v Received > $HOME/taken'\""));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(sandbox.path("taken").exists());
    sandbox.config(&account(&format!("{{ maildir = \"{}/$HOME\" }}", sandbox.path("a").display())));
    sandbox.popfetch(["-q", "--all"]).exits(0).silently();
    assert_eq!(crate::sandbox::names(&sandbox.path("a/$HOME/new")).len(), 1);
}

#[test]
fn names_of_the_account_stand_in_the_path_of_a_target() {
    let server = server(mails(1)).user("bob@example.com", CANARY, mails(2)).start();
    let sandbox = Sandbox::new();
    let (work, home) = (Account::on(server.port).without("deliver"), Account::on(server.port).without("deliver"));
    let toml = |deliver: &str| {
        format!(
            "[targets.mine]\ndeliver = {{ maildir = \"../x%%/%n/%u\" }}\n[defaults]\ndeliver = {deliver}\n\n{}\n{}",
            work.clone().named("work"),
            home.clone().named("home").set("user", "\"bob@example.com\""),
        )
    };
    let count = |maildir: &str| crate::sandbox::names(&sandbox.path(maildir).join("new")).len();
    // The folder of the configuration is no place for placeholders.
    sandbox.file("%n/c.toml", toml("[\"mine\", \"maildir:%n\", \"mbox:~/%l.mbox\"]"));
    sandbox.popfetch(["-q", "--config", "%n/c.toml"]).exits(0).silently();
    assert_eq!((count("x%/work/alice"), count("x%/home/bob@example.com")), (1, 2));
    assert_eq!((count("%n/work"), count("%n/home")), (1, 2));
    assert!(sandbox.path("alice.mbox").exists() && sandbox.path("bob.mbox").exists());
    sandbox.popfetch(["-q", "--config", "%n/c.toml", "--deliver", "maildir:%u", "--all"]).exits(0).silently();
    assert_eq!((count("alice"), count("bob@example.com")), (1, 2));
    // A URL's name is that of its maildrop.
    sandbox.file(".netrc", format!("machine 127.0.0.1 login {USER} password {CANARY}\n"));
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    sandbox.popfetch(["-q", "--tls", "none", "--deliver", "maildir:url/%n", &url]).exits(0).silently();
    assert_eq!(count(&format!("url/{USER}@127.0.0.1:{}", server.port)), 1);
}

#[test]
fn a_name_of_the_account_leads_into_no_other_folder() {
    for (name, user, target, words) in [
        ("a", "../x", "maildir:/m/%u", "`%u` in `maildir:/m/%u` would be `../x`, which is not the name of a file"),
        ("a", "..", "mbox:/m/%u", "`%u` in `mbox:/m/%u` would be `..`"),
        ("..", "a", "maildir:/m/%n/x", "`%n` in `maildir:/m/%n/x` would be `..`"),
        ("a", "@example.com", "mbox:/m/%l", "`%l` in `mbox:/m/%l` would be ``"),
        ("a", "b/c@example.com", "maildir:/m/%l", "`%l` in `maildir:/m/%l` would be `b/c`"),
    ] {
        let account = format!("[accounts.'{name}']\nserver = \"h\"\nuser = \"{user}\"\n");
        assert_error(&format!("{account}deliver = \"{target}\"\n"), &[words]);
        assert_error(&format!("[defaults]\ndeliver = \"{target}\"\n{account}"), &[words]);
    }
    let twice = "[accounts.a]\nurl = \"pop3s://b@h\"\ndeliver = [\"mbox:/m/%u\", \"mbox:/m/b\"]\n";
    assert_error(twice, &["`mbox:/m/b` is among the targets already"]);
    let sandbox = Sandbox::new();
    let run = sandbox.popfetch(["--deliver", "maildir:/m/%u", "pop3s://a%2Fb@h"]).exits(78);
    run.says(&["`pop3s://a%2Fb@h`: `%u` in `maildir:/m/%u` would be `a/b`"]);
}

#[test]
fn a_folder_above_a_link_is_known_to_the_system_alone() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("deliver", "[\"maildir:~/md\", \"maildir:~/x/../md\"]"));
    std::fs::create_dir_all(sandbox.path("elsewhere/x")).unwrap();
    std::os::unix::fs::symlink(sandbox.path("elsewhere/x"), sandbox.path("x")).unwrap();
    sandbox.popfetch(["-q"]).exits(0).silently();
    let count = |maildir: &str| crate::sandbox::names(&sandbox.path(maildir).join("new")).len();
    assert_eq!((count("md"), count("elsewhere/md")), (1, 1));
    std::fs::remove_file(sandbox.path("x")).unwrap();
    sandbox.popfetch(["-q"]).exits(78).says(&["/md` is among the targets already"]);
}

#[test]
fn an_option_can_name_a_target_of_the_configuration() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    let account = Account::on(server.port).set("deliver", "\"mbox:~/mbox\"");
    sandbox.config(&format!("[targets.archive]\ndeliver = \"maildir:~/archive\"\n\n{account}"));
    sandbox.popfetch(["-q", "--deliver", "archive"]).exits(0).silently();
    assert_eq!(crate::sandbox::names(&sandbox.path("archive/new")).len(), 2);
    assert!(!sandbox.path("mbox").exists());
    sandbox.file(".netrc", format!("machine 127.0.0.1 login {USER} password {CANARY}\n"));
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    sandbox.popfetch(["-q", "--tls", "none", "--deliver", "archive", &url]).exits(0).silently();
    assert_eq!(server.count("RETR"), 2, "it has them");
    let words = "popfetch: `--deliver`: expected `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, `lmtp:PATH`, `lmtp://HOST`, `smtp://HOST`, `smtps://USER@HOST`, `imaps://USER@HOST/MAILBOX` or `https://HOST/PATH`, or the name of a target; ";
    let refused = |arguments: &[&str], rest: &str| {
        let run = sandbox.popfetch(["-q", "--json", "--tls", "none"].iter().chain(arguments)).exits(64);
        assert!(run.stderr.contains(&format!("{words}{rest}")), "{}", run.stderr);
        assert_eq!(run.events().last().unwrap()["status"], 64);
    };
    refused(&["--deliver", "archiv"], "did you mean `archive`?");
    refused(&["--deliver", "archiv", &url], "did you mean `archive`?");
    std::fs::remove_file(sandbox.path(".config/popfetch/config.toml")).unwrap();
    refused(&["--deliver", "archive", &url], "there is no `[targets.NAME]`");
}

#[test]
fn a_target_that_is_defined_once_is_used_by_its_name() {
    let server = server(mails(2)).user("bob", CANARY, mails(1)).start();
    let sandbox = Sandbox::new();
    let account = |name: &str| Account::on(server.port).named(name);
    let toml = format!(
        "[targets.archive]\ndeliver = \"maildir:../Mail\"\n[targets.box]\ndeliver = {{ mbox = \"{}\" }}\n\n{}\n{}",
        sandbox.path("mbox").display(),
        account("work").set("deliver", "\"archive\""),
        account("home").set("deliver", "[\"box\"]").set("user", "\"bob\""),
    );
    sandbox.file("conf/c.toml", toml);
    sandbox.popfetch(["-q", "--config", "conf/c.toml"]).exits(0).silently();
    assert_eq!((sandbox.maildir().messages().len(), sandbox.mbox().len()), (2, 1));
}

#[test]
fn mistakes_about_targets_are_told() {
    let account = "[accounts.work]\nurl = \"pop3s://petar@h\"\n";
    for (deliver, column, words) in [
        (
            "\"archiv\"",
            11,
            "`deliver` cannot be \"archiv\"; expected `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, `lmtp:PATH`, `lmtp://HOST`, `smtp://HOST`, `smtps://USER@HOST`, `imaps://USER@HOST/MAILBOX` or `https://HOST/PATH`, or the name of a target; did you mean `archive`?",
        ),
        ("\"zebra\"", 11, "or the name of a target; there are `archive`, `broken`"),
        ("archive", 11, "the value of `deliver` is text; put \"archive\" in quotes"),
        ("[]", 11, "`deliver` cannot be an empty array; expected an array of 1 to 32 targets"),
        ("[\"archive\", 3]", 23, "`deliver` cannot be 3; expected `maildir:PATH`"),
        ("[\"archive\", \"nntp:x\"]", 23, "`deliver` cannot be \"nntp:x\"; expected `maildir:PATH`"),
        ("\"imap:x\"", 11, "`deliver` cannot be \"imap:x\"; expected `imaps://USER@HOST[:PORT]/MAILBOX` or `imap://"),
        ("\"imaps://h/x\"", 11, "expected `imaps://USER@HOST[:PORT]/MAILBOX`"),
        ("[\"archive\", \"maildir:/m/./x/../a/\"]", 23, "`maildir:/m/x/../a` is among the targets already"),
        ("[\"archive\", \"archive\"]", 23, "`maildir:/m/a` is among the targets already"),
        ("[\"mbox:/m\", { mbox = \"/m\" }]", 23, "`mbox:/m` is among the targets already"),
        ("[\"mbox:/m\", [\"mbox:/n\"]]", 23, "`deliver` cannot be an array; expected `maildir:PATH`"),
        (
            "\"maildir\"",
            11,
            "`deliver` cannot be \"maildir\"; expected `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, `lmtp:PATH`, `lmtp://HOST`, `smtp://HOST`, `smtps://USER@HOST`, `imaps://USER@HOST/MAILBOX` or `https://HOST/PATH`\n",
        ),
        (
            "\"~/Mail\"",
            11,
            "`deliver` cannot be \"~/Mail\"; expected `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, `lmtp:PATH`, `lmtp://HOST`, `smtp://HOST`, `smtps://USER@HOST`, `imaps://USER@HOST/MAILBOX` or `https://HOST/PATH`\n",
        ),
    ] {
        let error = told(&format!(
            "{account}deliver = {deliver}\n[targets]\nbroken.x = 1\narchive.deliver = \"maildir:/m/a\"\n"
        ));
        assert!(error.contains(&format!("3:{column}: ")) && error.contains(words), "{deliver}: {error}");
    }
    assert_error(
        "targets = 3\n",
        &["1:11: `targets` cannot be an integer; expected tables such as `[targets.archive]`"],
    );
    for (table, words) in [
        ("[targets.a]\n", "1:10: `deliver` is missing in target `a`"),
        ("[targets.a]\ndelivr = \"mbox:/m\"\n", "2:1: unknown key `delivr` in target `a`; did you mean `deliver`?"),
        (
            "[targets.a]\ndeliver = \"b\"\n",
            "2:11: `deliver` cannot be \"b\"; expected `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, `lmtp:PATH`, `lmtp://HOST`, `smtp://HOST`, `smtps://USER@HOST`, `imaps://USER@HOST/MAILBOX` or `https://HOST/PATH`\n",
        ),
        ("[targets.a]\ndeliver = [\"mbox:/m\"]\n", "2:11: `deliver` cannot be an array; expected `maildir:PATH`"),
        (
            "[targets.a]\ndeliver = \"imaps://u@h/x\"\nrecipient = \"u\"\n",
            "3:1: `recipient` is for targets that are servers without mailboxes, such as `lmtp://HOST`",
        ),
        (
            "[targets.a]\ndeliver = \"imaps://u@h/x\"\nin_flight = 2\n",
            "3:1: `in_flight` is for targets that are servers without mailboxes",
        ),
        (
            "[targets.a]\ndeliver = \"lmtp:/x\"\ncreate = false\n",
            "3:1: `create` is for targets that are mailboxes, such as",
        ),
        ("[targets.a]\ndeliver = \"maildir:/x\"\ncreate = false\n", "3:1: `create` is for targets that are servers"),
        (
            "[targets.a]\ndeliver = \"imaps://u@h/x\"\ntls = \"none\"\n",
            "because `smtps:`, `imaps:` and `https:` begin TLS at once",
        ),
        ("[targets.a]\ndeliver = \"maildir:$HOME/x\"\n", "expected a path without `$HOME`"),
        ("[targets.'maildir:x']\ndeliver = \"mbox:/m\"\n", "1:10: `maildir:x` cannot be the name of a target"),
        ("[targets.mbox]\ndeliver = \"mbox:/m\"\n", "1:10: `mbox` cannot be the name of a target"),
    ] {
        assert_error(&format!("{table}{GOOD}"), &[words]);
    }
}

#[test]
fn an_account_may_have_several_targets() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    let deliver = format!("[\"archive\", \"maildir:~/Mail\", {}]", sandbox.mda());
    let account = Account::on(server.port).set("deliver", deliver).set("keep", false);
    sandbox.config(&format!("targets.archive.deliver = \"mbox:~/mbox\"\n{account}"));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let taken = sandbox.mda_messages().len();
    assert_eq!((sandbox.mbox().len(), sandbox.maildir().messages().len(), taken), (2, 2, 2));
    assert!(server.unique_ids(USER).is_empty());
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
fn a_run_fetches_a_maildrop_once() {
    let sandbox = Sandbox::new();
    sandbox.config(&format!("{}\n", Account::on(995).set("tls", "\"implicit\"")));
    let url = format!("pop3s://{USER}@127.0.0.1");
    for names in [["work", &url], [&url, "work"]] {
        let run = sandbox.popfetch(["--deliver", "maildir:~/x", names[0], names[1]]).exits(64);
        let same = format!("are the same maildrop `{USER}@127.0.0.1`, and a run fetches a maildrop once");
        run.says(&["`work`", &format!("`{USER}@127.0.0.1` "), &same]);
    }
    assert!(!sandbox.state().exists());
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
