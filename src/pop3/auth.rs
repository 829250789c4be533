//! AUTH: carries a SASL exchange over the line, in base64 (RFC 5034 §4).
//!
//! What the client says first goes with the command where it fits, else behind the server's first, empty challenge.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::command::{Awaited, Command};
use super::connection::{Connection, Expected, Refused, Transport};
use super::error::Error;
use super::method::Method;
use super::reply::Status;
use super::sasl::{Exchange, Mechanism, Problem};

/// A command line is at most 255 octets long, CRLF included (RFC 5034 §4).
const LINE: usize = 255;

/// Logs in. A server cannot ask for ever: every exchange knows how many challenges are due.
pub fn auth<T: Transport>(
    connection: &mut Connection<T>,
    mechanism: Mechanism,
    mut exchange: Box<dyn Exchange>,
) -> Result<(), Error> {
    let mut initial = exchange.initial().map(|octets| Zeroizing::new(STANDARD.encode(octets)));
    let inline = initial.take_if(|response| fits(mechanism, response));
    let command = Command::Auth(mechanism.name(), inline.as_ref().map(|response| response.as_str()));
    let awaited = Awaited::Reply(command.verb());
    connection.queue(command);
    loop {
        connection.flush(awaited)?;
        let response = match connection.status(awaited, Expected::Reply)? {
            Status::Ok(_) => return exchange.accepted().map_err(|problem| Error::Exchange { mechanism, problem }),
            Status::Err(text) => {
                let text = text.to_vec();
                return Err(refused(connection.refused(&text), mechanism, exchange.as_ref()));
            }
            Status::Challenge(challenge) => match initial.take() {
                Some(initial) => Ok(initial),
                None => respond(exchange.as_mut(), challenge),
            },
        };
        match response {
            Ok(response) => connection.queue(Command::Continuation(&response)),
            Err(problem) => return Err(give_up(connection, mechanism, problem)),
        }
    }
}

/// outlook.office365.com takes XOAUTH2 in two lines only, everybody else takes it so, too, and a token is longer than
/// a line anyway.
fn fits(mechanism: Mechanism, response: &str) -> bool {
    let line = "AUTH  \r\n".len() + mechanism.name().len() + response.len();
    mechanism != Mechanism::XOAuth2 && line <= LINE
}

fn respond(exchange: &mut dyn Exchange, challenge: &[u8]) -> Result<Zeroizing<String>, Problem> {
    let challenge = STANDARD.decode(challenge).map_err(|_| Problem::Malformed("base64"))?;
    exchange.respond(&challenge).map(|response| STANDARD.encode(response).into())
}

/// Says `*`, and waits for the `-ERR` that is due then. Whatever comes, the problem is what there was.
fn give_up<T: Transport>(connection: &mut Connection<T>, mechanism: Mechanism, problem: Problem) -> Error {
    let awaited = Awaited::Reply(Command::Cancel.verb());
    connection.queue(Command::Cancel);
    let _ = connection.flush(awaited).and_then(|()| connection.status(awaited, Expected::Reply).map(drop));
    Error::Exchange { mechanism, problem }
}

fn refused(Refused { code, text }: Refused, mechanism: Mechanism, exchange: &dyn Exchange) -> Error {
    let explanation = exchange.explanation().map(Box::new);
    Error::LoginRefused { method: Method::Sasl(mechanism), code, text, explanation }
}
