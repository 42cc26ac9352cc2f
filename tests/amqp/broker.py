"""
A RabbitMQ node of the tests' own, which they may kill.

The node and what belongs to it run beside a system's RabbitMQ: own ports, own name, own folders, own Erlang cookie, own epmd.
The scripts below ``/usr/lib/rabbitmq`` are used, not Debian's wrapper, which changes to another user.
"""

from __future__ import annotations

import itertools
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

#: Below the ports that Linux gives to clients: one of those could be taken while its broker is down, and a client that tries to
#: come back to it could even be connected with itself.
PORTS = range(20_000, 32_000)

SCRIPTS = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"

#: How often a node is asked that does not let us in.
CALLS = 5

_NUMBERS = itertools.count(1)
#: A test run that is itself killed takes the node along.  This is heard when the *thread* ends that has started the process.
_WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"]

#: Where the next search begins; two test runs side by side begin at different places.
_TURNS = itertools.count(os.getpid() * 37)

_CERTIFICATES = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class BrokerMissing(LookupError):
    """No RabbitMQ is installed."""


class BrokerFailed(RuntimeError):
    """The node, or a command for it, did not do what it was asked to."""


def scripts(pattern: str = SCRIPTS) -> Path:
    """
    The folder of RabbitMQ's own scripts; of several versions the last.

    :raises BrokerMissing: when there is none, or a program of Erlang is missing.
    """
    found = sorted(Path("/").glob(pattern.lstrip("/")))
    if not found:
        raise BrokerMissing(f"no RabbitMQ in {pattern}; install rabbitmq-server")
    for program in ("epmd", "erl", "erl_call", "openssl", "setpriv"):
        if not shutil.which(program):
            raise BrokerMissing(f"no program {program}; install rabbitmq-server with what it needs, and util-linux")
    return found[-1]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; later calls go on where this one ended."""
    found: list[int] = []
    while len(found) < count:
        port = PORTS[next(_TURNS) % len(PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


def answers(port: int) -> bool:
    """Whether an AMQP 0-9-1 server opens the handshake on a local port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            # A method frame on channel 0: connection.start.
            return connection.recv(3, socket.MSG_WAITALL) == b"\x01\x00\x00"
    except OSError:
        return False


