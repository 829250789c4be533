//! Whom TLS trusts: pins, client certificates, other names, the system's authorities, and nobody at all.

use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::x509::X509;
use rcgen::SanType;
use sha2::{Digest, Sha256};

use crate::sandbox::{Account, CANARY, Run, Sandbox, mails, server};
use crate::server::{Authority, Identity, Maildrop};

fn implicit(port: u16) -> Account {
    Account::on(port).set("tls", "\"implicit\"")
}

/// A server with one message and this certificate.
fn showing(identity: &Identity) -> Maildrop {
    server(mails(1)).implicit_tls(identity.server_config()).start()
}

/// Fetches with a pin, or an array of them.
fn pinned(server: &Maildrop, pins: &str) -> Run {
    Sandbox::with(implicit(server.port).set("tls_pin", pins)).popfetch(["-q"])
}

fn hexadecimal(octets: impl AsRef<[u8]>) -> String {
    octets.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

fn pin_of_certificate(identity: &Identity) -> String {
    format!("sha256:{}", hexadecimal(Sha256::digest(identity.certificate_der())))
}

fn pin_of_key(identity: &Identity) -> String {
    let certificate = X509::from_der(identity.certificate_der()).unwrap();
    format!("sha256:{}", hexadecimal(Sha256::digest(certificate.public_key().unwrap().public_key_to_der().unwrap())))
}

#[track_caller]
fn assert_no_login(server: &Maildrop) {
    assert_eq!((server.count("AUTH"), server.count("USER"), server.count("CAPA")), (0, 0, 0), "{:#?}", server.heard());
}

#[test]
fn a_pin_of_the_certificate_or_of_its_key_is_all_the_trust_there_need_be() {
    let authority = Authority::new("nobody knows");
    for identity in [Identity::self_signed(), authority.good(), authority.expired(), authority.wrong_name()] {
        for pin in [pin_of_certificate(&identity), pin_of_key(&identity)] {
            let server = showing(&identity);
            pinned(&server, &format!("{pin:?}")).exits(0).silently();
            assert_eq!(server.count("RETR"), 1);
        }
    }
}

#[test]
fn any_of_several_pins_will_do() {
    let (old, new) = (Identity::self_signed(), Identity::self_signed());
    let pins = format!("[{:?}, {:?}]", pin_of_key(&old), pin_of_key(&new));
    for identity in [old, new] {
        pinned(&showing(&identity), &pins).exits(0).silently();
    }
}

#[test]
fn a_certificate_that_is_not_pinned_is_told_by_its_fingerprints_and_hears_nothing() {
    let (expected, shown) = (Identity::self_signed(), Identity::self_signed());
    let server = showing(&shown);
    let run = pinned(&server, &format!("{:?}", pin_of_certificate(&expected))).exits(69);
    run.says(&["matches no `tls_pin`", &pin_of_certificate(&shown), &pin_of_key(&shown), "confirm"]);
    assert_no_login(&server);

    let server = crate::sandbox::server(mails(1)).starttls(shown.server_config()).start();
    let account = Account::on(server.port).set("tls", "\"starttls\"");
    let account = account.set("tls_pin", format!("{:?}", pin_of_key(&expected)));
    Sandbox::with(account).popfetch(["-q"]).exits(69).says(&["matches no `tls_pin`"]);
    assert_eq!((server.count("AUTH"), server.count("USER")), (0, 0));
}

#[test]
fn with_a_file_of_authorities_both_must_agree() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    for (identity, code) in [(ours.good(), 0), (theirs.good(), 69), (ours.expired(), 69)] {
        let server = showing(&identity);
        let account = implicit(server.port).set("tls_pin", format!("{:?}", pin_of_key(&identity)));
        let sandbox = Sandbox::with(account.set("tls_ca_file", "\"~/ca.pem\""));
        sandbox.file("ca.pem", &ours.pem);
        sandbox.popfetch(["-q"]).exits(code);
    }
}

