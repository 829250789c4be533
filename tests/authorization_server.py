"""An OAuth 2.0 authorization server on loopback, for the tests: Authlib's, on Flask.

The protocol is Authlib's: who a client is, PKCE, the device grant with its polling, errors. Here are the two clients, the
pages for the user, and the memory.

Prints its port when it listens. The client `short` gets access tokens that expire within the minute in which popfetch does
not use them any more, so that each of its runs refreshes. Refresh tokens rotate, and one that is used twice ends the
grant. Whoever opens a page is the user that `login_hint` names, or `alice`, and presses one of two buttons.
"""

import os
import secrets
import time
import urllib.parse

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error, rfc6749, rfc6750, rfc7636, rfc7662, rfc8628
from flask import Flask, request
from werkzeug.serving import WSGIRequestHandler, make_server

LIFETIME = {"popfetch": 3600, "short": 30}
SCOPES = {"mail", "offline_access"}

codes = {}
devices = {}
decisions = {}
tokens = []


class Client(rfc6749.ClientMixin):
    """`popfetch` is a public client, `short` has a secret; both are programs on somebody's desk (RFC 8252)."""

    def __init__(self, client_id):
        self.client_id = client_id
        self.secret = "kanarinac-klijenta" if client_id == "short" else None

    def get_client_id(self):
        return self.client_id

    def get_allowed_scope(self, scope):
        return " ".join(sorted(SCOPES & set(scope.split())))

    def check_redirect_uri(self, redirect_uri):
        # Any port of the loopback interface (RFC 8252 §7.3).
        address = urllib.parse.urlsplit(redirect_uri)
        return address.scheme == "http" and address.hostname == "127.0.0.1"

    def check_client_secret(self, client_secret):
        return self.secret is not None and client_secret == self.secret

    def check_endpoint_auth_method(self, method, endpoint):
        return method == ("client_secret_post" if self.secret else "none")

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type in ("authorization_code", "refresh_token", rfc8628.DEVICE_CODE_GRANT_TYPE)


class Code(dict, rfc6749.AuthorizationCodeMixin):
    def __getattr__(self, name):
        return self[name]

    def get_redirect_uri(self):
        return self.redirect_uri

    def get_scope(self):
        return self.scope


class Token(dict, rfc6749.TokenMixin):
    """An access token and its refresh token, and the grant that they and all that came of them belong to."""

    def __getattr__(self, name):
        return self[name]

    def check_client(self, client):
        return self.client_id == client.client_id

    def get_scope(self):
        return self.scope

    def get_expires_in(self):
        return self.expires_in

    def is_expired(self):
        return time.time() >= self.issued_at + self.expires_in

    def is_revoked(self):
        return self.grant["is_over"]


def save_token(token, asked):
    before = asked.credential if isinstance(asked.credential, Token) else None
    grant = before.grant if before else {"is_over": False}
    about = {"client_id": asked.client.client_id, "user": asked.user, "issued_at": time.time()}
    tokens.append(Token({"refresh_token": None, **token, **about, "grant": grant, "is_spent": False}))


class AuthorizationCodeGrant(rfc6749.grants.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post", "none"]

    def save_authorization_code(self, code, asked):
        codes[code] = Code(
            code=code,
            client_id=asked.client.client_id,
            redirect_uri=asked.redirect_uri,
            scope=asked.scope,
            user=asked.user,
            code_challenge=asked.data.get("code_challenge"),
            code_challenge_method=asked.data.get("code_challenge_method"),
        )

    def query_authorization_code(self, code, client):
        found = codes.get(code)
        return found if found and found.client_id == client.client_id else None

    def delete_authorization_code(self, code):
        del codes[code.code]

    def authenticate_user(self, code):
        return code.user


class S256(rfc7636.CodeChallenge):
    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]


class RefreshTokenGrant(rfc6749.grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post", "none"]
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        token = next((token for token in tokens if token.refresh_token == refresh_token), None)
        if token and token.is_spent:
            # One of the two who have it is a thief (RFC 9700 §4.14.2).
            token.grant["is_over"] = True
        return None if token is None or token.is_revoked() else token

    def authenticate_user(self, credential):
        return credential.user

    def revoke_old_credential(self, credential):
        credential["is_spent"] = True


class DeviceCodeGrant(rfc8628.DeviceCodeGrant):
    def query_device_credential(self, device_code):
        return devices.get(device_code)

    def query_user_grant(self, user_code):
        return decisions.get(user_code)

    def should_slow_down(self, credential):
        return False


class DeviceAuthorizationEndpoint(rfc8628.DeviceAuthorizationEndpoint):
    CLIENT_AUTH_METHODS = ["client_secret_post", "none"]
    INTERVAL = 1

    def get_verification_uri(self):
        return request.host_url + "device"

    def save_device_credential(self, client_id, scope, data):
        about = {"client_id": client_id, "scope": scope, "expires_at": time.time() + data["expires_in"]}
        devices[data["device_code"]] = rfc8628.DeviceCredentialDict({**data, **about})


class IntrospectionEndpoint(rfc7662.IntrospectionEndpoint):
    CLIENT_AUTH_METHODS = ["client_secret_post"]

    def check_permission(self, token, client, asked):
        return True

    def query_token(self, token_string, token_type_hint):
        return next((token for token in tokens if token.access_token == token_string), None)

    def introspect_token(self, token):
        return {"active": True, "client_id": token.client_id, "sub": token.user, "scope": token.scope}


def random(**_):
    return secrets.token_urlsafe(32)


def lifetime(client, grant_type):
    return LIFETIME[client.client_id]


app = Flask(__name__)
app.config["OAUTH2_SCOPES_SUPPORTED"] = SCOPES
server = AuthorizationServer(app, lambda name: Client(name) if name in LIFETIME else None, save_token)
server.register_token_generator("default", rfc6750.BearerTokenGenerator(random, random, lifetime))
server.register_grant(AuthorizationCodeGrant, [S256(required=True)])
server.register_grant(RefreshTokenGrant)
server.register_grant(DeviceCodeGrant)
server.register_endpoint(DeviceAuthorizationEndpoint)
server.register_endpoint(IntrospectionEndpoint)

QUESTION = """<form method="post"><input type="hidden" name="user" value="{}">
<button name="decision" value="yes">Agree</button> <button name="decision" value="no">Refuse</button></form>"""


def user():
    return request.args.get("login_hint", "alice")


@app.route("/authorize", methods=["GET", "POST"])
def authorize():
    try:
        server.get_consent_grant(end_user=user())
    except OAuth2Error as error:
        return error.error, 400
    if request.method == "GET":
        return QUESTION
    return server.create_authorization_response(grant_user=user() if request.form["decision"] == "yes" else None)


@app.route("/device", methods=["GET", "POST"])
def device():
    code = request.args["user_code"]
    if all(known["user_code"] != code for known in devices.values()):
        return "nobody waits for this code", 404
    if request.method == "GET":
        return QUESTION
    decisions[code] = (user(), request.form["decision"] == "yes")
    return "You can go back to your device."


@app.route("/device_authorization", methods=["POST"])
def device_authorization():
    return server.create_endpoint_response("device_authorization")


@app.route("/token", methods=["POST"])
def token():
    return server.create_token_response()


@app.route("/introspect", methods=["POST"])
def introspect():
    return server.create_endpoint_response("introspection")


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        pass


listening = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
print(listening.port, flush=True)
listening.serve_forever()
