//! Real IMAP servers as targets: Dovecot, and the Cyrus of Debian. Messages come octet for octet, and each once, wherever the
//! line between popfetch and the server breaks and popfetch is killed.
//!
//! What a mailbox has is asked over IMAP, and read with the grammar that popfetch has for it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use popfetch::relay::imap::response::{Response, read, read_rest};

use crate::imap::{letters, octets};
use crate::interop::{Dovecot, free_port, program, user_ids, write};
use crate::sandbox::{Account, CANARY, Sandbox, USER, copy_program, left_out, server, wait_until};
use crate::server::Mail;
use crate::servers::downloaded;

/// Letters, and what servers may stumble over.
fn mails() -> Vec<Mail> {
    let long = "x".repeat(100_000);
    let odd = [
        "Subject: 8 bit\r\n\r\n\u{ff}\u{fe} café\r\n".to_owned(),
        "Subject: dots\r\n\r\n.\r\n..\r\nFrom here\r\n>From there\r\n".to_owned(),
        format!("Subject: long\r\nMessage-ID: <long@example.org>\r\n\r\n{long}\r\n"),
        "Subject: no body\r\n\r\n".to_owned(),
    ];
    let odd = odd.into_iter().enumerate().map(|(number, text)| Mail::new(format!("odd{number}"), text));
    letters().into_iter().chain(odd).collect()
}

/// Connections to a server, which end where a test wants it.
struct Between {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Octets to the server, and from it.
    to: AtomicU64,
    from: AtomicU64,
    /// Behind so many of them the line ends.
    end_of_to: AtomicU64,
    end_of_from: AtomicU64,
    is_cut: AtomicBool,
}

impl Between {
    fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let shared = Arc::new(Shared::default());
        for end in [&shared.end_of_to, &shared.end_of_from] {
            end.store(u64::MAX, Ordering::SeqCst);
        }
        let all = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", server)).expect("the server listens");
                for (from, to, is_to) in
                    [(client.try_clone(), server.try_clone(), true), (Ok(server), Ok(client), false)]
                {
                    let (from, to, shared) = (from.unwrap(), to.unwrap(), all.clone());
                    thread::spawn(move || shared.carry(from, to, is_to));
                }
            }
        });
        Between { port, shared }
    }

    /// How many octets have gone to the server, and came from it.
    fn octets(&self) -> (u64, u64) {
        (self.shared.to.load(Ordering::SeqCst), self.shared.from.load(Ordering::SeqCst))
    }

    fn cut(&self, to: u64, from: u64) {
        for counter in [&self.shared.to, &self.shared.from] {
            counter.store(0, Ordering::SeqCst);
        }
        self.shared.is_cut.store(false, Ordering::SeqCst);
        self.shared.end_of_to.store(to, Ordering::SeqCst);
        self.shared.end_of_from.store(from, Ordering::SeqCst);
    }

    fn is_cut(&self) -> bool {
        self.shared.is_cut.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, is_to: bool) {
        let (count, end) = if is_to { (&self.to, &self.end_of_to) } else { (&self.from, &self.end_of_from) };
        let mut chunk = [0; 4096];
        while let Ok(octets @ 1..) = from.read(&mut chunk) {
            let left = end.load(Ordering::SeqCst).saturating_sub(count.load(Ordering::SeqCst));
            let octets = octets.min(usize::try_from(left).unwrap_or(usize::MAX));
            count.fetch_add(octets as u64, Ordering::SeqCst);
            if to.write_all(&chunk[..octets]).is_err() {
                break;
            }
            if octets as u64 == left {
                self.is_cut.store(true, Ordering::SeqCst);
                break;
            }
        }
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    }
}