#[test]
fn a_server_may_be_known_by_another_name() {
    let authority = Authority::new("ours");
    for (name, code) in [("pop.example.net", 0), ("pop.example.com", 69)] {
        let server = showing(&authority.wrong_name());
        let account = implicit(server.port).set("tls_name", format!("{name:?}")).set("tls_ca_file", "\"~/ca.pem\"");
        let sandbox = Sandbox::with(account);
        sandbox.file("ca.pem", &authority.pem);
        sandbox.popfetch(["-q"]).exits(code);
    }
}

#[test]
fn a_common_name_is_no_name_of_a_server() {
    let authority = Authority::new("ours");
    let mail = SanType::Rfc822Name("postmaster@localhost".try_into().unwrap());
    let address = SanType::IpAddress("192.0.2.1".parse().unwrap());
    let other = SanType::DnsName("pop.example.net".try_into().unwrap());
    for alternatives in [vec![], vec![mail], vec![address], vec![other]] {
        for host in ["localhost", "127.0.0.1"] {
            let server = showing(&authority.by_common_name(host, alternatives.clone()));
            let account = implicit(server.port).set("tls_ca_file", "\"~/ca.pem\"");
            for account in
                [account.clone().set("server", format!("{host:?}")), account.set("tls_name", format!("{host:?}"))]
            {
                let sandbox = Sandbox::with(account);
                sandbox.file("ca.pem", &authority.pem);
                sandbox.popfetch(["-q"]).exits(69).says(&["the certificate of the server is not for", host]);
            }
            assert_no_login(&server);
        }
    }
}

#[test]
fn verification_can_be_turned_off_but_not_in_silence() {
    let server = showing(&Identity::self_signed());
    let sandbox = Sandbox::with(implicit(server.port).set("tls_verify", false));
    sandbox.popfetch([""; 0]).exits(0).says(&["not verified", "tls_verify = false"]);
    sandbox.popfetch([""; 0]).exits(0).says(&["not verified", "tls_verify = false"]);
    assert_eq!(server.count("RETR"), 1);
}

#[test]
fn a_pin_and_no_verification_exclude_each_other() {
    let pin = format!("{:?}", pin_of_key(&Identity::self_signed()));
    let sandbox = Sandbox::with(implicit(995).set("tls_pin", &pin).set("tls_verify", false));
    sandbox.popfetch(["-q"]).exits(78).says(&["`tls_pin` and `tls_verify` exclude each other"]);
    let sandbox = Sandbox::with(implicit(995).set("tls_pin", "\"sha256:12\""));
    sandbox.popfetch(["-q"]).exits(78).says(&["`tls_pin` cannot be \"sha256:12\"", "32 octets"]);
}

/// A server that only a client of this authority may talk to, and an account with the identity in `~/me`.
fn demanding(authority: &Authority, identity: &Identity, octets: &[u8]) -> (Maildrop, Sandbox, Account) {
    let server = server(mails(1)).implicit_tls(identity.server_config_demanding(authority)).start();
    let account = implicit(server.port)
        .set("tls_pin", format!("{:?}", pin_of_key(identity)))
        .set("tls_client_identity", "\"~/me\"");
    let sandbox = Sandbox::with(account.clone());
    sandbox.file("me", octets);
    (server, sandbox, account)
}

fn pem(identity: &Identity) -> Vec<u8> {
    [identity.key_pem.as_bytes(), identity.certificate_pem.as_bytes()].concat()
}

fn pkcs12(identity: &Identity, password: &str) -> Vec<u8> {
    let key = PKey::private_key_from_pem(identity.key_pem.as_bytes()).unwrap();
    let certificate = X509::from_der(identity.certificate_der()).unwrap();
    Pkcs12::builder().name("me").pkey(&key).cert(&certificate).build2(password).unwrap().to_der().unwrap()
}

