//! SCRAM (RFC 5802, with SHA-256 RFC 7677): both sides prove that they know the password, and neither says it.
//!
//! The -PLUS form binds the proof to the server's certificate (`tls-server-end-point`, RFC 5929 §4), the only channel
//! binding that the TLS library hands out: there is no `tls-exporter` (RFC 9266) and no `tls-unique` in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use zeroize::Zeroizing;

use super::hash::Hash;
use super::{Exchange, Explanation, Message, Problem};
use crate::os::random;
use crate::pop3::credentials::Credentials;

/// RFC 5802 §5.1 and RFC 7677 §4 ask for 4096 at least: with fewer, whoever plays the server finds the password by
/// trying. With any number, a server could keep the program busy for as long as it likes.
const ITERATIONS: (u64, u64) = (4096, 1_000_000);

/// Random octets in our nonce.
const NONCE: usize = 18;

/// An exchange.
pub struct Scram {
    hash: Hash,
    /// The GS2 header: whether the channel is bound, and by what.
    header: &'static str,
    /// The channel binding itself; empty without one.
    binding: Vec<u8>,
    nonce: String,
    first_bare: String,
    password: Zeroizing<String>,
    state: State,
}

enum State {
    /// The server's salt and nonce are due.
    Asked,
    /// The server's proof is due.
    Proving { server_key: Vec<u8>, auth_message: Vec<u8> },
    /// The server has proved it.
    Proven,
    /// The server said why not.
    Failed(Vec<u8>),
}

impl Scram {
    /// Without a binding the header says `n`: not even a server that has -PLUS is to expect one of us.
    pub fn new(hash: Hash, credentials: &Credentials, binding: Option<Vec<u8>>) -> Result<Self, Problem> {
        let random = random::octets::<NONCE>().map_err(|_| Problem::NoRandomness)?;
        Self::with_nonce(hash, credentials, binding, STANDARD.encode(random))
    }

    fn with_nonce(
        hash: Hash,
        credentials: &Credentials,
        binding: Option<Vec<u8>>,
        nonce: String,
    ) -> Result<Self, Problem> {
        let header = if binding.is_some() { "p=tls-server-end-point,," } else { "n,," };
        let first_bare = format!("n={},r={nonce}", escaped(&prepared(&credentials.user)?));
        let (password, binding) = (prepared(credentials.password.reveal())?.into(), binding.unwrap_or_default());
        Ok(Scram { hash, header, binding, nonce, first_bare, password, state: State::Asked })
    }

    /// From the server's first message to the client's final one (RFC 5802 §3).
    fn prove(&mut self, challenge: &[u8]) -> Result<Message, Problem> {
        let ServerFirst { text, nonce, salt, iterations } = ServerFirst::parse(challenge)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(Problem::ForeignNonce);
        }
        let hash = self.hash;
        let salted = Zeroizing::new(hash.salted(&self.password, &salt, iterations));
        let client_key = Zeroizing::new(hash.hmac(&salted, b"Client Key"));
        let bound = STANDARD.encode([self.header.as_bytes(), &self.binding].concat());
        let without_proof = format!("c={bound},r={nonce}");
        let auth_message = format!("{},{text},{without_proof}", self.first_bare).into_bytes();
        let signature = hash.hmac(&hash.digest(&client_key), &auth_message);
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, octet)| key ^ octet).collect();
        self.state = State::Proving { server_key: hash.hmac(&salted, b"Server Key"), auth_message };
        Ok(Message::new(format!("{without_proof},p={}", STANDARD.encode(proof)).into()))
    }
}

impl Exchange for Scram {
    fn initial(&mut self) -> Option<Message> {
        Some(Message::new([self.header, &self.first_bare].concat().into()))
    }

