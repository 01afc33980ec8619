"""Every code block of every page is checked, by the rules of `doc_blocks`."""

import importlib
import importlib.util
import inspect
import pkgutil
import re
import shlex
import shutil
import sys
import tomllib
from itertools import groupby

import doc_blocks
import numpy as np
import pandas as pd
import pytest
import tomli_w
import typer
from doc_blocks import BLOCKS, LANGUAGES, PAGES, ROOT, completed, small, studies_of

import fastgd
from fastgd.cli.app import app
from fastgd.cli.choices import KINDS, chosen
from fastgd.plan.planner import make_plan
from fastgd.plots import PLOTS
from fastgd.runs.data.loading import load_data

STUDIES = {name for page in PAGES for name in studies_of(page)} | {"demo"}
STUDIES |= {tomllib.loads(file.read_text(encoding="utf-8"))["name"] for file in ROOT.glob("studies/**/*.toml")}
FENCELESS = {page: doc_blocks.FENCE.sub("", page.read_text(encoding="utf-8")) for page in PAGES}
PROGRAM = typer.main.get_command(app)
MADE_BY_TUNE = ("tune",)  # kinds of pictures that are no pictures of results


def named(page):
    return page.relative_to(ROOT).as_posix()


def test_every_fence_names_its_language():
    assert len(PAGES) > 15
    assert not [f"{block}: {block.language!r}" for block in BLOCKS if block.language not in LANGUAGES]


def test_blocks_that_are_not_checked_are_rare():
    assert len(doc_blocks.of("text")) < len(BLOCKS) / 10


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the data that studies name, in which a page's blocks run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for file in (*ROOT.glob("studies/lectures/*.csv"), *ROOT.glob("studies/lectures/*.svm")):
        shutil.copy(file, tmp_path)
    (tmp_path / "measurements.txt").write_text("1,5;2,5;0,5;3,1\n2,5;0,5;1,5;4,2\n0,5;1,5;2,0;1,0\n" * 50)
    (tmp_path / "concrete.csv").write_text("cement,water,strength,slump\n" + "1,5,2,3\n2,4,4,1\n3,1,7,2\n" * 50)
    (tmp_path / "clicks").mkdir()
    clicks = pd.DataFrame({"hour": np.arange(200.0) % 24, "clicked": np.arange(200) % 3 == 0})
    clicks.to_parquet(tmp_path / "clicks" / "a.parquet")
    return tmp_path


def write_modules(page, folder):
    """Write the Python blocks that begin with a file's name into these files."""
    for block in doc_blocks.blocks_of(page):
        if block.module:
            (folder / f"{block.module}.py").write_text(block.text)
            sys.modules.pop(block.module, None)


def write_studies(page, folder):
    """Write the studies of the page and of the repository, cut to a second."""
    (folder / "studies").mkdir()
    for name, fields in studies_of(page).items():
        (folder / f"{name}.toml").write_text(tomli_w.dumps(small(fields)))
    for file in ROOT.glob("studies/*.toml"):
        fields = small(tomllib.loads(file.read_text(encoding="utf-8")))
        (folder / "studies" / file.name).write_text(tomli_w.dumps(fields))


@pytest.mark.parametrize("block", doc_blocks.of("toml"), ids=str)
def test_toml_is_a_study_that_can_be_planned(block, folder):
    write_modules(block.page, folder)
    file = folder / "study.toml"
    file.write_text(tomli_w.dumps(completed(tomllib.loads(block.text))))
    study = fastgd.Study.from_toml(file)
    plan = make_plan(study) if study.landscapes else make_plan(study, load_data(study, None, lambda _: None))
    assert plan.summary().trials > 0


@pytest.mark.parametrize("page", sorted({block.page for block in doc_blocks.of("python")}), ids=named)
def test_python_runs(page, folder):
    blocks = [block for block in doc_blocks.blocks_of(page) if block.language == "python"]
    write_studies(page, folder)
    write_modules(page, folder)
    for name in re.findall(r'fastgd\.load\("results/([\w-]+)"\)', "".join(block.text for block in blocks)):
        found = [file for file in (folder / f"{name}.toml", folder / "studies" / f"{name}.toml") if file.exists()]
        assert found, f"results/{name}: neither the page nor studies/ has this study"
        fastgd.run(fastgd.Study.from_toml(found[0]))
    namespace = {"__name__": page.stem}
    for block in blocks:
        if block.module:
            namespace |= vars(importlib.import_module(block.module))
        else:
            exec(compile("\n" * block.line + block.text, str(block.page), "exec"), namespace)