#[test]
fn a_client_certificate_is_shown_from_pem_and_from_pkcs12() {
    let authority = Authority::new("clients");
    let (me, identity) = (authority.client(), Identity::self_signed());
    let key = PKey::private_key_from_pem(me.key_pem.as_bytes()).unwrap();
    let encrypted =
        key.private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_256_cbc(), CANARY.as_bytes()).unwrap();
    let encrypted = [me.certificate_pem.as_bytes(), &encrypted].concat();
    for (octets, password) in
        [(pem(&me), None), (pkcs12(&me, ""), None), (pkcs12(&me, CANARY), Some(CANARY)), (encrypted, Some(CANARY))]
    {
        let (server, sandbox, account) = demanding(&authority, &identity, &octets);
        if let Some(password) = password {
            sandbox.config(&account.set("tls_client_identity_password", format!("{password:?}")).to_string());
        }
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), 1);
    }
}

#[test]
fn a_server_that_misses_a_client_certificate_is_understood() {
    let (authority, identity) = (Authority::new("clients"), Identity::self_signed());
    let server = server(mails(1)).implicit_tls(identity.server_config_demanding(&authority)).start();
    let run = pinned(&server, &format!("{:?}", pin_of_key(&identity))).exits(69);
    run.says(&["certificate required", "`tls_client_identity`"]);
}

#[test]
fn a_client_identity_that_is_open_absent_or_broken_ends_before_the_login() {
    let authority = Authority::new("clients");
    let (me, other, identity) = (authority.client(), authority.client(), Identity::self_signed());
    let mismatched = [me.certificate_pem.as_bytes(), other.key_pem.as_bytes()].concat();
    let certificate_alone = me.certificate_pem.clone().into_bytes();
    for octets in [b"neither".to_vec(), certificate_alone, pkcs12(&me, CANARY), mismatched] {
        let (server, sandbox, _) = demanding(&authority, &identity, &octets);
        sandbox.popfetch(["-q"]).exits(78).says(&["cannot use the client identity `", "/me`"]);
        assert_no_login(&server);
    }
    let (server, sandbox, _) = demanding(&authority, &identity, &pem(&me));
    sandbox.mode("me", 0o644);
    sandbox.popfetch(["-q"]).exits(78).says(&["holds a key but is open to others (mode 0644)", "chmod 600"]);
    std::fs::remove_file(sandbox.path("me")).unwrap();
    sandbox.popfetch(["-q"]).exits(78).says(&["cannot read the client identity", "no such file"]);
    assert_eq!(server.connections(), 0);
}

#[test]
fn the_password_of_a_key_makes_the_configuration_a_secret() {
    let account = implicit(995).without("password").set("tls_client_identity", "\"~/me\"");
    let sandbox = Sandbox::with(account.set("tls_client_identity_password", format!("{CANARY:?}")));
    sandbox.mode(".config/popfetch/config.toml", 0o644);
    sandbox.popfetch(["-q"]).exits(78).says(&["holds a password but is open to others"]);
}

#[test]
fn the_systems_authorities_are_found_in_a_folder_with_hashed_names_or_in_a_file() {
    let authority = Authority::new("a system's");
    let hash = X509::from_pem(authority.pem.as_bytes()).unwrap().subject_name_hash();
    let server = showing(&authority.good());
    let sandbox = Sandbox::with(implicit(server.port));
    sandbox.file(&format!("certs/{hash:08x}.0"), &authority.pem);
    sandbox.file("ca.pem", &authority.pem);
    for (variable, path) in [("SSL_CERT_DIR", "certs"), ("SSL_CERT_FILE", "ca.pem")] {
        let mut command = sandbox.command(["-q"]);
        sandbox
            .run({
                command.env(variable, sandbox.path(path));
                command
            })
            .exits(0)
            .silently();
    }
    sandbox.popfetch(["-q"]).exits(69).says(&["not signed by an authority that this system trusts", "`tls_ca_file`"]);
}

/// What a fetch from a server with this certificate says.
fn refused(identity: &Identity) -> (Maildrop, Sandbox, Run) {
    let server = showing(identity);
    let sandbox = Sandbox::with(implicit(server.port));
    let run = sandbox.popfetch(["-q"]).exits(69);
    (server, sandbox, run)
}