    fn respond(&mut self, challenge: &[u8]) -> Result<Message, Problem> {
        let (server_key, auth_message) = match &self.state {
            State::Asked => return self.prove(challenge),
            State::Proving { server_key, auth_message } => (server_key, auth_message),
            State::Proven | State::Failed(_) => return Err(Problem::Unexpected),
        };
        if let Some(error) = challenge.strip_prefix(b"e=") {
            self.state = State::Failed(error.to_vec());
            return Ok(Message::default());
        }
        let proof = first_field(challenge, b"v=").ok_or(Problem::Malformed("a proof, `v=…`"))?;
        if !self.hash.is_hmac(server_key, auth_message, &proof) {
            return Err(Problem::WrongProof);
        }
        self.state = State::Proven;
        Ok(Message::default())
    }

    fn accepted(&self) -> Result<(), Problem> {
        match self.state {
            State::Proven => Ok(()),
            _ => Err(Problem::NoProof),
        }
    }

    fn explanation(&self) -> Option<Explanation> {
        match &self.state {
            State::Failed(error) => Some(Explanation::Scram(error.clone())),
            _ => None,
        }
    }
}

/// `r=NONCE,s=SALT,i=ITERATIONS`, and extensions that may be passed over.
struct ServerFirst<'a> {
    text: &'a str,
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> ServerFirst<'a> {
    fn parse(challenge: &'a [u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(challenge).ok();
        let (first, iterations) = text.and_then(Self::fields).ok_or(Problem::Malformed("`r=…,s=…,i=…`"))?;
        if !(ITERATIONS.0..=ITERATIONS.1).contains(&iterations) {
            return Err(Problem::Iterations { wanted: iterations, bounds: ITERATIONS });
        }
        Ok(ServerFirst { iterations: u32::try_from(iterations).expect("a million fits"), ..first })
    }

    /// A mandatory extension, `m=`, would come first and is not understood (RFC 5802 §5.1).
    fn fields(text: &'a str) -> Option<(Self, u64)> {
        let mut fields = text.split(',');
        let nonce = fields.next()?.strip_prefix("r=")?;
        let salt = STANDARD.decode(fields.next()?.strip_prefix("s=")?).ok().filter(|salt| !salt.is_empty())?;
        let iterations = fields.next()?.strip_prefix("i=")?.parse().ok()?;
        Some((ServerFirst { text, nonce, salt, iterations: 0 }, iterations))
    }
}

fn first_field(message: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let value = message.strip_prefix(name)?.split(|octet| *octet == b',').next()?;
    STANDARD.decode(value).ok()
}

fn prepared(text: &str) -> Result<String, Problem> {
    stringprep::saslprep(text).map(String::from).map_err(|_| Problem::Unpreparable)
}

/// A name as SCRAM and OAUTHBEARER write it (RFC 5801 §4).
pub fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

#[cfg(test)]
mod tests {
    use super::super::credentials;
    use super::*;

