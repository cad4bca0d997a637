"""The command line: dispatch, errors of the user, broken pipes."""

import subprocess
import sys
from pathlib import Path

import pytest

from service import __version__
from service.cli import main as module
from service.cli.errors import CommandError
from service.cli.main import FILE_COMMANDS, build_parser, main


@pytest.mark.parametrize(
    ("arguments", "function"),
    [
        (["serve"], module.run_serve),
        (["models"], module.run_models),
        (["tune"], module.run_tune),
        (["settings"], module.run_settings),
        (["completion", "bash"], module.run_completion),
        (["key", "ann"], module.run_key),
        *(
            ([operation, *(() if operation == "sample" else ("a",)), "-o", "b"], module.run_on_files)
            for operation in FILE_COMMANDS
        ),
    ],
)
def test_each_command_has_its_function(arguments: list[str], function: module.Command) -> None:
    assert build_parser().parse_args(arguments).run is function


def test_an_error_of_the_user_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise CommandError("it cannot start")

    monkeypatch.setattr(module, "run_tune", fail)
    assert main(["tune"]) == 2
    assert capsys.readouterr().err == "autoencoder-service: it cannot start\n"


def test_an_unknown_command_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["serv"])
    assert exit_info.value.code == 2
    assert "invalid choice: 'serv'" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--version"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_a_reader_that_closes_standard_output_is_no_error(models: Path) -> None:
    command = [sys.executable, "-m", "service", "settings", "--models", str(models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_completion_knows_the_commands(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capfd.readouterr().out
    assert "denoise" in script
    assert "--strength" in script
