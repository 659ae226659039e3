"""Commands limit how long torch's threads spin, and leave the decision to users who have made it."""

import os
import subprocess
import sys

import pytest

from trainer.spinning import limit_spinning


def test_threads_spin_shortly_by_default() -> None:
    environment: dict[str, str] = {"PATH": "/bin"}
    limit_spinning(environment)
    assert environment == {"PATH": "/bin", "GOMP_SPINCOUNT": "1000"}


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_a_users_own_setting_wins(name: str) -> None:
    environment = {name: "7"}
    limit_spinning(environment)
    assert environment == {name: "7"}


@pytest.mark.parametrize("command", ["trainer.cli.train:train", "trainer.cli.evaluate:evaluate", "export.cli:export"])
def test_commands_decide_before_they_import_torch(command: str) -> None:
    module, name = command.split(":")
    code = (
        "import os, sys\n"
        f"from {module} import {name} as command\n"
        "assert 'torch' not in sys.modules\n"
        "try:\n    command(['--no-such-option'], standalone_mode=False)\nexcept Exception:\n    pass\n"
        "try:\n    command.invoke(command.context_class(command))\nexcept BaseException:\n    pass\n"
        "print(os.environ.get('GOMP_SPINCOUNT'))\n"
    )
    unset = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1000"
