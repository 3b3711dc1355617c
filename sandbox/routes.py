"""Which path leads to what: read this first."""

from sandbox import examples
from sandbox.answers import Answers
from sandbox.batches import Batches
from sandbox.contract import Contract
from sandbox.files import Files
from sandbox.http import Request, Response, ok
from sandbox.ids import Ids
from sandbox.limits import RateLimits
from sandbox.messages import Messages
from sandbox.models import Models
from sandbox.recorder import Recorder
from sandbox.routing import Handler, Router
from sandbox.scenarios import Scenarios
from sandbox.server_tools import ServerTools
from sandbox.settings import Settings
from sandbox.skills import Skills
from sandbox.storage import Storage


class State:
    """All that one sandbox keeps."""

    def __init__(self, settings: Settings, contract: Contract) -> None:
        self.ids = Ids()
        self.limits = RateLimits()
        self.recorder = Recorder(settings.recorded_requests)
        self.scenarios = Scenarios(settings)
        self.storage = Storage(settings.stored_bytes)
        self.models = Models()
        self.files = Files(self.ids, self.storage, settings.stored_files)
        self.skills = Skills(self.ids, self.storage, settings.stored_skills)
        self.messages = Messages(
            contract=contract,
            models=self.models,
            scenarios=self.scenarios,
            answers=Answers(self.ids, ServerTools(self.ids, self.files.create)),
            files=self.files,
            limits=self.limits,
            ids=self.ids,
        )
        self.batches = Batches(
            self.messages,
            self.ids,
            self.storage,
            seconds=settings.batch_seconds,
            max_batches=settings.stored_batches,
        )

    async def close(self) -> None:
        """Ends work in the background, removes stored bytes."""
        await self.batches.close()
        self.storage.close()


def routes(state: State, contract: Contract) -> Router:
    """The router. What is not listed here answers its example from the spec."""
    batches, files, messages, models = state.batches, state.files, state.messages, state.models
    recorder, skills = state.recorder, state.skills
    table: list[tuple[str, str, Handler]] = [
        ("POST", "/v1/messages", messages.create),
        ("POST", "/v1/messages/count_tokens", messages.count_tokens),
        ("POST", "/v1/messages/batches", batches.create),
        ("GET", "/v1/messages/batches", batches.list_all),
        ("GET", "/v1/messages/batches/{message_batch_id}", batches.retrieve),
        ("DELETE", "/v1/messages/batches/{message_batch_id}", batches.delete),
        ("POST", "/v1/messages/batches/{message_batch_id}/cancel", batches.cancel),
        ("GET", "/v1/messages/batches/{message_batch_id}/results", batches.results),
        ("GET", "/v1/models", models.list_all),
        ("GET", "/v1/models/{model_id}", models.retrieve),
        ("POST", "/v1/files", files.upload),
        ("GET", "/v1/files", files.list_all),
        ("GET", "/v1/files/{file_id}", files.retrieve),
        ("DELETE", "/v1/files/{file_id}", files.delete),
        ("GET", "/v1/files/{file_id}/content", files.download),
        ("POST", "/v1/skills", skills.create),
        ("GET", "/v1/skills", skills.list_all),
        ("GET", "/v1/skills/{skill_id}", skills.retrieve),
        ("DELETE", "/v1/skills/{skill_id}", skills.delete),
        ("POST", "/v1/skills/{skill_id}/versions", skills.create_version),
        ("GET", "/v1/skills/{skill_id}/versions", skills.list_versions),
        ("GET", "/v1/skills/{skill_id}/versions/{version}", skills.retrieve_version),
        ("DELETE", "/v1/skills/{skill_id}/versions/{version}", skills.delete_version),
        ("GET", "/v1/skills/{skill_id}/versions/{version}/content", skills.download_version),
        ("GET", "/_sandbox/health", health),
        ("GET", "/_sandbox/requests", recorder.list_all),
        ("DELETE", "/_sandbox/requests", recorder.clear),
    ]
    router = Router()
    for method, path, handler in table:
        router.add(method, path, handler)
    for operation in contract.operations.values():
        router.add(operation.method, operation.path, examples.handler_for(contract, operation))
    return router


async def health(_request: Request) -> Response:
    """GET /_sandbox/health."""
    return ok({"status": "healthy"})
