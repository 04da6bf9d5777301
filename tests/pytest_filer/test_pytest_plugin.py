"""The pytest plug-in, in pytest runs of their own, as a project that has it installed."""

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from filer.mroot.system_log import format_line
from pytest_filer import FilerPair, FilerUnderTest
from pytest_filer.key_servers import RequestFailed
from tests.kit.console import Account
from tests.kit.paths import CHECKOUT
from tests.kit.pytest_runs import outcomes, run_pytest

DOCUMENT = CHECKOUT / "docs" / "TESTING.md"


EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)


SUBJECTS = (
    "one_key_server",
    "rotation",
    "expired",
    "locked_out",
    "broken_disk",
    "lost_node",
    "giveback",
    "interconnect",
    "ssh",
    "types",
)


def test_the_examples_of_the_manual_are_short_and_pass(tmp_path: Path) -> None:
    for number, example in enumerate(EXAMPLES):
        assert example.count("def test_") == 1
        assert example.count("\n") <= 9
        (tmp_path / f"test_{number}.py").write_text(example, encoding="utf-8")

    status, printed = run_pytest(tmp_path, "", "--strict-markers", "-W", "error")

    assert (status, outcomes(printed)) == (0, f"{len(EXAMPLES)} passed"), printed


def test_the_manual_has_an_example_of_each_subject() -> None:
    names = " ".join(re.findall(r"def test_(\w+)", "".join(EXAMPLES)))

    assert [subject for subject in SUBJECTS if subject not in names] == []


MARKED = """
import pytest

@pytest.mark.filer(
    key_servers=3, disks=5, columns=60, options=["-x"], settings={"system": {"hostname": "toaster"}}
)
def test_marked(filer):
    assert [each.address for each in filer.key_servers] == ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    assert filer.run("disk encrypt show").count("0x0") == 5
    assert filer.run("hostname") == "toaster> hostname\\ntoaster\\n"
    console = filer.console
    assert console.prompt == "toaster>"
    assert len(console.enter("man keymgr").splitlines()[0]) == 60
    assert console is filer.console
    assert console.leave() == 0
    assert filer.console is not console

@pytest.mark.filer(key_servers=0)
def test_alone(filer):
    assert filer.run("keymgr list cert") == "No certificates are installed.\\n"
    assert filer.key_servers == []

def test_one_after_the_other(filer):
    assert len(filer.key_servers) == 2
    assert "No key servers" in filer.run("key_manager show")

@pytest.mark.filer(key_servers=0)
def test_all_host_keys_are_known(filer):
    with filer.ssh() as ssh, open(ssh.known_hosts) as file:
        assert sorted(line.split()[1] for line in file) == [
            "ecdsa-sha2-nistp256", "ssh-ed25519", "ssh-rsa"
        ]
"""


def test_the_marker_says_what_a_test_gets(tmp_path: Path) -> None:
    status, printed = run_pytest(tmp_path, MARKED, "--strict-markers")

    assert (status, outcomes(printed)) == (0, "4 passed"), printed


FAILING = """
import pytest

def test_status(filer):
    filer.run("hostname", "nonsense")

def test_expected(filer):
    assert "nonsense not found" in filer.run("hostname", "nonsense", status=1)

def test_busy(filer):
    filer.console
    filer.run("hostname")

@pytest.mark.filer(key_servers=9)
def test_many(filer):
    pass

@pytest.mark.filer(key_servers="2")
def test_text(filer):
    pass

@pytest.mark.filer(timeout=0)
def test_timeout(filer):
    pass

@pytest.mark.filer(3, disk=5)
def test_unknown(filer):
    pass
"""

MARKER = "pytest.mark.filer: "
ARGUMENTS = "key_servers=2, disks=12, settings={}, options=(), rows=24, columns=80, timeout=60"


def test_what_goes_wrong_fails_the_test_and_says_why(tmp_path: Path) -> None:
    status, printed = run_pytest(tmp_path, FAILING, "--tb=short")

    assert (status, outcomes(printed)) == (1, "2 failed, 1 passed, 4 errors"), printed
    assert "filer ended with status 1, not 0:\nE   filer1\nE   nonsense not found." in printed
    assert re.search(r"filer: \S+ is in use by process \d+", printed)
    lines = printed.splitlines()
    assert f"{MARKER}key_servers must be 0 to 5, not 9" in lines
    assert f"{MARKER}key_servers must be 0 to 5, not '2'" in lines
    assert f"{MARKER}timeout must be a number of seconds, not 0" in lines
    assert f"{MARKER}unexpected 3, disk; its arguments are {ARGUMENTS}" in lines
    assert "_filer" not in printed


