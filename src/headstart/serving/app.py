"""The service: what each path answers."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import FastAPI, Query, Request, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

import headstart
from headstart.errors import HeadstartError
from headstart.inference.heat_map import refuse_to_explain
from headstart.serving import schemas
from headstart.serving.answers import Upload, Wanted, entry, failed, predict_upload
from headstart.serving.guard import Guard
from headstart.serving.log import Log
from headstart.serving.metrics import CONTENT_TYPE, Metrics
from headstart.serving.models import Models, Served
from headstart.serving.names import clean
from headstart.serving.page import Page
from headstart.serving.problems import Problem
from headstart.serving.settings import ServeSettings
from headstart.serving.uploads import Memory, read_uploads
from headstart.serving.work import ClientGone, Workers, unless_gone

PREDICT: Final = "/v1/predict"
"""Path of predictions."""

_JSON: Final = "application/json"


class Service:
    """What answers requests: models, threads, memory, metrics and the log.

    Args:
        models: The models.
        settings: Limits, hosts, token.
        log: Where requests are logged.

    Attributes:
        app: The ASGI application.
        metrics: What is counted.
    """

    def __init__(self, models: Models, settings: ServeSettings, log: Log) -> None:
        self.models, self.settings, self._log = models, settings, log
        self._workers = Workers(settings.queue)
        self._memory = Memory(settings.max_bytes)
        self.metrics = Metrics(lambda: self._workers.waiting, lambda: log.num_dropped)
        for each in models.all():
            self.metrics.serves(each)
        self.app = self._application()

    def close(self) -> None:
        """Finish what is running."""
        self._workers.close()

    def look_after(self) -> None:
        """Replace models whose files have changed, and return memory; called every second, in a thread."""
        self.models.take_over(self._tell_of_model)
        self._memory.return_freed()

    async def predict(
        self, request: Request, options: Annotated[schemas.PredictOptions, Query()]
    ) -> Response:
        """Predict the photos of a request."""
        exchange = request.state.exchange
        served = self.models.get(options.model)
        if options.heat_map and not served.predictor.explains:
            raise Problem("no_heat_map", _why_no_heat_map(served))
        if options.similar is not None and served.similar is None:
            raise Problem("no_similar", _why_no_similar(served, self.settings))
        self._workers.refuse(1)  # before a large body is sent
        wanted = Wanted(served, options.top_k, options.heat_map, options.similar, self.settings.max_pixels)
        with self._memory.held() as held:
            uploads, is_form = await read_uploads(request.headers, _chunks(exchange), self.settings, held)
            exchange.notes |= {"model": served.name, "photos": len(uploads)}
            futures = self._workers.submit([partial(self._answer, each, wanted, is_form) for each in uploads])
            answers = await unless_gone(futures, _gone(exchange))
        head = {"model": served.name, "model_sha256": served.sha256, "request_id": exchange.request_id}
        start = json.dumps(head).encode()[:-1]
        return Response(start + b', "predictions": [' + b", ".join(answers) + b"]}", media_type=_JSON)

    def _answer(self, upload: Upload, wanted: Wanted, is_form: bool) -> bytes:
        """Answer a photo, in a thread.

        Raises:
            Problem: The photo cannot be answered, and it is the whole request.
        """
        begun, problem = time.perf_counter(), None
        try:
            prediction = predict_upload(upload, wanted)
            answer = entry(upload, prediction, wanted, begun)
        except Exception as error:
            problem = self._problem_of_photo(error, wanted.served)
        if problem is not None:
            if not is_form:
                raise problem  # not in `except`: its context would hold the photo
            self.metrics.error(problem.code)
            return failed(upload, problem)
        seconds = time.perf_counter() - begun
        self._workers.took(seconds)
        self.metrics.photo(wanted.served, prediction, seconds)
        return answer

    def _problem_of_photo(self, error: Exception, served: Served) -> Problem:
        if isinstance(error, Problem):
            return error
        text = "".join(traceback.format_exception(error))
        self._log.write("fault", model=served.name, traceback=text)
        return Problem("internal_error", "The model failed on this photo; the log says why.")

    async def list_models(self) -> Response:
        """List the models."""
        if self.settings.similar:
            self.models.get(None)  # whether they have training photos is not known before
        models = [
            {
                "name": each.name,
                "sha256": each.sha256,
                "task": each.predictor.info.task,
                "class_names": list(each.predictor.info.class_names),
                "targets": list(each.predictor.info.targets),
                "backbone": each.predictor.info.backbone,
                "size_px": each.predictor.info.preprocessing.size_px,
                "has_heat_maps": each.predictor.explains,
                "has_similar": each.similar is not None,
                "recognises_unknown": each.predictor.info.unknown_threshold is not None,
            }
            for each in self.models.all()
        ]
        return Response(json.dumps({"models": models}), media_type=_JSON)

    async def is_alive(self) -> Response:
        """Say that the process answers."""
        return Response('{"status": "alive"}', media_type=_JSON)

    async def is_ready(self) -> Response:
        """Say whether every model has predicted a photo."""
        self.models.get(None)
        return Response('{"status": "ready"}', media_type=_JSON)

    async def show_metrics(self) -> Response:
        """Return the metrics."""
        return Response(self.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    def _application(self) -> ASGIApp:
        root = self.settings.root_path
        app = FastAPI(
            title="Headstart",
            version=headstart.__version__,
            summary="Predictions of trained models for photos.",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            servers=[{"url": root}] if root else None,
        )
        always = schemas.errors(400, 401, 403, 408)
        app.post(
            PREDICT,
            response_model=schemas.PredictAnswer,
            responses=always | schemas.errors(404, 413, 415, 422, 500, 503),
            openapi_extra={"requestBody": schemas.BODY},
        )(self.predict)
        app.get("/v1/models", response_model=schemas.ModelsAnswer, responses=always | schemas.errors(503))(
            self.list_models
        )
        app.get("/healthz", response_model=schemas.Status)(self.is_alive)
        app.get("/readyz", response_model=schemas.Status, responses=schemas.errors(503))(self.is_ready)
        metrics: dict[str, Any] = {"content": {CONTENT_TYPE: {"schema": {"type": "string"}}}}
        app.get("/metrics", response_class=Response, responses=always | {200: metrics})(self.show_metrics)
        for error in (HTTPException, Problem, Exception):
            app.exception_handler(error)(_as_problem)
        page = Page()
        for path in page.paths:
            app.get(path, include_in_schema=False)(page.answer)
        description = app.openapi()  # after all paths: FastAPI makes it again if one is added
        app.openapi = lambda: schemas.completed(  # type: ignore[method-assign]  # models may be replaced
            description, self.models.all(), token=self.settings.token is not None
        )
        paths = frozenset({*description["paths"], "/openapi.json"})
        dispatch = partial(self._dispatch, app)
        return Guard(dispatch, self.settings, paths, page.paths, self.metrics, self._log)

    async def _dispatch(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer predictions without FastAPI, which takes 0.2 ms to find and call a function."""
        if scope["path"] != PREDICT or scope["method"] != "POST":
            await app(scope, receive, send)
            return
        given = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        try:
            options = schemas.PredictOptions.model_validate(given)
        except ValidationError as error:
            raise Problem("invalid_parameter", " ".join(map(_sentence, error.errors()))) from None
        response = await self.predict(Request(scope, receive), options)
        await response(scope, receive, send)

    def _tell_of_model(self, served: Served, error: Exception | None) -> None:
        self.metrics.model_file(served.name, "taken" if error is None else "refused")
        if error is None:
            self.metrics.serves(served)
            self._log.write("model taken over", model=served.name, sha256=served.sha256)
        else:
            reason = str(error) or type(error).__name__
            self._log.write("model refused", model=served.name, reason=reason, serving=served.sha256)


