#!/usr/bin/env python3
"""What scripts/demo needs beyond curl: a free port, a look into JSON, and a person on IRC. Standard library only."""

import argparse
import json
import socket
import sys
import time


def free_port(_: argparse.Namespace) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        print(listener.getsockname()[1])


def agents(_: argparse.Namespace) -> None:
    """`kennel status --json` on standard input; a line for each agent: id, state, pid, generation."""
    for agent in json.load(sys.stdin)["agents"]:
        print(agent["id"], agent["state"], agent.get("pid", "-"), agent["generation"])


def field(options: argparse.Namespace) -> None:
    """One value of the JSON on standard input, by a path such as choices.0.message.content."""
    text = sys.stdin.read()
    try:
        value = json.loads(text)
        for key in options.path.split("."):
            value = value[int(key)] if isinstance(value, list) else value[key]
    except (ValueError, KeyError, IndexError, TypeError):
        sys.exit(f"no {options.path} in: {text.strip()[:2000]}")
    print(value)


def body(options: argparse.Namespace) -> None:
    """The body of a question to the OpenAI-compatible endpoint, or of a turn of the control API."""
    if options.model:
        message = {"role": "user", "content": options.text}
        print(json.dumps({"model": options.model, "messages": [message]}))
    else:
        print(json.dumps({"text": options.text}))


def irc(options: argparse.Namespace) -> None:
    """Logs in as a person, asks a nick in private, and prints the lines that come back."""
    deadline = time.monotonic() + options.seconds
    connection = socket.create_connection(("127.0.0.1", options.port), timeout=5)
    lines = connection.makefile("rb")

    def send(line: str) -> None:
        connection.sendall(line.encode() + b"\r\n")

    def receive(until: float) -> list[str] | None:
        """The next line's parts, or None when time is up. Answers pings on its way."""
        while (left := until - time.monotonic()) > 0:
            connection.settimeout(left)
            try:
                raw = lines.readline()
            except TimeoutError:
                return None
            if not raw:
                sys.exit("the IRC server closed the connection")
            parts = raw.decode(errors="replace").rstrip("\r\n").split(" ", 3)
            if parts[0] == "PING":
                send("PONG " + " ".join(parts[1:]))
                continue
            return parts
        return None

    def await_reply(code: str) -> list[str]:
        while parts := receive(deadline):
            if parts[1] == code:
                return parts
            if parts[1] in ("432", "433", "465"):
                sys.exit("the IRC server refused us: " + " ".join(parts))
        sys.exit(f"the IRC server did not send {code} in {options.seconds} s")

    send(f"NICK {options.nick}")
    send(f"USER {options.nick} 0 * :a person")
    await_reply("001")
    # The agent's account may still be on its way to the server.
    while True:
        send(f"ISON {options.to}")
        if options.to.lower() in await_reply("303")[-1].lower():
            break
        if time.monotonic() > deadline - 1:
            sys.exit(f"nobody called {options.to} is on the IRC server")
        time.sleep(0.1)

    send(f"PRIVMSG {options.to} :{options.text}")
    heard, until = [], deadline
    while parts := receive(until):
        sender = parts[0].lstrip(":").split("!", 1)[0]
        if parts[1] in ("PRIVMSG", "NOTICE") and sender.lower() == options.to.lower():
            heard.append(parts[3].lstrip(":"))
            # A long answer comes as several messages; a second of silence ends it.
            until = min(deadline, time.monotonic() + 1)
    send("QUIT")
    if not heard:
        sys.exit(f"{options.to} did not answer in {options.seconds} s")
    print("\n".join(heard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("free-port").set_defaults(run=free_port)
    commands.add_parser("agents").set_defaults(run=agents)
    command = commands.add_parser("field")
    command.add_argument("path")
    command.set_defaults(run=field)
    command = commands.add_parser("body")
    command.add_argument("--model")
    command.add_argument("text")
    command.set_defaults(run=body)
    command = commands.add_parser("irc")
    command.add_argument("--port", type=int, required=True)
    command.add_argument("--nick", required=True)
    command.add_argument("--to", required=True)
    command.add_argument("--seconds", type=float, default=60)
    command.add_argument("text")
    command.set_defaults(run=irc)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
