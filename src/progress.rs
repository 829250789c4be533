//! Progress on the terminal: a bar for each account on standard error, and lines above the bars.
//!
//! Owns indicatif; nobody else draws. Says nothing when it is off, and costs nothing then. What is left when
//! an account is done (a summary, an error) is said by the caller: a bar leaves no trace.

use crate::session::Observer;
use crate::text;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, WeakProgressBar};
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Drawings a second: enough to look alive, and nothing beside the fetching.
const HERTZ: u8 = 20;

/// Columns for the account's name.
const NAME: usize = 16;

const PHASE: &str = "{prefix:<16} {wide_msg}";
const SIZED: &str = "{prefix:<16} [{wide_bar}] {binary_bytes}/{binary_total_bytes}, {messages}, \
                     {binary_bytes_per_sec}, {eta} left";
const UNSIZED: &str = "{prefix:<16} {binary_bytes}, {messages}, {binary_bytes_per_sec}";

/// The bars of a run; account threads share it.
pub struct Progress {
    bars: Option<MultiProgress>,
    drawn: Arc<Mutex<Vec<WeakProgressBar>>>,
    /// What somebody is asked at this moment.
    question: Mutex<Option<String>>,
}

impl Progress {
    /// Bars on standard error when `on`, which draws only if that is a terminal.
    pub fn new(on: bool) -> Self {
        Progress::on(on.then(|| MultiProgress::with_draw_target(target())))
    }

    fn on(bars: Option<MultiProgress>) -> Self {
        Progress { bars, drawn: Arc::default(), question: Mutex::default() }
    }

    /// A bar for the account called `name`. It is drawn from its first phase on, below those that are there: what
    /// comes before, a password may have to be asked for.
    pub fn account(&self, name: &str) -> Bar {
        Bar { bars: self.bars.clone(), all: self.drawn.clone(), name: name.to_owned(), drawn: OnceLock::new() }
    }

    /// Writes a line to standard error, above the bars, in one piece. A question that is open is repeated below it.
    pub fn println(&self, line: &str) {
        let write = |text: &str| {
            // There is nowhere left to complain to when standard error is gone.
            let _ = io::stderr().write_all(text.as_bytes());
        };
        let question = self.question();
        match (&*question, &self.bars) {
            (Some(question), _) => write(&format!("\n{line}\n{question}")),
            (None, Some(bars)) => bars.suspend(|| write(&format!("{line}\n"))),
            (None, None) => write(&format!("{line}\n")),
        }
    }

    /// Calls `ask`, which asks a question on the terminal. No bar is drawn meanwhile, and no account waits to draw one.
    pub fn aside(&self, question: &str, ask: &mut dyn FnMut()) {
        *self.question() = Some(question.to_owned());
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        ask();
        *self.question() = None;
        if let Some(bars) = &self.bars {
            bars.set_draw_target(target());
            // One that nothing happens to would be missing until something does.
            self.drawn
                .lock()
                .expect("no panic holds it")
                .iter()
                .filter_map(WeakProgressBar::upgrade)
                .for_each(|bar| bar.tick());
        }
    }

    fn question(&self) -> MutexGuard<'_, Option<String>> {
        self.question.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn target() -> ProgressDrawTarget {
    ProgressDrawTarget::stderr_with_hz(HERTZ)
}

/// One account's bar; dropping it clears it.
pub struct Bar {
    bars: Option<MultiProgress>,
    /// The bars of all accounts.
    all: Arc<Mutex<Vec<WeakProgressBar>>>,
    name: String,
    drawn: OnceLock<Drawn>,
}

impl Bar {
    /// Says what the account is busy with before its transfer: `connecting`, `logging in`.
    pub fn phase(&self, what: &str) {
        let Some(drawn) = self.drawn() else { return };
        drawn.bar.set_style(style(PHASE));
        drawn.bar.set_message(what.to_owned());
    }

    /// Begins the transfer of so many messages, and of so many octets where the server announced them.
    pub fn begin(&self, messages: u64, octets: Option<u64>) {
        if let Some(drawn) = self.drawn() {
            drawn.begin(messages, octets);
        }
    }

    /// Notes octets that have just arrived.
    pub fn octets(&self, octets: u64) {
        if let Some(drawn) = self.drawn.get() {
            drawn.bar.inc(octets);
        }
    }

    /// Notes that one more message is done.
    pub fn message(&self) {
        let Some(drawn) = self.drawn.get() else { return };
        drawn.messages.done.fetch_add(1, Ordering::Relaxed);
        // Asks for a drawing like octets do: an explicit tick takes locks, even if nothing is due to be drawn.
        drawn.bar.inc(0);
    }

    /// Clears the bar, until something else is shown on it.
    pub fn clear(&self) {
        if let Some(drawn) = self.drawn.get() {
            drawn.bar.finish_and_clear();
        }
    }

    /// Clears the bar, for good.
    pub fn finish(self) {}

