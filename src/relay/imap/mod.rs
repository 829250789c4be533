//! IMAP (RFC 3501, RFC 9051): a mailbox of a server takes each message by APPEND, and can be asked what it has.

pub mod response;