async def _as_problem(request: Request, error: Exception) -> Response:
    """Turn what FastAPI raises into an error of the service, which the guard counts."""
    problem = error if isinstance(error, Problem) else _problem_of(error)
    exchange = request.state.exchange
    exchange.code = problem.code
    return Response(
        problem.body(exchange.request_id), problem.status, headers=problem.headers, media_type=_JSON
    )


def _problem_of(error: Exception) -> Problem:
    if not isinstance(error, HTTPException):  # FastAPI raises it again, and the guard logs it
        return Problem("internal_error", "The service failed; its log says why.")
    if error.status_code == 405:
        return Problem("method_not_allowed", "The path does not support this method.", error.headers)
    if error.status_code == 404:
        return Problem("not_found", "There is nothing at this path. Predictions: POST /v1/predict")
    return Problem("invalid_request", str(error.detail))


def _sentence(error: Mapping[str, Any]) -> str:
    name = clean(str(error["loc"][-1]))
    if error["type"] == "extra_forbidden":
        return f"There is no parameter {name!r}; the parameters are model, top_k, heat_map and similar."
    return f"{name} is {clean(str(error['input']))!r}: {error['msg']}."


def _why_no_heat_map(served: Served) -> str:
    try:
        refuse_to_explain(None, served.predictor.views)
    except HeadstartError as error:
        return str(error).partition(". ")[0] + ". Leave out heat_map."
    return "The model has no heat maps."


def _why_no_similar(served: Served, settings: ServeSettings) -> str:
    if settings.similar:
        return f"The model {served.name!r} has no similar training photos. Leave out similar."
    return (
        "The service does not show training photos, which may be private. Leave out similar, or start the "
        "service with --similar."
    )


async def _chunks(exchange: Any) -> AsyncIterator[bytes]:
    """Yield the body of a request as it arrives.

    Raises:
        ClientGone: The client has closed the connection before its end.
    """
    has_more = True
    while has_more:
        message = await exchange.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        has_more = message.get("more_body", False)
        if message.get("body"):
            yield message["body"]


async def _gone(exchange: Any) -> None:
    """Return when the client of a request that has been read has gone."""
    while (await exchange.receive())["type"] != "http.disconnect":
        pass
