//! The beginning of a session: connection, greeting, STARTTLS, login; what the server offers; and what its mailbox has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::dialogue::{Dialogue, unasked};
use super::response::{Code, Condition, Response, Status};
use super::{mailbox, quoted};
use crate::account::{At, Auth, Password, Route, SecretKind, Server, TlsMode};
use crate::deliver::Context;
use crate::net::{self, Wait};
use crate::pop3::{Credentials, Mechanism};
use crate::relay::error::Cause;
use crate::relay::login;

/// What a server offers (RFC 3501 §6.1.1), in upper case.
#[derive(Debug, Default)]
pub(super) struct Offer {
    words: Vec<String>,
}

impl Offer {
    pub(super) fn has(&self, word: &str) -> bool {
        self.words.iter().any(|offered| offered == word)
    }

    /// Literals of any length go without a wait (RFC 7888).
    pub(super) fn has_literal_plus(&self) -> bool {
        self.has("LITERAL+")
    }

    /// Short ones do.
    pub(super) fn has_literal_minus(&self) -> bool {
        self.has("LITERAL-") || self.has("IMAP4REV2")
    }

    pub(super) fn has_uidplus(&self) -> bool {
        self.has("UIDPLUS") || self.has("IMAP4REV2")
    }

    pub(super) fn has_unselect(&self) -> bool {
        self.has("UNSELECT") || self.has("IMAP4REV2")
    }

    /// Google's: a message is in one place, and APPEND brings an old copy back.
    pub(super) fn is_gmail(&self) -> bool {
        self.has("X-GM-EXT-1")
    }

    /// The largest message that any mailbox takes (RFC 7889).
    pub(super) fn most(&self) -> Option<u64> {
        self.words.iter().find_map(|word| word.strip_prefix("APPENDLIMIT=")?.parse().ok())
    }

    fn mechanisms(&self) -> Vec<String> {
        self.words.iter().filter_map(|word| word.strip_prefix("AUTH=")).map(str::to_owned).collect()
    }
}

/// A mailbox as STATUS tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bound {
    /// UIDVALIDITY; 0 where it is not told.
    pub(super) validity: u32,
    /// No message that comes later has a smaller UID.
    pub(super) next: u32,
    /// The largest message that it takes, where that is told.
    pub(super) most: Option<u64>,
}

/// A server that knows who we are.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) dialogue: Dialogue,
    pub(super) offer: Offer,
    /// The mailbox, quoted.
    pub(super) mailbox: String,
}

impl Session {
    /// Connects, and does all that comes before the mailbox.
    pub(super) fn open(server: &Server, word: &str, context: &Context) -> Result<Self, Cause> {
        // What cannot be had ends it before anybody is called.
        let credentials = login::credentials(server, word, context)?;
        let At::Host { host, port } = &server.at else { unreachable!("a mailbox is on a host") };
        let route = Route::default();
        let mut stream = net::connect(&route, host, *port, &server.tls, context.network.timeout, &context.stop)?;
        if server.tls.mode == TlsMode::Implicit {
            stream = stream.handshake(host, &server.tls, None)?;
        }
        let label = format!("{}: {word}", crate::text::printable(context.account.as_bytes()));
        let wire = context.network.wire.clone();
        let dialogue = Dialogue::new(stream, wire.clone(), label.clone());
        let mut session = Session { dialogue, offer: Offer::default(), mailbox: mailbox::quoted(&server.mailbox) };
        let is_known = session.greet()?;
        if server.tls.mode == TlsMode::Starttls {
            if is_known || !session.offer.has("STARTTLS") {
                // RFC 9051 §11.2: nothing can be encrypted any more behind PREAUTH.
                return Err(Cause::NotOffered("STARTTLS".to_owned()));
            }
            let ended = session.does("STARTTLS")?;
            session.check("STARTTLS", &ended)?;
            let stream = session.dialogue.into_stream()?.handshake(host, &server.tls, None)?;
            session.dialogue = Dialogue::new(stream, wire, label);
            // What was said in clear does not count (RFC 3501 §6.2.1).
            session.ask_capability()?;
        }
        match credentials {
            _ if is_known => {}
            Some(credentials) => session
                .log_in(&credentials)
                .map_err(|cause| login::dropped(server, word, context, &credentials, cause))?,
            None => return Err(Cause::Userless),
        }
        Ok(session)
    }

    /// The greeting, and what the server offers. True when it takes us for logged in.
    fn greet(&mut self) -> Result<bool, Cause> {
        let Response::Condition(greeting) = self.dialogue.response(Wait::Greeting)? else {
            return Err(Cause::Nonsense("it does not greet"));
        };
        match greeting.status {
            Status::Ok | Status::Preauth => {}
            _ => return Err(self.dialogue.refused("the connection", &greeting, false)),
        }
        self.note_capability(&greeting)?;
        Ok(greeting.status == Status::Preauth)
    }