#[test]
fn a_refused_certificate_is_shown_with_the_line_that_lets_it_pass() {
    let authority = Authority::new("nobody knows");
    for (identity, error, says) in [
        (Identity::self_signed(), "is self-signed", "it is for `localhost`, `127.0.0.1`, by itself, from 19"),
        (
            authority.good(),
            "not signed by an authority",
            "it is for `localhost`, `127.0.0.1`, by `nobody knows`, from ",
        ),
    ] {
        let (server, sandbox, run) = refused(&identity);
        let (pin, key) = (pin_of_certificate(&identity), pin_of_key(&identity));
        let line = format!("tls_pin = \"{pin}\"");
        let certificate = format!("\n  {pin} (the certificate)\n");
        let key = format!("\n  {key} (its public key)\n");
        run.says(&[error, says, &certificate, &key, &format!("write `{line}`")]);
        assert_no_login(&server);
        // The line as it is advised.
        sandbox.config(&format!("{}{line}\n", implicit(server.port)));
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), 1);
    }
}

#[test]
fn beside_a_file_of_authorities_the_pin_is_to_take_its_place() {
    let authority = Authority::new("ours");
    for (identity, error, says) in [
        (authority.expired(), "has expired", "from 2001-01-01 to 2002-01-01"),
        (authority.wrong_name(), "is not for `127.0.0.1`", "it is for `pop.example.net`, by `ours`, from "),
        (Authority::new("theirs").good(), "not signed by an authority in", "by `theirs`"),
    ] {
        let server = showing(&identity);
        let sandbox = Sandbox::with(implicit(server.port).set("tls_ca_file", "\"~/ca.pem\""));
        sandbox.file("ca.pem", &authority.pem);
        let run = sandbox.popfetch(["-q"]).exits(69);
        let pin = pin_of_certificate(&identity);
        run.says(&[error, says, &format!("tls_pin = \"{pin}\"` in place of `tls_ca_file`")]);
    }
}

#[test]
fn who_came_by_a_url_is_advised_in_options_that_work() {
    let identity = Identity::self_signed();
    let server = showing(&identity);
    let sandbox = Sandbox::new();
    sandbox.file(".netrc", format!("machine 127.0.0.1 login alice password {CANARY}\n"));
    let url = format!("pop3s://alice@127.0.0.1:{}", server.port);
    let fetch = |more: &[&str]| sandbox.popfetch([&["-q", &*url, "--deliver", "maildir:Mail"], more].concat());
    let pin = pin_of_certificate(&identity);
    let advice = format!("--tls-pin {pin}");
    let run = fetch(&[]).exits(69).says(&["is self-signed", &format!("write `{advice}`")]);
    assert!(!run.stderr.contains("tls_pin"), "{run:#?}");
    fetch(&["--tls-pin", &pin_of_key(&Identity::self_signed())]).exits(69).says(&["let its owner confirm", &advice]);
    fetch(&advice.split(' ').collect::<Vec<_>>()).exits(0).silently();
    fetch(&["--tls-pin", "sha256:12"]).exits(64).says(&["32 octets"]);
    let in_clear = crate::sandbox::server(mails(1)).start();
    let url = format!("pop3s://alice@127.0.0.1:{}", in_clear.port);
    sandbox.popfetch([&*url, "--deliver", "maildir:Mail"]).exits(69).says(&["`pop3://`"]);
}

#[test]
fn a_hostile_certificate_is_escaped_and_cut() {
    let identity = Identity::hostile();
    let (_server, sandbox, run) = refused(&identity);
    let run = run.says(&["`n0.example.org`, `n1.example.org`", "` and 1995 more, by itself"]);
    assert!(run.stderr.len() < 3000 && !run.stderr.chars().any(|c| c.is_control() && c != '\n'), "{run:#?}");
    let run = sandbox.popfetch(["-q", "--json"]).exits(69);
    let details = run.account()["details"].to_string();
    assert!(details.contains(&pin_of_key(&identity)) && !details.contains("\\u001b"), "{details}");
}
