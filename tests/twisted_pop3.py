"""A POP3 server on loopback, for the tests: Twisted's, whose protocol is its own; here are the maildrops.

Arguments: a folder that has `USER/Maildir` for each user, their password, and the files of a certificate and its key.
Prints its port and that for TLS when it listens on them.
"""

import hashlib
import pathlib
import sys

from twisted.cred import checkers, portal
from twisted.internet import protocol, reactor, ssl
from twisted.mail import pop3
from zope.interface import implementer

homes, password, certificate, key = sys.argv[1:]


@implementer(pop3.IMailbox)
class Maildrop:
    def __init__(self, user):
        self.files = sorted(pathlib.Path(homes, user, "Maildir", "new").iterdir())
        self.deleted = set()

    def listMessages(self, index=None):
        sizes = [0 if file in self.deleted else octets(file) for file in self.files]
        return sizes if index is None else sizes[index]

    def getMessage(self, index):
        return open(self.files[index], "rb")

    def getUidl(self, index):
        return hashlib.md5(self.files[index].name.encode()).hexdigest().encode()

    def deleteMessage(self, index):
        self.deleted.add(self.files[index])

    def undeleteMessages(self):
        self.deleted.clear()

    def sync(self):
        for file in self.deleted:
            file.unlink(missing_ok=True)


def octets(file):
    """As they are sent, with CRLF."""
    text = file.read_bytes()
    return len(text) + text.count(b"\n")


@implementer(portal.IRealm)
class Realm:
    def requestAvatar(self, user, mind, *interfaces):
        return pop3.IMailbox, Maildrop(user.decode()), lambda: None


users = checkers.InMemoryUsernamePasswordDatabaseDontUse()
for home in pathlib.Path(homes).iterdir():
    users.addUser(home.name.encode(), password.encode())
factory = protocol.ServerFactory.forProtocol(pop3.POP3)
factory.protocol.portal = portal.Portal(Realm(), [users])
ports = [
    reactor.listenTCP(0, factory, interface="127.0.0.1"),
    reactor.listenSSL(0, factory, ssl.DefaultOpenSSLContextFactory(key, certificate), interface="127.0.0.1"),
]
print(*(port.getHost().port for port in ports), flush=True)
reactor.run()
