"""Python's own TLS against a server: tls.py https://HOST:PORT CA_FILE. One row more, and how many there are."""

import json
import ssl
import sys
import urllib.request

url, authority = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
# What newer versions of Python do by themselves.
context.verify_flags |= ssl.VERIFY_X509_STRICT
statements = ["insert into seen values ('python')", "select count(*) from seen"]
requests = [{"type": "execute", "stmt": {"sql": sql}} for sql in statements]
body = json.dumps({"requests": [*requests, {"type": "close"}]}).encode()
request = urllib.request.Request(f"{url}/v2/pipeline", body, {"content-type": "application/json"})
with urllib.request.urlopen(request, context=context) as answer:
    results = json.load(answer)["results"]
print("https:", results[1]["response"]["result"]["rows"][0][0]["value"])
