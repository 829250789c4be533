//! OAuth 2.0 without a person: a service that gets its tokens as itself (`flow = "client_credentials"`).
//!
//! What is sent to the endpoint is compared field by field, and a signed token checked with the certificate's key.

use std::fs;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};

use crate::sandbox::{Account, Run, Sandbox, USER, left_out, mails, server};
use crate::server::{Answer, Endpoint, Form, Maildrop, ScriptServer};

const SECRET: &str = "kanarinac-sluzbe";
const ACCESS: &str = "kanarinac-pristup";
const SCOPE: &str = "https://outlook.office365.com/.default";

/// A service account whose client is proved by this part of its table.
fn account(port: u16, endpoint: &Endpoint, proof: &str) -> Account {
    let oauth2 = format!(
        "{{ flow = \"client_credentials\", tenant = \"example.onmicrosoft.com\", client_id = \"app-id\", \
         token_endpoint = \"{}/token\", {proof} }}",
        endpoint.url()
    );
    Account::on(port).without("password").set("oauth2", oauth2).set("auth", "\"user\"").set("keep", false)
}

fn token(expires_in: u64) -> Answer {
    let refresh = "kanarinac-osvjezenja";
    let body =
        json!({ "access_token": ACCESS, "token_type": "Bearer", "expires_in": expires_in, "refresh_token": refresh });
    Answer::Says(200, body.to_string())
}

fn refused(error: &str) -> Answer {
    let description = format!("AADSTS7000215: {SECRET} is no good");
    Answer::Says(400, json!({ "error": error, "error_description": description }).to_string())
}

