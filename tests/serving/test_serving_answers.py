"""What the service answers, in process."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import headstart as hs
from headstart.serving import app as serving_app
from headstart.serving.app import Service
from headstart.serving.problems import PROBLEMS, Problem
from serving_calls import call, code_of, jpeg, open_service, predict, write_model

NOT_SERVED = ("path", "error", "similar")


def test_an_answer_equals_that_of_the_predictor(service: Service, model: Path) -> None:
    for colour in ("red", "navy", "olive"):
        photo = jpeg(colour)
        answer = predict(service, photo)
        assert answer.status_code == 200
        body = answer.json()
        (found,) = body.pop("predictions")
        assert body == {
            "model": "colours",
            "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
            "request_id": answer.headers["x-request-id"],
        }
        assert found.pop("milliseconds") > 0
        assert found.pop("name") is None
        (expected,) = hs.load(model).predict([photo])
        wanted = {name: each for name, each in expected.to_dict().items() if name not in NOT_SERVED}
        assert found == wanted | {"labels": []}
        assert list(found["probabilities"]) == list(expected.probabilities)


def test_several_photos_are_answered_in_their_order_and_a_bad_one_is_one_error(service: Service) -> None:
    files = [
        ("photo", ("a.jpg", jpeg("red"))),
        ("photo", ("b\u202egpj.exe", b"no photo")),
        ("photo", ("c/ü.jpg", jpeg("blue"))),
    ]
    answer = call(service, "POST", "/v1/predict?top_k=1", files=files)
    assert answer.status_code == 200
    first, second, third = answer.json()["predictions"]
    assert (first["name"], first["label"], list(first["probabilities"])) == ("a.jpg", "red", ["red"])
    assert (third["name"], third["label"]) == ("c/ü.jpg", "blue")
    assert second.keys() == {"name", "error"}
    assert second["name"] == "bgpj.exe"  # without the sign that turns the writing around
    assert second["error"]["code"] == "unreadable_photo"
    assert "not an image in a format Headstart reads" in second["error"]["message"]


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (("GET", "/nowhere", {}), 404, "not_found"),
        (("GET", "/v1/predict", {}), 405, "method_not_allowed"),
        (("POST", "/v1/predict", {"content": b"x", "headers": {"Content-Type": "text/plain"}}), 415, ""),
        (("POST", "/v1/predict", {"data": {"photo": "x"}}), 415, ""),  # as curl --data-binary says it
        (("POST", "/v1/predict", {"content": b""}), 422, "no_photo"),
        (("POST", "/v1/predict", {"content": b"no photo"}), 422, "unreadable_photo"),
        (("POST", "/v1/predict", {"files": {"image": jpeg()}}), 422, "invalid_field"),
        (("POST", "/v1/predict", {"files": {"photo": (None, jpeg())}}), 422, "invalid_field"),
        (("POST", "/v1/predict?top_k=0", {"content": jpeg()}), 422, "invalid_parameter"),
        (("POST", "/v1/predict?topk=1", {"content": jpeg()}), 422, "invalid_parameter"),
        (("POST", "/v1/predict?model=other", {"content": jpeg()}), 404, "unknown_model"),
        (("POST", "/v1/predict?heat_map=1", {"content": jpeg()}), 422, "no_heat_map"),
        (
            ("POST", "/v1/predict", {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}),
            400,
            "invalid_request",
        ),
        (
            (
                "POST",
                "/v1/predict",
                {"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            ),
            400,
            "invalid_request",
        ),
        (
            ("POST", "/v1/predict", {"content": jpeg(), "headers": {"Content-Encoding": "gzip"}}),
            415,
            "unsupported_media_type",
        ),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else None,
)
def test_a_wrong_request_has_an_error(
    service: Service, request_: tuple[str, str, dict[str, object]], status: int, code: str
) -> None:
    method, path, more = request_
    answer = call(service, method, path, **more)
    assert (answer.status_code, code_of(answer)) == (status, code or "unsupported_media_type")
    if status == 405:
        assert answer.headers["allow"] == "POST"


def test_every_limit_has_its_error(model: Path) -> None:
    service = open_service(model, max_mb=1, max_photos=2, max_megapixels=1, queue=2)
    large = predict(service, b"x" * 1_000_001)
    streamed = call(
        service, "POST", "/v1/predict", files={"photo": ("a.jpg", b"x" * 1_000_001)}, headers={"x": "y"}
    )
    for answer in (large, streamed):
        assert (answer.status_code, code_of(answer)) == (413, "too_many_bytes")
    answer = call(service, "POST", "/v1/predict", files=[("photo", ("a.jpg", jpeg()))] * 3)
    assert (answer.status_code, code_of(answer)) == (413, "too_many_photos")
    answer = predict(service, jpeg(size=(1001, 1000)))
    assert (answer.status_code, code_of(answer)) == (413, "too_many_pixels")
    answer = predict(service, jpeg(size=(1000, 1000)))
    assert answer.status_code == 200
    service.close()


def test_a_photo_that_is_slow_to_decode_must_be_smaller(model: Path) -> None:
    service = open_service(model, max_megapixels=1)

    def code(photo: bytes) -> str:
        answer = predict(service, photo)
        return "" if answer.status_code == 200 else f"{answer.status_code} {code_of(answer)}"

    for name in ("PNG", "WEBP", "GIF"):
        assert code(picture(name, (500, 1000))) == ""
        assert code(picture(name, (501, 1000))) == "413 too_many_pixels"
    assert code(progressive(1000, 20)) == ""
    assert code(progressive(1000, 21)) == "413 too_many_pixels"
    assert code(progressive(500, 80)) == ""
    assert code(progressive(500, 81)) == "413 too_many_pixels"
    assert code(progressive(500, 101)) == "422 unreadable_photo"
    assert "21 scans" in predict(service, progressive(1000, 21)).json()["error"]["message"]
    service.close()


def picture(format_name: str, size: tuple[int, int], **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, format_name, **options)
    return file.getvalue()


def progressive(side_px: int, scans: int) -> bytes:
    """Return a square JPEG whose last scan is repeated until there are as many scans."""
    content = picture("JPEG", (side_px, side_px), progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * (scans - content.count(b"\xff\xda")) + content[-2:]


def test_the_queue_is_bounded_and_what_fits_is_answered(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = open_service(model, queue=1, max_photos=1)
    service._workers._threads, service._workers._most = 1, 2  # one runs, one waits
    service._workers._pool._max_workers = 1
    begun, end = threading.Event(), threading.Event()
    real = serving_app.predict_upload

    def slow(*arguments: object) -> object:
        begun.set()
        assert end.wait(20)
        return real(*arguments)

    monkeypatch.setattr(serving_app, "predict_upload", slow)
    statuses: list[int] = []
    waiting = [
        threading.Thread(target=lambda: statuses.append(predict(service, jpeg()).status_code))
        for _ in range(2)
    ]
    for thread in waiting:
        thread.start()
    assert begun.wait(20)
    while service._workers._unfinished < 2:
        pass
    answer = predict(service, jpeg())
    assert (answer.status_code, code_of(answer)) == (503, "queue_full")
    assert int(answer.headers["retry-after"]) >= 1
    assert "headstart_queue 1.0" in call(service, "GET", "/metrics").text
    end.set()
    for thread in waiting:
        thread.join()
    assert statuses == [200, 200]
    assert predict(service, jpeg()).status_code == 200
    service.close()


def test_a_fault_of_the_model_is_an_error_without_details(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(serving_app, "predict_upload", fail)
    answer = predict(service, jpeg())
    assert (answer.status_code, code_of(answer)) == (500, "internal_error")
    assert "secret" not in answer.text
    answer = call(service, "POST", "/v1/predict", files={"photo": ("a.jpg", jpeg())})
    assert answer.status_code == 200
    assert answer.json()["predictions"][0]["error"]["code"] == "internal_error"
    monkeypatch.setattr(serving_app, "read_uploads", fail)
    answer = predict(service, jpeg())
    assert (answer.status_code, code_of(answer)) == (500, "internal_error")
    assert "secret" not in answer.text


def test_models_are_listed_and_chosen(model: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other.onnx", class_names=("r", "g", "b"))
    service = open_service(model, other)
    listed = call(service, "GET", "/v1/models").json()["models"]
    assert [each["name"] for each in listed] == ["colours", "other"]
    assert listed[1]["class_names"] == ["r", "g", "b"]
    assert predict(service, jpeg(), "?model=other").json()["predictions"][0]["label"] == "r"
    assert predict(service, jpeg()).json()["model"] == "colours"
    service.close()


def test_the_service_is_ready_when_every_model_has_been_proved(model: Path) -> None:
    service = open_service(model)
    service.models.ready = False
    assert call(service, "GET", "/healthz").status_code == 200
    for answer in (call(service, "GET", "/readyz"), predict(service, jpeg())):
        assert (answer.status_code, code_of(answer)) == (503, "loading")
    service.models.prove_all()
    assert call(service, "GET", "/readyz").json() == {"status": "ready"}
    service.close()


def test_metrics_count_answers_and_errors_by_model(model: Path) -> None:
    service = open_service(model)
    sha256 = service.models.get(None).sha256
    for colour in ("red", "red", "blue"):
        predict(service, jpeg(colour))
    call(service, "GET", "/made-up/by/a/client")
    text = call(service, "GET", "/metrics").text
    of_model = f'model="colours",sha256="{sha256}"'
    for line in (
        f'headstart_answers_total{{label="red",{of_model}}} 2.0',
        f"headstart_photos_total{{{of_model}}} 3.0",
        f"headstart_photo_seconds_count{{{of_model}}} 3.0",
        f"headstart_confidence_count{{{of_model}}} 3.0",
        f"headstart_model{{{of_model}}} 1.0",
        'headstart_requests_total{method="POST",path="/v1/predict",status="200"} 3.0',
        'headstart_requests_total{method="GET",path="other",status="404"} 1.0',
        'headstart_errors_total{code="not_found"} 1.0',
        "headstart_queue 0.0",
    ):
        assert f"{line}\n" in text
    service.close()


def test_request_ids_are_taken_from_clients_if_they_are_harmless(service: Service) -> None:
    assert call(service, "GET", "/healthz", headers={"X-Request-ID": "a-1"}).headers["x-request-id"] == "a-1"
    for given in ("a b", 'x"', "x" * 65):
        found = call(service, "GET", "/healthz", headers={"X-Request-ID": given}).headers["x-request-id"]
        assert len(found) == 16


def test_every_problem_has_a_status() -> None:
    assert all(Problem(code, "").status == status for code, (status, _) in PROBLEMS.items())
