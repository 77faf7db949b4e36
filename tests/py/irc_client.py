"""A person on IRC: takes orders on standard input and reports what it sees, one JSON object a line each.

usage: irc_client.py [--ca FILE] PORT NICK

Orders: {"join": ROOM}, {"say": [TARGET, TEXT]}, {"action": [TARGET, TEXT]}, {"ctcp": [TARGET, TEXT]},
{"bytes": [NUMBER, ...]} (written to the connection as they are). The end of standard input ends it.
"""

import argparse
import functools
import json
import queue
import ssl
import sys
import threading

import irc.client
import irc.connection
from jaraco.stream.buffer import LenientDecodingLineBuffer


def report(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def on_any(_connection, event):
    if event.type in ("privmsg", "pubmsg", "privnotice", "ctcpreply", "join", "nick", "quit", "error"):
        report(
            event.type,
            who=str(event.source),
            target=event.target,
            text=event.arguments[0] if event.arguments else "",
        )


def obey(connection, order):
    if "join" in order:
        connection.join(order["join"])
    elif "say" in order:
        connection.privmsg(*order["say"])
    elif "action" in order:
        connection.action(*order["action"])
    elif "ctcp" in order:
        connection.ctcp("version", order["ctcp"][0], order["ctcp"][1])
    elif "bytes" in order:
        connection.socket.sendall(bytes(order["bytes"]))
    else:
        raise ValueError(order)


def read_orders(orders):
    for line in sys.stdin:
        orders.put(json.loads(line))
    orders.put(None)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ca")
    parser.add_argument("port", type=int)
    parser.add_argument("nick")
    options = parser.parse_args()

    irc.client.ServerConnection.buffer_class = LenientDecodingLineBuffer
    wrapper = None
    if options.ca:
        context = ssl.create_default_context(cafile=options.ca)
        wrapper = functools.partial(context.wrap_socket, server_hostname="localhost")
    factory = irc.connection.Factory(wrapper=wrapper) if wrapper else irc.connection.Factory()

    reactor = irc.client.Reactor()
    reactor.add_global_handler("all_events", on_any, 10)
    reactor.add_global_handler("welcome", lambda c, e: report("welcome", nick=c.get_nickname()))
    reactor.add_global_handler("disconnect", lambda c, e: report("disconnect"))
    connection = reactor.server().connect("127.0.0.1", options.port, options.nick, connect_factory=factory)

    orders = queue.Queue()
    threading.Thread(target=read_orders, args=(orders,), daemon=True).start()
    while connection.is_connected():
        reactor.process_once(0.02)
        while not orders.empty():
            order = orders.get()
            if order is None:
                return
            obey(connection, order)


main()