/// The octets of each message of a mailbox, sorted; none when it is not there.
fn messages(port: u16, mailbox: &str) -> Vec<Vec<u8>> {
    let mut line = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    line.set_read_timeout(Some(Duration::from_secs(60))).expect("a connected socket takes options");
    let commands =
        format!("a LOGIN {USER} {CANARY}\r\nb EXAMINE {mailbox}\r\nc UID FETCH 1:* (UID BODY.PEEK[])\r\nd LOGOUT\r\n");
    line.write_all(commands.as_bytes()).expect("the server reads");
    let mut said = vec![];
    line.read_to_end(&mut said).expect("the server answers, and hangs up");
    let (mut messages, mut rest) = (vec![], &said[..]);
    while !rest.is_empty() {
        let (mut response, mut length) = read(rest).expect("it is IMAP").expect("it is whole");
        while let Response::Literal { fetch, octets, .. } = response {
            let end = length + octets as usize;
            messages.push(rest[length..end].to_vec());
            let (next, octets) = read_rest(&rest[end..], &fetch).expect("it is IMAP").expect("it is whole");
            (response, length) = (next, end + octets);
        }
        rest = &rest[length..];
    }
    messages.sort();
    messages
}

/// A whole run, and runs that are cut or killed at many places; each into a mailbox of its own.
fn takes_each_message_once(name: &str, port: u16) {
    let (pop3, between) = (server(mails()).start(), Between::start(port));
    let config = |mailbox: &str, keys: &str, timeout: u32| {
        let account = Account::on(pop3.port).set("deliver", "\"there\"").set("timeout", timeout);
        let deliver = format!("imap://{USER}@127.0.0.1:{}/{mailbox}", between.port);
        format!("[targets.there]\ndeliver = \"{deliver}\"\npassword = \"{CANARY}\"\n{keys}\n{account}")
    };
    let sandbox = Sandbox::new();
    sandbox.config(&config("whole", "", 20));
    sandbox.popfetch(["check"]).exits(0);
    between.cut(u64::MAX, u64::MAX);
    sandbox.popfetch(["-q"]).exits(0).silently();
    let (to, from) = between.octets();
    assert!(messages(port, "whole") == octets(&mails()), "{name}: octets differ");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(between.octets().0, to, "{name}: nothing was new");
    let ends = (1..12).map(|part| (to * part / 12, u64::MAX)).chain((1..8).map(|part| (u64::MAX, from * part / 8)));
    let mut happened = 0;
    for (number, (to, from)) in ends.enumerate() {
        let keys = if number % 2 == 0 { "" } else { "headers = [\"id\"]" };
        let (mailbox, sandbox) = (format!("cut{number}"), Sandbox::new());
        sandbox.config(&config(&mailbox, keys, 20));
        between.cut(to, from);
        let mut command = sandbox.command(["-q"]);
        let mut running = sandbox.start(&mut command);
        let pid = rustix::process::Pid::from_raw(running.pid() as i32).expect("a process has a number");
        running.watch(|_| {
            if number % 3 == 0 && between.is_cut() {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        running.finish();
        happened += usize::from(between.is_cut());
        between.cut(u64::MAX, u64::MAX);
        sandbox.config(&config(&mailbox, keys, 4));
        let run = (0..10).map(|_| sandbox.popfetch(["-q", "--now"])).find(|run| run.code() == 0);
        run.unwrap_or_else(|| panic!("{name}, {mailbox}: {:#?}", sandbox.popfetch(["--now"])));
        let mut came: Vec<_> = messages(port, &mailbox).iter().map(|octets| crate::imap::unstamped(octets)).collect();
        came.sort();
        assert!(came == octets(&mails()), "{name}, cut at {to} or {from}: each message once, but {}", came.len());
    }
    println!("{name}: {happened} cuts and kills");
    assert!(happened > 15, "{name}: only {happened} cuts happened");
}

#[test]
fn a_real_dovecot_has_each_message_once() {
    if !Path::new("/usr/lib/dovecot/imap").exists() {
        return left_out("APPEND into a real Dovecot", "dovecot-imapd is not installed");
    }
    let port = free_port();
    let settings = format!(
        "auth_mechanisms = plain\nprotocols = pop3 imap\nservice imap-login {{\n  chroot =\n\
         inet_listener imap {{\n    port = {port}\n  }}\n  inet_listener imaps {{\n    port = 0\n  }}\n}}\n"
    );
    let Some(_dovecot) = Dovecot::start_with(&[USER.to_owned()], &[], &settings) else { return };
    takes_each_message_once("Dovecot", port);
}

/// A Cyrus of our own. Dropping it ends it.
struct Cyrus {
    _folder: tempfile::TempDir,
    master: Child,
}

impl Drop for Cyrus {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.master);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.master.wait();
    }
}

const IMAPD_CONF: &str = "configdirectory: FOLDER/conf
partition-default: FOLDER/mail
defaultpartition: default
proc_path: FOLDER/proc
mboxname_lockpath: FOLDER/lock
lmtpsocket: FOLDER/lmtp
idlesocket: FOLDER/idle
notifysocket: FOLDER/notify
cyrus_user: OWNER
servername: localhost
allowplaintext: yes
altnamespace: yes
unixhierarchysep: yes
autocreate_quota: 0
autocreate_users: anyone
autocreate_post: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: FOLDER/sasldb
sasl_mech_list: PLAIN
";

const CYRUS_CONF: &str = "START {
}
SERVICES {
  imap cmd=\"FOLDER/imapd -C FOLDER/imapd.conf -U 1\" listen=\"127.0.0.1:PORT\" prefork=0
}
EVENTS {
}
";