class OwnBroker:
    """
    One node.  Making it writes its folder and starts its epmd; :meth:`start` starts the node itself.

    What blocks is said so; while a reactor runs, such methods belong into a thread (``deferToThread(broker.wait)``).

    :param folder: where everything of it lies; :meth:`close` removes it.
    :param tls: whether it listens for TLS as well, on :attr:`tls_port`, with a certificate for ``localhost`` and ``127.0.0.1``
        whose authority stands in :attr:`ca_file`.
    :raises BrokerMissing: when no RabbitMQ is installed.
    :ivar port: for AMQP without TLS.
    :ivar node: the node's name.
    """

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self._scripts = scripts()
        self.folder = folder / f"broker-{next(_NUMBERS)}"
        self.node = f"evproc_{os.getpid()}_{self.folder.name.removeprefix('broker-')}@localhost"
        self.port, self.tls_port, distribution, names = free_ports(4)
        self.ca_file = self.folder / "ca.pem"
        self._process: subprocess.Popen[bytes] | None = None
        for part in ("home", "data", "log"):
            (self.folder / part).mkdir(parents=True)
        self._environment = self._configure(distribution, names, tls)
        # Erlang would start one as a daemon, which would outlive us.
        self._epmd = subprocess.Popen(
            [*_WITH_US, "epmd", "-address", "127.0.0.1", "-port", str(names)],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _configure(self, distribution: int, names: int, tls: bool) -> dict[str, str]:
        """Writes the node's files, and gives the environment that makes RabbitMQ's scripts use them."""
        settings = [
            f"listeners.tcp.1 = 127.0.0.1:{self.port}",
            # The tests write little, and may run on a machine whose disk is nearly full.
            "disk_free_limit.absolute = 1MB",
            "num_acceptors.tcp = 2",
            "log.file.level = warning",
        ]
        if tls:
            self._certify()
            settings += [
                f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}",
                "num_acceptors.ssl = 2",
                f"ssl_options.cacertfile = {self.ca_file}",
                f"ssl_options.certfile = {self.folder / 'server.pem'}",
                f"ssl_options.keyfile = {self.folder / 'server.key'}",
                "ssl_options.verify = verify_none",
                "ssl_options.fail_if_no_peer_cert = false",
            ]
        (self.folder / "rabbitmq.conf").write_text("\n".join(settings) + "\n")
        (self.folder / "env.conf").write_text("")
        (self.folder / "plugins").write_text("[].\n")
        cookie = self.folder / "home" / ".erlang.cookie"
        cookie.write_text(f"evproc{os.urandom(16).hex()}")
        cookie.chmod(0o400)
        # What a reader has set for another node must not reach this one.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return {
            **inherited,
            "HOME": str(self.folder / "home"),
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            # Only so does the script become the node by exec, so that the pid is the node's; -noinput takes the shell away again.
            "RABBITMQ_ALLOW_INPUT": "1",
        }

    def _certify(self) -> None:
        (self.folder / "openssl.cnf").write_text(_CERTIFICATES)
        for name, issuer in ("authority", []), ("server", ["-CA", "ca.pem", "-CAkey", "authority.key"]):
            files = ["-keyout", f"{name}.key", "-out", "server.pem" if issuer else "ca.pem", *issuer]
            key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"]
            subject = ["-config", "openssl.cnf", "-extensions", name, "-subj", f"/CN=evproc {name}"]
            made = subprocess.run(
                ["openssl", "req", "-x509", *subject, *key, *files],
                cwd=self.folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                raise BrokerFailed(f"openssl made no certificate of the {name}: {made.stderr}")

    def url(self, vhost: str = "/", user: str = "guest", password: str = "guest", *, tls: bool = False) -> str:
        scheme, place = ("amqps", f"localhost:{self.tls_port}") if tls else ("amqp", f"127.0.0.1:{self.port}")
        return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{place}/{quote(vhost, safe='')}"

    @property
    def pid(self) -> int:
        """Of the Erlang machine that is the node."""
        if self._process is None:
            raise BrokerFailed(f"{self.node} has not been started; call start()")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether there is a process; that it answers by now is what :meth:`wait` waits for."""
        return self._process is not None and self._process.poll() is None

    def start(self, seconds: float = 60) -> None:
        """Starts the node, with the data that it has, and waits until it answers.  Blocks.  See :meth:`wait`."""
        self.spawn()
        self.wait(seconds)

    def spawn(self) -> None:
        """
        Starts the node, and returns at once.

        :raises BrokerFailed: when it runs already, or this is not the main thread, whose end is the end of the tests.
        """
        if threading.current_thread() is not threading.main_thread():
            raise BrokerFailed(
                f"{self.node} has to be started by the main thread; call spawn() there, and wait() where it may block"
            )
        if self.running:
            raise BrokerFailed(f"{self.node} runs already; kill() or stop() it first")
        with open(self.folder / "log" / "output", "ab") as output:
            self._process = subprocess.Popen(
                [*_WITH_US, str(self._scripts / "rabbitmq-server"), "-noinput"],
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # An interrupt at the terminal is for the tests, which end the node themselves.
                start_new_session=True,
            )

    def wait(self, seconds: float = 60) -> None:
        """
        Waits until the node answers.  Blocks.

        A node says only on its port that it listens, so this asks again and again; in between it waits for the node to die.

        :param seconds: after which it is given up.
        :raises BrokerFailed: when the node has died, or does not answer in time.
        """
        deadline = time.monotonic() + seconds
        descriptor = os.pidfd_open(self.pid)
        try:
            death = select.poll()
            death.register(descriptor, select.POLLIN)
            while not answers(self.port):
                if death.poll(20):
                    raise BrokerFailed(f"{self.node} has ended instead of listening on port {self.port}:\n{self.log()}")
                if time.monotonic() > deadline:
                    raise BrokerFailed(f"{self.node} does not answer on port {self.port} after {seconds} s:\n{self.log()}")
        finally:
            os.close(descriptor)
        name = Path(f"/proc/{self.pid}/comm").read_text().strip()
        if name != "beam.smp":
            raise BrokerFailed(f"process {self.pid} has to be the Erlang machine of {self.node}, and is {name}")

    def log(self) -> str:
        """The end of what the node has written."""
        texts = [path.read_text(errors="replace")[-4_000:] for path in sorted((self.folder / "log").rglob("*")) if path.is_file()]
        return "\n".join(texts)

    def kill(self) -> None:
        """
        Ends the node by SIGKILL, as a crash would, and what it had started for itself.  Its data stays.

        Returns when the processes are gone, which takes milliseconds: the reactor may run.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._kill_helpers()

    def stop(self, seconds: float = 60) -> None:
        """Ends the node in good order.  Its data stays.  Blocks."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(seconds)
        self._kill_helpers()

    def close(self) -> None:
        """Ends the node and its epmd, and removes its folder.  Returns as quickly as :meth:`kill`."""
        self.kill()
        self._epmd.kill()
        self._epmd.wait()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def processes(self) -> dict[int, str]:
        """
        The command lines of the processes that belong to this node, by pid; its epmd is one of them.

        They are known by their environment, which they cannot lose: the parent of a helper changes when the node dies, and each
        has a session of its own.
        """
        return dict(self._processes())

    def _processes(self) -> Iterator[tuple[int, str]]:
        mark = f"RABBITMQ_NODENAME={self.node}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    yield int(process.name), (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                # Somebody else's, or gone.
                continue

    def _kill_helpers(self) -> None:
        for pid in self.processes().keys() - {self._epmd.pid}:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                # Readable when the process has ended.
                death = select.poll()
                death.register(descriptor, select.POLLIN)
                death.poll(5_000)
            except ProcessLookupError:
                continue
            finally:
                os.close(descriptor)

    def ctl(self, *arguments: str) -> str:
        """
        Runs ``rabbitmqctl`` for this node, and returns what it prints.  Blocks, for about half a second.

        :raises BrokerFailed: when it fails.
        """
        command = [str(self._scripts / "rabbitmqctl"), "-q", *arguments]
        done = subprocess.run(
            command, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise BrokerFailed(f"rabbitmqctl {' '.join(arguments)} for {self.node} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def evaluate(self, expression: str) -> str:
        """
        Evaluates an Erlang expression in the node, and returns how Erlang writes its value.  Blocks, for milliseconds: what many
        tests need goes this way.

        :raises BrokerFailed: when it fails.
        """
        done = self._ask(expression)
        for _ in range(CALLS - 1):
            # Under load a node that runs does not let a call in now and then; nothing was evaluated.
            if "failed to connect" not in done.stderr or not self.running:
                break
            done = self._ask(expression)
        if done.returncode or not done.stdout.startswith("{ok, "):
            raise BrokerFailed(f"{self.node} did not evaluate {expression}: {done.stdout}{done.stderr}")
        return done.stdout.removeprefix("{ok, ").removesuffix("}")

    def _ask(self, expression: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["erl_call", "-e", "-n", self.node],
            env=self._environment,
            input=f"{expression}.\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def _succeed(self, expression: str) -> None:
        value = self.evaluate(expression)
        if value != "ok":
            raise BrokerFailed(f"{expression} in {self.node} has to be ok, and is {value}")

    def add_vhost(self, name: str, user: str = "guest") -> None:
        """Makes an empty virtual host in which a user may do everything.  Blocks, for milliseconds."""
        self._succeed(f'rabbit_vhost:add(<<"{name}">>, <<"tests">>)')
        self._succeed(
            f'rabbit_auth_backend_internal:set_permissions(<<"{user}">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)'
        )

    def delete_vhost(self, name: str) -> None:
        """Removes a virtual host with all that is in it, connections included.  Blocks, for milliseconds."""
        self._succeed(f'rabbit_vhost:delete(<<"{name}">>, <<"tests">>)')

    def settle(self) -> None:
        """
        Writes down which quorum queues there are.  Blocks, for milliseconds.

        RabbitMQ 3.10 does so every half second.  A quorum queue whose node is killed sooner after its declaration comes back
        without what was confirmed and without a leader: who consumes from it waits for a minute and is then cut off.  A test
        calls this between declaring and killing.
        """
        self.evaluate("[ok = dets:sync(Table) || Table <- dets:all()]")

    def alarm(self, raised: bool) -> None:
        """Raises the memory alarm, on which the node takes nothing from publishers, or lifts it.  Blocks, for milliseconds."""
        self._succeed(f"vm_memory_monitor:set_vm_memory_high_watermark({0 if raised else 0.4})")
