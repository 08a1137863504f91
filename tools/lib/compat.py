"""Runs the Tcl test suite of Redis 7 or of Pika 3.5 against our server and judges the result.

The suite stays where it is: a copy of it runs in a temporary directory. Failures that
Tests/compat lists with a reason are expected; any other failure makes the exit code 1.
"""

import argparse
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile

import pikalib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
EXPECTATIONS = os.path.join(ROOT, "Tests", "compat")

REDIS_UNITS = [
    "unit/type/string", "unit/type/incr", "unit/type/hash", "unit/type/list", "unit/type/list-2",
    "unit/type/list-3", "unit/type/set", "unit/type/zset", "unit/expire", "unit/scan",
    "unit/keyspace", "unit/bitops", "unit/bitfield", "unit/geo", "unit/hyperloglog",
    "unit/protocol", "unit/pubsub", "unit/quit", "unit/multi", "unit/querybuf", "unit/sort",
    "unit/dump", "unit/introspection", "unit/slowlog", "unit/pause", "unit/other",
]
PIKA_UNITS = [
    "unit/printver", "unit/type/string", "unit/type/hash", "unit/type/list", "unit/type/list-2",
    "unit/type/list-3", "unit/type/set", "unit/type/zset", "unit/type", "unit/keys",
    "unit/basic", "unit/scan", "unit/expire", "unit/sort", "unit/bitops", "unit/hyperloglog",
    "unit/geo", "unit/maxmemory", "unit/quit", "unit/pubsub", "unit/multi", "unit/slowlog",
    "unit/protocol", "unit/auth", "unit/command", "unit/dump", "unit/introspection",
    "unit/limits", "unit/obuf-limits", "unit/other",
]
TOOLS = ["redis-cli", "redis-benchmark", "redis-check-aof", "redis-check-rdb"]
UNIT_SECONDS = 900

COLOR = re.compile(r"\x1b\[[0-9;]*m")
RESULT = re.compile(r"^\[(ok|err|exception|ignore|TIMEOUT)\]: (.*)$")


class Expectations:
    """Rows `unit <tab> test <tab> reason`; a reason that begins with `skip:` keeps a test out.

    The test `*` is the whole unit; `(ends)` says why the unit stops before its last test.
    """

    def __init__(self, name):
        self.reasons = collections.defaultdict(dict)
        path = os.path.join(EXPECTATIONS, name)
        if not os.path.exists(path):
            return
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                line = line.rstrip("\n")
                if not line or line.startswith("#"):
                    continue
                fields = line.split("\t")
                if len(fields) != 3 or not fields[2]:
                    raise pikalib.Failure(f"{path}:{number}: not unit, test and reason")
                self.reasons[fields[0]][fields[1]] = fields[2]

    def skipped(self, unit):
        rows = self.reasons[unit].items()
        return [test for test, reason in rows if reason.startswith("skip:")]

    def may_end(self, unit):
        return "(ends)" in self.reasons[unit]

    def whole_unit(self, unit):
        """Why none of a unit's tests runs; None if they do."""
        reason = self.reasons[unit].get("*", "")
        return reason if reason.startswith("skip:") else None


class Outcome:
    """What a unit came to."""

    def __init__(self, unit, output):
        self.unit = unit
        self.passed, self.failed, self.aborted = [], {}, None
        current = None
        for line in output.splitlines():
            line = COLOR.sub("", line)
            match = RESULT.match(line)
            if not match:
                if current and len(self.failed[current]) < 4 and line.strip():
                    self.failed[current].append(line.strip())
                continue
            current = None
            kind, rest = match.groups()
            if kind == "ok":
                self.passed.append(re.sub(r" \(\d+ ms\)$", "", rest))
            elif kind == "err":
                name = re.sub(r" in tests/unit/\S+\.tcl$", "", rest)
                self.failed[name] = []
                current = name
            elif kind in ("exception", "TIMEOUT"):
                self.aborted = rest
        # A test that failed is told twice, in place and at the end.
        if not self.passed and not self.failed and not self.aborted:
            lines = [line.strip() for line in output.splitlines() if line.strip()]
            if not any("All tests passed" in line for line in lines):
                self.aborted = "no test ran: " + " / ".join(lines[-3:])
        self.passed = [name for name in self.passed if name not in self.failed]

    def judge(self, expectations):
        reasons = expectations.reasons[self.unit]
        unexpected = [name for name in self.failed if name not in reasons]
        mended = [name for name in self.passed if name in reasons]
        return unexpected, mended


def tests_of(suite):
    """The directory of the tests: `tests`, or the suite's own when it is a copy of that alone."""
    inner = os.path.join(suite, "tests")
    return inner if os.path.isdir(inner) else suite


def replace_in(suite, name, old, new):
    path = os.path.join(suite, "tests", name)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(old, new))


def copy_suite(source, target, pika, is_redis):
    """Copies the suite and gives it the programs it asks for."""
    shutil.copytree(tests_of(source), os.path.join(target, "tests"))
    if not is_redis:
        # Pika's suite selects database 9, and no Pika has more than eight; nor are there encodings.
        replace_in(target, "test_helper.tcl", "$client select 9", "$client select 0")
        head = "proc assert_encoding {enc key} {\n"
        replace_in(target, "support/test.tcl", head, head + "    return\n")
    for name in ("runtest", "redis.conf"):
        if os.path.exists(os.path.join(source, name)):
            shutil.copy(os.path.join(source, name), target)
    utils = os.path.join(source, "utils")
    if os.path.isdir(utils):
        shutil.copytree(utils, os.path.join(target, "utils"))
    programs = os.path.join(target, "src")
    os.makedirs(programs)
    for tool in TOOLS:
        path = shutil.which(tool)
        if path:
            os.symlink(path, os.path.join(programs, tool))
    help_file = os.path.join(source, "src", "help.h")
    if os.path.exists(help_file):
        shutil.copy(help_file, programs)
    os.symlink(pika, os.path.join(programs, "redis-server"))
    os.makedirs(os.path.join(target, "tests", "tmp"), exist_ok=True)