    /// A condition may tell what is offered; where it does not, the server is asked.
    fn note_capability(&mut self, condition: &Condition) -> Result<(), Cause> {
        match &condition.code {
            Some(Code::Capability(words)) => {
                self.offer = Offer { words: words.clone() };
                Ok(())
            }
            _ => self.ask_capability(),
        }
    }

    fn ask_capability(&mut self) -> Result<(), Cause> {
        let mut words = vec![];
        let tag = self.dialogue.command("CAPABILITY");
        let ended = self.dialogue.end_of(&tag, Wait::Reply, |response| {
            if let Response::Capability(offered) = response {
                words = offered;
            }
        })?;
        self.check("CAPABILITY", &ended)?;
        self.offer = Offer { words };
        Ok(())
    }

    /// Sends a command, and waits for its end.
    pub(super) fn does(&mut self, command: &str) -> Result<Condition, Cause> {
        let tag = self.dialogue.command(command);
        self.dialogue.end_of(&tag, Wait::Reply, |_| {})
    }

    /// A refusal is the end of this target for this run.
    pub(super) fn check(&self, what: &str, ended: &Condition) -> Result<(), Cause> {
        match ended.status {
            Status::Ok => Ok(()),
            _ => Err(self.dialogue.refused(what, ended, is_temporary(ended))),
        }
    }

    fn log_in(&mut self, credentials: &Credentials) -> Result<(), Cause> {
        self.dialogue.hide(credentials.password.clone());
        let ended = match login::choose(&self.offer.mechanisms(), credentials, self.dialogue.is_encrypted()) {
            Ok(mechanism) => self.authenticate(mechanism, credentials)?,
            Err(cause) => {
                let is_for_login = matches!(credentials.auth, Auth::Auto | Auth::Login);
                if credentials.kind != SecretKind::Password || !is_for_login || self.offer.has("LOGINDISABLED") {
                    return Err(cause);
                }
                self.login(credentials)?
            }
        };
        self.note_capability(&ended)
    }

    /// AUTHENTICATE (RFC 3501 §6.2.2), with an initial response where the server takes one (RFC 4959).
    fn authenticate(&mut self, mechanism: Mechanism, credentials: &Credentials) -> Result<Condition, Cause> {
        let binding = self.dialogue.server_end_point();
        let mut exchange = mechanism.begin(credentials, binding).map_err(Cause::Exchange)?;
        let mut initial = exchange.initial().map(|octets| Zeroizing::new(STANDARD.encode(octets)));
        let command = format!("AUTHENTICATE {}", mechanism.name());
        let at_once = initial.take_if(|_| self.offer.has("SASL-IR"));
        let tag = match at_once {
            Some(response) => {
                let response = if response.is_empty() { Zeroizing::new("=".to_owned()) } else { response };
                let line = Zeroizing::new(format!("{command} {}", response.as_str()));
                self.dialogue.hide(Password::new(response.as_str()));
                self.dialogue.secret_command(&line, command.len() + 1)
            }
            None => self.dialogue.command(&command),
        };
        self.dialogue.hide_challenges(true);
        let ended = loop {
            let challenge = match self.dialogue.response(Wait::Reply)? {
                Response::Tagged { tag: of, condition } if of == tag => break condition,
                Response::Continuation(challenge) => challenge,
                _ => continue,
            };
            let response = match initial.take() {
                Some(initial) => initial,
                None => {
                    let challenge = STANDARD.decode(challenge.trim_ascii()).unwrap_or_default();
                    match exchange.respond(&challenge) {
                        Ok(response) => Zeroizing::new(STANDARD.encode(response)),
                        Err(problem) => {
                            self.dialogue.secret_line(b"*");
                            let _ = self.dialogue.end_of(&tag, Wait::End, |_| {});
                            return Err(Cause::Exchange(problem));
                        }
                    }
                }
            };
            self.dialogue.hide(Password::new(response.as_str()));
            self.dialogue.secret_line(response.as_bytes());
        };
        self.dialogue.hide_challenges(false);
        if ended.status == Status::Ok {
            exchange.accepted().map_err(Cause::Exchange)?;
            return Ok(ended);
        }
        Err(self.refused_login(credentials, &ended, exchange.explanation().map(|explanation| explanation.to_string())))
    }

    fn refused_login(&self, credentials: &Credentials, ended: &Condition, explanation: Option<String>) -> Cause {
        let said = self.dialogue.said(ended);
        let said = explanation.map_or_else(|| said.clone(), |explanation| format!("{said}; {explanation}"));
        Cause::Login { user: credentials.user.clone(), said, is_temporary: is_temporary(ended) }
    }

