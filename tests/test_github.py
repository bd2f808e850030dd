"""The forms of issues and the workflow of releases: checked here, because GitHub checks them too late."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("[0-9]-*.yml"))


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_for_three_things_and_github_accepts_it(path: Path) -> None:
    form = yaml.safe_load(path.read_text("utf-8"))
    assert form.keys() == {"name", "description", "labels", "body"}
    assert all(isinstance(form[key], str) for key in ("name", "description"))
    assert [field["id"] for field in form["body"]][:3] == ["did", "happened", "expected"]
    labels = [field["attributes"]["label"] for field in form["body"]]
    assert len(set(labels)) == len(labels)
    for field in form["body"]:
        assert field.keys() == {"type", "id", "attributes", "validations"}
        assert field["type"] in ("input", "textarea")
        assert field["attributes"].keys() <= {"label", "description", "placeholder", "value", "render"}
        assert all(isinstance(text, str) for text in field["attributes"].values())
        assert field["validations"] == {"required": True}


def test_there_are_forms_and_each_has_a_name_of_its_own() -> None:
    names = [yaml.safe_load(path.read_text("utf-8"))["name"] for path in FORMS]
    assert len(set(names)) == len(FORMS) >= 3


def test_zizmor_finds_no_fault_in_the_workflows() -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("zizmor"), "--offline", "--persona=auditor", "--quiet", GITHUB],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_actions_are_pinned_by_hash_with_their_version() -> None:
    workflows = sorted((GITHUB / "workflows").glob("*.yml"))
    uses = [line for path in workflows for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    assert uses
    for line in uses:  # zizmor accepts a hash without the version, which nobody can read
        assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)


def test_the_release_is_built_by_the_script_and_published_without_a_password_or_a_cache() -> None:
    text = (GITHUB / "workflows" / "release.yml").read_text("utf-8")
    workflow = yaml.safe_load(text)
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as true
    assert workflow["permissions"] == {}
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    assert [step["run"] for step in build["steps"] if "run" in step] == ['.ci/release "$GITHUB_REF_NAME"']
    assert build["permissions"] == {"contents": "read"}
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"]["name"] == "pypi"
    assert publish["needs"] == "build"
    assert not re.search(r"cache|secrets|password:", text)


@pytest.mark.skipif(sys.platform == "win32", reason="the script needs bash")
@pytest.mark.parametrize(
    ("tag", "changelog", "dist", "said"),
    [
        ("", "", False, "Name the tag of the version"),
        ("v9.9.9", "", False, "pyproject.toml has the version 1.2.0"),
        ("1.2.0", "", False, "The tag is 1.2.0"),
        ("v1.2.0", "## Unreleased\n", False, "no section '## 1.2.0'"),
        ("v1.2.0", "## 1.2.00 (2027-01-01)\n", False, "no section '## 1.2.0'"),
        ("v1.2.0", "## 1.2.0 - 2027-01-01\n", True, "dist already exists"),
    ],
)
def test_a_release_that_is_not_ready_is_refused(
    tmp_path: Path, tag: str, changelog: str, dist: bool, said: str
) -> None:
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci" / "release"
    script.write_bytes((ROOT / ".ci" / "release").read_bytes())
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    if dist:
        (tmp_path / "dist").mkdir()
    done = subprocess.run(["bash", script, *filter(None, [tag])], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr
