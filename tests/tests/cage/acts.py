"""Tries what no agent may do, and what every agent must be able to do, and tells what came of it.

Usage: acts.py PLAN RESULTS. The plan is a list of [name, act, arguments…]; the results are an object with
one entry for each name: "done", what the act gave, or the name of its error.
"""

import ctypes
import errno
import json
import os
import resource
import socket
import stat
import subprocess
import sys
import tempfile
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE = 0x4206
CLONE_NEWUSER = 0x10000000
IPPROTO_MPTCP = 262
MSG_FASTOPEN = 0x20000000
PATIENCE = 10


def checked(result):
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def read(path):
    with open(path, "rb") as file:
        file.read(16)


def open_only(path):
    with open(path, "rb"):
        pass


def write(path):
    with open(path, "ab"):
        pass


def make_device(path):
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.unlink(path)


def signal(pid):
    os.kill(pid, 0)


def trace(pid):
    # Ends with this process.
    checked(LIBC.ptrace(PTRACE_SEIZE, pid, None, None))


def mount(path):
    os.makedirs(path, exist_ok=True)
    checked(LIBC.mount(b"none", path.encode(), b"tmpfs", 0, None))
    checked(LIBC.umount2(path.encode(), 0))


def new_user_namespace():
    pid = os.fork()
    if pid == 0:
        os._exit(0 if LIBC.unshare(CLONE_NEWUSER) == 0 else ctypes.get_errno())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


def change_root(path):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if LIBC.chroot(path.encode()) == 0 else ctypes.get_errno())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


def open_socket(family, kind, protocol):
    socket.socket(getattr(socket, family), getattr(socket, kind), protocol).close()


def abstract(name):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect("\0" + name)


def control(path):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(PATIENCE)
        peer.connect(path)
        peer.sendall(b"GET /api/v1/health HTTP/1.1\r\nhost: kennel\r\nconnection: close\r\n\r\n")
        answer = b""
        while piece := peer.recv(4096):
            answer += piece
    status, _, rest = answer.decode().partition("\r\n")
    if " 403 " in status:
        body = json.loads(rest.partition("\r\n\r\n")[2])
        raise PermissionError(errno.EACCES, body["error"]["message"])
    assert " 200 " in status, status


def control_as_orphan(path):
    """Nobody above knows the process that connects: its parent is gone and it has a session of its own."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        parent = os.getpid()
        if os.fork() == 0:
            while os.getppid() == parent:
                os.sched_yield()
            try:
                control(path)
                os.write(writer, b"\0")
            except OSError as error:
                os.write(writer, bytes([error.errno]))
        os._exit(0)
    os.close(writer)
    os.wait()
    code = os.read(reader, 1)[0]
    if code:
        raise OSError(code, os.strerror(code))


def link(path, frame):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(PATIENCE)
        peer.connect(path)
        peer.sendall(bytes.fromhex(frame))
        answer = b""
        while piece := peer.recv(4096):
            answer += piece
    return answer.hex()


def tcp(port, protocol=0):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as peer:
        peer.settimeout(PATIENCE)
        peer.connect(("127.0.0.1", port))


def tcp_many_paths(port):
    tcp(port, IPPROTO_MPTCP)


def tcp_fast(port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as peer:
        peer.sendto(b"x", MSG_FASTOPEN, ("127.0.0.1", port))


def orphan():
    """Leaves a process behind that has left its session and its parent."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            for name in (0, 1, 2, reader, writer):
                os.close(name)
            os.execvp("sleep", ["sleep", "600"])
        os._exit(0)
    os.close(writer)
    os.wait()
    # Ends when the sleeper has it closed.
    os.read(reader, 1)


def run(*words):
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
    if ended.returncode:
        return f"exit {ended.returncode}: {ended.stderr[-300:]}"
    return "done"


def database(path):
    import sqlite3

    with sqlite3.connect(path) as store:
        store.execute("pragma journal_mode = wal")
        store.execute("create table t (x)")
        store.execute("insert into t values (1)")


def certificates():
    import ssl

    context = ssl.create_default_context(cafile="/etc/ssl/certs/ca-certificates.crt")
    assert context.cert_store_stats()["x509_ca"] > 10


def resolve(name):
    assert socket.getaddrinfo(name, 80)


def temporary():
    with tempfile.NamedTemporaryFile() as file:
        return os.path.dirname(file.name)


def thread():
    done = threading.Event()
    threading.Thread(target=done.set).start()
    assert done.wait(PATIENCE)


def facts():
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    kept = ["CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Umask", "Groups", "Uid", "Gid"]
    return {
        **{name: status[name].strip() for name in kept},
        "environment": sorted(os.environ),
        "home": os.environ["HOME"],
        "core": list(resource.getrlimit(resource.RLIMIT_CORE)),
        "session_of_parent": os.getsid(0) == os.getppid(),
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
    }


def main():
    plan, results = sys.argv[1:]
    with open(plan) as file:
        acts = json.load(file)
    told = {}
    for name, act, *arguments in acts:
        try:
            told[name] = globals()[act](*arguments) or "done"
        except OSError as error:
            told[name] = errno.errorcode.get(error.errno, str(error))
        except Exception as error:
            told[name] = f"{type(error).__name__}: {error}"
    with open(results + ".new", "w") as file:
        json.dump(told, file)
    os.rename(results + ".new", results)


main()
