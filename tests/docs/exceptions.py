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


NOT_RUN: list[NotRun] = [
    NotRun(
        "README.md",
        "python3 -m venv .venv && .venv/bin/pip install -e",
        "internet",
        "installs everything and runs the tests; .ci/run runs this line",
    ),
    NotRun(
        "README.md", "const model = await loadModel", "internet", "onnxruntime-web of npm; -m browser runs it"
    ),
    NotRun("docs/browser.md", "headstart export", "internet", "onnxruntime-web of npm; -m browser runs it"),
    NotRun("docs/browser.md", "<input", "internet", "onnxruntime-web of npm; -m browser runs it"),
    NotRun("docs/other-languages.md", "import cv2", "a peer's own code", "OpenCV; see docs/measurements.md"),
    NotRun(
        "docs/other-languages.md", "OrtEnvironment", "a peer's own code", "ONNX Runtime for Java, from Maven"
    ),
    NotRun("docs/other-languages.md", "Ort::Env", "a peer's own code", "ONNX Runtime for C++, not on PyPI"),
    NotRun("docs/other-languages.md", "using var", "a peer's own code", "ONNX Runtime for .NET, from NuGet"),
    NotRun("docs/serving.md", 'curl -H "Authorization', "second machine", "the service of the block above"),
    NotRun("docs/serving.md", "docker build", "container engine", "hadolint and a test check the Dockerfile"),
]