@pytest.mark.parametrize("block", doc_blocks.of("python excerpt"), ids=str)
def test_excerpts_stand_in_the_package(block):
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "fastgd").rglob("*.py")]
    assert any(block.text.strip() in source for source in sources)


def commands_in(text):
    """The commands of a shell block, each as its words; comments are left out."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        commands = groupby(words, lambda word: word in ("&&", "|"))
        yield from (list(command) for separator, command in commands if not separator)


def check_command(words, page):
    """Parse a command as its program would; fail where it names what there is not."""
    program, *arguments = words
    program = program.removeprefix(".venv/bin/")
    if program == "fastgd":
        check_fastgd(arguments, page)
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = [word for word in arguments if "=" not in word and not word.startswith("-")]
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets[:1])
    elif program in ("python", "python3"):
        assert arguments[0] == "-m"
        assert importlib.util.find_spec(arguments[1])
    else:
        assert program in ("pip", "jq")


def check_fastgd(arguments, page):
    """Parse a command of fastgd without running it: its options, and what it reads."""
    name, *rest = arguments
    given = PROGRAM.commands[name].make_context(name, rest).params
    if given.get("study"):
        check_study_file(given["study"], given.get("assignments") or (), page)
    if name == "plot" and given["kind"] not in ("KIND", *MADE_BY_TUNE):
        options = inspect.signature(PLOTS[given["kind"]].draw).parameters
        assert {option.partition("=")[0] for option in given["assignments"] or ()} <= options.keys()
    if name == "list" and given["kind"] != "KIND":
        chosen(given["kind"], KINDS, "fastgd list")
    folder = given.get("folder")
    if folder and folder.parts[0] == "results":
        assert folder.name.removesuffix("-tune") in STUDIES or (ROOT / folder).exists()


def check_study_file(path, assignments, page):
    """A study of the repository is read; one of the page, or one that a search writes, is known by its name."""
    if path.stem in ("STUDY", "NAME") or path.parts[0] == "DIR":
        return
    if path.parts[0] == "studies":
        fastgd.Study.from_toml(ROOT / path, set=assignments)
    elif path.parts[0] == "results":
        assert path.name == "tuned.toml"
        assert path.parent.name.removesuffix("-tune") in STUDIES
    else:
        assert path.stem in studies_of(page)


@pytest.mark.parametrize("block", doc_blocks.of("sh"), ids=str)
def test_commands_can_be_given(block):
    commands = list(commands_in(block.text))
    assert commands
    for words in commands:
        check_command(words, block.page)


@pytest.mark.parametrize("name", sorted(PROGRAM.commands))
def test_commands_of_the_help_can_be_given(name):
    text = PROGRAM.commands[name].callback.__doc__
    for line in re.findall(r"^ *(fastgd .+)$", text, re.MULTILINE):
        for words in commands_in(line):
            check_command(words, ROOT / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_in_sentences_can_be_given(page):
    """As in a block, but that a sentence may leave out what a command reads."""
    for text in re.findall(r"`(fastgd [^`]+)`", FENCELESS[page]):
        for words in commands_in(" ".join(text.split())):
            reads = [parameter for parameter in PROGRAM.commands[words[1]].params if parameter.required]
            bare = all(word.startswith("-") for word in words[2:])
            placeholder = "keys" if words[1] == "list" else "STUDY.toml"
            check_command([*words, *(placeholder for _ in reads if bare)], page)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_names_in_sentences_exist(page):
    for name in re.findall(r"`(fastgd(?:\.[a-z]\w*)+)", FENCELESS[page]):
        if not name.endswith((".toml", ".py", ".md")):
            pkgutil.resolve_name(name)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#: ]*)#?([^): ]*)\)", FENCELESS[page]):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), f"{target}#{anchor}"


def anchors(page):
    """What links to the headings of a page end in, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", FENCELESS[page], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