#[track_caller]
fn assert_no_secret(run: Run) -> Run {
    for secret in [SECRET, ACCESS, "kanarinac-osvjezenja", "eyJ"] {
        assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{secret} is in {run:#?}");
    }
    run
}

fn stored(sandbox: &Sandbox, port: u16) -> Value {
    let path = format!(".local/state/popfetch/{USER}@127.0.0.1:{port}.oauth2.json");
    serde_json::from_slice(&fs::read(sandbox.path(path)).unwrap()).unwrap()
}

/// The tokens that the mail server was given.
fn shown_to(mail: &Maildrop) -> Vec<String> {
    let commands = (1..=mail.connections()).flat_map(|connection| mail.commands(connection));
    commands.filter_map(|command| command.strip_prefix("PASS ").map(str::to_owned)).collect()
}

fn fields(form: &Form) -> Vec<(&str, &str)> {
    form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn a_service_gets_a_token_as_itself_and_keeps_it_until_it_expires() {
    for proof in ["literal", "file", "command"] {
        let mail = server(mails(1)).any_password().start();
        let endpoint = Endpoint::start([token(3600)]);
        let sandbox = Sandbox::new();
        let file = sandbox.file("secret", format!("{SECRET}\n"));
        let key = match proof {
            "literal" => format!("client_secret = {SECRET:?}"),
            "file" => format!("client_secret_file = {file:?}"),
            _ => format!("client_secret_command = [\"/bin/cat\", {file:?}]"),
        };
        sandbox.config(&account(mail.port, &endpoint, &key).to_string());
        assert_no_secret(sandbox.popfetch(["-vv", "--json"])).exits(0);
        sandbox.popfetch(["-q"]).exits(0).silently();
        let [form] = &endpoint.heard()[..] else { panic!("one token for its hour: {:?}", endpoint.heard()) };
        let expected = [
            ("client_id", "app-id"),
            ("client_secret", SECRET),
            ("grant_type", "client_credentials"),
            ("scope", SCOPE),
        ];
        assert_eq!(fields(form), expected, "{proof}");
        assert_eq!(shown_to(&mail), [ACCESS, ACCESS], "{proof}");
        // A refresh token that it did not ask for is not kept.
        let stored = stored(&sandbox, mail.port);
        assert_eq!((&stored["refresh_token"], &stored["access_token"]), (&Value::Null, &json!(ACCESS)));
        assert!(!stored.to_string().contains(SECRET));
    }
}

#[test]
fn a_token_that_has_expired_or_is_of_a_person_or_damaged_is_replaced() {
    let mail = server(mails(1)).any_password().start();
    let endpoint = Endpoint::start([token(1), token(1), token(1), token(3600)]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint, &format!("client_secret = {SECRET:?}")));
    // Less than a minute is left of it each time.
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(endpoint.heard().len(), 2);
    let path = format!(".local/state/popfetch/{USER}@127.0.0.1:{}.oauth2.json", mail.port);
    sandbox.file(&path, "{ half");
    sandbox.popfetch(["-q"]).exits(0).silently();
    let of_person = json!({
        "client_id": "app-id", "token_endpoint": format!("{}/token", endpoint.url()), "refresh_token": "old",
        "access_token": "of a person", "expires_at": 1_u64 << 40,
    });
    sandbox.file(&path, of_person.to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(endpoint.heard().len(), 4);
    assert_eq!(shown_to(&mail), [ACCESS; 4]);
}

#[test]
fn the_mailbox_is_the_user_of_xoauth2() {
    let response = BASE64.encode(format!("user={USER}\u{1}auth=Bearer {ACCESS}\u{1}\u{1}"));
    let mail = ScriptServer::tcp(&format!(
        "S: +OK ready\nC: CAPA\nS: +OK\nS: SASL PLAIN XOAUTH2\nS: .\nC: AUTH XOAUTH2\nS: + \nC: {response}\nS: -ERR no"
    ));
    let endpoint = Endpoint::start([token(3600)]);
    let account = account(mail.port, &endpoint, &format!("client_secret = {SECRET:?}")).set("auth", "\"auto\"");
    assert_no_secret(Sandbox::with(account).popfetch(["-vv"])).exits(77);
    mail.finish();
}

/// Files of a certificate and its RSA key; `None`, and a word about it, without openssl(1).
fn key_pair(sandbox: &Sandbox, name: &str) -> Option<[String; 2]> {
    let [certificate, key] = ["crt", "key"].map(|end| sandbox.path(format!("{name}.{end}")).display().to_string());
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=app", "-days", "2"])
        .args(["-keyout", &key, "-out", &certificate])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|made| made.success()) {
        left_out("a client with a key", "openssl(1) makes no certificate");
        return None;
    }
    sandbox.mode(&format!("{name}.key"), 0o600);
    Some([certificate, key])
}

/// What openssl(1) prints.
fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn thumbprint(certificate: &str, digest: &str) -> String {
    let printed = String::from_utf8(openssl(&["x509", "-in", certificate, "-noout", "-fingerprint", digest])).unwrap();
    let digits = printed.trim().rsplit('=').next().unwrap().split(':');
    BASE64URL.encode(digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect::<Vec<_>>())
}

#[test]
#[cfg(not(target_vendor = "apple"))]
fn a_client_with_a_key_signs_a_token_for_each_request() {
    let mail = server(mails(1)).any_password().start();
    let endpoint = Endpoint::start([token(1)]);
    let sandbox = Sandbox::new();
    let Some([certificate, key]) = key_pair(&sandbox, "app") else { return };
    let proof = format!("client_certificate = {certificate:?}, client_key = {key:?}");
    sandbox.config(&account(mail.port, &endpoint, &proof).to_string());
    let before = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert_no_secret(sandbox.popfetch(["-vv"])).exits(0);
    sandbox.popfetch(["-q"]).exits(0).silently();
    let heard = endpoint.heard();
    let mut ids = vec![];
    for form in &heard {
        let names: Vec<_> = form.keys().map(String::as_str).collect();
        assert_eq!(names, ["client_assertion", "client_assertion_type", "client_id", "grant_type", "scope"]);
        assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        assert_eq!((form["client_id"].as_str(), form["grant_type"].as_str()), ("app-id", "client_credentials"));
        assert_eq!(form["scope"], SCOPE);
        let parts: Vec<&str> = form["client_assertion"].split('.').collect();
        let [header, claims, signature] = parts[..] else { panic!("three parts: {parts:?}") };
        let decoded = |part: &str| BASE64URL.decode(part).unwrap();
        let header: Value = serde_json::from_slice(&decoded(header)).unwrap();
        let expected = json!({
            "alg": "PS256", "typ": "JWT", "x5t": thumbprint(&certificate, "-sha1"),
            "x5t#S256": thumbprint(&certificate, "-sha256"),
        });
        assert_eq!(header, expected);
        let claims: Value = serde_json::from_slice(&decoded(claims)).unwrap();
        let now = claims["iat"].as_u64().unwrap();
        assert!((before..before + 600).contains(&now), "{claims}");
        let id = claims["jti"].as_str().unwrap().to_owned();
        let expected = json!({
            "aud": format!("{}/token", endpoint.url()), "iss": "app-id", "sub": "app-id", "jti": id, "iat": now,
            "nbf": now, "exp": now + 300,
        });
        assert_eq!(claims, expected);
        ids.push(id);
        // RFC 7518 §3.5: the salt is as long as the digest.
        let signed = sandbox.file("signed", format!("{}.{}", parts[0], parts[1]));
        let signature = sandbox.file("signature", decoded(signature));
        let public = sandbox.file("public", openssl(&["x509", "-in", &certificate, "-noout", "-pubkey"]));
        let [signed, signature, public] = [signed, signature, public].map(|path| path.display().to_string());
        let options = ["rsa_padding_mode:pss", "rsa_pss_saltlen:32", "rsa_mgf1_md:sha256"];
        let mut arguments = vec!["dgst", "-sha256", "-verify", &public, "-signature", &signature];
        arguments.extend(options.iter().flat_map(|option| ["-sigopt", option]));
        arguments.push(&signed);
        assert_eq!(String::from_utf8(openssl(&arguments)).unwrap().trim(), "Verified OK");
    }
    assert!(heard.len() == 2 && ids[0] != ids[1], "{ids:?}");
}

#[test]
#[cfg(not(target_vendor = "apple"))]
fn a_key_that_cannot_be_used_is_told_before_anything_is_sent() {
    let sandbox = Sandbox::new();
    let (Some([certificate, key]), Some([other, _])) = (key_pair(&sandbox, "app"), key_pair(&sandbox, "other")) else {
        return;
    };
    let encrypted = sandbox.path("encrypted.key").display().to_string();
    openssl(&["rsa", "-in", &key, "-aes256", "-passout", "pass:x", "-out", &encrypted]);
    let elliptic = sandbox.path("elliptic.key").display().to_string();
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &elliptic]);
    let no_key = sandbox.file("no.key", fs::read(&certificate).unwrap()).display().to_string();
    let open = sandbox.path("open.key").display().to_string();
    fs::copy(&key, &open).unwrap();
    ["encrypted.key", "elliptic.key"].iter().for_each(|name| sandbox.mode(name, 0o600));
    sandbox.mode("open.key", 0o644);
    for (certificate, key, said) in [
        (&other, &key, "its key is not that of the certificate"),
        (&key, &key, "it has no certificate in PEM"),
        (&certificate, &no_key, "it has no key in PEM without a passphrase"),
        (&certificate, &encrypted, "it has no key in PEM without a passphrase"),
        (&certificate, &elliptic, "not one of RSA, which PS256 needs"),
        (&certificate, &open, "holds a key but is open to others"),
        (&certificate, &"/no/such/key".to_owned(), "no such file"),
        (&"/no/such/certificate".to_owned(), &key, "no such file"),
    ] {
        let mail = server(mails(1)).any_password().start();
        let endpoint = Endpoint::start([token(3600)]);
        let proof = format!("client_certificate = {certificate:?}, client_key = {key:?}");
        // A certificate is no secret.
        sandbox.config(&account(mail.port, &endpoint, &proof).to_string());
        let run = assert_no_secret(sandbox.popfetch(["-q"])).says(&[said]);
        assert!([74, 78].contains(&run.code()), "{run:#?}");
        assert_eq!((mail.connections(), endpoint.heard().len()), (0, 0), "{said}");
    }
}

