"""What the documentation shows, works."""

import re
import shlex
from pathlib import Path

import pytest

from hpc_gw.cli import main
from hpc_gw.files import sha256
from hpc_gw.waveforms.engines import surrogate_path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


COMMANDS = sorted(
    {
        line.removeprefix("$ hpc-gw ").split("  #")[0]
        for page in PAGES
        for block in blocks(page, "console")
        for line in block.splitlines()
        if line.startswith("$ hpc-gw ")
    }
)
SNIPPETS = [
    pytest.param(block, id=f"{page.name}-{i}")
    for page in PAGES
    for i, block in enumerate(blocks(page, "python"))
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_that_are_shown_run(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").symlink_to(ROOT / "jobs")
    try:
        code = main(shlex.split(command))
    except SystemExit as stopped:  # --help, --version
        code = stopped.code
    assert not code


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_the_python_that_is_shown_runs(snippet, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").symlink_to(ROOT / "jobs")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(finished)
    exec(compile(snippet, "docs", "exec"), {})


def test_the_checksum_in_the_documentation_is_that_of_the_embedded_file():
    assert sha256(surrogate_path("embedded")) in (ROOT / "docs" / "surrogate.md").read_text()


def test_there_is_something_to_run():
    assert len(COMMANDS) >= 8 and len(SNIPPETS) >= 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target