impl Cyrus {
    fn start(port: u16) -> Result<Self, String> {
        let [master, imapd] = [("cyrus-common", "master"), ("cyrus-imapd", "imapd")].map(|(package, name)| {
            let within = format!("usr/lib/cyrus/bin/{name}");
            let places = [Path::new("/").join(&within), downloaded(package).join(&within)];
            places.into_iter().find(|place| place.is_file()).ok_or(format!("{package} is not there"))
        });
        let (master, imapd) = (master?, imapd?);
        let saslpasswd2 = program("saslpasswd2").ok_or("sasl2-bin is not installed")?;
        let folder = tempfile::Builder::new().prefix("popfetch-cyrus-").tempdir().unwrap();
        let owner = match rustix::process::geteuid().is_root() {
            true => "nobody".to_owned(),
            false => {
                let output = Command::new("id").arg("-un").output().expect("`id` is everywhere");
                String::from_utf8_lossy(&output.stdout).trim().to_owned()
            }
        };
        let fill = |text: &str| {
            let text = text.replace("FOLDER", &folder.path().display().to_string());
            text.replace("OWNER", &owner).replace("PORT", &port.to_string())
        };
        write(folder.path(), "imapd.conf", fill(IMAPD_CONF));
        write(folder.path(), "cyrus.conf", fill(CYRUS_CONF));
        copy_program(&imapd, &folder.path().join("imapd"));
        for name in ["conf", "mail"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut passwd = Command::new(saslpasswd2);
        passwd.args(["-p", "-c", "-u", "localhost", "-f"]).arg(folder.path().join("sasldb")).arg(USER);
        let mut passwd = passwd.stdin(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        passwd.stdin.take().unwrap().write_all(CANARY.as_bytes()).unwrap();
        assert!(passwd.wait().unwrap().success(), "saslpasswd2 writes a password");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if let Some((uid, gid)) = user_ids(&owner).filter(|_| rustix::process::geteuid().is_root()) {
            for name in ["", "conf", "mail", "sasldb", "imapd", "imapd.conf", "cyrus.conf"] {
                chown(folder.path().join(name), Some(uid), Some(gid)).unwrap();
            }
        }
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(master);
        command.arg("-C").arg(folder.path().join("imapd.conf")).arg("-M").arg(folder.path().join("cyrus.conf"));
        command.arg("-p").arg(folder.path().join("pid")).args(["-D", "-l", "10"]);
        let log = log.try_clone().map(|again| (log, again)).unwrap();
        let master =
            command.stdin(Stdio::null()).stdout(log.0).stderr(log.1).spawn().map_err(|error| error.to_string())?;
        wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        Ok(Cyrus { _folder: folder, master })
    }
}

#[test]
fn a_real_cyrus_has_each_message_once() {
    let port = free_port();
    match Cyrus::start(port) {
        Ok(_cyrus) => takes_each_message_once("Cyrus", port),
        Err(why) => left_out("APPEND into a real Cyrus", &why),
    }
}
