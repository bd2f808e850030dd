"""The blocks that the test does not run, each with a reason. There is no other way to leave a block out."""

from __future__ import annotations

from dataclasses import dataclass

REASONS = {"container engine", "GPU", "second machine", "internet", "a peer's own code"}
AT_MOST = 20


@dataclass(frozen=True)
class NotRun:
    """A block that is not run.

    Attributes:
        page: Path below the repository.
        begins: How the first line of the block begins.
        reason: One of ``REASONS``.
        needs: What exactly is missing, and what checks the block instead, if anything does.
    """

    page: str
    begins: str
    reason: str
    needs: str


_LANGUAGES, _BROWSER, _CONTAINER = (
    f"docs/{name}.md" for name in ("reference/other-languages", "how-to/browser", "how-to/container")
)
NOT_RUN = [
    NotRun(
        "README.md",
        "python3 -m venv .venv && .venv/bin/pip install -e",
        "internet",
        "installs everything and runs the tests; .ci/run runs this line",
    ),
    NotRun(_BROWSER, "headstart export", "internet", "onnxruntime-web of npm; -m browser runs it"),
    NotRun(_LANGUAGES, "import cv2", "a peer's own code", "OpenCV; see docs/measurements.md"),
    NotRun(_LANGUAGES, "OrtEnvironment", "a peer's own code", "ONNX Runtime for Java, from Maven"),
    NotRun(_LANGUAGES, "Ort::Env", "a peer's own code", "ONNX Runtime for C++, which is not on PyPI"),
    NotRun(_LANGUAGES, "using var", "a peer's own code", "ONNX Runtime for .NET, from NuGet"),
    NotRun(_CONTAINER, "docker build", "container engine", "hadolint and a test check the Dockerfile"),
]