    /// RFC 5802 §5.
    const SHA_1: [&str; 5] = [
        "fyko+d2lbbFgONRv9qkxdawL",
        "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ];

    /// RFC 7677 §3.
    const SHA_256: [&str; 5] = [
        "rOprNGfwEbeRWgbNEkqO",
        "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ];

    fn scram(hash: Hash, [nonce, ..]: [&str; 5]) -> Scram {
        Scram::with_nonce(hash, &credentials("user", "pencil"), None, nonce.into()).unwrap()
    }

    fn answers(challenge: &str) -> Result<Message, Problem> {
        scram(Hash::Sha256, SHA_256).respond(challenge.as_bytes())
    }

    #[test]
    fn the_exchanges_are_those_of_rfc_5802_and_rfc_7677() {
        for (hash, vector) in [(Hash::Sha1, SHA_1), (Hash::Sha256, SHA_256)] {
            let [_, first, challenge, proof, verdict] = vector;
            let mut scram = scram(hash, vector);
            assert_eq!(*scram.initial().unwrap(), first.as_bytes());
            assert_eq!(*scram.respond(challenge.as_bytes()).unwrap(), proof.as_bytes());
            assert_eq!(scram.accepted(), Err(Problem::NoProof));
            assert_eq!(scram.respond(verdict.as_bytes()), Ok(Message::default()));
            assert_eq!((scram.accepted(), scram.respond(b"more")), (Ok(()), Err(Problem::Unexpected)));
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let mut scram = scram(Hash::Sha1, SHA_1);
        scram.respond(SHA_1[2].as_bytes()).unwrap();
        assert_eq!(scram.respond(b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAA="), Err(Problem::WrongProof));
        assert_eq!(scram.respond(b"v="), Err(Problem::WrongProof));
        assert_eq!(scram.respond(b"x=1"), Err(Problem::Malformed("a proof, `v=…`")));
        assert_eq!(scram.accepted(), Err(Problem::NoProof));
    }

    #[test]
    fn a_nonce_must_continue_ours() {
        for nonce in ["rOprNGfwEbeRWgbNEkqO", "xOprNGfwEbeRWgbNEkqOabc", ""] {
            assert_eq!(answers(&format!("r={nonce},s=W22Z,i=4096")), Err(Problem::ForeignNonce), "{nonce}");
        }
    }

    #[test]
    fn the_servers_count_of_iterations_has_bounds() {
        for wanted in [0, 1, 4095, 1_000_001, u64::MAX] {
            let problem = Problem::Iterations { wanted, bounds: ITERATIONS };
            assert_eq!(answers(&format!("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i={wanted}")), Err(problem));
        }
    }

    #[test]
    fn a_first_message_that_is_none_is_a_problem_and_no_panic() {
        for wrong in ["", "m=1,r=x,s=W22Z,i=4096", "r=x", "r=x,s=?,i=1", "r=x,s=,i=4096", "r=x,s=W22Z,i=-1", "e=no"] {
            assert_eq!(answers(wrong), Err(Problem::Malformed("`r=…,s=…,i=…`")), "{wrong}");
        }
        assert!(scram(Hash::Sha1, SHA_1).respond(b"\xff\x00,,,").is_err());
    }

    #[test]
    fn a_servers_reason_is_kept_for_its_refusal() {
        let mut scram = scram(Hash::Sha1, SHA_1);
        scram.respond(SHA_1[2].as_bytes()).unwrap();
        assert_eq!(scram.respond(b"e=invalid-proof"), Ok(Message::default()));
        assert_eq!(scram.explanation(), Some(Explanation::Scram(b"invalid-proof".to_vec())));
        assert_eq!(scram.accepted(), Err(Problem::NoProof));
    }

    #[test]
    fn names_are_escaped_and_prepared() {
        // SASLprep: a soft hyphen is mapped to nothing, and the roman numeral to its letters (RFC 4013 §3).
        let odd = credentials("a=b,c\u{ad}", "\u{2168}");
        let mut scram = Scram::with_nonce(Hash::Sha1, &odd, None, "n".into()).unwrap();
        assert_eq!(*scram.initial().unwrap(), b"n,,n=a=3Db=2Cc,r=n");
        assert_eq!(*scram.password, "IX");
        let forbidden = credentials("user", "\u{7}");
        assert!(matches!(Scram::new(Hash::Sha1, &forbidden, None), Err(Problem::Unpreparable)));
    }

    #[test]
    fn a_bound_exchange_carries_the_binding() {
        let bound = credentials("user", "pencil");
        let mut scram = Scram::with_nonce(Hash::Sha256, &bound, Some(vec![7; 32]), "abc".into()).unwrap();
        assert_eq!(*scram.initial().unwrap(), b"p=tls-server-end-point,,n=user,r=abc");
        let response = String::from_utf8(scram.respond(b"r=abcd,s=W22Z,i=4096").unwrap().to_vec()).unwrap();
        let expected = STANDARD.encode([b"p=tls-server-end-point,,".as_slice(), &[7; 32]].concat());
        assert!(response.starts_with(&format!("c={expected},r=abcd,p=")), "{response}");
    }
}
