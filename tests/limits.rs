//! Threads and descriptors: a run with few of them fetches what it can, and no account ends another.

use crate::faults::{can_trace, with_few_threads};
use crate::sandbox::{Account, Sandbox, USER, mails, server};
use crate::server::Maildrop;

/// So many accounts, each on a server of its own and with a Maildir of its own.
fn accounts(count: usize) -> (Vec<Maildrop>, Sandbox) {
    let servers: Vec<_> = (0..count).map(|_| server(mails(2)).start()).collect();
    let account = |(number, server): (usize, &Maildrop)| {
        let deliver = format!("\"maildir:~/Mail{number}\"");
        Account::on(server.port).named(&format!("a{number}")).set("deliver", deliver).set("keep", false).to_string()
    };
    let sandbox = Sandbox::new();
    sandbox.config(&servers.iter().enumerate().map(account).collect::<String>());
    (servers, sandbox)
}

fn left(servers: &[Maildrop]) -> usize {
    servers.iter().map(|server| server.unique_ids(USER).len()).sum()
}

#[test]
fn without_threads_each_account_is_left_for_the_next_run() {
    if !can_trace() {
        return;
    }
    for count in [1, 3] {
        let (servers, sandbox) = accounts(count);
        let run = with_few_threads(&sandbox, 0).exits(75);
        assert_eq!(run.stderr.matches("cannot start a thread").count(), count, "{run:#?}");
        assert_eq!(left(&servers), 2 * count);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(left(&servers), 0);
    }
}

#[test]
fn the_threads_that_there_are_do_the_work() {
    if !can_trace() {
        return;
    }
    // The one that the first thread may start fetches all, and may itself start one: the committer of one account.
    let (servers, sandbox) = accounts(3);
    let run = with_few_threads(&sandbox, 1).exits(75);
    assert_eq!(run.stderr.matches("cannot start a thread").count(), 2, "{run:#?}");
    assert_eq!(left(&servers), 4);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(left(&servers), 0);
}
