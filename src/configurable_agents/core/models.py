"""Chat models by provider and name, made once for a run and closed with it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from configurable_agents.core.nearest import did_you_mean
from configurable_agents.core.schema import Llm, Workflow
from configurable_agents.errors import ConfigurationError, MissingPackageError, ProviderKeyError
from configurable_agents.observability.providers import detect_provider, normalise_model

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


class ProviderPackage(NamedTuple):
    """How LangChain knows a provider."""

    langchain_name: str
    module: str
    extra: str
    """Of this package."""
    key_variables: tuple[str, ...] = ()
    """One of them must be set."""
    settings: tuple[tuple[str, Any], ...] = ()
    """Retries are ours, so that each is seen; a stream states its usage."""


PROVIDERS = {
    "openai": ProviderPackage(
        "openai",
        "langchain_openai",
        "openai",
        ("OPENAI_API_KEY",),
        (("max_retries", 0), ("stream_usage", True)),
    ),
    "anthropic": ProviderPackage(
        *("anthropic", "langchain_anthropic", "anthropic"),
        ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
        (("max_retries", 0),),
    ),
    "google": ProviderPackage(
        *("google_genai", "langchain_google_genai", "google"),
        ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI"),
        (("max_retries", 1),),  # counts attempts, and takes 0 for its own default
    ),
    "ollama": ProviderPackage("ollama", "langchain_ollama", "ollama"),
}
STREAMING_ALWAYS = ("ollama",)
PROVIDER_SEPARATOR = ":"
ANTHROPIC_EVENT_READER = "_make_message_chunk_from_anthropic_event"
LANGCHAIN_PROVIDERS = "_BUILTIN_PROVIDERS"
"""Where LangChain keeps the names of the providers it can make models of."""
STATED_USAGE = "stated_usage"
"""Where a message keeps the usage of the events of its stream, by their type."""


class ModelName(NamedTuple):
    """Whom to ask for what."""

    provider: str
    """As reports show it."""
    model: str
    """As the provider knows it."""


def model_name(settings: Llm, *, node_id: str) -> ModelName:
    """From `provider` and `model`, `openai/gpt-4o`, `openai:gpt-4o`, or what the name itself tells.

    Raises `ConfigurationError` where that leaves it open.
    """
    if settings.model is None:
        raise ConfigurationError(
            f"node {node_id!r} has no model; set config.llm: {{provider, model}}, or its own"
        )
    provider, model = settings.provider, settings.model
    prefix, separator, rest = model.partition(PROVIDER_SEPARATOR)
    if provider is None and separator and prefix.lower() in PROVIDERS:
        provider, model = prefix, rest
    found = detect_provider(model, provider=provider or "").provider
    if found == "unknown":
        raise ConfigurationError(
            f"node {node_id!r}: who serves {model!r}? Write provider: openai (or another) beside it"
        )
    return ModelName(found, normalise_model(found, model))


def langchain_name(settings: Llm, name: ModelName) -> str:
    """What LangChain calls the provider. Raises `ConfigurationError` for one it does not know."""
    package = PROVIDERS.get(name.provider)
    if package is not None:
        return package.langchain_name
    written = (settings.provider or "").strip().lower().replace("-", "_")
    known = _known_to_langchain()
    if not known or name.provider in known:
        return name.provider
    if written in known:
        return written
    asked = settings.provider or name.provider
    others = ", ".join(sorted(known))
    raise ConfigurationError(
        f"unknown provider {asked!r}{did_you_mean(asked, (*PROVIDERS, *known))}; there are"
        f" {', '.join(PROVIDERS)}, and those of LangChain: {others}"
    )


def _known_to_langchain() -> frozenset[str]:
    """The providers that LangChain has names for; none where its release does not tell them."""
    from langchain.chat_models import base  # noqa: PLC0415 - takes most of a second

    known = getattr(base, LANGCHAIN_PROVIDERS, ())
    return frozenset(known) - {package.langchain_name for package in PROVIDERS.values()}


class ChatModels:
    """The chat models of one run. Each is made when it is first asked for; all share the run's event loop.

    LangChain keeps the HTTP connections of OpenAI and Anthropic for the whole process, and with them the
    event loop they were made in; a second run would find it closed. So these get connections of their own.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], BaseChatModel] = {}
        self._closers: list[Callable[[], Awaitable[Any]]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for close in self._closers:
            await close()

    def prepare(self, workflow: Workflow) -> None:
        """Makes every model that the workflow needs, so that loading packages takes no time of its nodes."""
        for node in workflow.nodes:
            if node.prompt is not None:
                settings = workflow.llm_of(node)
                self.get(settings, model_name(settings, node_id=node.id))
        from configurable_agents.core import calls  # noqa: F401, PLC0415 - loads the rest of LangChain

    def get(self, settings: Llm, name: ModelName) -> BaseChatModel:
        """Raises `MissingPackageError`, `ProviderKeyError` or `ConfigurationError` when it cannot be made."""
        key = (*name, *sorted(settings.model_dump().items()))
        model = self._made.get(key)
        if model is None:
            model = self._made[key] = self._make(settings, name)
        return model

    def _make(self, settings: Llm, name: ModelName) -> BaseChatModel:
        package = PROVIDERS.get(name.provider)
        check_key(name.provider, package)
        try:
            from langchain.chat_models import init_chat_model  # noqa: PLC0415 - takes most of a second

            model: BaseChatModel = init_chat_model(
                name.model,
                model_provider=langchain_name(settings, name),
                **self._settings(settings, name.provider, package),
            )
        except ImportError as error:
            raise MissingPackageError(
                f"{name.provider} needs a package: {install_hint(name, package)}"
            ) from error
        except ValueError as error:
            raise ConfigurationError(
                f"{name.provider}/{name.model} cannot be used: {_first_line(error)}"
            ) from error
        self._own_connections(model, name.provider)
        if name.provider == "openai":
            client = vars(model)["root_async_client"]
            _ = (client.beta if settings.stream else client).chat.completions  # loads 600 modules
        return model

    def _settings(self, settings: Llm, provider: str, package: ProviderPackage | None) -> dict[str, Any]:
        chosen: dict[str, Any] = dict(package.settings) if package else {}
        if settings.temperature is not None:
            chosen["temperature"] = settings.temperature
        if settings.max_tokens is not None:
            chosen["num_predict" if provider == "ollama" else "max_tokens"] = settings.max_tokens
        if settings.api_base is not None:
            chosen["base_url"] = settings.api_base
        if settings.stream and provider not in STREAMING_ALWAYS:
            chosen["streaming"] = True
        if provider == "openai":
            import openai  # noqa: PLC0415 - only where it is used

            chosen["http_async_client"] = client = openai.DefaultAsyncHttpxClient()
            chosen["http_socket_options"] = ()  # leaves proxies to the environment, as everywhere else
            self._closers.append(client.aclose)
        return chosen

    def _own_connections(self, model: BaseChatModel, provider: str) -> None:
        if provider == "anthropic" and "_async_client" in dir(type(model)):
            import anthropic  # noqa: PLC0415 - only where it is used

            connections = anthropic.DefaultAsyncHttpxClient()
            shared: Any = getattr(model, "_async_client")  # noqa: B009 - private, and the only place it is kept
            vars(model)["_async_client"] = shared.with_options(http_client=connections)
            self._closers.append(connections.aclose)
            keep_stated_usage(model)


def keep_stated_usage(model: BaseChatModel) -> None:
    """Has a stream of Anthropic's keep what its first and its last event state.

    LangChain reads the last one only, in which older models and gateways leave the input out: 0 tokens.
    """
    convert: Any = getattr(model, ANTHROPIC_EVENT_READER, None)
    if convert is None:
        return  # another release of LangChain, read as it reads

    def converted(event: Any, **options: Any) -> Any:
        chunk, block = convert(event, **options)
        usage = stated_in(event)
        if chunk is not None and usage is not None:
            chunk.response_metadata[f"{STATED_USAGE}_{event.type}"] = usage
        return chunk, block

    vars(model)[ANTHROPIC_EVENT_READER] = converted


def stated_in(event: Any) -> dict[str, Any] | None:
    """The usage in an event of Anthropic's stream, without what it leaves open."""
    holder = (
        event.message if event.type == "message_start" else event if event.type == "message_delta" else None
    )
    usage = getattr(holder, "usage", None)
    return None if usage is None else dict(usage.model_dump(exclude_none=True))


def check_key(provider: str, package: ProviderPackage | None) -> None:
    """Raises `ProviderKeyError` when no variable holds a key, before anything is asked."""
    variables = package.key_variables if package else ()
    if variables and not any(os.environ.get(variable) for variable in variables):
        raise ProviderKeyError(f"no key for {provider}: set {variables[0]}")


def install_hint(name: ModelName, package: ProviderPackage | None) -> str:
    if package is None:
        return f"pip install langchain-{name.provider}"
    return f"pip install 'agents-obs[runner,{package.extra}]'"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
