"""Help, exit codes, output for machines, hints: what every command owes its user."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from everloop.cli.main import COMMANDS, cli
from tests.cli.projects import edit, ended, everloop, rows, running


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"])
    assert shown.exit_code == 0
    assert f"everloop {name}" in shown.output.partition("Example:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_explained(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert [o.name for o in options if not o.help] == []


def test_no_command_shows_the_help_and_an_example() -> None:
    shown = CliRunner().invoke(cli, [])
    assert "everloop init flights" in shown.output
    for name in COMMANDS:
        assert f"  {name} " in shown.output


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["promot"], "Did you mean 'promote'?"),
        (["serv"], "Did you mean 'serve'?"),
        (["run", "--too", "gate"], "Did you mean"),
        (["run", "--to", "gat"], "'gate'"),
        (["init", "flight"], "'flights'"),
        (["predict", "a.csv"], "a.csv"),
        (["promote", "one"], "integer"),
    ],
)
def test_a_slip_of_the_finger_is_wrong_usage_with_a_hint(
    tmp_path: Path, words: list[str], hint: str
) -> None:
    done = everloop(*words, cwd=tmp_path)
    assert done.code == 2
    assert hint in done.err
    assert done.out == ""


def test_a_slip_in_the_project_file_names_line_and_nearest_word(new_shop: Path) -> None:
    edit(new_shop / "everloop.toml", "[gate]\nmin_rows", "[gate]\nmin_row")
    done = everloop("check", cwd=new_shop)
    assert done.code == 2
    assert "everloop.toml:" in done.err
    assert "gate.min_row" in done.err
    assert "Did you mean 'min_rows'?" in done.err


def test_check_reports_all_expressions_that_cannot_be_read(new_shop: Path) -> None:
    edit(new_shop / "everloop.toml", '"bought"', '"bought >> "')
    with (new_shop / "everloop.toml").open("a") as file:
        file.write('[[rules]]\nname = "odd"\nexpression = "price >"\n')
    done = everloop("check", cwd=new_shop)
    assert done.code == 2
    assert "sources[0].label: found 'bought >> '" in done.err
    assert "rules[0].expression: found 'price >'" in done.err


def test_a_done_turn_exits_0_and_again_finds_nothing_to_do(shop: Path) -> None:
    done = everloop("run", cwd=shop)
    assert done.code == 0
    assert "nothing new" in done.out
    assert "champion  version 1" in done.out
    assert "train" not in done.out


def test_a_gate_that_says_hold_exits_3(shop: Path) -> None:
    edit(shop / "everloop.toml", "[gate]", "[gate]\nmin_gain = 9.0")
    (shop / "data" / "b.csv").write_text(rows(50, start=400))
    held = everloop("run", cwd=shop)
    assert held.code == 3
    assert "hold      version 2" in held.out
    assert "gate.min_gain" in held.out
    judged = everloop("gate", "--json", cwd=shop)
    assert judged.code == 3
    assert judged.json["outcome"] == "hold"
    assert judged.json["version"] == 2
    assert judged.json["champion"] == 1
    assert judged.json["objections"]
    again = everloop("run", "--to", "gate", cwd=shop)
    assert again.code == 3
    promoted = everloop("promote", "2", "--reason", "looked at it", cwd=shop)
    assert promoted.code == 0
    back = everloop("rollback", cwd=shop)
    assert (back.code, back.out) == (0, "version 1 is champion again\n")
    told = everloop("decisions", cwd=shop).out
    assert "promoted by hand version 2" in told
    assert "rolled back by hand version 1" in told


def test_the_gate_judges_models_of_other_columns_than_the_project_names_now(shop: Path) -> None:
    edit(
        shop / "everloop.toml",
        "[train.boosting]",
        '[train]\nexclude = ["colour"]\n\n[train.boosting]',
    )
    edit(shop / "everloop.toml", "[gate]", '[gate]\npromote = "manual"')
    assert everloop("run", cwd=shop).code in (0, 3)
    judged = everloop("gate", "--json", cwd=shop)
    assert judged.code in (0, 3)
    assert judged.json["evidence"]


@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("doctor",),
        ("run",),
        ("ingest",),
        ("models",),
        ("decisions",),
        ("quarantine",),
        ("lineage",),
        ("gc", "--dry-run"),
    ],
)
def test_json_output_is_one_document(shop: Path, words: tuple[str, ...]) -> None:
    done = everloop(*words, "--json", cwd=shop)
    assert done.code == 0
    assert isinstance(done.json, dict | list)


def test_the_schema_is_json() -> None:
    assert json.loads(CliRunner().invoke(cli, ["schema"]).output)["type"] == "object"


@pytest.mark.parametrize("words", [("run",), ("models",), ("gc",), ("predict", "a.csv", "b.csv")])
def test_in_a_pipe_nothing_is_said_beside_the_result(shop: Path, words: tuple[str, ...]) -> None:
    (shop / "a.csv").write_text(rows(3, start=900))
    done = everloop(*words, cwd=shop)
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out


def test_people_read_what_the_commands_say(shop: Path) -> None:
    assert "1        champion" in everloop("models", cwd=shop).out
    lineage = everloop("lineage", cwd=shop).out
    assert "model        shop: binary by boosting" in lineage
    assert "inputs       price, colour" in lineage
    assert "{" not in lineage
    assert everloop("quarantine", cwd=shop).out == "No row is set aside.\n"
    assert "promote version 1" in everloop("decisions", cwd=shop).out


def test_before_the_first_turn_every_command_says_what_to_do(new_shop: Path) -> None:
    assert "everloop run" in everloop("models", cwd=new_shop).out
    assert "everloop run" in everloop("decisions", cwd=new_shop).out
    (new_shop / "in.csv").write_text(rows(3))
    for words in (("lineage",), ("gate",), ("predict", "in.csv", "out.csv")):
        done = everloop(*words, cwd=new_shop)
        assert done.code == 1
        assert "everloop run" in done.err


def test_a_quarantined_row_is_shown_with_its_rule_and_value(shop: Path) -> None:
    (shop / "data" / "b.csv").write_text(
        rows(40, start=400) + "999,2026-02-01T00:00:00Z,-3,red,0\n"
    )
    assert everloop("run", "--to", "validate", cwd=shop).code == 0
    shown = everloop("quarantine", "main", cwd=shop)
    assert "main, price.min: found -3.0" in shown.out
    found = everloop("quarantine", "--json", cwd=shop).json
    assert found["counts"] == [{"source": "main", "rule": "price.min", "rows": 1}]


def test_ctrl_c_exits_130_and_the_same_command_goes_on(new_shop: Path) -> None:
    few = "[train.boosting]"
    many = '[train]\nmodel = "network"\nnetwork = { epochs = 10000, patience = 10000 }\n\n' + few
    edit(new_shop / "everloop.toml", few, many)
    with running("run", cwd=new_shop) as process:
        for _ in range(600):
            if (new_shop / ".everloop" / "work").exists() or ended(process, within_s=0.1):
                break
        # Python may lose an interrupt that comes during an import; a person presses again.
        for _ in range(30):
            process.send_signal(signal.SIGINT)
            if ended(process, within_s=2.0):
                break
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Stopped. What was finished is kept" in err
    edit(new_shop / "everloop.toml", many, few)
    assert everloop("run", cwd=new_shop).code == 0


def test_a_reader_that_goes_away_is_no_error(shop: Path) -> None:
    with running("schema", cwd=shop) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        process.wait(timeout=60)
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.returncode == 0


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("ro", ["rollback"]), ("de", ["decisions"]), ("", list(COMMANDS))],
)
def test_the_shell_completes_commands(typed: str, offered: list[str]) -> None:
    complete = BashComplete(cli, {}, "everloop", "_EVERLOOP_COMPLETE")
    assert [item.value for item in complete.get_completions([], typed)] == offered


def test_the_shell_completes_options_and_their_values() -> None:
    complete = BashComplete(cli, {}, "everloop", "_EVERLOOP_COMPLETE")
    assert [i.value for i in complete.get_completions(["run"], "--t")] == ["--to"]
    assert [i.value for i in complete.get_completions(["run", "--to"], "g")] == ["gate"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_documented_line_prints_a_completion_script(tmp_path: Path, shell: str) -> None:
    script = Path(sys.executable).parent / "everloop"
    done = subprocess.run(
        [str(script)],
        env={"_EVERLOOP_COMPLETE": f"{shell}_source", "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "_EVERLOOP_COMPLETE=" in done.stdout


def test_a_version_that_waits_for_a_person_comes_with_the_command_that_says_yes(
    new_shop: Path,
) -> None:
    edit(new_shop / "everloop.toml", "[gate]", '[gate]\npromote = "manual"')
    done = everloop("run", cwd=new_shop)
    assert done.code == 0
    assert "`everloop promote 1` says yes" in done.out
    assert everloop("models", "--json", cwd=new_shop).json[0]["aliases"] == []
    assert everloop("promote", "1", "--reason", "looked at it", cwd=new_shop).code == 0
    assert everloop("models", "--json", cwd=new_shop).json[0]["aliases"] == ["champion"]
    assert "looked at it" in everloop("decisions", cwd=new_shop).out
