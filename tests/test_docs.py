"""The documents lead somewhere: links, the tree of ARCHITECTURE.md and the files it names exist; lines are short."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])
LONGEST_LINE = 100
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# Folders whose insides the tree leaves out: they hold data, or are drawn as a whole.
CLOSED = ("assets", "reference_sets", "recipes", "tests", "loadtests", "deploy", "docs")
TREE_LINE = re.compile(r"^(\s*)([\w./]+)/\s")


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip("# \n`").lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if target.startswith(("http:", "https:")):
            continue
        name, _, heading = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{page.name} links to {target}"
        if heading:
            anchors = {anchor(line) for line in linked.read_text().splitlines() if line.startswith("#")}
            assert heading in anchors, f"{page.name} links to {target}"


def test_the_readme_links_to_every_page() -> None:
    readme = REPOSITORY / "README.md"
    linked = {(REPOSITORY / target).resolve() for target in LINK.findall(readme.read_text())}
    assert {page.name for page in PAGES if page != readme and page not in linked} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_wrapped(page: Path) -> None:
    lines = enumerate(page.read_text().splitlines(), start=1)
    long = [number for number, line in lines if len(line) > LONGEST_LINE and not line.startswith("|")]
    assert long == [], f"{page.name}: lines {long} have more than {LONGEST_LINE} characters"


def drawn_folders() -> Iterator[str]:
    """Paths of the folders in the tree of ARCHITECTURE.md; two blanks more are one folder deeper."""
    tree = (REPOSITORY / "ARCHITECTURE.md").read_text().split("```")[1]
    above: list[str] = []
    for indent, name in (found.groups() for found in map(TREE_LINE.match, tree.splitlines()) if found):
        del above[len(indent) // 2 :]
        above.append(name)
        yield "/".join(above)


def folders_in(root: str) -> Iterator[str]:
    """The folder and those inside, but for closed ones, caches and folders without a file."""
    path = REPOSITORY / root
    yield root
    for child in sorted(path.iterdir()):
        hidden = child.name.startswith((".", "__"))
        if child.is_dir() and path.name not in CLOSED and not hidden and any(child.iterdir()):
            yield from folders_in(f"{root}/{child.name}")


def test_the_tree_is_that_of_the_folders() -> None:
    drawn = list(drawn_folders())
    roots = [name for name in drawn if not any(name.startswith(f"{other}/") for other in drawn)]
    assert {"service/onebit_service", "model/onebit_model", "kernels/onebit_kernels"} <= set(roots)
    assert [folder for root in roots for folder in folders_in(root) if folder not in drawn] == []
    assert [folder for folder in drawn if not (REPOSITORY / folder).is_dir()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:service|model|kernels|tests|docs|deploy|loadtests)/[\w./-]+)`", page.read_text())
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_where_things_go_is_said_with_files() -> None:
    questions = (REPOSITORY / "ARCHITECTURE.md").read_text().split("| you add | touch |")[1].split("\n\n")[0]
    rows = questions.splitlines()[2:]
    assert len(rows) >= 10
    assert [row for row in rows if not re.search(r"`\w+/[\w./-]+`", row) and "below" not in row] == []