#[test]
fn every_refusal_of_the_endpoint_is_told_with_what_to_do() {
    for (error, code, hint) in [
        ("invalid_request", 78, "hint: check the keys of `oauth2`"),
        ("invalid_client", 78, "the value of the secret, not its ID; it may have expired"),
        ("invalid_grant", 77, "hint: run `popfetch login work`"),
        ("unauthorized_client", 78, "does not allow this `flow`, or is not in this `tenant`"),
        ("unsupported_grant_type", 78, "hint: the endpoint does not know this `flow`"),
        ("invalid_scope", 78, "Microsoft's end in `/.default`"),
        ("temporarily_unavailable", 75, ""),
    ] {
        let mail = server(mails(1)).any_password().start();
        let endpoint = Endpoint::start([refused(error)]);
        let sandbox = Sandbox::with(account(mail.port, &endpoint, &format!("client_secret = {SECRET:?}")));
        let run = assert_no_secret(sandbox.popfetch(["-vv"])).exits(code);
        run.says(&[&format!("refused: `{error}` (AADSTS7000215: **** is no good)"), hint]);
        assert_eq!((mail.connections(), endpoint.heard().len()), (0, 1), "{error}");
    }
}

#[test]
fn a_secret_that_cannot_be_had_is_named_as_that_of_the_client() {
    let mail = server(mails(1)).any_password().start();
    let endpoint = Endpoint::start([token(3600)]);
    let sandbox = Sandbox::new();
    let open = sandbox.file("open", SECRET);
    sandbox.mode("open", 0o644);
    for (proof, code, said) in [
        (
            "client_secret_command = [\"/bin/sh\", \"-c\", \"exit 3\"]".to_owned(),
            75,
            "the client secret command `/bin/sh`",
        ),
        ("client_secret_file = \"/no/such\"".to_owned(), 78, "cannot read the client secret from `/no/such`"),
        (format!("client_secret_file = {open:?}"), 78, "holds a client secret but is open to others"),
    ] {
        sandbox.config(&account(mail.port, &endpoint, &proof).to_string());
        assert_no_secret(sandbox.popfetch(["-q"])).exits(code).says(&[said]);
    }
    assert_eq!((mail.connections(), endpoint.heard().len()), (0, 0));
}

