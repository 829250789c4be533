//! popfetch at work, without the internet: `cargo run --locked --profile demo --example demo`
//!
//! Starts a small POP3 server on loopback with a handful of messages, and lets the real program fetch them under
//! TLS, twice: the second run finds nothing new. What arrived is compared with what the server has, octet by octet.
//! The folder with the configuration, the ledger and the Maildir is kept, to be looked into.

// The tests' own server: they use more of it.
#[allow(dead_code)]
#[path = "../../tests/server/maildrop.rs"]
mod maildrop;
mod messages;
mod tls;

use std::env;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use maildrop::{Mail, Maildrop};
use mailparse::MailHeaderMap as _;
use popfetch::text;

const USER: &str = "you@example.com";
const PASSWORD: &str = "correct horse battery staple";

/// The name under which this file runs as popfetch.
const POPFETCH: &str = "popfetch";

/// Before each message, so that there is time to see a bar grow.
const PAUSE: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    // The library is the whole program, so that one build is enough.
    if env::args_os().next().is_some_and(|name| name == POPFETCH) {
        return popfetch::run();
    }
    match demonstrate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> Result<()> {
    let tls = tls::Server::new()?;
    let authority = tls.authority.clone();
    let server = Maildrop::builder().user(USER, PASSWORD, messages::all()).implicit_tls(tls).pace(PAUSE).start();
    let home = Home::create(&authority, server.port)?;
    introduce(&server)?;

    say(&format!("$ cd {}", home.folder.display()))?;
    home.fetch()?;
    home.list()?;

    say("\nThe same again. What is at home already is not fetched again:")?;
    home.fetch()?;
    say(&format!("The server still has {}.", text::counted(server.unique_ids(USER).len(), "message")))?;

    home.say_goodbye()
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

// The server

fn introduce(server: &Maildrop) -> Result<()> {
    let mails = messages::all();
    let octets: usize = mails.iter().map(|mail| mail.octets.len()).sum();
    let messages = text::counted(mails.len(), "message");
    say(&format!(
        "A POP3 server with {messages} ({}) listens on 127.0.0.1:{}, under TLS.",
        text::octets(octets as u64),
        server.port
    ))
}

// What is at home

/// A folder with everything that a fetch needs, and what it leaves. It is not removed.
struct Home {
    folder: PathBuf,
}

impl Home {
    fn create(authority: &str, port: u16) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("popfetch-demo-").tempdir()?.keep();
        // A password never goes through the command line, where everybody can see it. These files are ours alone.
        for (name, text) in [("ca.pem", authority), ("config.toml", &configuration(port))] {
            let mut file = fs::OpenOptions::new();
            let mut file = file.write(true).create_new(true).mode(0o600).open(folder.join(name))?;
            file.write_all(text.as_bytes())?;
        }
        Ok(Home { folder })
    }

    /// Runs popfetch as a person would: it draws its bars on this terminal, if there is one.
    fn fetch(&self) -> Result<()> {
        let mut command = Command::new(env::current_exe()?);
        command.arg0(POPFETCH);
        command.args(["--config", "config.toml", "--state-dir", "state", "--deliver", "maildir:Mail"]);
        command.current_dir(&self.folder);
        if !io::stderr().is_terminal() {
            // Without a terminal popfetch is silent when all is well.
            command.arg("--verbose");
        }
        say(&shown(&command))?;
        let status = command.stdin(Stdio::null()).status().context("cannot run popfetch")?;
        ensure!(status.success(), "popfetch ended with {status}");
        Ok(())
    }

    /// Shows what arrived, and holds it against what the server has.
    fn list(&self) -> Result<()> {
        say("\nIn the Maildir:")?;
        let mut arrived = read_all(&self.folder.join("Mail/new"))?;
        arrived.sort_by_key(|octets| date(octets));
        for octets in &arrived {
            say(&format!("  {:>10}  {}", text::octets(octets.len() as u64), subject(octets)))?;
        }
        let sent: Vec<_> = messages::all().iter().map(at_home).collect();
        ensure!(arrived == sent, "what arrived is not what the server has");
        say("Every octet is the server's, with LF for CRLF.")
    }

    fn say_goodbye(&self) -> Result<()> {
        let folder = self.folder.display();
        say(&format!(
            "\n\
             Look into it, and remove it when you like:\n\
             \x20 {folder}/config.toml   the account\n\
             \x20 {folder}/Mail/new      the messages\n\
             \x20 {folder}/state         the ledger: which messages were delivered, and where\n\
             \n\
             For your own mail, in one line; it stays on the server, too:\n\
             \x20 popfetch pop3s://USER@HOST --deliver maildir:~/Mail/inbox"
        ))
    }
}

fn configuration(port: u16) -> String {
    format!(
        "[accounts.demo]\n\
         server = \"127.0.0.1\"\n\
         port = {port}\n\
         tls = \"implicit\"\n\
         tls_ca_file = \"ca.pem\"\n\
         user = \"{USER}\"\n\
         password = \"{PASSWORD}\"\n"
    )
}

/// The command as it could be typed.
fn shown(command: &Command) -> String {
    let words = command.get_args().map(|word| word.to_string_lossy());
    let quoted: Vec<_> = words.map(|word| shell_words::quote(&word).into_owned()).collect();
    format!("$ popfetch {}", quoted.join(" "))
}

fn read_all(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let entries = fs::read_dir(folder)?;
    entries.map(|entry| Ok(fs::read(entry?.path())?)).collect()
}

/// A message as it should be stored.
fn at_home(mail: &Mail) -> Vec<u8> {
    let mut octets = mail.octets.clone();
    octets.retain(|octet| *octet != b'\r');
    octets
}

fn date(octets: &[u8]) -> Option<i64> {
    mailparse::dateparse(&field(octets, "Date")?).ok()
}

fn subject(octets: &[u8]) -> String {
    text::printable(field(octets, "Subject").unwrap_or_default().as_bytes())
}

fn field(octets: &[u8], name: &str) -> Option<String> {
    mailparse::parse_headers(octets).ok()?.0.get_first_value(name)
}