def run_redis_unit(directory, port, unit, skipped, slow):
    command = [
        "tclsh", "tests/test_helper.tcl", "--host", "127.0.0.1", "--port", str(port),
        # Several runs at a time do not meet.
        "--baseport", str(port + 3000), "--portcount", "64",
        "--singledb", "--durable", "--ignore-encoding", "--tags", "-needs:repl", "--single", unit,
    ]
    if not slow:
        command += ["--tags", "-slow"]
    for test in skipped:
        command += ["--skiptest", test]
    return run_tcl(command, directory)


def run_pika_unit(directory, port, unit):
    # The suite's servers keep their data in the working directory.
    for name in ("db", "log", "dump", "dbsync"):
        shutil.rmtree(os.path.join(directory, name), ignore_errors=True)
    command = [
        # The suite begins with the next port.
        "tclsh", "tests/test_helper.tcl", "--clients", "1", "--port", str(port - 1),
        "--single", unit,
    ]
    return run_tcl(command, directory)


def run_tcl(command, directory):
    # A group of its own: the suite's helpers end with it.
    process = subprocess.Popen(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True)
    try:
        output, _ = process.communicate(timeout=UNIT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
        output += f"\n[TIMEOUT]: {UNIT_SECONDS} s\n".encode()
    return output.decode("utf-8", "replace")


def run_units(arguments, is_redis, directory, expectations):
    outcomes = []
    for unit in arguments.unit or (REDIS_UNITS if is_redis else PIKA_UNITS):
        if not os.path.exists(os.path.join(directory, "tests", unit + ".tcl")):
            print(f"{unit}: not in this suite")
            continue
        reason = expectations.whole_unit(unit)
        if reason:
            print(f"{unit:24} {reason}", flush=True)
            continue
        # Below the ports of outgoing connections, the companions too.
        port = pikalib.free_base_port(first=12000)
        if is_redis:
            # Tests that send on two connections and look for an order are right with one loop only.
            settings = ("wrong-type-check : yes", "timeout : 0", "command-loops : 1")
            data = os.path.join(directory, "data", unit.replace("/", "-"))
            server = pikalib.Server("server", arguments.pika, data, port, settings).start()
            try:
                output = run_redis_unit(
                    directory, port, unit, expectations.skipped(unit), arguments.slow)
            finally:
                server.stop()
        else:
            output = run_pika_unit(directory, port, unit)
        if arguments.log:
            with open(arguments.log, "a", encoding="utf-8") as file:
                file.write(f"===== {unit}\n{output}\n")
        outcome = Outcome(unit, output)
        report(outcome, expectations)
        outcomes.append(outcome)
    return outcomes


def report(outcome, expectations):
    unexpected, mended = outcome.judge(expectations)
    known = len(outcome.failed) - len(unexpected)
    print(
        f"{outcome.unit:24} {len(outcome.passed):4} passed {known:3} expected failures "
        f"{len(unexpected):3} unexpected", flush=True)
    for name in unexpected:
        print(f"    FAILED {name}")
        for line in outcome.failed[name][:2]:
            print(f"           {line[:160]}")
    for name in mended:
        print(f"    passes, though listed as an exception: {name}")
    if outcome.aborted:
        what = "ends early" if expectations.may_end(outcome.unit) else "ABORTED"
        print(f"    {what} {outcome.aborted[:200]}")


def main():
    parser = argparse.ArgumentParser(prog="tools/compat", description=__doc__)
    parser.add_argument("suite", help="the suite's directory: the one that has tests/")
    parser.add_argument("--unit", action="append", help="run this unit only (repeatable)")
    parser.add_argument("--slow", action="store_true", help="also the tests tagged slow")
    parser.add_argument("--pika", required=True, help="the server's binary")
    parser.add_argument("--log", help="append the suite's whole output to this file")
    arguments = parser.parse_args()
    tests = tests_of(arguments.suite)
    if not os.path.exists(os.path.join(tests, "test_helper.tcl")):
        parser.error(f"{arguments.suite} has no tests/test_helper.tcl")
    if not shutil.which("tclsh"):
        parser.error("tclsh is not installed (Debian: tcl)")
    arguments.pika = os.path.abspath(arguments.pika)
    is_redis = os.path.exists(os.path.join(tests, "unit", "bitfield.tcl"))
    expectations = Expectations("redis-7.0.tsv" if is_redis else "pika-3.5.tsv")
    with tempfile.TemporaryDirectory(prefix="compat-") as directory:
        copy_suite(os.path.abspath(arguments.suite), directory, arguments.pika, is_redis)
        outcomes = run_units(arguments, is_redis, directory, expectations)
    passed = sum(len(outcome.passed) for outcome in outcomes)
    failed = sum(len(outcome.failed) for outcome in outcomes)
    bad = sum(len(outcome.judge(expectations)[0]) for outcome in outcomes)
    aborted = [outcome.unit for outcome in outcomes
               if outcome.aborted and not expectations.may_end(outcome.unit)]
    print(f"{passed} passed, {failed} failed, {bad} of them not listed in Tests/compat")
    if aborted:
        print("aborted: " + ", ".join(aborted))
    return 1 if bad or aborted else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except pikalib.Failure as failure:
        print(f"tools/compat: {failure}", file=sys.stderr)
        sys.exit(2)
