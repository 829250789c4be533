//! How many commands, and octets of messages, are on their way at a time.

/// How much may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Commands: what the server has not answered must fit its socket buffer, or both sides could block on a write.
    /// `RETR 4294967295` and its CRLF are 17 octets, so 400 of them fit 8 KiB, the least that systems give.
    pub messages: usize,
    /// Announced message octets, so that a line that drops has not made the server read a disk full for nothing.
    pub octets: u64,
}

impl Window {
    /// Each command waits for the reply before it.
    pub const LOCK_STEP: Window = Window { messages: 1, octets: u64::MAX };
}

impl Default for Window {
    fn default() -> Self {
        // 16 MiB cover 100 ms of a line of 1 Gbit/s.
        Window { messages: 400, octets: 16 << 20 }
    }
}