    /// LOGIN (RFC 3501 §6.2.3), for servers without a mechanism of SASL.
    fn login(&mut self, credentials: &Credentials) -> Result<Condition, Cause> {
        let (user, password) = (credentials.user.as_str(), credentials.password.reveal());
        let tag = if [user, password].iter().all(|text| text.bytes().all(|octet| matches!(octet, b' '..=b'~'))) {
            let begin = format!("LOGIN {} ", quoted(user));
            let quoted = Zeroizing::new(quoted(password));
            self.dialogue.hide(Password::new(quoted.trim_matches('"')));
            let line = Zeroizing::new(format!("{begin}{}", quoted.as_str()));
            self.dialogue.secret_command(&line, begin.len())
        } else {
            let tag = self.dialogue.command(&format!("LOGIN {{{}}}", user.len()));
            for line in [format!("{user} {{{}}}", password.len()), password.to_owned()].map(Zeroizing::new) {
                match self.go_ahead(&tag)? {
                    None => self.dialogue.secret_line(line.as_bytes()),
                    Some(ended) => return Err(self.refused_login(credentials, &ended, None)),
                }
            }
            tag
        };
        let ended = self.dialogue.end_of(&tag, Wait::Reply, |_| {})?;
        if ended.status == Status::Ok { Ok(ended) } else { Err(self.refused_login(credentials, &ended, None)) }
    }

    /// Waits until a literal may be sent; the end of the command where it may not.
    fn go_ahead(&mut self, tag: &str) -> Result<Option<Condition>, Cause> {
        loop {
            match self.dialogue.response(Wait::Reply)? {
                Response::Continuation(_) => return Ok(None),
                Response::Tagged { tag: of, condition } if of == tag && condition.status != Status::Ok => {
                    return Ok(Some(condition));
                }
                Response::Tagged { .. } => return Err(unasked()),
                _ => {}
            }
        }
    }

    /// Queues the question how the mailbox is.
    pub(super) fn queue_status(&mut self) -> String {
        // Without a number the limit may be another one for each mailbox.
        let limit = if self.offer.has("APPENDLIMIT") { " APPENDLIMIT" } else { "" };
        self.dialogue.command(&format!("STATUS {} (UIDVALIDITY UIDNEXT{limit})", self.mailbox))
    }

    /// What the mailbox is like; made where it is not there, if that is wanted.
    pub(super) fn ready(&mut self, creates: bool) -> Result<Bound, Cause> {
        let (ended, bound) = self.status()?;
        if ended.status == Status::Ok {
            return Ok(bound);
        }
        if !creates || !is_missing(&ended) {
            self.check("STATUS", &ended)?;
        }
        let created = self.does(&format!("CREATE {}", self.mailbox))?;
        if created.code != Some(Code::AlreadyExists) && created.status != Status::Ok {
            // Of the two this says more, unless it says nothing of its own.
            self.check("CREATE", &created)?;
        }
        // Many programs show only what is subscribed to. A server that does not know this does no harm.
        self.does(&format!("SUBSCRIBE {}", self.mailbox))?;
        let (ended, bound) = self.status()?;
        self.check("STATUS", &ended)?;
        Ok(bound)
    }

    /// Asks how the mailbox is, and changes nothing.
    pub(super) fn status(&mut self) -> Result<(Condition, Bound), Cause> {
        let tag = self.queue_status();
        let mut bound = Bound::default();
        let ended = self.dialogue.end_of(&tag, Wait::Reply, |response| bound.note(&response))?;
        Ok((ended, bound))
    }

    pub(super) fn log_out(&mut self) {
        // Nothing depends on the server's farewell.
        let tag = self.dialogue.command("LOGOUT");
        let _ = self.dialogue.end_of(&tag, Wait::End, |_| {});
    }
}

impl Bound {
    pub(super) fn note(&mut self, response: &Response) {
        if let Response::Status(mailbox) = response {
            self.validity = mailbox.uidvalidity.unwrap_or(self.validity);
            self.next = mailbox.uidnext.unwrap_or(self.next);
            self.most = mailbox.appendlimit.or(self.most);
        }
    }
}

/// True for a mailbox that may be made: RFC 5530 has a code for it, which older servers do not know.
pub(super) fn is_missing(ended: &Condition) -> bool {
    matches!(ended.code, None | Some(Code::Nonexistent | Code::TryCreate | Code::Other(_)))
        && ended.status == Status::No
}

/// True for a refusal that will pass (RFC 5530).
pub(super) fn is_temporary(ended: &Condition) -> bool {
    let Some(code) = &ended.code else { return false };
    matches!(code, Code::InUse | Code::Unavailable | Code::ServerBug | Code::Limit | Code::OverQuota)
}
