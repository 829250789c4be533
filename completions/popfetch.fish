# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_popfetch_global_optspecs
    string join \n deliver= keep= no-keep keep-newest= delete-over= all max-size= max-messages= max-octets= order= tls= ca-file= tls-pin= auth= timeout= retries= create fill now yes dry-run fail-if-none jobs= jobs-per-host= config= state-dir= json progress= q/quiet v/verbose h/help V/version
end

function __fish_popfetch_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_popfetch_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_popfetch_using_subcommand
    set -l cmd (__fish_popfetch_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c popfetch -n "__fish_popfetch_needs_command" -l deliver -d 'Deliver to `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server such as `lmtp://HOST` or `https://HOST/PATH`' -r
complete -c popfetch -n "__fish_popfetch_needs_command" -l keep -d 'Leave messages on the server, or delete them that long after they were first seen (`--keep=14d`)' -r
complete -c popfetch -n "__fish_popfetch_needs_command" -l keep-newest -d 'Delete what is safe at home, but for this many of the newest messages on the server' -r
complete -c popfetch -n "__fish_popfetch_needs_command" -l delete-over -d 'Delete what is safe at home, oldest first, while the maildrop is larger' -r
complete -c popfetch -n "__fish_popfetch_needs_command" -l max-size -d 'Leave larger messages on the server; octets, or `20M` (k, M, G)' -r
complete -c popfetch -n "__fish_popfetch_needs_command" -l max-messages -d 'Fetch at most this many messages per account' -r
complete -c popfetch -n "__fish_popfetch_needs_command" -l max-octets -d 'Fetch at most this much per account, in this run or with `/day` in one day; octets, or `500M`' -r
complete -c popfetch -n "__fish_popfetch_needs_command" -l order -d 'Fetch these messages first' -r -f -a "oldest\t''
newest\t''
smallest\t''"
complete -c popfetch -n "__fish_popfetch_needs_command" -l tls -d 'Begin TLS at once, begin it by STARTTLS, or send everything in clear, the password too' -r -f -a "implicit\t''
starttls\t''
none\t''"
complete -c popfetch -n "__fish_popfetch_needs_command" -l ca-file -d 'Trust the certificate authorities in this PEM file, and no others' -r
complete -c popfetch -n "__fish_popfetch_needs_command" -l tls-pin -d 'Trust the server with this certificate or public key, and no authority: `sha256:…`' -r
complete -c popfetch -n "__fish_popfetch_needs_command" -l auth -d 'Log in this way; `auto` takes the best that the server announces' -r -f -a "auto\t''
user\t''
plain\t''
apop\t''
login\t''
cram-md5\t''
scram-sha-1\t''
scram-sha-1-plus\t''
scram-sha-256\t''
scram-sha-256-plus\t''
external\t''
xoauth2\t''
oauthbearer\t''"
complete -c popfetch -n "__fish_popfetch_needs_command" -l timeout -d 'Wait this long for a server that says nothing' -r
complete -c popfetch -n "__fish_popfetch_needs_command" -l retries -d 'Dial a line that breaks again, at most this often in one run' -r
complete -c popfetch -n "__fish_popfetch_needs_command" -l jobs -d 'Fetch this many accounts at a time' -r
complete -c popfetch -n "__fish_popfetch_needs_command" -l jobs-per-host -d 'Of these, fetch this many at a time from one server' -r
complete -c popfetch -n "__fish_popfetch_needs_command" -l config -d 'Read this configuration, TOML or JSON, or every one in a folder; `-` is standard input' -r -F
complete -c popfetch -n "__fish_popfetch_needs_command" -l state-dir -d 'Keep the record of what has been fetched in this folder' -r -F
complete -c popfetch -n "__fish_popfetch_needs_command" -l progress -d 'Show progress bars' -r -f -a "auto\t'When standard error is a terminal'
always\t'Always'
never\t'Never'"
complete -c popfetch -n "__fish_popfetch_needs_command" -l no-keep -d 'Delete messages from the server once they are safe at home'
complete -c popfetch -n "__fish_popfetch_needs_command" -l all -d 'Fetch messages that have been fetched before, too'
complete -c popfetch -n "__fish_popfetch_needs_command" -l create -d 'Create a Maildir, or the folder of an mbox, that mail was delivered to before and that is gone'
complete -c popfetch -n "__fish_popfetch_needs_command" -l fill -d 'Deliver known messages to those targets of their account that do not have them'
complete -c popfetch -n "__fish_popfetch_needs_command" -l now -d 'Do not wait after failures in a row'
complete -c popfetch -n "__fish_popfetch_needs_command" -l yes -d 'Do not ask before `state known` and `state forget`'
complete -c popfetch -n "__fish_popfetch_needs_command" -l dry-run -d 'Show what would be fetched and deleted, and do neither'
complete -c popfetch -n "__fish_popfetch_needs_command" -l fail-if-none -d 'End with 1 when no new mail came'
complete -c popfetch -n "__fish_popfetch_needs_command" -l json -d 'Report on standard output as JSON Lines, as things happen'
complete -c popfetch -n "__fish_popfetch_needs_command" -s q -l quiet -d 'Say nothing but errors'
complete -c popfetch -n "__fish_popfetch_needs_command" -s v -l verbose -d 'Say a line per message; twice: the dialogue with the server, without passwords'
complete -c popfetch -n "__fish_popfetch_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c popfetch -n "__fish_popfetch_needs_command" -s V -l version -d 'Print version'
complete -c popfetch -n "__fish_popfetch_needs_command" -a "fetch" -d 'Fetch mail; this is what happens without a command, too'
complete -c popfetch -n "__fish_popfetch_needs_command" -a "check" -d 'Try everything that a fetch needs, and say what works and what is to be mended; fetch and write nothing'
complete -c popfetch -n "__fish_popfetch_needs_command" -a "list" -d 'Show the messages on the server, and what a fetch would do with each; fetch and delete nothing'
complete -c popfetch -n "__fish_popfetch_needs_command" -a "login" -d 'Sign in to an account with OAuth 2.0, once; fetching then refreshes its tokens by itself'
complete -c popfetch -n "__fish_popfetch_needs_command" -a "logout" -d 'Remove the tokens of an account, and revoke them where the provider lets one'
complete -c popfetch -n "__fish_popfetch_needs_command" -a "state" -d 'Look at what is known of the messages on the server, and mend it'
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l deliver -d 'Deliver to `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server such as `lmtp://HOST` or `https://HOST/PATH`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l keep -d 'Leave messages on the server, or delete them that long after they were first seen (`--keep=14d`)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l keep-newest -d 'Delete what is safe at home, but for this many of the newest messages on the server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l delete-over -d 'Delete what is safe at home, oldest first, while the maildrop is larger' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l max-size -d 'Leave larger messages on the server; octets, or `20M` (k, M, G)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l max-messages -d 'Fetch at most this many messages per account' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l max-octets -d 'Fetch at most this much per account, in this run or with `/day` in one day; octets, or `500M`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l order -d 'Fetch these messages first' -r -f -a "oldest\t''
newest\t''
smallest\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l tls -d 'Begin TLS at once, begin it by STARTTLS, or send everything in clear, the password too' -r -f -a "implicit\t''
starttls\t''
none\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l ca-file -d 'Trust the certificate authorities in this PEM file, and no others' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l tls-pin -d 'Trust the server with this certificate or public key, and no authority: `sha256:…`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l auth -d 'Log in this way; `auto` takes the best that the server announces' -r -f -a "auto\t''
user\t''
plain\t''
apop\t''
login\t''
cram-md5\t''
scram-sha-1\t''
scram-sha-1-plus\t''
scram-sha-256\t''
scram-sha-256-plus\t''
external\t''
xoauth2\t''
oauthbearer\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l timeout -d 'Wait this long for a server that says nothing' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l retries -d 'Dial a line that breaks again, at most this often in one run' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l jobs -d 'Fetch this many accounts at a time' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l jobs-per-host -d 'Of these, fetch this many at a time from one server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l config -d 'Read this configuration, TOML or JSON, or every one in a folder; `-` is standard input' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l state-dir -d 'Keep the record of what has been fetched in this folder' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l progress -d 'Show progress bars' -r -f -a "auto\t'When standard error is a terminal'
always\t'Always'
never\t'Never'"
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l no-keep -d 'Delete messages from the server once they are safe at home'
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l all -d 'Fetch messages that have been fetched before, too'
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l create -d 'Create a Maildir, or the folder of an mbox, that mail was delivered to before and that is gone'
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l fill -d 'Deliver known messages to those targets of their account that do not have them'
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l now -d 'Do not wait after failures in a row'
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l yes -d 'Do not ask before `state known` and `state forget`'
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l dry-run -d 'Show what would be fetched and deleted, and do neither'
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l fail-if-none -d 'End with 1 when no new mail came'
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -l json -d 'Report on standard output as JSON Lines, as things happen'
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -s q -l quiet -d 'Say nothing but errors'
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -s v -l verbose -d 'Say a line per message; twice: the dialogue with the server, without passwords'
complete -c popfetch -n "__fish_popfetch_using_subcommand fetch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l deliver -d 'Deliver to `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server such as `lmtp://HOST` or `https://HOST/PATH`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l keep -d 'Leave messages on the server, or delete them that long after they were first seen (`--keep=14d`)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l keep-newest -d 'Delete what is safe at home, but for this many of the newest messages on the server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l delete-over -d 'Delete what is safe at home, oldest first, while the maildrop is larger' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l max-size -d 'Leave larger messages on the server; octets, or `20M` (k, M, G)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l max-messages -d 'Fetch at most this many messages per account' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l max-octets -d 'Fetch at most this much per account, in this run or with `/day` in one day; octets, or `500M`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l order -d 'Fetch these messages first' -r -f -a "oldest\t''
newest\t''
smallest\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l tls -d 'Begin TLS at once, begin it by STARTTLS, or send everything in clear, the password too' -r -f -a "implicit\t''
starttls\t''
none\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l ca-file -d 'Trust the certificate authorities in this PEM file, and no others' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l tls-pin -d 'Trust the server with this certificate or public key, and no authority: `sha256:…`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l auth -d 'Log in this way; `auto` takes the best that the server announces' -r -f -a "auto\t''
user\t''
plain\t''
apop\t''
login\t''
cram-md5\t''
scram-sha-1\t''
scram-sha-1-plus\t''
scram-sha-256\t''
scram-sha-256-plus\t''
external\t''
xoauth2\t''
oauthbearer\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l timeout -d 'Wait this long for a server that says nothing' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l retries -d 'Dial a line that breaks again, at most this often in one run' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l jobs -d 'Fetch this many accounts at a time' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l jobs-per-host -d 'Of these, fetch this many at a time from one server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l config -d 'Read this configuration, TOML or JSON, or every one in a folder; `-` is standard input' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l state-dir -d 'Keep the record of what has been fetched in this folder' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l progress -d 'Show progress bars' -r -f -a "auto\t'When standard error is a terminal'
always\t'Always'
never\t'Never'"
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l login -d 'Ask for a password where only a person can tell it'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l twice -d 'Look whether the unique-ids are the same in a second session'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l offline -d 'Only read the configuration, and say what each account amounts to'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l no-keep -d 'Delete messages from the server once they are safe at home'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l all -d 'Fetch messages that have been fetched before, too'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l create -d 'Create a Maildir, or the folder of an mbox, that mail was delivered to before and that is gone'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l fill -d 'Deliver known messages to those targets of their account that do not have them'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l now -d 'Do not wait after failures in a row'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l yes -d 'Do not ask before `state known` and `state forget`'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l dry-run -d 'Show what would be fetched and deleted, and do neither'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l fail-if-none -d 'End with 1 when no new mail came'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -l json -d 'Report on standard output as JSON Lines, as things happen'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -s q -l quiet -d 'Say nothing but errors'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -s v -l verbose -d 'Say a line per message; twice: the dialogue with the server, without passwords'
complete -c popfetch -n "__fish_popfetch_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l sort -d 'Sort the list, the oldest or the largest first; without this it is in the server\'s order' -r -f -a "age\t'The oldest first, by the date in the message'
size\t'The largest first'
from\t'By sender'"
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l deliver -d 'Deliver to `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server such as `lmtp://HOST` or `https://HOST/PATH`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l keep -d 'Leave messages on the server, or delete them that long after they were first seen (`--keep=14d`)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l keep-newest -d 'Delete what is safe at home, but for this many of the newest messages on the server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l delete-over -d 'Delete what is safe at home, oldest first, while the maildrop is larger' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l max-size -d 'Leave larger messages on the server; octets, or `20M` (k, M, G)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l max-messages -d 'Fetch at most this many messages per account' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l max-octets -d 'Fetch at most this much per account, in this run or with `/day` in one day; octets, or `500M`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l order -d 'Fetch these messages first' -r -f -a "oldest\t''
newest\t''
smallest\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l tls -d 'Begin TLS at once, begin it by STARTTLS, or send everything in clear, the password too' -r -f -a "implicit\t''
starttls\t''
none\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l ca-file -d 'Trust the certificate authorities in this PEM file, and no others' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l tls-pin -d 'Trust the server with this certificate or public key, and no authority: `sha256:…`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l auth -d 'Log in this way; `auto` takes the best that the server announces' -r -f -a "auto\t''
user\t''
plain\t''
apop\t''
login\t''
cram-md5\t''
scram-sha-1\t''
scram-sha-1-plus\t''
scram-sha-256\t''
scram-sha-256-plus\t''
external\t''
xoauth2\t''
oauthbearer\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l timeout -d 'Wait this long for a server that says nothing' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l retries -d 'Dial a line that breaks again, at most this often in one run' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l jobs -d 'Fetch this many accounts at a time' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l jobs-per-host -d 'Of these, fetch this many at a time from one server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l config -d 'Read this configuration, TOML or JSON, or every one in a folder; `-` is standard input' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l state-dir -d 'Keep the record of what has been fetched in this folder' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l progress -d 'Show progress bars' -r -f -a "auto\t'When standard error is a terminal'
always\t'Always'
never\t'Never'"
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l new -d 'List only what a fetch would retrieve'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l ids -d 'Show unique-ids, too'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l no-keep -d 'Delete messages from the server once they are safe at home'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l all -d 'Fetch messages that have been fetched before, too'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l create -d 'Create a Maildir, or the folder of an mbox, that mail was delivered to before and that is gone'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l fill -d 'Deliver known messages to those targets of their account that do not have them'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l now -d 'Do not wait after failures in a row'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l yes -d 'Do not ask before `state known` and `state forget`'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l dry-run -d 'Show what would be fetched and deleted, and do neither'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l fail-if-none -d 'End with 1 when no new mail came'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -l json -d 'Report on standard output as JSON Lines, as things happen'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -s q -l quiet -d 'Say nothing but errors'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -s v -l verbose -d 'Say a line per message; twice: the dialogue with the server, without passwords'
complete -c popfetch -n "__fish_popfetch_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l deliver -d 'Deliver to `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server such as `lmtp://HOST` or `https://HOST/PATH`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l keep -d 'Leave messages on the server, or delete them that long after they were first seen (`--keep=14d`)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l keep-newest -d 'Delete what is safe at home, but for this many of the newest messages on the server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l delete-over -d 'Delete what is safe at home, oldest first, while the maildrop is larger' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l max-size -d 'Leave larger messages on the server; octets, or `20M` (k, M, G)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l max-messages -d 'Fetch at most this many messages per account' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l max-octets -d 'Fetch at most this much per account, in this run or with `/day` in one day; octets, or `500M`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l order -d 'Fetch these messages first' -r -f -a "oldest\t''
newest\t''
smallest\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l tls -d 'Begin TLS at once, begin it by STARTTLS, or send everything in clear, the password too' -r -f -a "implicit\t''
starttls\t''
none\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l ca-file -d 'Trust the certificate authorities in this PEM file, and no others' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l tls-pin -d 'Trust the server with this certificate or public key, and no authority: `sha256:…`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l auth -d 'Log in this way; `auto` takes the best that the server announces' -r -f -a "auto\t''
user\t''
plain\t''
apop\t''
login\t''
cram-md5\t''
scram-sha-1\t''
scram-sha-1-plus\t''
scram-sha-256\t''
scram-sha-256-plus\t''
external\t''
xoauth2\t''
oauthbearer\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l timeout -d 'Wait this long for a server that says nothing' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l retries -d 'Dial a line that breaks again, at most this often in one run' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l jobs -d 'Fetch this many accounts at a time' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l jobs-per-host -d 'Of these, fetch this many at a time from one server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l config -d 'Read this configuration, TOML or JSON, or every one in a folder; `-` is standard input' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l state-dir -d 'Keep the record of what has been fetched in this folder' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l progress -d 'Show progress bars' -r -f -a "auto\t'When standard error is a terminal'
always\t'Always'
never\t'Never'"
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l no-keep -d 'Delete messages from the server once they are safe at home'
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l all -d 'Fetch messages that have been fetched before, too'
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l create -d 'Create a Maildir, or the folder of an mbox, that mail was delivered to before and that is gone'
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l fill -d 'Deliver known messages to those targets of their account that do not have them'
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l now -d 'Do not wait after failures in a row'
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l yes -d 'Do not ask before `state known` and `state forget`'
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l dry-run -d 'Show what would be fetched and deleted, and do neither'
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l fail-if-none -d 'End with 1 when no new mail came'
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -l json -d 'Report on standard output as JSON Lines, as things happen'
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -s q -l quiet -d 'Say nothing but errors'
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -s v -l verbose -d 'Say a line per message; twice: the dialogue with the server, without passwords'
complete -c popfetch -n "__fish_popfetch_using_subcommand login" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l deliver -d 'Deliver to `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server such as `lmtp://HOST` or `https://HOST/PATH`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l keep -d 'Leave messages on the server, or delete them that long after they were first seen (`--keep=14d`)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l keep-newest -d 'Delete what is safe at home, but for this many of the newest messages on the server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l delete-over -d 'Delete what is safe at home, oldest first, while the maildrop is larger' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l max-size -d 'Leave larger messages on the server; octets, or `20M` (k, M, G)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l max-messages -d 'Fetch at most this many messages per account' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l max-octets -d 'Fetch at most this much per account, in this run or with `/day` in one day; octets, or `500M`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l order -d 'Fetch these messages first' -r -f -a "oldest\t''
newest\t''
smallest\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l tls -d 'Begin TLS at once, begin it by STARTTLS, or send everything in clear, the password too' -r -f -a "implicit\t''
starttls\t''
none\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l ca-file -d 'Trust the certificate authorities in this PEM file, and no others' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l tls-pin -d 'Trust the server with this certificate or public key, and no authority: `sha256:…`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l auth -d 'Log in this way; `auto` takes the best that the server announces' -r -f -a "auto\t''
user\t''
plain\t''
apop\t''
login\t''
cram-md5\t''
scram-sha-1\t''
scram-sha-1-plus\t''
scram-sha-256\t''
scram-sha-256-plus\t''
external\t''
xoauth2\t''
oauthbearer\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l timeout -d 'Wait this long for a server that says nothing' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l retries -d 'Dial a line that breaks again, at most this often in one run' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l jobs -d 'Fetch this many accounts at a time' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l jobs-per-host -d 'Of these, fetch this many at a time from one server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l config -d 'Read this configuration, TOML or JSON, or every one in a folder; `-` is standard input' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l state-dir -d 'Keep the record of what has been fetched in this folder' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l progress -d 'Show progress bars' -r -f -a "auto\t'When standard error is a terminal'
always\t'Always'
never\t'Never'"
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l no-keep -d 'Delete messages from the server once they are safe at home'
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l all -d 'Fetch messages that have been fetched before, too'
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l create -d 'Create a Maildir, or the folder of an mbox, that mail was delivered to before and that is gone'
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l fill -d 'Deliver known messages to those targets of their account that do not have them'
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l now -d 'Do not wait after failures in a row'
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l yes -d 'Do not ask before `state known` and `state forget`'
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l dry-run -d 'Show what would be fetched and deleted, and do neither'
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l fail-if-none -d 'End with 1 when no new mail came'
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -l json -d 'Report on standard output as JSON Lines, as things happen'
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -s q -l quiet -d 'Say nothing but errors'
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -s v -l verbose -d 'Say a line per message; twice: the dialogue with the server, without passwords'
complete -c popfetch -n "__fish_popfetch_using_subcommand logout" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l deliver -d 'Deliver to `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server such as `lmtp://HOST` or `https://HOST/PATH`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l keep -d 'Leave messages on the server, or delete them that long after they were first seen (`--keep=14d`)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l keep-newest -d 'Delete what is safe at home, but for this many of the newest messages on the server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l delete-over -d 'Delete what is safe at home, oldest first, while the maildrop is larger' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l max-size -d 'Leave larger messages on the server; octets, or `20M` (k, M, G)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l max-messages -d 'Fetch at most this many messages per account' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l max-octets -d 'Fetch at most this much per account, in this run or with `/day` in one day; octets, or `500M`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l order -d 'Fetch these messages first' -r -f -a "oldest\t''
newest\t''
smallest\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l tls -d 'Begin TLS at once, begin it by STARTTLS, or send everything in clear, the password too' -r -f -a "implicit\t''
starttls\t''
none\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l ca-file -d 'Trust the certificate authorities in this PEM file, and no others' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l tls-pin -d 'Trust the server with this certificate or public key, and no authority: `sha256:…`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l auth -d 'Log in this way; `auto` takes the best that the server announces' -r -f -a "auto\t''
user\t''
plain\t''
apop\t''
login\t''
cram-md5\t''
scram-sha-1\t''
scram-sha-1-plus\t''
scram-sha-256\t''
scram-sha-256-plus\t''
external\t''
xoauth2\t''
oauthbearer\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l timeout -d 'Wait this long for a server that says nothing' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l retries -d 'Dial a line that breaks again, at most this often in one run' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l jobs -d 'Fetch this many accounts at a time' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l jobs-per-host -d 'Of these, fetch this many at a time from one server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l config -d 'Read this configuration, TOML or JSON, or every one in a folder; `-` is standard input' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l state-dir -d 'Keep the record of what has been fetched in this folder' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l progress -d 'Show progress bars' -r -f -a "auto\t'When standard error is a terminal'
always\t'Always'
never\t'Never'"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l no-keep -d 'Delete messages from the server once they are safe at home'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l all -d 'Fetch messages that have been fetched before, too'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l create -d 'Create a Maildir, or the folder of an mbox, that mail was delivered to before and that is gone'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l fill -d 'Deliver known messages to those targets of their account that do not have them'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l now -d 'Do not wait after failures in a row'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l yes -d 'Do not ask before `state known` and `state forget`'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l dry-run -d 'Show what would be fetched and deleted, and do neither'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l fail-if-none -d 'End with 1 when no new mail came'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -l json -d 'Report on standard output as JSON Lines, as things happen'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -s q -l quiet -d 'Say nothing but errors'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -s v -l verbose -d 'Say a line per message; twice: the dialogue with the server, without passwords'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -f -a "show" -d 'Show what is known of each account, without its server'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -f -a "known" -d 'Let what is on the server now count as fetched: no run delivers it'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -f -a "forget" -d 'Forget messages: what is still on the server comes again. Wants --id, --before or --all'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -f -a "retry" -d 'Give targets once more what they have refused again and again, and what is therefore quarantined'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and not __fish_seen_subcommand_from show known forget retry rebuild" -f -a "rebuild" -d 'Let messages that are in a Maildir already count as delivered there, for a ledger that is lost'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l deliver -d 'Deliver to `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server such as `lmtp://HOST` or `https://HOST/PATH`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l keep -d 'Leave messages on the server, or delete them that long after they were first seen (`--keep=14d`)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l keep-newest -d 'Delete what is safe at home, but for this many of the newest messages on the server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l delete-over -d 'Delete what is safe at home, oldest first, while the maildrop is larger' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l max-size -d 'Leave larger messages on the server; octets, or `20M` (k, M, G)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l max-messages -d 'Fetch at most this many messages per account' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l max-octets -d 'Fetch at most this much per account, in this run or with `/day` in one day; octets, or `500M`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l order -d 'Fetch these messages first' -r -f -a "oldest\t''
newest\t''
smallest\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l tls -d 'Begin TLS at once, begin it by STARTTLS, or send everything in clear, the password too' -r -f -a "implicit\t''
starttls\t''
none\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l ca-file -d 'Trust the certificate authorities in this PEM file, and no others' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l tls-pin -d 'Trust the server with this certificate or public key, and no authority: `sha256:…`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l auth -d 'Log in this way; `auto` takes the best that the server announces' -r -f -a "auto\t''
user\t''
plain\t''
apop\t''
login\t''
cram-md5\t''
scram-sha-1\t''
scram-sha-1-plus\t''
scram-sha-256\t''
scram-sha-256-plus\t''
external\t''
xoauth2\t''
oauthbearer\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l timeout -d 'Wait this long for a server that says nothing' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l retries -d 'Dial a line that breaks again, at most this often in one run' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l jobs -d 'Fetch this many accounts at a time' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l jobs-per-host -d 'Of these, fetch this many at a time from one server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l config -d 'Read this configuration, TOML or JSON, or every one in a folder; `-` is standard input' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l state-dir -d 'Keep the record of what has been fetched in this folder' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l progress -d 'Show progress bars' -r -f -a "auto\t'When standard error is a terminal'
always\t'Always'
never\t'Never'"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l no-keep -d 'Delete messages from the server once they are safe at home'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l all -d 'Fetch messages that have been fetched before, too'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l create -d 'Create a Maildir, or the folder of an mbox, that mail was delivered to before and that is gone'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l fill -d 'Deliver known messages to those targets of their account that do not have them'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l now -d 'Do not wait after failures in a row'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l yes -d 'Do not ask before `state known` and `state forget`'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l dry-run -d 'Show what would be fetched and deleted, and do neither'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l fail-if-none -d 'End with 1 when no new mail came'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -l json -d 'Report on standard output as JSON Lines, as things happen'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Say nothing but errors'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Say a line per message; twice: the dialogue with the server, without passwords'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l id -d 'Only the message with this unique-id; may be given several times' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l deliver -d 'Deliver to `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server such as `lmtp://HOST` or `https://HOST/PATH`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l keep -d 'Leave messages on the server, or delete them that long after they were first seen (`--keep=14d`)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l keep-newest -d 'Delete what is safe at home, but for this many of the newest messages on the server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l delete-over -d 'Delete what is safe at home, oldest first, while the maildrop is larger' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l max-size -d 'Leave larger messages on the server; octets, or `20M` (k, M, G)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l max-messages -d 'Fetch at most this many messages per account' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l max-octets -d 'Fetch at most this much per account, in this run or with `/day` in one day; octets, or `500M`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l order -d 'Fetch these messages first' -r -f -a "oldest\t''
newest\t''
smallest\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l tls -d 'Begin TLS at once, begin it by STARTTLS, or send everything in clear, the password too' -r -f -a "implicit\t''
starttls\t''
none\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l ca-file -d 'Trust the certificate authorities in this PEM file, and no others' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l tls-pin -d 'Trust the server with this certificate or public key, and no authority: `sha256:…`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l auth -d 'Log in this way; `auto` takes the best that the server announces' -r -f -a "auto\t''
user\t''
plain\t''
apop\t''
login\t''
cram-md5\t''
scram-sha-1\t''
scram-sha-1-plus\t''
scram-sha-256\t''
scram-sha-256-plus\t''
external\t''
xoauth2\t''
oauthbearer\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l timeout -d 'Wait this long for a server that says nothing' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l retries -d 'Dial a line that breaks again, at most this often in one run' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l jobs -d 'Fetch this many accounts at a time' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l jobs-per-host -d 'Of these, fetch this many at a time from one server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l config -d 'Read this configuration, TOML or JSON, or every one in a folder; `-` is standard input' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l state-dir -d 'Keep the record of what has been fetched in this folder' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l progress -d 'Show progress bars' -r -f -a "auto\t'When standard error is a terminal'
always\t'Always'
never\t'Never'"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l no-keep -d 'Delete messages from the server once they are safe at home'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l all -d 'Fetch messages that have been fetched before, too'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l create -d 'Create a Maildir, or the folder of an mbox, that mail was delivered to before and that is gone'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l fill -d 'Deliver known messages to those targets of their account that do not have them'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l now -d 'Do not wait after failures in a row'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l yes -d 'Do not ask before `state known` and `state forget`'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l dry-run -d 'Show what would be fetched and deleted, and do neither'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l fail-if-none -d 'End with 1 when no new mail came'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -l json -d 'Report on standard output as JSON Lines, as things happen'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -s q -l quiet -d 'Say nothing but errors'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -s v -l verbose -d 'Say a line per message; twice: the dialogue with the server, without passwords'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from known" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l id -d 'The message with this unique-id; may be given several times' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l before -d 'What was first seen before this day' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l deliver -d 'Deliver to `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server such as `lmtp://HOST` or `https://HOST/PATH`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l keep -d 'Leave messages on the server, or delete them that long after they were first seen (`--keep=14d`)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l keep-newest -d 'Delete what is safe at home, but for this many of the newest messages on the server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l delete-over -d 'Delete what is safe at home, oldest first, while the maildrop is larger' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l max-size -d 'Leave larger messages on the server; octets, or `20M` (k, M, G)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l max-messages -d 'Fetch at most this many messages per account' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l max-octets -d 'Fetch at most this much per account, in this run or with `/day` in one day; octets, or `500M`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l order -d 'Fetch these messages first' -r -f -a "oldest\t''
newest\t''
smallest\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l tls -d 'Begin TLS at once, begin it by STARTTLS, or send everything in clear, the password too' -r -f -a "implicit\t''
starttls\t''
none\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l ca-file -d 'Trust the certificate authorities in this PEM file, and no others' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l tls-pin -d 'Trust the server with this certificate or public key, and no authority: `sha256:…`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l auth -d 'Log in this way; `auto` takes the best that the server announces' -r -f -a "auto\t''
user\t''
plain\t''
apop\t''
login\t''
cram-md5\t''
scram-sha-1\t''
scram-sha-1-plus\t''
scram-sha-256\t''
scram-sha-256-plus\t''
external\t''
xoauth2\t''
oauthbearer\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l timeout -d 'Wait this long for a server that says nothing' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l retries -d 'Dial a line that breaks again, at most this often in one run' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l jobs -d 'Fetch this many accounts at a time' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l jobs-per-host -d 'Of these, fetch this many at a time from one server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l config -d 'Read this configuration, TOML or JSON, or every one in a folder; `-` is standard input' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l state-dir -d 'Keep the record of what has been fetched in this folder' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l progress -d 'Show progress bars' -r -f -a "auto\t'When standard error is a terminal'
always\t'Always'
never\t'Never'"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l no-keep -d 'Delete messages from the server once they are safe at home'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l all -d 'Fetch messages that have been fetched before, too'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l create -d 'Create a Maildir, or the folder of an mbox, that mail was delivered to before and that is gone'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l fill -d 'Deliver known messages to those targets of their account that do not have them'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l now -d 'Do not wait after failures in a row'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l yes -d 'Do not ask before `state known` and `state forget`'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l dry-run -d 'Show what would be fetched and deleted, and do neither'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l fail-if-none -d 'End with 1 when no new mail came'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -l json -d 'Report on standard output as JSON Lines, as things happen'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -s q -l quiet -d 'Say nothing but errors'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -s v -l verbose -d 'Say a line per message; twice: the dialogue with the server, without passwords'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from forget" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l id -d 'Only the message with this unique-id; may be given several times' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l deliver -d 'Deliver to `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server such as `lmtp://HOST` or `https://HOST/PATH`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l keep -d 'Leave messages on the server, or delete them that long after they were first seen (`--keep=14d`)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l keep-newest -d 'Delete what is safe at home, but for this many of the newest messages on the server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l delete-over -d 'Delete what is safe at home, oldest first, while the maildrop is larger' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l max-size -d 'Leave larger messages on the server; octets, or `20M` (k, M, G)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l max-messages -d 'Fetch at most this many messages per account' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l max-octets -d 'Fetch at most this much per account, in this run or with `/day` in one day; octets, or `500M`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l order -d 'Fetch these messages first' -r -f -a "oldest\t''
newest\t''
smallest\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l tls -d 'Begin TLS at once, begin it by STARTTLS, or send everything in clear, the password too' -r -f -a "implicit\t''
starttls\t''
none\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l ca-file -d 'Trust the certificate authorities in this PEM file, and no others' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l tls-pin -d 'Trust the server with this certificate or public key, and no authority: `sha256:…`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l auth -d 'Log in this way; `auto` takes the best that the server announces' -r -f -a "auto\t''
user\t''
plain\t''
apop\t''
login\t''
cram-md5\t''
scram-sha-1\t''
scram-sha-1-plus\t''
scram-sha-256\t''
scram-sha-256-plus\t''
external\t''
xoauth2\t''
oauthbearer\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l timeout -d 'Wait this long for a server that says nothing' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l retries -d 'Dial a line that breaks again, at most this often in one run' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l jobs -d 'Fetch this many accounts at a time' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l jobs-per-host -d 'Of these, fetch this many at a time from one server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l config -d 'Read this configuration, TOML or JSON, or every one in a folder; `-` is standard input' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l state-dir -d 'Keep the record of what has been fetched in this folder' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l progress -d 'Show progress bars' -r -f -a "auto\t'When standard error is a terminal'
always\t'Always'
never\t'Never'"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l no-keep -d 'Delete messages from the server once they are safe at home'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l all -d 'Fetch messages that have been fetched before, too'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l create -d 'Create a Maildir, or the folder of an mbox, that mail was delivered to before and that is gone'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l fill -d 'Deliver known messages to those targets of their account that do not have them'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l now -d 'Do not wait after failures in a row'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l yes -d 'Do not ask before `state known` and `state forget`'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l dry-run -d 'Show what would be fetched and deleted, and do neither'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l fail-if-none -d 'End with 1 when no new mail came'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -l json -d 'Report on standard output as JSON Lines, as things happen'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -s q -l quiet -d 'Say nothing but errors'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -s v -l verbose -d 'Say a line per message; twice: the dialogue with the server, without passwords'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from retry" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l from -d 'The Maildir' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l deliver -d 'Deliver to `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server such as `lmtp://HOST` or `https://HOST/PATH`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l keep -d 'Leave messages on the server, or delete them that long after they were first seen (`--keep=14d`)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l keep-newest -d 'Delete what is safe at home, but for this many of the newest messages on the server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l delete-over -d 'Delete what is safe at home, oldest first, while the maildrop is larger' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l max-size -d 'Leave larger messages on the server; octets, or `20M` (k, M, G)' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l max-messages -d 'Fetch at most this many messages per account' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l max-octets -d 'Fetch at most this much per account, in this run or with `/day` in one day; octets, or `500M`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l order -d 'Fetch these messages first' -r -f -a "oldest\t''
newest\t''
smallest\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l tls -d 'Begin TLS at once, begin it by STARTTLS, or send everything in clear, the password too' -r -f -a "implicit\t''
starttls\t''
none\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l ca-file -d 'Trust the certificate authorities in this PEM file, and no others' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l tls-pin -d 'Trust the server with this certificate or public key, and no authority: `sha256:…`' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l auth -d 'Log in this way; `auto` takes the best that the server announces' -r -f -a "auto\t''
user\t''
plain\t''
apop\t''
login\t''
cram-md5\t''
scram-sha-1\t''
scram-sha-1-plus\t''
scram-sha-256\t''
scram-sha-256-plus\t''
external\t''
xoauth2\t''
oauthbearer\t''"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l timeout -d 'Wait this long for a server that says nothing' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l retries -d 'Dial a line that breaks again, at most this often in one run' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l jobs -d 'Fetch this many accounts at a time' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l jobs-per-host -d 'Of these, fetch this many at a time from one server' -r
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l config -d 'Read this configuration, TOML or JSON, or every one in a folder; `-` is standard input' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l state-dir -d 'Keep the record of what has been fetched in this folder' -r -F
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l progress -d 'Show progress bars' -r -f -a "auto\t'When standard error is a terminal'
always\t'Always'
never\t'Never'"
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l no-keep -d 'Delete messages from the server once they are safe at home'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l all -d 'Fetch messages that have been fetched before, too'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l create -d 'Create a Maildir, or the folder of an mbox, that mail was delivered to before and that is gone'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l fill -d 'Deliver known messages to those targets of their account that do not have them'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l now -d 'Do not wait after failures in a row'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l yes -d 'Do not ask before `state known` and `state forget`'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l dry-run -d 'Show what would be fetched and deleted, and do neither'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l fail-if-none -d 'End with 1 when no new mail came'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -l json -d 'Report on standard output as JSON Lines, as things happen'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -s q -l quiet -d 'Say nothing but errors'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -s v -l verbose -d 'Say a line per message; twice: the dialogue with the server, without passwords'
complete -c popfetch -n "__fish_popfetch_using_subcommand state; and __fish_seen_subcommand_from rebuild" -s h -l help -d 'Print help (see more with \'--help\')'