UNUSABLE = """
import os, signal, pytest

def test_process(filer, _filer_key_servers):
    os.kill(_filer_key_servers.pid, signal.SIGKILL)
    filer.key_servers[0].stop()

def test_later(filer):
    pass
"""


def test_a_process_of_the_key_servers_that_ended_is_named_in_a_line(tmp_path: Path) -> None:
    status, printed = run_pytest(tmp_path, UNUSABLE, "--tb=short")

    assert (status, outcomes(printed)) == (1, "1 failed, 2 errors"), printed
    lines = printed.splitlines()
    assert "the fixture filer: the process of the key servers has ended" in lines
    assert "site-packages" not in printed


def test_the_marker_is_listed_with_its_arguments(tmp_path: Path) -> None:
    _, printed = run_pytest(tmp_path, "", "--markers")

    assert f"@pytest.mark.filer({ARGUMENTS}): settings of the fixture filer" in printed


WITHOUT_PEXPECT = """
import runpy, sys
sys.modules["pexpect"] = None
runpy.run_module("pytest", run_name="__main__", alter_sys=True)
"""


def test_without_pexpect_the_fixture_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "without.py").write_text(WITHOUT_PEXPECT, encoding="utf-8")

    status, printed = run_pytest(
        tmp_path, "def test_it(filer):\n    pass\n", program=("without.py",)
    )

    assert "the fixture filer needs pexpect: pip install pexpect" in printed
    assert (status, outcomes(printed)) == (1, "1 error"), printed


LIGHT = """
import sys
def test_it():
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert "pytest_filer" in sys.modules
    assert loaded.isdisjoint({"filer", "kmip", "pexpect", "cryptography"})
"""


def test_a_project_that_does_not_use_it_loads_nothing_but_the_plug_in(tmp_path: Path) -> None:
    status, printed = run_pytest(tmp_path, LIGHT, "-W", "error")

    assert (status, outcomes(printed)) == (0, "1 passed"), printed


def test_a_fixture_of_the_project_goes_before_ours(tmp_path: Path) -> None:
    own = "import pytest\n@pytest.fixture\ndef filer():\n    return 7\n"
    status, printed = run_pytest(tmp_path, f"{own}def test_it(filer):\n    assert filer == 7\n")

    assert (status, outcomes(printed)) == (0, "1 passed"), printed


@pytest.mark.filer(key_servers=1)
@pytest.mark.parametrize(
    ("lines", "question"),
    [
        (["key_manager setup"], "Enter the IP address for a key server, 'q' to quit:"),
        (["disk encrypt destroy 0c.00.9; disk encrypt destroy 0c.00.8"], "To continue, enter"),
        (
            ["key_manager add -key_server 127.0.0.2", "key_manager rekey -manual"],
            "enter a new passphrase",
        ),
    ],
)
def test_a_console_can_be_left_at_a_question(
    filer: FilerUnderTest, lines: list[str], question: str
) -> None:
    console = filer.console
    for line in lines:
        console.enter(line)
    assert question in console.prompt

    assert console.leave() == 0
    assert "0x0" in filer.run("disk encrypt show 0c.00.9")


SHARED = """
import pathlib, shutil, time

def meet(worker_id, text):
    pathlib.Path(f"{worker_id}.txt").write_text(text)
    while len(list(pathlib.Path().glob("gw?.txt"))) < 2:  # the other worker is not done either
        time.sleep(0.01)

def test_it(filer, worker_id, _filer_key_servers):
    certificate = filer.root / "mroot/etc/keymgr/cert/127.0.0.2_CA.pem"
    shutil.copy(certificate, f"{worker_id}.pem")
    filer.run("key_manager add -key_server 127.0.0.2")
    with open(f"/proc/{_filer_key_servers.pid}/stat") as status:
        meet(worker_id, "parent " + status.read().rpartition(")")[2].split()[1])
"""


def test_the_workers_of_a_run_share_the_certificates_and_the_imports(tmp_path: Path) -> None:
    status, printed = run_pytest(tmp_path, SHARED, "-n", "2", "--dist", "each")

    copies = [path.read_bytes() for path in tmp_path.glob("gw*.pem")]
    parents = [path.read_text() for path in tmp_path.glob("gw*.txt")]
    assert (status, len(copies), len(parents)) == (0, 2, 2), printed
    assert len(set(copies)) == 1
    assert len(set(parents)) == 1


