"""Who schemathesis is when it tries the API, and what that one owns.

ONSALE_FUZZ_AS is `nobody`, `user` or `admin`. Half of the well-formed ids that are made up are replaced by ids of what
is really there: made-up ones only ever show what is answered about nothing.
"""

import json
import os
import urllib.error
import urllib.request
import uuid

import schemathesis

ROLE = os.environ["ONSALE_FUZZ_AS"]
URL = os.environ["ONSALE_FUZZ_URL"]
PASSWORD = "onsale-demo"
TIMEOUT_SECONDS = 10
# Credentials are made anew so often: what is tried may end them.
RENEW_SECONDS = 5


def call(method, path, body=None, headers=None):
    """One request and its JSON answer; None where it was refused."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        URL + path, data, {"Content-Type": "application/json", **(headers or {})}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        print(f"hooks.py: {method} {path}: {refused.code}")
        return None


class Visitor:
    """Somebody with a session, inside a concert."""

    def __init__(self, email):
        session = call("POST", "/auth/login", {"userId": email, "password": PASSWORD}) or {}
        self.headers = {"Authorization": f"Bearer {session.get('token', '')}"}
        concerts = (call("GET", "/concerts?available=true") or {}).get("data", [])
        self.concert = concerts[0]["id"] if concerts else None
        joined = call("POST", "/queue/token", {"concertId": self.concert}, self.headers) or {}
        self.headers["X-Queue-Token"] = joined.get("token", "")
        self.known = {"concertId": self.concert, "userId": session.get("userId")}

    def own_seats(self):
        """Holds a seat, and buys another one."""
        for pays in (True, False):
            body = {"concertId": self.concert, "quantity": 1}
            held = call("POST", "/reservation", body, self.headers)
            if held is None:
                return
            self.known["reservationId"] = held["reservationId"]
            if pays:
                body = {"reservationId": held["reservationId"]}
                paid = call("POST", "/payment", body, self.headers) or {}
                self.known["paymentId"] = paid.get("paymentId")


EMAILS = {"user": "alice@example.com", "admin": "admin@example.com"}
VISITOR = Visitor(EMAILS[ROLE]) if ROLE in EMAILS else None

if VISITOR:
    VISITOR.own_seats()

    @schemathesis.auth(refresh_interval=RENEW_SECONDS)
    class Session:
        """Signed in, and admitted."""

        def get(self, case, context):
            return Visitor(EMAILS[ROLE]).headers

        def set(self, case, data, context):
            case.headers = {**(case.headers or {}), **data}


def is_chosen(value):
    """Whether this is a well-formed id, of the half that is replaced; always the same half."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value and int(value[-1], 16) % 2 == 1
    except ValueError:
        return False


@schemathesis.hook
def before_call(context, case, **kwargs):
    known = VISITOR.known if VISITOR else {}
    for part in (case.path_parameters, case.body):
        if isinstance(part, dict):
            for name in known.keys() & part.keys():
                if known[name] and is_chosen(part[name]):
                    part[name] = known[name]
