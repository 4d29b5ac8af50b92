"""A mail server for one test: TLS (at once, or by STARTTLS), a login, and a line for each mail that it takes.

Usage: mail_server.py tls|starttls CERTIFICATE KEY USER PASSWORD
Prints "port N", then "mail TO secure=yes" and the text of each mail, indented.
"""

import asyncio
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

MODE, CERTIFICATE, KEY, USER, PASSWORD = sys.argv[1:]


class Handler:
    async def handle_DATA(self, server, session, envelope):
        secure = "yes" if server.transport.get_extra_info("ssl_object") else "no"
        print("mail", *envelope.rcpt_tos, "secure=" + secure, flush=True)
        for line in envelope.content.decode().splitlines():
            print("  " + line, flush=True)
        return "250 taken"


def login(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    # Not handled: the server itself answers 535.
    return AuthResult(success=good, handled=False)


async def main():
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATE, KEY)
    by_command = MODE == "starttls"

    def smtp():
        return SMTP(
            Handler(),
            hostname="localhost",
            tls_context=tls if by_command else None,
            require_starttls=by_command,
            auth_require_tls=by_command,
            auth_required=True,
            authenticator=login,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(smtp, "127.0.0.1", 0, ssl=None if by_command else tls)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