ONLY_ONE_ADDRESS = (
    "ip link set lo up; ip addr flush dev lo; ip addr add 127.0.0.1/32 dev lo; "
    "ip route flush table local dev lo; ip route add local 127.0.0.1/32 dev lo table local; "
)
BOTH_ADDRESSES = f"{ONLY_ONE_ADDRESS} ip -6 addr add ::1/128 dev lo nodad; "

ANYWHERE = """
import pytest

def add(filer):
    servers = " ".join(f"-key_server {server.address}" for server in filer.key_servers)
    told = filer.run(f"key_manager add {servers}", "key_manager status")
    assert told.count("is responding") == servers.count("-key")

@pytest.mark.filer(key_servers=1)
def test_one(filer):
    add(filer)

def test_two(filer):
    add(filer)

@pytest.mark.filer(key_servers=3)
def test_three(filer):
    add(filer)
"""


@pytest.mark.parametrize(
    ("network", "passed", "addresses"),
    [(ONLY_ONE_ADDRESS, 1, "127.0.0.1"), (BOTH_ADDRESSES, 2, "127.0.0.1 and ::1")],
)
def test_it_works_where_loopback_has_few_addresses(
    tmp_path: Path, network: str, passed: int, addresses: str
) -> None:
    own_network = ("unshare", "--net", "--map-root-user", "sh", "-c")
    if subprocess.run([*own_network, network], check=False, capture_output=True).returncode:
        pytest.skip("this host allows no network namespace")

    status, printed = run_pytest(
        tmp_path, ANYWHERE, "-rs", before=(*own_network, f'{network} exec "$@"', "sh")
    )

    assert (status, outcomes(printed)) == (0, f"{passed} passed, {3 - passed} skipped"), printed
    assert (
        f"3 key servers need as many loopback addresses, and this host has only {addresses};"
        in (printed)
    )


@pytest.mark.filer(key_servers=1)
def test_our_own_tests_have_it_too(filer: FilerUnderTest) -> None:
    address = filer.key_servers[0].address
    filer.run(f"key_manager add -key_server {address}")

    assert filer.console.enter("key_manager status") == f"Key server {address} is responding.\n"


@pytest.mark.filer(key_servers=1)
def test_a_stopped_key_server_stays_so_when_its_certificate_expires(filer: FilerUnderTest) -> None:
    (server,) = filer.key_servers
    filer.run(f"key_manager add -key_server {server.address}")
    server.stop()
    server.expire()
    assert "refused" in filer.run("key_manager status", status=1)
    server.start()
    assert "certificate expired" in filer.run("key_manager status", status=1)
    server.renew()
    assert "is responding" in filer.run("key_manager status")


@pytest.mark.filer(key_servers=1, disks=8, settings={"boot": {"giveback_wait": 0.5}})
def test_the_nodes_of_a_pair_share_key_servers_and_shelf(filer_pair: FilerPair) -> None:
    (server,) = filer_pair.key_servers
    for node in (filer_pair.first, filer_pair.second):
        add = f"key_manager add -key_server {server.address}"
        assert "4 successes" in node.run(add, "key_manager rekey")
    with filer_pair.second.ssh():
        console = filer_pair.first.console
        assert console.enter("key_manager query").count("-") >= 2
        console.enter_until("cf status", "Interconnect is up.")
        filer_pair.second.kill()
    console.enter_until("cf status", "filer2 may be down")
    console.enter("cf takeover")
    with pytest.raises(RequestFailed, match="has taken this filer over"):
        filer_pair.second.disk("0c.00.2").lock_out()
    assert "gave nothing back in time" in filer_pair.second.run("hostname", status=3)


@pytest.mark.parametrize("hostname", ["filer1", "filer1 (takeover)"])
def test_a_line_of_the_system_log_behind_a_prompt_hides_no_prompt(
    account: Account, hostname: str
) -> None:
    line = format_line(datetime.now(UTC), hostname, "cf.fm.takeoverComplete", "warning", "done")
    shows = f"printf 'output\\nfiler1> {line}\\n'; read ended"
    with account.terminal(program=("sh", "-c", shows)) as terminal:
        assert terminal.wait_for_prompt() == f"output\n{line}\n"
        assert terminal.prompt == "filer1>"


def test_a_text_that_never_comes_fails_the_test(filer: FilerUnderTest) -> None:
    console = filer.console
    with pytest.raises(pytest.fail.Exception, match=r"'elsewhere' did not appear in 0\.2 s"):
        console.enter_until("hostname", "elsewhere", timeout=0.2)