#[test]
fn a_mailbox_that_the_service_may_not_open_is_told_with_the_usual_reasons() {
    let mail = Maildrop::builder().user(USER, "another", mails(1)).start();
    let endpoint = Endpoint::start([token(3600)]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint, &format!("client_secret = {SECRET:?}")));
    let run = assert_no_secret(sandbox.popfetch(["-q"])).exits(77);
    let run =
        run.says(&["refused the login", "`Enterprise applications`", "POP3 must be switched on", "POP.AccessAsApp"]);
    assert!(run.stderr.find("Enterprise applications") < run.stderr.find("POP3 must be"), "{run:#?}");
    assert_eq!(stored(&sandbox, mail.port)["access_token"], Value::Null, "the next run gets a new one");
    sandbox.popfetch(["-q"]).exits(77);
    assert_eq!(endpoint.heard().len(), 2);
}

#[test]
fn signing_in_tries_a_service_without_a_person_and_signing_out_removes_its_token() {
    let mail = server(mails(3)).any_password().start();
    let endpoint = Endpoint::start([token(3600)]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint, &format!("client_secret = {SECRET:?}")));
    let run = assert_no_secret(sandbox.popfetch(["login"])).exits(0);
    run.says(&["work: signed in, and `127.0.0.1:", "takes it (3 messages)"]);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(endpoint.heard().len(), 1, "the token of the sign-in is used");
    sandbox.popfetch(["logout"]).exits(0).says(&["the token is removed; it ends by itself"]);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(endpoint.heard().len(), 2);
}
