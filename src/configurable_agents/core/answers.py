"""Gets a node's outputs from its model: as text, as data of its schema, with tools in between."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from configurable_agents.core.schema import Node, Tool
from configurable_agents.core.templates import as_text, fill
from configurable_agents.core.types import FieldType, closed_object
from configurable_agents.errors import ConfigurationError, IterationLimitError, OutputMismatchError
from configurable_agents.runtime.profiler import profile_node

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.runnables import RunnableConfig

    from configurable_agents.core.models import ModelName
    from configurable_agents.core.node_executor import NodeServices

T = TypeVar("T")

TOOL_ROUNDS_MAX = 20
"""Answers in a row that ask for tools."""
ONLY_VALUE = "value"
CLOSING_REQUEST = "Now give the result in the required form."
ANSWER_SHOWN_LENGTH_MAX = 80


async def ask(node: Node, values: Mapping[str, Any], services: NodeServices, attempt: int) -> dict[str, Any]:
    """The outputs of a node with a prompt. Every call is recorded, however it ends."""
    from configurable_agents.core.calls import CallTracker  # noqa: PLC0415 - LangChain takes its time to load
    from configurable_agents.core.models import model_name  # noqa: PLC0415 - the same

    settings = services.workflow.llm_of(node)
    name = model_name(settings, node_id=node.id)
    tracker = CallTracker(services.run, name, attempt=attempt)
    conversation = _Conversation(node, values, services, tracker, name)
    try:
        outputs = await conversation.outputs()
    except BaseException as error:
        tracker.close(error)
        raise
    tracker.close(None)
    return outputs


class _Conversation:
    """The messages of one attempt."""

    def __init__(
        self, node: Node, values: Mapping[str, Any], services: NodeServices, tracker: Any, name: ModelName
    ) -> None:
        from langchain_core.messages import HumanMessage  # noqa: PLC0415

        self._node = node
        self._services = services
        self._name = name
        self._model = services.models.get(services.workflow.llm_of(node), name)
        self._config: RunnableConfig = {"callbacks": [tracker]}
        self._messages: list[BaseMessage] = [HumanMessage(fill(node.prompt or "", values))]

    async def outputs(self) -> dict[str, Any]:
        types = _answer_types(self._node)
        text = await self._use_tools() if self._node.tools else None
        if types is None:
            answered = text if text is not None else _text_of(await self._call(self._model))
            return {self._node.output_names[0]: answered}
        if text is not None and [kind.kind for kind in types.values()] == ["str"]:
            return _named(self._node, dict.fromkeys(types, text))
        if text is not None:
            self._request_the_form()
        return _named(self._node, await self._structured(types))

    async def _call(self, model: Any) -> Any:
        if self._services.gates is not None:
            self._services.gates.check_before_call()
        return await model.ainvoke(self._messages, self._config)

    async def _structured(self, types: dict[str, FieldType]) -> dict[str, Any]:
        schema = {
            "title": f"{self._node.id}_output",
            "description": f"The result of {self._node.id}.",
            **closed_object({name or ONLY_VALUE: kind.json_schema() for name, kind in types.items()}),
        }
        options: dict[str, Any] = {}
        if self._name.provider == "openai":
            options = {"method": "json_schema", "strict": all(kind.is_closed for kind in types.values())}
        answer = await self._call(self._model.with_structured_output(schema, include_raw=True, **options))
        parsed = answer["parsed"]
        if not isinstance(parsed, Mapping):
            raise OutputMismatchError(f"the model's answer breaks the schema: {_shown(answer['raw'])}")
        return {name: _part(parsed, name or ONLY_VALUE) for name in types}

    async def _use_tools(self) -> str:
        """Asks until the model needs no more tools; what it then says is returned and kept."""
        tools = {tool.function_name: tool for tool in map(self._bound, self._node.tools)}
        model = self._model.bind_tools([tool.offer for tool in tools.values()])
        for _ in range(TOOL_ROUNDS_MAX):
            answer: AIMessage = await self._call(model)
            self._messages.append(answer)
            if not answer.tool_calls:
                return _text_of(answer)
            self._messages.extend(await _together(self._use(tools, each) for each in answer.tool_calls))
        raise IterationLimitError(
            f"the model asked for tools {TOOL_ROUNDS_MAX} times in a row; ask for less in the prompt"
        )

    def _bound(self, tool: Tool) -> _BoundTool:
        if ":" not in tool.name:
            raise ConfigurationError(
                f"the tool {tool.name!r} is none of this runner's; name your own as package.module:function"
            )
        return _BoundTool(tool, self._services.function(tool.name))

    async def _use(self, tools: Mapping[str, _BoundTool], request: Mapping[str, Any]) -> BaseMessage:
        from langchain_core.messages import ToolMessage  # noqa: PLC0415

        tool = tools.get(request["name"])
        if tool is None:
            content = f"There is no tool {request['name']!r}. Tools: {', '.join(tools)}."
            return ToolMessage(content, tool_call_id=request["id"], status="error")
        try:
            with profile_node(f"{self._node.id}/{tool.function_name}"):
                result = await tool.use(request["args"], self._services)
        except Exception as error:
            if tool.settings.on_error == "fail":
                raise
            failed = f"{type(error).__name__}: {error}"
            return ToolMessage(failed, tool_call_id=request["id"], status="error")
        return ToolMessage(as_text(result), tool_call_id=request["id"])

    def _request_the_form(self) -> None:
        from langchain_core.messages import HumanMessage  # noqa: PLC0415

        self._messages.append(HumanMessage(CLOSING_REQUEST))


async def _together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order. The first failure ends the others, so that none outlives its node."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _BoundTool:
    """A function of the workflow's author, as the model may call it."""

    def __init__(self, settings: Tool, function: Any) -> None:
        from langchain_core.tools import StructuredTool  # noqa: PLC0415

        self.settings = settings
        self._function = function
        self.function_name = settings.name.partition(":")[2].replace(".", "_")
        try:
            self.offer = StructuredTool.from_function(
                function, name=self.function_name, parse_docstring=False
            )
        except ValueError as error:
            raise ConfigurationError(f"{settings.name} cannot be offered as a tool: {error}") from error

    async def use(self, arguments: Mapping[str, Any], services: NodeServices) -> Any:
        from configurable_agents.core.functions import call  # noqa: PLC0415

        return await call(functools.partial(self._function, **arguments), limiter=services.limiter)


def _answer_types(node: Node) -> dict[str, FieldType] | None:
    """By name, as the schema has them; `None` when the answer is plain text."""
    if node.output_schema is None:
        return None
    types = node.output_schema.output_types
    return None if list(types) == [""] and types[""].kind == "str" else types


def _named(node: Node, answer: dict[str, Any]) -> dict[str, Any]:
    """State fields from the parts of an answer."""
    names = node.output_names
    if "" in answer:
        return {names[0]: answer[""]}
    if len(names) == 1 and names[0] not in answer:
        return {names[0]: answer}
    return {name: answer[name] for name in names}


def _part(parsed: Mapping[str, Any], name: str) -> Any:
    if name not in parsed:
        given = ", ".join(map(str, parsed)) or "nothing"
        raise OutputMismatchError(
            f"the model's answer breaks the schema: {name!r} is missing, it has {given}"
        )
    return parsed[name]


def _text_of(message: AIMessage) -> str:
    text = message.text
    return text if isinstance(text, str) else text()


def _shown(message: Any) -> str:
    text = " ".join(_text_of(message).split()) or "it is empty"
    return text if len(text) <= ANSWER_SHOWN_LENGTH_MAX else f"{text[:ANSWER_SHOWN_LENGTH_MAX]}…"