    fn drawn(&self) -> Option<&Drawn> {
        self.bars.as_ref().map(|bars| {
            self.drawn.get_or_init(|| {
                let drawn = Drawn::new(bars, &self.name);
                let mut all = self.all.lock().expect("no panic holds it");
                all.retain(|bar| bar.upgrade().is_some());
                all.push(drawn.bar.downgrade());
                drawn
            })
        })
    }
}

/// Shows a session on the bar of its account.
pub struct Watch<'w> {
    /// The bars.
    pub progress: &'w Progress,
    /// The account's own.
    pub bar: &'w Bar,
    /// The dialogue is shown as well.
    pub shows_wire: bool,
}

impl Observer for Watch<'_> {
    fn phase(&self, what: &str) {
        self.bar.phase(what);
    }

    fn aside(&self, question: &str, ask: &mut dyn FnMut()) {
        self.progress.aside(question, ask);
    }

    fn wire(&self, line: &str) {
        self.progress.println(line);
    }

    fn wants_wire(&self) -> bool {
        self.shows_wire
    }
}

#[derive(Debug)]
struct Drawn {
    bars: MultiProgress,
    bar: ProgressBar,
    messages: Arc<Messages>,
}

/// Messages done and in all; indicatif itself counts only the octets.
#[derive(Debug, Default)]
struct Messages {
    done: AtomicU64,
    total: AtomicU64,
}

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let noun = if total == 1 { "message" } else { "messages" };
        write!(f, "{done}/{total} {noun}")
    }
}

impl Drawn {
    fn new(bars: &MultiProgress, name: &str) -> Self {
        let bar = bars.add(ProgressBar::no_length().with_style(style(PHASE)));
        bar.set_prefix(text::printable_within(name.as_bytes(), NAME));
        Drawn { bars: bars.clone(), bar, messages: Arc::default() }
    }

    fn begin(&self, messages: u64, octets: Option<u64>) {
        self.messages.done.store(0, Ordering::Relaxed);
        self.messages.total.store(messages, Ordering::Relaxed);
        let shown = self.messages.clone();
        let template = if octets.is_some() { SIZED } else { UNSIZED };
        // Rate and time left count from here, not from the connect.
        self.bar.reset();
        self.bar.set_style(style(template).with_key("messages", move |_: &ProgressState, out: &mut dyn fmt::Write| {
            // indicatif formats into a String.
            let _ = write!(out, "{shown}");
        }));
        match octets {
            Some(octets) => self.bar.set_length(octets),
            None => self.bar.unset_length(),
        }
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.bars.remove(&self.bar);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are valid").progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;

    /// A terminal that remembers what was drawn, without the cursor's movements.
    #[derive(Debug, Clone)]
    struct Screen {
        width: u16,
        drawn: Arc<Mutex<String>>,
    }

    impl Screen {
        fn new(width: u16) -> (Self, Progress) {
            let screen = Screen { width, drawn: Arc::default() };
            // Every drawing counts here, so none is left out for coming too soon.
            let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
            (screen, Progress::on(Some(MultiProgress::with_draw_target(target))))
        }

        fn take(&self) -> String {
            std::mem::take(&mut self.drawn.lock().unwrap())
        }

        fn put(&self, text: &str) -> io::Result<()> {
            self.drawn.lock().unwrap().push_str(text);
            Ok(())
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            self.width
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, line: &str) -> io::Result<()> {
            self.put(&format!("{line}\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.put(text)
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_shows_phase_octets_messages_and_rate() {
        let (screen, progress) = Screen::new(100);
        let bar = progress.account("work");
        bar.phase("logging in");
        assert!(screen.take().contains("work             logging in"));
        bar.begin(40, Some(1 << 20));
        bar.octets(512 << 10);
        bar.message();
        let drawn = screen.take();
        assert!(drawn.contains("512.00 KiB/1.00 MiB, 1/40 messages, "), "{drawn}");
        assert!(drawn.trim_end().ends_with(" left"), "{drawn}");
    }

    #[test]
    fn a_transfer_of_unknown_size_has_no_time_left() {
        let (screen, progress) = Screen::new(100);
        let bar = progress.account("work");
        bar.begin(1, None);
        bar.octets(2048);
        let drawn = screen.take();
        assert!(drawn.contains("2.00 KiB, 0/1 message, ") && !drawn.contains("left"), "{drawn}");
    }

    #[test]
    fn names_are_cut_and_cannot_drive_the_terminal() {
        let (screen, progress) = Screen::new(100);
        progress.account("evil\x1b[2J").phase("listing");
        assert!(screen.take().contains("evil\\x1b[2J      listing"));
        progress.account("a-very-long-account-name").phase("listing");
        assert!(screen.take().contains("a-very-long-acc… listing"));
    }

    #[test]
    fn narrow_terminals_are_drawn_on_too() {
        for width in 1..60 {
            let (_, progress) = Screen::new(width);
            let bar = progress.account("work");
            bar.phase("connecting");
            bar.begin(3, Some(10));
            bar.octets(20);
            bar.message();
            bar.finish();
        }
    }

    #[test]
    fn off_is_off() {
        let progress = Progress::new(false);
        let bar = progress.account("work");
        assert!(progress.bars.is_none() && bar.drawn.get().is_none());
        bar.begin(1, None);
        bar.octets(1);
        bar.message();
        bar.finish();
    }
}
