"""Every Python client in turn: `main.py --principal URL [--mirror URL]`, URL being http: or https:.

A file: URL stands in for a server to try the checks themselves.
"""

import argparse
import sys

from driver_checks import check_drivers
from libsql_client_checks import check_libsql_client
from sqlalchemy_checks import check_sqlalchemy


def web_socket(url):
    """The same address as `libsql-client` wants it."""
    return None if url is None else url.replace("http", "ws", 1) if url.startswith("http") else url


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--principal", required=True, metavar="URL")
    parser.add_argument("--mirror", metavar="URL")
    arguments = parser.parse_args()
    failed = check_libsql_client(web_socket(arguments.principal), web_socket(arguments.mirror))
    if arguments.principal.startswith("http"):
        failed += check_libsql_client(arguments.principal, arguments.mirror)
    failed += check_drivers(arguments.principal, arguments.mirror)
    failed += check_sqlalchemy(arguments.principal, arguments.mirror)
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
