"""A receiver of webhooks: receiver.py HOST PORT SECRET FILE. Writes what comes to the file, a line of JSON each.

It refuses the first request, as one that is not quite up does. Whether a signature is right is found out with Python's own HMAC.
"""

import hashlib
import hmac
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

HOST, PORT, SECRET, FILE = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), sys.argv[4]
refused = []


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not refused:
            refused.append(True)
            self.send_response(503)
            self.end_headers()
            return
        right = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        line = {
            "path": self.path,
            "type": self.headers["content-type"],
            "signed": hmac.compare_digest(right, self.headers.get("x-counterpart-signature", "")),
            "notice": json.loads(body),
        }
        with open(FILE, "a") as file:
            file.write(json.dumps(line) + "\n")
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


HTTPServer((HOST, PORT), Receiver).serve_forever()
